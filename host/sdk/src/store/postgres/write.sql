-- Writes batches of different tenants, each only where its head stands as expected and nobody
-- else holds it. All parts join what the head part returns. Rows are matched to their batch by
-- its place among those sent. Where fewer rows are written than were sent, it divides by zero,
-- and nothing at all is written.
WITH sent AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[], $7::bytea[], $8::bigint[])
        WITH ORDINALITY AS sent (tenant_id, version, stamp, next_stamp, at, moves, body, row_count, place)
), taken AS (
    SELECT head.tenant_id, head.version + sent.moves::integer AS version,
        sent.place, sent.next_stamp AS stamp, sent.at, sent.moves, sent.body, sent.row_count
    FROM sent JOIN head ON head.tenant_id = sent.tenant_id
    WHERE head.version = sent.version AND head.stamp = sent.stamp
    ORDER BY head.tenant_id
    FOR NO KEY UPDATE OF head SKIP LOCKED
), moved AS (
    UPDATE head SET version = taken.version, stamp = taken.stamp, at = taken.at
    FROM taken WHERE head.tenant_id = taken.tenant_id AND taken.moves
    RETURNING 1
), batches AS (
    INSERT INTO batch (tenant_id, at, version, stamp, body)
    SELECT tenant_id, at, version, stamp, body FROM taken
    RETURNING 1
), counters AS (
    INSERT INTO counter (tenant_id, counter, dimension_values, opened, used, held)
    SELECT taken.tenant_id, sent.counter, sent.dimension_values, sent.opened, sent.used, sent.held
    FROM unnest($9::bigint[], $10::bigint[], $11::text[], $12::bigint[], $13::numeric[], $14::numeric[])
        AS sent (place, counter, dimension_values, opened, used, held)
    JOIN taken ON taken.place = sent.place
    ON CONFLICT (tenant_id, counter, dimension_values, opened)
        DO UPDATE SET used = excluded.used, held = excluded.held
    RETURNING 1
), accounts AS (
    INSERT INTO account (tenant_id, account, currency, balance, held)
    SELECT taken.tenant_id, sent.account, sent.currency, sent.balance, sent.held
    FROM unnest($15::bigint[], $16::text[], $17::text[], $18::numeric[], $19::numeric[])
        AS sent (place, account, currency, balance, held)
    JOIN taken ON taken.place = sent.place
    ON CONFLICT (tenant_id, account, currency)
        DO UPDATE SET balance = excluded.balance, held = excluded.held
    RETURNING 1
), holds AS (
    INSERT INTO hold (tenant_id, id, expires_at, body)
    SELECT taken.tenant_id, sent.id, sent.expires_at, sent.body
    FROM unnest($20::bigint[], $21::uuid[], $22::bigint[], $23::bytea[]) AS sent (place, id, expires_at, body)
    JOIN taken ON taken.place = sent.place
    ON CONFLICT (tenant_id, id) DO UPDATE SET expires_at = excluded.expires_at, body = excluded.body
    RETURNING 1
), closed AS (
    DELETE FROM hold USING taken, unnest($24::bigint[], $25::uuid[], $26::boolean[]) AS sent (place, id, held)
    WHERE taken.place = sent.place AND sent.held
        AND hold.tenant_id = taken.tenant_id AND hold.id = sent.id
    RETURNING 1
), closures AS (
    INSERT INTO closure (tenant_id, id, version, how, at, body)
    SELECT taken.tenant_id, sent.id, taken.version, sent.how, taken.at, sent.body
    FROM unnest($24::bigint[], $25::uuid[], $27::smallint[], $28::bytea[]) AS sent (place, id, how, body)
    JOIN taken ON taken.place = sent.place
    -- What expired may still be settled; nothing else ends twice.
    ON CONFLICT (tenant_id, id) DO UPDATE
        SET version = excluded.version, how = excluded.how, at = excluded.at, body = excluded.body
        WHERE closure.how = 3 AND excluded.how = 1
    RETURNING 1
), runs AS (
    INSERT INTO run (tenant_id, id, user_value, started_at, ended_at, body)
    SELECT taken.tenant_id, sent.id, sent.user_value, sent.started_at, sent.ended_at, sent.body
    FROM unnest($29::bigint[], $30::uuid[], $31::text[], $32::bigint[], $33::bigint[], $34::bytea[])
        AS sent (place, id, user_value, started_at, ended_at, body)
    JOIN taken ON taken.place = sent.place
    ON CONFLICT (tenant_id, id) DO UPDATE SET ended_at = excluded.ended_at, body = excluded.body
    RETURNING 1
), keys AS (
    INSERT INTO idempotency (tenant_id, operation, key, hash, answer, at)
    SELECT taken.tenant_id, sent.operation, sent.key, sent.hash, sent.answer, taken.at
    FROM unnest($35::bigint[], $36::text[], $37::text[], $38::bytea[], $39::bytea[])
        AS sent (place, operation, key, hash, answer)
    JOIN taken ON taken.place = sent.place
    RETURNING 1
), gone AS (
    DELETE FROM record USING taken, unnest($40::bigint[], $41::text[], $42::text[], $43::bytea[])
        AS sent (place, kind, name, body)
    WHERE taken.place = sent.place AND sent.body IS NULL
        AND record.tenant_id = taken.tenant_id AND record.kind = sent.kind AND record.name = sent.name
), records AS (
    INSERT INTO record (tenant_id, kind, name, body)
    SELECT taken.tenant_id, sent.kind, sent.name, sent.body
    FROM unnest($40::bigint[], $41::text[], $42::text[], $43::bytea[]) AS sent (place, kind, name, body)
    JOIN taken ON taken.place = sent.place
    WHERE sent.body IS NOT NULL
    ON CONFLICT (tenant_id, kind, name) DO UPDATE SET body = excluded.body
), changes AS (
    INSERT INTO change (tenant_id, kind, name, version, at, body)
    SELECT taken.tenant_id, sent.kind, sent.name, taken.version, taken.at, sent.body
    FROM unnest($40::bigint[], $41::text[], $42::text[], $43::bytea[]) AS sent (place, kind, name, body)
    JOIN taken ON taken.place = sent.place
    RETURNING 1
), decisions AS (
    INSERT INTO decision (tenant_id, at, id, version, ordinal, allowed, body)
    SELECT taken.tenant_id, taken.at, sent.id, taken.version, sent.ordinal, sent.allowed, sent.body
    FROM unnest($44::bigint[], $45::integer[], $46::uuid[], $47::boolean[], $48::bytea[])
        AS sent (place, ordinal, id, allowed, body)
    JOIN taken ON taken.place = sent.place
    RETURNING 1
), usages AS (
    INSERT INTO usage (tenant_id, at, id, version, ordinal, reservation, used_at, late, overshoot, body)
    SELECT taken.tenant_id, taken.at, sent.id, taken.version, sent.ordinal,
        sent.reservation, sent.used_at, sent.late, sent.overshoot, sent.body
    FROM unnest($49::bigint[], $50::integer[], $51::uuid[], $52::uuid[], $53::bigint[], $54::boolean[], $55::boolean[], $56::bytea[])
        AS sent (place, ordinal, id, reservation, used_at, late, overshoot, body)
    JOIN taken ON taken.place = sent.place
    RETURNING 1
), entries AS (
    INSERT INTO entry (tenant_id, at, id, version, ordinal, usage_id, account, kind, amount, currency, body)
    SELECT taken.tenant_id, taken.at, sent.id, taken.version, sent.ordinal,
        sent.usage_id, sent.account, sent.kind, sent.amount, sent.currency, sent.body
    FROM unnest($57::bigint[], $58::integer[], $59::uuid[], $60::uuid[], $61::text[], $62::text[], $63::numeric[], $64::text[], $65::bytea[])
        AS sent (place, ordinal, id, usage_id, account, kind, amount, currency, body)
    JOIN taken ON taken.place = sent.place
    RETURNING 1
)
SELECT coalesce(array_agg(place), '{}') AS places,
    1 / (sum(row_count) IS NOT DISTINCT FROM nullif(
        (SELECT count(*) FROM moved) + (SELECT count(*) FROM batches) + (SELECT count(*) FROM counters)
        + (SELECT count(*) FROM accounts) + (SELECT count(*) FROM holds) + (SELECT count(*) FROM closed)
        + (SELECT count(*) FROM closures) + (SELECT count(*) FROM runs) + (SELECT count(*) FROM keys)
        + (SELECT count(*) FROM changes) + (SELECT count(*) FROM decisions) + (SELECT count(*) FROM usages)
        + (SELECT count(*) FROM entries), 0)
    )::integer AS whole
FROM taken
