-- Every table begins with the tenant, and every statement reaches it by the tenant: so the schema
-- can be distributed by tenant_id.

-- Where a tenant stands. Half of each page stays free, so that an update stays on its page.
CREATE TABLE head (
    tenant_id text PRIMARY KEY,
    version bigint NOT NULL,
    stamp bigint NOT NULL,
    at bigint NOT NULL
) WITH (fillfactor = 50);

-- One row a batch: what another host, the stream and the outbox follow.
CREATE TABLE batch (
    tenant_id text NOT NULL,
    version bigint NOT NULL,
    stamp bigint NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (tenant_id, version)
);

-- What each stretch of a counter stands at.
CREATE TABLE counter (
    tenant_id text NOT NULL,
    counter bigint NOT NULL,
    dimension_values text NOT NULL,
    opened bigint NOT NULL,
    used numeric NOT NULL,
    held numeric NOT NULL,
    PRIMARY KEY (tenant_id, counter, dimension_values, opened)
) WITH (fillfactor = 50);

-- Reservations that are open.
CREATE TABLE hold (
    tenant_id text NOT NULL,
    id uuid NOT NULL,
    expires_at bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX hold_expires_at ON hold (tenant_id, expires_at);

-- Reservations that ended: each once.
CREATE TABLE closure (
    tenant_id text NOT NULL,
    id uuid NOT NULL,
    version bigint NOT NULL,
    how smallint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- What was answered under an idempotency key. Not partitioned, since a key holds at any time.
CREATE TABLE idempotency (
    tenant_id text NOT NULL,
    operation text NOT NULL,
    key text NOT NULL,
    hash bytea NOT NULL,
    answer bytea NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (tenant_id, operation, key)
);

-- What is known by name: agents, limits, disablements, the counters that are kept.
CREATE TABLE record (
    tenant_id text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, kind, name)
);

-- What happened, in the order of (version, ordinal).
CREATE TABLE decision (
    tenant_id text NOT NULL,
    version bigint NOT NULL,
    ordinal integer NOT NULL,
    at bigint NOT NULL,
    id uuid NOT NULL,
    allowed boolean NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, version, ordinal)
);
CREATE TABLE usage (
    tenant_id text NOT NULL,
    version bigint NOT NULL,
    ordinal integer NOT NULL,
    at bigint NOT NULL,
    id uuid NOT NULL,
    used_at bigint NOT NULL,
    late boolean NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, version, ordinal)
);
CREATE TABLE entry (
    tenant_id text NOT NULL,
    version bigint NOT NULL,
    ordinal integer NOT NULL,
    at bigint NOT NULL,
    id uuid NOT NULL,
    account text NOT NULL,
    kind text NOT NULL,
    amount numeric NOT NULL,
    currency text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, version, ordinal)
);

-- Compressing took half of the server's time in each commit.
ALTER TABLE decision ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE hold ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE usage ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE entry ALTER COLUMN body SET STORAGE EXTERNAL;
