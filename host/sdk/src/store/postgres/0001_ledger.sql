-- Every table begins with the tenant, and every statement reaches it by the tenant: so the schema
-- can be distributed by tenant_id. Text is compared by its bytes, which is quick and in the same
-- order in whatever locale the database is.

-- Where a tenant stands. Half of each page stays free, so that an update stays on its page.
CREATE TABLE head (
    tenant_id text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    stamp bigint NOT NULL,
    at bigint NOT NULL
) WITH (fillfactor = 50);

-- What the latest stretches of all counters stand at that stand on the same dimensions, for the same
-- values: with twelve rows of them a statement took nearly three times as long. A list of lists, each
-- of a counter, when the stretch begins, what is used and what is held.
CREATE TABLE latest (
    tenant_id text COLLATE "C" NOT NULL,
    per text COLLATE "C" NOT NULL,
    dimension_values text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    totals json NOT NULL,
    PRIMARY KEY (tenant_id, per, dimension_values)
) WITH (fillfactor = 50, toast_tuple_target = 8160);

-- What other stretches of counters stand at.
CREATE TABLE counter (
    tenant_id text COLLATE "C" NOT NULL,
    counter bigint NOT NULL,
    dimension_values text COLLATE "C" NOT NULL,
    opened bigint NOT NULL,
    version bigint NOT NULL,
    used numeric NOT NULL,
    held numeric NOT NULL,
    PRIMARY KEY (tenant_id, counter, dimension_values, opened)
) WITH (fillfactor = 50);

-- What each account of the ledger stands at: the sum of its entries, and what is held against it.
CREATE TABLE account (
    tenant_id text COLLATE "C" NOT NULL,
    account text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    balance numeric NOT NULL,
    held numeric NOT NULL,
    PRIMARY KEY (tenant_id, account, currency)
) WITH (fillfactor = 50);

-- Reservations that are open.
CREATE TABLE hold (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    expires_at bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX hold_expires_at ON hold (tenant_id, expires_at);

-- What ended: each once, but that what expired may still be settled.
CREATE TABLE closure (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    version bigint NOT NULL,
    how smallint NOT NULL,
    at bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- Runs, open and ended.
CREATE TABLE run (
    tenant_id text COLLATE "C" NOT NULL,
    id uuid NOT NULL,
    user_value text COLLATE "C" NOT NULL,
    started_at bigint NOT NULL,
    ended_at bigint,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX run_started_at ON run (tenant_id, user_value, started_at);

-- What was answered under an idempotency key. Not partitioned, since a key holds at any time.
CREATE TABLE idempotency (
    tenant_id text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    hash bytea NOT NULL,
    answer bytea NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (tenant_id, operation, key)
);
-- To forget old ones. A BRIN index costs nothing to write, but reaches no tenant by itself, and no
-- longer tells old from new once the pages of what was forgotten are used again.
CREATE INDEX idempotency_at ON idempotency (tenant_id, at);

-- What is known by name: agents, limits, disablements, the counters that are kept.
CREATE TABLE record (
    tenant_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, kind, name)
);

-- How records came to be what they are; without a body: gone.
CREATE TABLE change (
    tenant_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    at bigint NOT NULL,
    body bytea,
    PRIMARY KEY (tenant_id, kind, name, version)
);

-- What happened, in the order of (version, ordinal). A batch that changes nothing that decisions
-- depend on leaves the version as it is. Identifiers begin with `at`, so that a row is found by
-- its identifier alone.
CREATE TABLE batch (
    tenant_id text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    version bigint NOT NULL,
    stamp bigint NOT NULL,
    -- What was decided, each in order; why stands in the body.
    allowed uuid[] NOT NULL,
    denied uuid[] NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, at, version, stamp)
) PARTITION BY RANGE (at);
CREATE TABLE usage (
    tenant_id text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    id uuid NOT NULL,
    version bigint NOT NULL,
    ordinal integer NOT NULL,
    reservation uuid,
    used_at bigint NOT NULL,
    late boolean NOT NULL,
    overshoot boolean NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, at, id)
) PARTITION BY RANGE (at);
CREATE TABLE entry (
    tenant_id text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    id uuid NOT NULL,
    version bigint NOT NULL,
    ordinal integer NOT NULL,
    usage_id uuid,
    account text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    amount numeric NOT NULL,
    currency text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, at, id)
) PARTITION BY RANGE (at);

-- What batches were judged with: policies, their settings, the calendar. `name` is its digest.
CREATE TABLE context (
    tenant_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

-- What was used, added up by stretches of time and dimensions, and to where it is.
CREATE TABLE rollup (
    tenant_id text COLLATE "C" NOT NULL,
    grouping_name text COLLATE "C" NOT NULL,
    grain_ms bigint NOT NULL,
    opened bigint NOT NULL,
    dimension_values text COLLATE "C" NOT NULL,
    meter text COLLATE "C" NOT NULL,
    amount numeric NOT NULL,
    PRIMARY KEY (tenant_id, grouping_name, grain_ms, opened, dimension_values, meter)
);
CREATE TABLE rolled_up (
    tenant_id text COLLATE "C" PRIMARY KEY,
    at bigint NOT NULL,
    version bigint NOT NULL,
    ordinal integer NOT NULL
);

-- What was used and booked before `until`, added up so that its rows may go.
CREATE TABLE carried (
    tenant_id text COLLATE "C" PRIMARY KEY,
    until bigint NOT NULL
);
CREATE TABLE carried_counter (
    tenant_id text COLLATE "C" NOT NULL,
    counter bigint NOT NULL,
    dimension_values text COLLATE "C" NOT NULL,
    opened bigint NOT NULL,
    used numeric NOT NULL,
    PRIMARY KEY (tenant_id, counter, dimension_values, opened)
);
CREATE TABLE carried_account (
    tenant_id text COLLATE "C" NOT NULL,
    account text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    balance numeric NOT NULL,
    PRIMARY KEY (tenant_id, account, currency)
);

-- Partitions are made month by month. For what falls between those there are: nothing is refused
-- for its time.
CREATE TABLE batch_default PARTITION OF batch DEFAULT;
CREATE TABLE usage_default PARTITION OF usage DEFAULT;
CREATE TABLE entry_default PARTITION OF entry DEFAULT;

-- Compressing took half of the server's time in each commit. Partitions made later take it over.
ALTER TABLE batch ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE usage ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE entry ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE batch_default ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE usage_default ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE entry_default ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE hold ALTER COLUMN body SET STORAGE EXTERNAL;
