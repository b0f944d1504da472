-- Components, what they are configured with, and where they are bound. The platform's own stand under
-- the tenant `*`, which no tenant can be called. These tables are small and are not distributed.

CREATE TABLE component (
    tenant_id text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    author text COLLATE "C" NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (tenant_id, digest)
);
ALTER TABLE component ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- A component and its settings; it never changes.
CREATE TABLE revision (
    tenant_id text COLLATE "C" NOT NULL,
    policy text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    digest text COLLATE "C" NOT NULL,
    settings text COLLATE "C" NOT NULL,
    signer text COLLATE "C",
    at bigint NOT NULL,
    author text COLLATE "C" NOT NULL,
    message text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, policy, number)
);

-- All that was bound in a place from a version on, until the next one. `moved` numbers these in the
-- order in which they were committed, over all places.
CREATE TABLE binding_set (
    tenant_id text COLLATE "C" NOT NULL,
    plan text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    moved bigint NOT NULL,
    is_current boolean NOT NULL,
    at bigint NOT NULL,
    author text COLLATE "C" NOT NULL,
    message text COLLATE "C" NOT NULL,
    body text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, plan, version)
);
CREATE INDEX binding_set_moved ON binding_set (moved) WHERE is_current;

-- One row, under `*`: what `moved` is at. Who binds holds it until that is committed.
CREATE TABLE registry (
    tenant_id text COLLATE "C" PRIMARY KEY,
    moved bigint NOT NULL
);
INSERT INTO registry (tenant_id, moved) VALUES ('*', 0);
