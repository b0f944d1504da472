-- Which of these tenants hold something that is due, by their places: each is looked up by its key,
-- up to an instant. `clock_timestamp()` would be asked anew for each row, so that none could be found
-- by it.
SELECT asked.place FROM unnest($1::text[]) WITH ORDINALITY AS asked (tenant_id, place), LATERAL (
    SELECT 1 FROM hold
    WHERE hold.tenant_id = asked.tenant_id AND hold.expires_at <= coalesce(
        $2::bigint, floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint)
    ORDER BY hold.expires_at LIMIT 1
) AS due
