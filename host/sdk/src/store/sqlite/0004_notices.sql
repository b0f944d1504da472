-- What people are told, over which channels, and what became of that.
CREATE TABLE notice (
    tenant_id TEXT NOT NULL,
    id BLOB NOT NULL,
    at INTEGER NOT NULL,
    severity TEXT NOT NULL,
    body BLOB NOT NULL,
    over_at INTEGER,
    acknowledged_at INTEGER,
    acknowledged_by TEXT,
    -- Whether it is yet to be handed to channels.
    is_new INTEGER NOT NULL DEFAULT true,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX notice_new ON notice (tenant_id, id) WHERE is_new;

-- Channels of the platform stand under the tenant `*`.
CREATE TABLE channel (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;

-- A notice on its way over a channel. Whoever takes one that is due puts it off, for as long as a try may
-- take: so it is tried again should they not come back.
CREATE TABLE delivery (
    tenant_id TEXT NOT NULL,
    notice BLOB NOT NULL,
    -- When it was raised.
    at INTEGER NOT NULL,
    channel_of TEXT NOT NULL,
    channel TEXT NOT NULL,
    -- 1: waits, 2: delivered, 3: given up.
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    error TEXT,
    PRIMARY KEY (tenant_id, notice, channel_of, channel)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_due ON delivery (due_at) WHERE state = 1;
CREATE INDEX delivery_given_up ON delivery (tenant_id, notice) WHERE state = 3;

-- What one host at a time sees to, and up to when it is done.
CREATE TABLE duty (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    done_at INTEGER NOT NULL,
    taken_until INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;
