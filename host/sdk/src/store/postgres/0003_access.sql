-- Who is let in, and what was done by whom. What is the platform's stands under the tenant `*`, as in
-- the registry. These tables are small and are not distributed: whose a token is one knows only once
-- it is found, and acts are also read over all tenants.

-- Of a token's secret only the digest.
CREATE TABLE token (
    tenant_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    role text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    author text COLLATE "C" NOT NULL,
    expires_at bigint,
    revoked_at bigint,
    PRIMARY KEY (id)
);
CREATE INDEX token_at ON token (at, id);

-- An act is written down before it is done, and its outcome, once, after that.
CREATE TABLE audit (
    tenant_id text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    id uuid NOT NULL,
    author text COLLATE "C" NOT NULL,
    act text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    before text COLLATE "C",
    after text COLLATE "C",
    outcome text COLLATE "C",
    PRIMARY KEY (tenant_id, at, id)
);
CREATE INDEX audit_at ON audit (at, id);
-- Those of which it is not known yet what became of them: a few, found by their identifiers alone.
CREATE INDEX audit_open ON audit (tenant_id, id) WHERE outcome IS NULL;
