-- What stands under each need, as of one snapshot. One row a thing, told apart by `kind`.
WITH need AS (
    SELECT * FROM unnest($1::text[], $2::boolean[]) WITH ORDINALITY AS need (tenant_id, records, place)
)
SELECT 0 AS kind, need.place, head.version AS a, head.stamp AS b, head.at AS c,
    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS d,
    NULL::text AS s, NULL::text AS t, NULL::numeric AS m, NULL::numeric AS n,
    NULL::uuid AS id, NULL::bytea AS x, NULL::bytea AS y
FROM need JOIN head ON head.tenant_id = need.tenant_id
UNION ALL
SELECT 1, wanted.place, counter.counter, counter.opened, NULL, NULL,
    counter.dimension_values, NULL, counter.used, counter.held, NULL, NULL, NULL
FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::bigint[])
        AS wanted (place, counter, dimension_values, opened)
    JOIN need ON need.place = wanted.place
    JOIN counter ON counter.tenant_id = need.tenant_id AND counter.counter = wanted.counter
        AND counter.dimension_values = wanted.dimension_values
        AND (counter.opened >= wanted.opened OR counter.opened = '-9223372036854775808'::bigint)
UNION ALL
SELECT 2, wanted.place, hold.expires_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, hold.id, hold.body, NULL
FROM unnest($7::bigint[], $8::uuid[]) AS wanted (place, id)
    JOIN need ON need.place = wanted.place
    JOIN hold ON hold.tenant_id = need.tenant_id AND hold.id = wanted.id
UNION ALL
SELECT 3, wanted.place, closure.how, NULL, NULL, NULL, NULL, NULL, NULL, NULL, closure.id, closure.body, NULL
FROM unnest($7::bigint[], $8::uuid[]) AS wanted (place, id)
    JOIN need ON need.place = wanted.place
    JOIN closure ON closure.tenant_id = need.tenant_id AND closure.id = wanted.id
UNION ALL
SELECT 4, wanted.place, NULL, NULL, NULL, NULL,
    idempotency.operation, idempotency.key, NULL, NULL, NULL, idempotency.hash, idempotency.answer
FROM unnest($9::bigint[], $10::text[], $11::text[]) AS wanted (place, operation, key)
    JOIN need ON need.place = wanted.place
    JOIN idempotency ON idempotency.tenant_id = need.tenant_id
        AND idempotency.operation = wanted.operation AND idempotency.key = wanted.key
UNION ALL
SELECT 5, need.place, NULL, NULL, NULL, NULL, record.kind, record.name, NULL, NULL, NULL, record.body, NULL
FROM need JOIN record ON record.tenant_id = need.tenant_id
WHERE need.records
