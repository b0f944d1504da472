-- A token that was rotated has a new secret, and its older one counts until then. All three, or none.
ALTER TABLE token
    ADD COLUMN rotated_at bigint,
    ADD COLUMN older_digest bytea,
    ADD COLUMN older_until bigint;
