-- Writes batches of different tenants, each only where its head stands as expected and nobody
-- else holds it. All parts join what the head part returns. Rows are matched to their batch by
-- its place among those sent. Where fewer rows are written than were sent, it divides by zero,
-- and nothing at all is written.
WITH sent AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
        WITH ORDINALITY AS sent (tenant_id, version, stamp, next_stamp, at, row_count, place)
), taken AS (
    SELECT head.tenant_id, sent.place, sent.next_stamp, sent.at, sent.row_count
    FROM sent JOIN head ON head.tenant_id = sent.tenant_id
    WHERE head.version = sent.version AND head.stamp = sent.stamp
    ORDER BY head.tenant_id
    FOR NO KEY UPDATE OF head SKIP LOCKED
), moved AS (
    UPDATE head SET version = head.version + 1, stamp = taken.next_stamp, at = taken.at
    FROM taken WHERE head.tenant_id = taken.tenant_id
    RETURNING head.tenant_id, head.version, head.stamp, head.at, taken.place, taken.row_count
), batches AS (
    INSERT INTO batch (tenant_id, version, stamp, at)
    SELECT tenant_id, version, stamp, at FROM moved
    RETURNING 1
), counters AS (
    INSERT INTO counter (tenant_id, counter, dimension_values, opened, used, held)
    SELECT moved.tenant_id, sent.counter, sent.dimension_values, sent.opened, sent.used, sent.held
    FROM unnest($7::bigint[], $8::bigint[], $9::text[], $10::bigint[], $11::numeric[], $12::numeric[])
        AS sent (place, counter, dimension_values, opened, used, held)
    JOIN moved ON moved.place = sent.place
    ON CONFLICT (tenant_id, counter, dimension_values, opened)
        DO UPDATE SET used = excluded.used, held = excluded.held
    RETURNING 1
), holds AS (
    INSERT INTO hold (tenant_id, id, expires_at, body)
    SELECT moved.tenant_id, sent.id, sent.expires_at, sent.body
    FROM unnest($13::bigint[], $14::uuid[], $15::bigint[], $16::bytea[]) AS sent (place, id, expires_at, body)
    JOIN moved ON moved.place = sent.place
    RETURNING 1
), closed AS (
    DELETE FROM hold USING moved, unnest($17::bigint[], $18::uuid[], $21::boolean[]) AS sent (place, id, held)
    WHERE moved.place = sent.place AND sent.held
        AND hold.tenant_id = moved.tenant_id AND hold.id = sent.id
    RETURNING 1
), closures AS (
    INSERT INTO closure (tenant_id, id, version, how, body)
    SELECT moved.tenant_id, sent.id, moved.version, sent.how, sent.body
    FROM unnest($17::bigint[], $18::uuid[], $19::smallint[], $20::bytea[]) AS sent (place, id, how, body)
    JOIN moved ON moved.place = sent.place
    RETURNING 1
), keys AS (
    INSERT INTO idempotency (tenant_id, operation, key, hash, answer, at)
    SELECT moved.tenant_id, sent.operation, sent.key, sent.hash, sent.answer, moved.at
    FROM unnest($22::bigint[], $23::text[], $24::text[], $25::bytea[], $26::bytea[])
        AS sent (place, operation, key, hash, answer)
    JOIN moved ON moved.place = sent.place
    RETURNING 1
), gone AS (
    DELETE FROM record USING moved, unnest($27::bigint[], $28::text[], $29::text[], $30::bytea[])
        AS sent (place, kind, name, body)
    WHERE moved.place = sent.place AND sent.body IS NULL
        AND record.tenant_id = moved.tenant_id AND record.kind = sent.kind AND record.name = sent.name
), records AS (
    INSERT INTO record (tenant_id, kind, name, body)
    SELECT moved.tenant_id, sent.kind, sent.name, sent.body
    FROM unnest($27::bigint[], $28::text[], $29::text[], $30::bytea[]) AS sent (place, kind, name, body)
    JOIN moved ON moved.place = sent.place
    WHERE sent.body IS NOT NULL
    ON CONFLICT (tenant_id, kind, name) DO UPDATE SET body = excluded.body
), decisions AS (
    INSERT INTO decision (tenant_id, version, ordinal, at, id, allowed, body)
    SELECT moved.tenant_id, moved.version, sent.ordinal, moved.at, sent.id, sent.allowed, sent.body
    FROM unnest($31::bigint[], $32::integer[], $33::uuid[], $34::boolean[], $35::bytea[])
        AS sent (place, ordinal, id, allowed, body)
    JOIN moved ON moved.place = sent.place
    RETURNING 1
), usages AS (
    INSERT INTO usage (tenant_id, version, ordinal, at, id, used_at, late, body)
    SELECT moved.tenant_id, moved.version, sent.ordinal, moved.at, sent.id, sent.used_at, sent.late, sent.body
    FROM unnest($36::bigint[], $37::integer[], $38::uuid[], $39::bigint[], $40::boolean[], $41::bytea[])
        AS sent (place, ordinal, id, used_at, late, body)
    JOIN moved ON moved.place = sent.place
    RETURNING 1
), entries AS (
    INSERT INTO entry (tenant_id, version, ordinal, at, id, account, kind, amount, currency, body)
    SELECT moved.tenant_id, moved.version, sent.ordinal, moved.at,
        sent.id, sent.account, sent.kind, sent.amount, sent.currency, sent.body
    FROM unnest($42::bigint[], $43::integer[], $44::uuid[], $45::text[], $46::text[], $47::numeric[], $48::text[], $49::bytea[])
        AS sent (place, ordinal, id, account, kind, amount, currency, body)
    JOIN moved ON moved.place = sent.place
    RETURNING 1
)
SELECT coalesce(array_agg(place), '{}') AS places,
    1 / (sum(row_count) IS NOT DISTINCT FROM nullif(
        (SELECT count(*) FROM counters) + (SELECT count(*) FROM holds) + (SELECT count(*) FROM closed)
        + (SELECT count(*) FROM closures) + (SELECT count(*) FROM keys) + (SELECT count(*) FROM decisions)
        + (SELECT count(*) FROM usages) + (SELECT count(*) FROM entries) + (SELECT count(*) FROM batches), 0)
    )::integer AS whole
FROM moved
