-- Adds to roll-ups what lies between two places, if they still end at the first one.
WITH moved AS (
    INSERT INTO rolled_up (tenant_id, at, version, ordinal)
    SELECT $1, $2, $3, $4
    WHERE $5::bigint IS NULL OR EXISTS (SELECT 1 FROM rolled_up WHERE tenant_id = $1)
    ON CONFLICT (tenant_id) DO UPDATE
        SET at = excluded.at, version = excluded.version, ordinal = excluded.ordinal
        WHERE rolled_up.at = $5 AND rolled_up.version = $6 AND rolled_up.ordinal = $7
    RETURNING tenant_id
), added AS (
    INSERT INTO rollup (tenant_id, grouping_name, grain_ms, opened, dimension_values, meter, amount)
    SELECT moved.tenant_id, sent.grouping_name, sent.grain_ms, sent.opened, sent.dimension_values, sent.meter, sent.amount
    FROM unnest($8::text[], $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::numeric[])
        AS sent (grouping_name, grain_ms, opened, dimension_values, meter, amount), moved
    ON CONFLICT (tenant_id, grouping_name, grain_ms, opened, dimension_values, meter)
        DO UPDATE SET amount = rollup.amount + excluded.amount
)
SELECT count(*) FROM moved
