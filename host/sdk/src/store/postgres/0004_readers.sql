-- Roles that only read: each sees the rows of the tenants that it is named with here, and no others. The
-- engine's own role made the tables, and is not confined.
CREATE TABLE reader (
    tenant_id text COLLATE "C" NOT NULL,
    role_name text COLLATE "C" NOT NULL,
    PRIMARY KEY (role_name, tenant_id)
);

-- Asked for every row, of whoever logged in: a role can neither set that nor read the table.
CREATE FUNCTION tollgate_may_read(tenant text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$ SELECT EXISTS (SELECT FROM reader WHERE role_name = session_user AND tenant_id = tenant) $$;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'head', 'latest', 'counter', 'account', 'hold', 'closure', 'run', 'idempotency', 'record', 'change',
        'batch', 'usage', 'entry', 'context', 'rollup', 'rolled_up', 'carried', 'carried_counter',
        'carried_account', 'component', 'revision', 'binding_set', 'audit', 'token', 'reader'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY readers ON %I FOR SELECT USING (tollgate_may_read(tenant_id))', name
        );
    END LOOP;
END $$;

-- Lets a role read what there is of a tenant, but for keys, answers under them, and tokens.
CREATE FUNCTION tollgate_reader(role_name text, tenant text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
DECLARE
    name text;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role_name);
    FOREACH name IN ARRAY ARRAY[
        'head', 'latest', 'counter', 'account', 'hold', 'closure', 'run', 'record', 'change', 'batch', 'usage',
        'entry', 'context', 'rollup', 'revision', 'binding_set', 'audit'
    ] LOOP
        EXECUTE format('GRANT SELECT ON %I TO %I', name, role_name);
    END LOOP;
    INSERT INTO reader (tenant_id, role_name) VALUES (tenant, role_name) ON CONFLICT DO NOTHING;
END $$;
REVOKE ALL ON FUNCTION tollgate_reader(text, text) FROM PUBLIC;
