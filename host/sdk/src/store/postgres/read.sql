-- What stands under each need, as of one snapshot. One row a thing, told apart by `kind`.
WITH need AS (
    SELECT * FROM unnest($1::text[], $2::boolean[], $3::bigint[])
        WITH ORDINALITY AS need (tenant_id, whole, due, place)
)
SELECT 0 AS kind, need.place, head.version AS a, head.stamp AS b, head.at AS c,
    floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS d,
    CASE WHEN need.whole OR need.due IS NOT NULL THEN (
        SELECT min(hold.expires_at) FROM hold
        WHERE hold.tenant_id = need.tenant_id
            AND hold.expires_at > coalesce(need.due, '-9223372036854775808'::bigint)
    ) END AS e,
    NULL::text AS s, NULL::text AS t, NULL::numeric AS m, NULL::numeric AS n,
    NULL::uuid AS id, NULL::bytea AS x, NULL::bytea AS y
FROM need JOIN head ON head.tenant_id = need.tenant_id
UNION ALL
SELECT 1, wanted.place, counter.counter, counter.opened, counter.version, NULL, NULL,
    counter.dimension_values, NULL, counter.used, counter.held, NULL, NULL, NULL
FROM unnest($4::bigint[], $5::bigint[], $6::text[], $7::bigint[])
        AS wanted (place, counter, dimension_values, opened)
    JOIN need ON need.place = wanted.place
    JOIN counter ON counter.tenant_id = need.tenant_id AND counter.counter = wanted.counter
        AND counter.dimension_values = wanted.dimension_values
        AND (counter.opened >= wanted.opened OR counter.opened = '-9223372036854775808'::bigint)
UNION ALL
SELECT 2, wanted.place, hold.expires_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, hold.id, hold.body, NULL
FROM unnest($11::bigint[], $12::uuid[]) AS wanted (place, id)
    JOIN need ON need.place = wanted.place
    JOIN hold ON hold.tenant_id = need.tenant_id AND hold.id = wanted.id
UNION ALL
SELECT 3, wanted.place, closure.how, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, closure.id, closure.body, NULL
FROM unnest($11::bigint[], $12::uuid[]) AS wanted (place, id)
    JOIN need ON need.place = wanted.place
    JOIN closure ON closure.tenant_id = need.tenant_id AND closure.id = wanted.id
UNION ALL
SELECT 4, wanted.place, NULL, NULL, NULL, NULL, NULL,
    idempotency.operation, idempotency.key, NULL, NULL, NULL, idempotency.hash, idempotency.answer
FROM unnest($13::bigint[], $14::text[], $15::text[]) AS wanted (place, operation, key)
    JOIN need ON need.place = wanted.place
    JOIN idempotency ON idempotency.tenant_id = need.tenant_id
        AND idempotency.operation = wanted.operation AND idempotency.key = wanted.key
UNION ALL
SELECT 5, need.place, NULL, NULL, NULL, NULL, NULL,
    record.kind, record.name, NULL, NULL, NULL, record.body, NULL
FROM need JOIN record ON record.tenant_id = need.tenant_id
WHERE need.whole
UNION ALL
SELECT 6, need.place, NULL, NULL, NULL, NULL, NULL,
    account.account, account.currency, account.balance, account.held, NULL, NULL, NULL
FROM need JOIN account ON account.tenant_id = need.tenant_id
WHERE need.whole
UNION ALL
SELECT 7, need.place, due.expires_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, due.id, due.body, NULL
FROM need, LATERAL (
    SELECT hold.expires_at, hold.id, hold.body FROM hold
    WHERE hold.tenant_id = need.tenant_id AND hold.expires_at <= need.due
    ORDER BY hold.expires_at LIMIT $16
) AS due
UNION ALL
SELECT 8, wanted.place, latest.version, NULL, NULL, NULL, NULL,
    latest.per, latest.dimension_values, NULL, NULL, NULL, convert_to(latest.totals::text, 'UTF8'), NULL
FROM unnest($8::bigint[], $9::text[], $10::text[]) AS wanted (place, per, dimension_values)
    JOIN need ON need.place = wanted.place
    JOIN latest ON latest.tenant_id = need.tenant_id AND latest.per = wanted.per
        AND latest.dimension_values = wanted.dimension_values
