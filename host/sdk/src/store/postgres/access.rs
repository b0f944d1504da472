//! Who is let in, and what was done by whom.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::{PostgresStore, asked, failed, in_time};
use crate::store::access::{AccessStore, AuditRow, OlderSecret, RotationRow, TokenRow};
use crate::store::{Owner, StoreError, Tenant};

impl AccessStore for PostgresStore {
    async fn put_token(&self, token: &TokenRow) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO token (tenant_id, id, digest, role, name, at, author, expires_at, revoked_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .bind(token.owner().as_str())
        .bind(token.id.as_str())
        .bind(token.digest.as_slice())
        .bind(token.role.as_str())
        .bind(token.name.as_str())
        .bind(token.created_at)
        .bind(token.created_by.as_str())
        .bind(token.expires_at)
        .bind(token.revoked_at)
        .execute(&self.pool);
        Ok(in_time(done).await.map_err(|error| failed(&error))?.rows_affected() == 1)
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRow>, StoreError> {
        asked(find_token(&self.pool, id)).await
    }

    async fn tokens(&self, tenant: Option<&Tenant>) -> Result<Vec<TokenRow>, StoreError> {
        asked(tokens(&self.pool, tenant)).await
    }

    async fn revoke_token(
        &self,
        tenant: Option<&Tenant>,
        id: &str,
        at: Instant,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE token SET revoked_at = $3 \
             WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2) AND revoked_at IS NULL",
        )
        .bind(id)
        .bind(tenant.map(Tenant::as_str))
        .bind(at)
        .execute(&self.pool);
        Ok(in_time(done).await.map_err(|error| failed(&error))?.rows_affected() == 1)
    }

    async fn rotate_token(
        &self,
        tenant: Option<&Tenant>,
        id: &str,
        rotation: &RotationRow,
    ) -> Result<bool, StoreError> {
        let RotationRow { digest, at, expires_at, older_until } = rotation;
        let done = sqlx::query(
            "UPDATE token SET digest = $3, expires_at = $5, rotated_at = $4, \
                 older_digest = CASE WHEN older_until > $4 THEN older_digest ELSE digest END, \
                 older_until = LEAST($6, CASE WHEN older_until > $4 THEN older_until ELSE coalesce(expires_at, $6) END) \
             WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2) AND revoked_at IS NULL \
                 AND (expires_at IS NULL OR expires_at > $4)",
        )
        .bind(id)
        .bind(tenant.map(Tenant::as_str))
        .bind(digest.as_slice())
        .bind(at)
        .bind(expires_at)
        .bind(older_until)
        .execute(&self.pool);
        Ok(in_time(done).await.map_err(|error| failed(&error))?.rows_affected() == 1)
    }

    async fn audit(&self, act: &AuditRow) -> Result<(), StoreError> {
        let AuditRow { id, owner, at, who, act, subject, before, after, outcome } = act;
        let done = sqlx::query(
            "INSERT INTO audit (tenant_id, at, id, author, act, subject, before, after, outcome) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(owner.as_str())
        .bind(*at)
        .bind(*id)
        .bind(who.as_str())
        .bind(act.as_str())
        .bind(subject.as_str())
        .bind(before.as_deref())
        .bind(after.as_deref())
        .bind(outcome.as_deref())
        .execute(&self.pool);
        in_time(done).await.map(|_| ()).map_err(|error| failed(&error))
    }

    async fn audited(&self, owner: &Owner, id: Uuid, outcome: &str) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE audit SET outcome = $3 WHERE tenant_id = $1 AND id = $2 AND outcome IS NULL",
        )
        .bind(owner.as_str())
        .bind(id)
        .bind(outcome)
        .execute(&self.pool);
        in_time(done).await.map(|_| ()).map_err(|error| failed(&error))
    }

    async fn audits(
        &self,
        owner: Option<&Owner>,
        before: Option<(Instant, Uuid)>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        asked(audits(&self.pool, owner, before, limit)).await
    }
}

async fn find_token(pool: &PgPool, id: &str) -> Result<Option<TokenRow>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT tenant_id, id, digest, role, name, at, author, expires_at, revoked_at, \
             rotated_at, older_digest, older_until FROM token \
         WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(token).transpose()
}

async fn tokens(pool: &PgPool, tenant: Option<&Tenant>) -> Result<Vec<TokenRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT tenant_id, id, digest, role, name, at, author, expires_at, revoked_at, \
             rotated_at, older_digest, older_until FROM token \
         WHERE $1::text IS NULL OR tenant_id = $1 ORDER BY at, id",
    )
    .bind(tenant.map(Tenant::as_str))
    .fetch_all(pool)
    .await?;
    rows.iter().map(token).collect()
}

fn token(row: &PgRow) -> Result<TokenRow, sqlx::Error> {
    let digest: Vec<u8> = row.try_get("digest")?;
    Ok(TokenRow {
        id: row.try_get("id")?,
        digest: digest.try_into().map_err(|_| sqlx::Error::Protocol("a digest".into()))?,
        tenant: match owner_of(row)? {
            Owner::Platform => None,
            Owner::Tenant(tenant) => Some(tenant),
        },
        role: row.try_get("role")?,
        name: row.try_get("name")?,
        created_at: row.try_get("at")?,
        created_by: row.try_get("author")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
        older: older(row)?,
    })
}

fn older(row: &PgRow) -> Result<Option<OlderSecret>, sqlx::Error> {
    let (digest, rotated_at, until): (Option<Vec<u8>>, Option<Instant>, Option<Instant>) =
        (row.try_get("older_digest")?, row.try_get("rotated_at")?, row.try_get("older_until")?);
    let Some(((digest, rotated_at), until)) = digest.zip(rotated_at).zip(until) else {
        return Ok(None);
    };
    let digest = digest.try_into().map_err(|_| sqlx::Error::Protocol("a digest".into()))?;
    Ok(Some(OlderSecret { rotated_at, digest, until }))
}

// One statement for either, since each has an index of its own.
const OF_ONE: &str = "SELECT tenant_id, at, id, author, act, subject, before, after, outcome FROM audit \
     WHERE tenant_id = $4 AND (at, id) < ($1, $2) ORDER BY at DESC, id DESC LIMIT $3";
const OF_ALL: &str = "SELECT tenant_id, at, id, author, act, subject, before, after, outcome FROM audit \
     WHERE (at, id) < ($1, $2) ORDER BY at DESC, id DESC LIMIT $3";

async fn audits(
    pool: &PgPool,
    owner: Option<&Owner>,
    before: Option<(Instant, Uuid)>,
    limit: u32,
) -> Result<Vec<AuditRow>, sqlx::Error> {
    let (at, id) = before.unwrap_or((Instant::MAX, Uuid::max()));
    let page = sqlx::query(if owner.is_some() { OF_ONE } else { OF_ALL })
        .bind(at)
        .bind(id)
        .bind(i64::from(limit));
    let page = match owner {
        Some(owner) => page.bind(owner.as_str()),
        None => page,
    };
    let rows = page.fetch_all(pool).await?;
    rows.iter().map(act).collect()
}

fn act(row: &PgRow) -> Result<AuditRow, sqlx::Error> {
    Ok(AuditRow {
        id: row.try_get("id")?,
        owner: owner_of(row)?,
        at: row.try_get("at")?,
        who: row.try_get("author")?,
        act: row.try_get("act")?,
        subject: row.try_get("subject")?,
        before: row.try_get("before")?,
        after: row.try_get("after")?,
        outcome: row.try_get("outcome")?,
    })
}

fn owner_of(row: &PgRow) -> Result<Owner, sqlx::Error> {
    let name: &str = row.try_get("tenant_id")?;
    Owner::read(name).ok_or_else(|| sqlx::Error::Decode(format!("no owner is `{name}`").into()))
}
