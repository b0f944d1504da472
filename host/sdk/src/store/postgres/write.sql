-- Writes batches of different tenants, each only where its head stands as expected, nobody else
-- holds it, none of its keys was answered before, and its instant is not one that is yet to come ($78:
-- by the database's clock). All parts join what the head part returns. Rows are matched to their batch by
-- its place among those sent. What is known to be new is inserted and what is known to be there is
-- updated: to insert or update, whichever it is, takes more than half as long again. Where fewer rows
-- are written than were sent, it divides by zero, and nothing at all is written.
WITH sent AS (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[], $7::text[], $8::text[], $9::bytea[], $10::bigint[])
        WITH ORDINALITY AS sent (tenant_id, version, stamp, next_stamp, at, moves, allowed, denied, body, row_count, place)
), answered AS (
    SELECT own.place
    FROM unnest($44::bigint[], $45::text[], $46::text[]) AS own (place, operation, key)
    JOIN sent ON sent.place = own.place
    -- Looked up one by one: no plan may read all there are.
    WHERE (
        SELECT true FROM idempotency
        WHERE idempotency.tenant_id = sent.tenant_id AND idempotency.operation = own.operation
            AND idempotency.key = own.key
    )
), taken AS (
    SELECT head.tenant_id, head.version + sent.moves::integer AS version,
        sent.place, sent.next_stamp AS stamp, sent.at, sent.moves,
        sent.allowed, sent.denied, sent.body, sent.row_count
    FROM sent JOIN head ON head.tenant_id = sent.tenant_id
    WHERE head.version = sent.version AND head.stamp = sent.stamp
        -- No batch is ever of an earlier instant than its head: one that leapt ahead would stay there.
        AND (NOT $78::boolean OR sent.at <= head.at
            OR sent.at <= floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint + 1000)
        AND sent.place NOT IN (SELECT place FROM answered)
    ORDER BY head.tenant_id
    FOR NO KEY UPDATE OF head SKIP LOCKED
), moved AS (
    UPDATE head SET version = taken.version, stamp = taken.stamp, at = taken.at
    FROM taken WHERE head.tenant_id = taken.tenant_id AND taken.moves
    RETURNING 1
), batches AS (
    INSERT INTO batch (tenant_id, at, version, stamp, allowed, denied, body)
    SELECT tenant_id, at, version, stamp, allowed::uuid[], denied::uuid[], body FROM taken
    RETURNING 1
), new_latest AS (
    INSERT INTO latest (tenant_id, per, dimension_values, version, totals)
    SELECT taken.tenant_id, sent.per, sent.dimension_values, taken.version, sent.totals::json
    FROM unnest($11::bigint[], $12::text[], $13::text[], $14::text[], $15::boolean[])
        AS sent (place, per, dimension_values, totals, is_new)
    JOIN taken ON taken.place = sent.place
    WHERE sent.is_new
    RETURNING 1
), moved_latest AS (
    UPDATE latest SET version = taken.version, totals = sent.totals::json
    FROM unnest($11::bigint[], $12::text[], $13::text[], $14::text[], $15::boolean[])
        AS sent (place, per, dimension_values, totals, is_new)
    JOIN taken ON taken.place = sent.place
    WHERE NOT sent.is_new AND latest.tenant_id = taken.tenant_id AND latest.per = sent.per
        AND latest.dimension_values = sent.dimension_values
    RETURNING 1
), counters AS (
    INSERT INTO counter (tenant_id, counter, dimension_values, opened, version, used, held)
    SELECT taken.tenant_id, sent.counter, sent.dimension_values, sent.opened, taken.version, sent.used, sent.held
    FROM unnest($16::bigint[], $17::bigint[], $18::text[], $19::bigint[], $20::numeric[], $21::numeric[])
        AS sent (place, counter, dimension_values, opened, used, held)
    JOIN taken ON taken.place = sent.place
    ON CONFLICT (tenant_id, counter, dimension_values, opened)
        DO UPDATE SET version = excluded.version, used = excluded.used, held = excluded.held
    RETURNING 1
), new_accounts AS (
    INSERT INTO account (tenant_id, account, currency, balance, held)
    SELECT taken.tenant_id, sent.account, sent.currency, sent.balance, sent.held
    FROM unnest($22::bigint[], $23::text[], $24::text[], $25::numeric[], $26::numeric[], $27::boolean[])
        AS sent (place, account, currency, balance, held, is_new)
    JOIN taken ON taken.place = sent.place
    WHERE sent.is_new
    RETURNING 1
), moved_accounts AS (
    UPDATE account SET balance = sent.balance, held = sent.held
    FROM unnest($22::bigint[], $23::text[], $24::text[], $25::numeric[], $26::numeric[], $27::boolean[])
        AS sent (place, account, currency, balance, held, is_new)
    JOIN taken ON taken.place = sent.place
    WHERE NOT sent.is_new AND account.tenant_id = taken.tenant_id AND account.account = sent.account
        AND account.currency = sent.currency
    RETURNING 1
), new_holds AS (
    INSERT INTO hold (tenant_id, id, expires_at, body)
    SELECT taken.tenant_id, sent.id, sent.expires_at, sent.body
    FROM unnest($28::bigint[], $29::uuid[], $30::bigint[], $31::bytea[], $32::boolean[])
        AS sent (place, id, expires_at, body, is_new)
    JOIN taken ON taken.place = sent.place
    WHERE sent.is_new
    RETURNING 1
), changed_holds AS (
    UPDATE hold SET expires_at = sent.expires_at, body = sent.body
    FROM unnest($28::bigint[], $29::uuid[], $30::bigint[], $31::bytea[], $32::boolean[])
        AS sent (place, id, expires_at, body, is_new)
    JOIN taken ON taken.place = sent.place
    WHERE NOT sent.is_new AND hold.tenant_id = taken.tenant_id AND hold.id = sent.id
    RETURNING 1
), closed AS (
    DELETE FROM hold USING taken, unnest($33::bigint[], $34::uuid[], $35::boolean[]) AS sent (place, id, held)
    WHERE taken.place = sent.place AND sent.held
        AND hold.tenant_id = taken.tenant_id AND hold.id = sent.id
    RETURNING 1
), closures AS (
    INSERT INTO closure (tenant_id, id, version, how, at, body)
    SELECT taken.tenant_id, sent.id, taken.version, sent.how, taken.at, sent.body
    FROM unnest($33::bigint[], $34::uuid[], $36::smallint[], $37::bytea[]) AS sent (place, id, how, body)
    JOIN taken ON taken.place = sent.place
    -- What expired may still be settled; nothing else ends twice.
    ON CONFLICT (tenant_id, id) DO UPDATE
        SET version = excluded.version, how = excluded.how, at = excluded.at, body = excluded.body
        WHERE closure.how = 3 AND excluded.how = 1
    RETURNING 1
), runs AS (
    INSERT INTO run (tenant_id, id, user_value, started_at, ended_at, body)
    SELECT taken.tenant_id, sent.id, sent.user_value, sent.started_at, sent.ended_at, sent.body
    FROM unnest($38::bigint[], $39::uuid[], $40::text[], $41::bigint[], $42::bigint[], $43::bytea[])
        AS sent (place, id, user_value, started_at, ended_at, body)
    JOIN taken ON taken.place = sent.place
    ON CONFLICT (tenant_id, id) DO UPDATE SET ended_at = excluded.ended_at, body = excluded.body
    RETURNING 1
), keys AS (
    INSERT INTO idempotency (tenant_id, operation, key, hash, answer, at)
    SELECT taken.tenant_id, sent.operation, sent.key, sent.hash, sent.answer, taken.at
    FROM unnest($44::bigint[], $45::text[], $46::text[], $47::bytea[], $48::bytea[])
        AS sent (place, operation, key, hash, answer)
    JOIN taken ON taken.place = sent.place
    RETURNING 1
), gone AS (
    DELETE FROM record USING taken, unnest($49::bigint[], $50::text[], $51::text[], $52::bytea[])
        AS sent (place, kind, name, body)
    WHERE taken.place = sent.place AND sent.body IS NULL
        AND record.tenant_id = taken.tenant_id AND record.kind = sent.kind AND record.name = sent.name
), records AS (
    INSERT INTO record (tenant_id, kind, name, body)
    SELECT taken.tenant_id, sent.kind, sent.name, sent.body
    FROM unnest($49::bigint[], $50::text[], $51::text[], $52::bytea[]) AS sent (place, kind, name, body)
    JOIN taken ON taken.place = sent.place
    WHERE sent.body IS NOT NULL
    ON CONFLICT (tenant_id, kind, name) DO UPDATE SET body = excluded.body
), changes AS (
    INSERT INTO change (tenant_id, kind, name, version, at, body)
    SELECT taken.tenant_id, sent.kind, sent.name, taken.version, taken.at, sent.body
    FROM unnest($49::bigint[], $50::text[], $51::text[], $52::bytea[]) AS sent (place, kind, name, body)
    JOIN taken ON taken.place = sent.place
    RETURNING 1
), usages AS (
    INSERT INTO usage (tenant_id, at, id, version, ordinal, reservation, used_at, late, overshoot, body)
    SELECT taken.tenant_id, taken.at, sent.id, taken.version, sent.ordinal,
        sent.reservation, sent.used_at, sent.late, sent.overshoot, sent.body
    FROM unnest($53::bigint[], $54::integer[], $55::uuid[], $56::uuid[], $57::bigint[], $58::boolean[], $59::boolean[], $60::bytea[])
        AS sent (place, ordinal, id, reservation, used_at, late, overshoot, body)
    JOIN taken ON taken.place = sent.place
    RETURNING 1
), entries AS (
    INSERT INTO entry (tenant_id, at, id, version, ordinal, usage_id, account, kind, amount, currency, body)
    SELECT taken.tenant_id, taken.at, sent.id, taken.version, sent.ordinal,
        sent.usage_id, sent.account, sent.kind, sent.amount, sent.currency, sent.body
    FROM unnest($61::bigint[], $62::integer[], $63::uuid[], $64::uuid[], $65::text[], $66::text[], $67::numeric[], $68::text[], $69::bytea[])
        AS sent (place, ordinal, id, usage_id, account, kind, amount, currency, body)
    JOIN taken ON taken.place = sent.place
    RETURNING 1
), notices AS (
    INSERT INTO notice (tenant_id, id, at, severity, body, over_at)
    SELECT taken.tenant_id, sent.id, taken.at, sent.severity, sent.body, CASE WHEN sent.is_over THEN taken.at END
    FROM unnest($70::bigint[], $71::uuid[], $72::text[], $73::bytea[], $74::boolean[])
        AS sent (place, id, severity, body, is_over)
    JOIN taken ON taken.place = sent.place
    RETURNING 1
), turned AS (
    UPDATE notice SET over_at = CASE WHEN sent.is_over THEN taken.at END
    FROM unnest($75::bigint[], $76::uuid[], $77::boolean[]) AS sent (place, id, is_over)
    JOIN taken ON taken.place = sent.place
    WHERE notice.tenant_id = taken.tenant_id AND notice.id = sent.id
)
SELECT coalesce(array_agg(place), '{}') AS places,
    1 / (sum(row_count) IS NOT DISTINCT FROM nullif(
        (SELECT count(*) FROM moved) + (SELECT count(*) FROM batches) + (SELECT count(*) FROM new_latest) + (SELECT count(*) FROM moved_latest) + (SELECT count(*) FROM counters)
        + (SELECT count(*) FROM new_accounts) + (SELECT count(*) FROM moved_accounts) + (SELECT count(*) FROM new_holds) + (SELECT count(*) FROM changed_holds) + (SELECT count(*) FROM closed)
        + (SELECT count(*) FROM closures) + (SELECT count(*) FROM runs) + (SELECT count(*) FROM keys)
        + (SELECT count(*) FROM changes) + (SELECT count(*) FROM usages)
        + (SELECT count(*) FROM entries) + (SELECT count(*) FROM notices), 0)
    )::integer AS whole
FROM taken
