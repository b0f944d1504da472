-- What people are told, over which channels, and what became of that.
CREATE TABLE notice (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    at bigint NOT NULL,
    severity text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    over_at bigint,
    acknowledged_at bigint,
    acknowledged_by text COLLATE "C",
    -- Whether it is yet to be handed to channels.
    is_new boolean NOT NULL DEFAULT true,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX notice_new ON notice (tenant_id, id) WHERE is_new;

-- Channels of the platform stand under the tenant `*`.
CREATE TABLE channel (
    tenant_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    body text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

-- A notice on its way over a channel. Whoever takes one that is due puts it off, for as long as a try may
-- take: so it is tried again should they not come back.
CREATE TABLE delivery (
    tenant_id text COLLATE "C" NOT NULL,
    notice uuid NOT NULL,
    -- When it was raised.
    at bigint NOT NULL,
    channel_of text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    -- 1: waits, 2: delivered, 3: given up.
    state smallint NOT NULL,
    attempts integer NOT NULL,
    due_at bigint NOT NULL,
    error text COLLATE "C",
    PRIMARY KEY (tenant_id, notice, channel_of, channel)
);
CREATE INDEX delivery_due ON delivery (due_at) WHERE state = 1;
CREATE INDEX delivery_given_up ON delivery (tenant_id, notice) WHERE state = 3;

-- What one host at a time sees to, and up to when it is done.
CREATE TABLE duty (
    tenant_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    done_at bigint NOT NULL,
    taken_until bigint NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['notice', 'channel', 'duty'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format(
            'CREATE POLICY readers ON %I FOR SELECT USING (tollgate_may_read(tenant_id))', name
        );
    END LOOP;
END $$;
-- What the platform hears of a tenant is its own affair.
ALTER TABLE delivery ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON delivery FOR SELECT
    USING (channel_of = tenant_id AND tollgate_may_read(tenant_id));

-- With notices and their deliveries; channels hold secrets.
CREATE OR REPLACE FUNCTION tollgate_reader(role_name text, tenant text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
DECLARE
    name text;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role_name);
    FOREACH name IN ARRAY ARRAY[
        'head', 'latest', 'counter', 'account', 'hold', 'closure', 'run', 'record', 'change', 'batch', 'usage',
        'entry', 'context', 'rollup', 'revision', 'binding_set', 'audit', 'notice', 'delivery'
    ] LOOP
        EXECUTE format('GRANT SELECT ON %I TO %I', name, role_name);
    END LOOP;
    INSERT INTO reader (tenant_id, role_name) VALUES (tenant, role_name) ON CONFLICT DO NOTHING;
END $$;
