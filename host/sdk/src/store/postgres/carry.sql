-- Carries forward what was used and booked, if what was carried still ends where this begins.
WITH moved AS (
    INSERT INTO carried (tenant_id, until)
    SELECT $1, $3
    WHERE $2 = '-9223372036854775808'::bigint OR EXISTS (SELECT 1 FROM carried WHERE tenant_id = $1)
    ON CONFLICT (tenant_id) DO UPDATE SET until = excluded.until WHERE carried.until = $2
    RETURNING tenant_id
), counters AS (
    INSERT INTO carried_counter (tenant_id, counter, dimension_values, opened, used)
    SELECT moved.tenant_id, sent.counter, sent.dimension_values, sent.opened, sent.used
    FROM unnest($4::bigint[], $5::text[], $6::bigint[], $7::numeric[])
        AS sent (counter, dimension_values, opened, used), moved
    ON CONFLICT (tenant_id, counter, dimension_values, opened) DO UPDATE SET used = excluded.used
), accounts AS (
    INSERT INTO carried_account (tenant_id, account, currency, balance)
    SELECT moved.tenant_id, sent.account, sent.currency, sent.balance
    FROM unnest($8::text[], $9::text[], $10::numeric[]) AS sent (account, currency, balance), moved
    ON CONFLICT (tenant_id, account, currency) DO UPDATE SET balance = excluded.balance
)
SELECT count(*) FROM moved
