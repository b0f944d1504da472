-- Components, what they are configured with, and where they are bound. The platform's own stand under
-- the tenant `*`, which no tenant can be called.

CREATE TABLE component (
    tenant_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    at INTEGER NOT NULL,
    author TEXT NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (tenant_id, digest)
) STRICT;

-- A component and its settings; it never changes.
CREATE TABLE revision (
    tenant_id TEXT NOT NULL,
    policy TEXT NOT NULL,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    settings TEXT NOT NULL,
    signer TEXT,
    at INTEGER NOT NULL,
    author TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (tenant_id, policy, number)
) STRICT, WITHOUT ROWID;

-- All that was bound in a place from a version on, until the next one. `moved` numbers these in the
-- order in which they were committed, over all places.
CREATE TABLE binding_set (
    tenant_id TEXT NOT NULL,
    plan TEXT NOT NULL,
    version INTEGER NOT NULL,
    moved INTEGER NOT NULL,
    is_current INTEGER NOT NULL,
    at INTEGER NOT NULL,
    author TEXT NOT NULL,
    message TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (tenant_id, plan, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX binding_set_moved ON binding_set (moved) WHERE is_current;

-- One row, under `*`: what `moved` is at. Who binds holds it until that is committed.
CREATE TABLE registry (
    tenant_id TEXT PRIMARY KEY NOT NULL,
    moved INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO registry (tenant_id, moved) VALUES ('*', 0);
