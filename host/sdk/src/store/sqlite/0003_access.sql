-- Who is let in, and what was done by whom. What is the platform's stands under the tenant `*`, as in
-- the registry.

-- Of a token's secret only the digest.
CREATE TABLE token (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    digest BLOB NOT NULL,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    author TEXT NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    PRIMARY KEY (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX token_at ON token (at, id);

-- An act is written down before it is done, and its outcome, once, after that.
-- Its rows are not kept in the primary key, which SQLite would otherwise prefer to the last index.
CREATE TABLE audit (
    tenant_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    id BLOB NOT NULL,
    author TEXT NOT NULL,
    act TEXT NOT NULL,
    subject TEXT NOT NULL,
    before TEXT,
    after TEXT,
    outcome TEXT,
    PRIMARY KEY (tenant_id, at, id)
) STRICT;
CREATE INDEX audit_at ON audit (at, id);
-- Those of which it is not known yet what became of them: a few, found by their identifiers alone.
CREATE INDEX audit_open ON audit (tenant_id, id) WHERE outcome IS NULL;
