-- The tables of the Postgres store, for one host. Amounts are text, since SQLite's numbers are
-- floats.
CREATE TABLE head (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The latest stretches of all counters that stand on the same dimensions, for the same values: a
-- JSON list of lists, each of a counter, when the stretch begins, what is used and what is held.
CREATE TABLE latest (
    tenant_id TEXT NOT NULL,
    per TEXT NOT NULL,
    dimension_values TEXT NOT NULL,
    version INTEGER NOT NULL,
    totals TEXT NOT NULL,
    PRIMARY KEY (tenant_id, per, dimension_values)
) STRICT, WITHOUT ROWID;

-- Other stretches.
CREATE TABLE counter (
    tenant_id TEXT NOT NULL,
    counter INTEGER NOT NULL,
    dimension_values TEXT NOT NULL,
    opened INTEGER NOT NULL,
    version INTEGER NOT NULL,
    used TEXT NOT NULL,
    held TEXT NOT NULL,
    PRIMARY KEY (tenant_id, counter, dimension_values, opened)
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    tenant_id TEXT NOT NULL,
    account TEXT NOT NULL,
    currency TEXT NOT NULL,
    balance TEXT NOT NULL,
    held TEXT NOT NULL,
    PRIMARY KEY (tenant_id, account, currency)
) STRICT, WITHOUT ROWID;

CREATE TABLE hold (
    tenant_id TEXT NOT NULL,
    id BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_expires_at ON hold (tenant_id, expires_at);

CREATE TABLE closure (
    tenant_id TEXT NOT NULL,
    id BLOB NOT NULL,
    version INTEGER NOT NULL,
    how INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    tenant_id TEXT NOT NULL,
    id BLOB NOT NULL,
    user_value TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_started_at ON run (tenant_id, user_value, started_at);

CREATE TABLE idempotency (
    tenant_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    key TEXT NOT NULL,
    hash BLOB NOT NULL,
    answer BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, operation, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (tenant_id, at);

CREATE TABLE record (
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant_id, kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE change (
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body BLOB,
    PRIMARY KEY (tenant_id, kind, name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE batch (
    tenant_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    -- What was decided, each a JSON list in order; why stands in the body.
    allowed TEXT NOT NULL,
    denied TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant_id, at, version, stamp)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage (
    tenant_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    id BLOB NOT NULL,
    version INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    reservation BLOB,
    used_at INTEGER NOT NULL,
    late INTEGER NOT NULL,
    overshoot INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant_id, at, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE entry (
    tenant_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    id BLOB NOT NULL,
    version INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    usage_id BLOB,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount TEXT NOT NULL,
    currency TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant_id, at, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE context (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollup (
    tenant_id TEXT NOT NULL,
    grouping_name TEXT NOT NULL,
    grain_ms INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    dimension_values TEXT NOT NULL,
    meter TEXT NOT NULL,
    amount TEXT NOT NULL,
    PRIMARY KEY (tenant_id, grouping_name, grain_ms, opened, dimension_values, meter)
) STRICT, WITHOUT ROWID;

CREATE TABLE rolled_up (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    ordinal INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE carried (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE carried_counter (
    tenant_id TEXT NOT NULL,
    counter INTEGER NOT NULL,
    dimension_values TEXT NOT NULL,
    opened INTEGER NOT NULL,
    used TEXT NOT NULL,
    PRIMARY KEY (tenant_id, counter, dimension_values, opened)
) STRICT, WITHOUT ROWID;

CREATE TABLE carried_account (
    tenant_id TEXT NOT NULL,
    account TEXT NOT NULL,
    currency TEXT NOT NULL,
    balance TEXT NOT NULL,
    PRIMARY KEY (tenant_id, account, currency)
) STRICT, WITHOUT ROWID;
