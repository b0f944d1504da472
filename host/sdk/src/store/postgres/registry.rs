//! What policies there are, and where they are bound.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions, PgRow};
use sqlx::{PgPool, Row};
use tokio::sync::Notify;

use super::{PostgresStore, asked, failed, in_time, unwritten};
use crate::store::StoreError;
use crate::store::registry::{
    Announcements, BindingSetRow, Owner, RegistryStore, RevisionId, RevisionRow, Scope, Signed,
};

impl RegistryStore for PostgresStore {
    async fn put_component(
        &self,
        owner: &Owner,
        digest: &str,
        bytes: &[u8],
        signed: &Signed,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO component (tenant_id, digest, at, author, bytes) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING",
        )
        .bind(owner.as_str())
        .bind(digest)
        .bind(signed.at)
        .bind(signed.author.as_str())
        .bind(bytes)
        .execute(&self.pool);
        Ok(in_time(done).await.map_err(|error| failed(&error))?.rows_affected() == 1)
    }

    async fn component(&self, owner: &Owner, digest: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes =
            sqlx::query_scalar("SELECT bytes FROM component WHERE tenant_id = $1 AND digest = $2")
                .bind(owner.as_str())
                .bind(digest)
                .fetch_optional(&self.pool);
        asked(bytes).await
    }

    async fn put_revision(&self, revision: &RevisionRow) -> Result<bool, StoreError> {
        let RevisionRow { owner, policy, number, digest, settings, signer, signature, signed } =
            revision;
        let done = sqlx::query(
            "INSERT INTO revision (tenant_id, policy, number, digest, settings, signer, \
             signature, at, author, message) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        )
        .bind(owner.as_str())
        .bind(policy.as_str())
        .bind(*number)
        .bind(digest.as_str())
        .bind(settings.as_str())
        .bind(signer.as_deref())
        .bind(signature.as_deref())
        .bind(signed.at)
        .bind(signed.author.as_str())
        .bind(signed.message.as_str())
        .execute(&self.pool);
        Ok(in_time(done).await.map_err(|error| failed(&error))?.rows_affected() == 1)
    }

    async fn revisions(
        &self,
        owner: &Owner,
        policy: Option<&str>,
    ) -> Result<Vec<RevisionRow>, StoreError> {
        asked(revisions(&self.pool, owner, policy)).await
    }

    async fn some_revisions(&self, ids: &[RevisionId]) -> Result<Vec<RevisionRow>, StoreError> {
        asked(some_revisions(&self.pool, ids)).await
    }

    fn announcements(&self) -> Announcements {
        if !self.listens {
            return Announcements::none();
        }
        // It has a connection of its own, so that those who wait for one wait no longer.
        let options = self.pool.connect_options();
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with((*options).clone());
        let heard = Arc::new(Notify::new());
        let tell = Arc::clone(&heard);
        let listening = tokio::spawn(async move {
            loop {
                // What was bound before it listens is found by asking.
                let _ = listen(&pool, &tell).await;
                tokio::time::sleep(LISTENING_AGAIN).await;
            }
        });
        Announcements::by(heard, listening.abort_handle())
    }

    async fn put_bindings(&self, bindings: &BindingSetRow) -> Result<bool, StoreError> {
        in_time(put_bindings(&self.pool, bindings)).await.map_err(|error| failed(&error))
    }

    async fn bindings(&self, scope: &Scope, limit: u32) -> Result<Vec<BindingSetRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT tenant_id, plan, version, moved, at, author, message, body FROM binding_set \
             WHERE tenant_id = $1 AND plan = $2 ORDER BY version DESC LIMIT $3",
        )
        .bind(scope.owner.as_str())
        .bind(scope.plan.as_str())
        .bind(i64::from(limit))
        .fetch_all(&self.pool);
        let rows = asked(rows).await?;
        rows.iter().map(bound).collect::<Result<_, _>>().map_err(|error| unwritten(&error))
    }

    async fn bound_since(&self, moved: i64) -> Result<Vec<BindingSetRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT tenant_id, plan, version, moved, at, author, message, body FROM binding_set \
             WHERE is_current AND moved > $1 ORDER BY moved",
        )
        .bind(moved)
        .fetch_all(&self.pool);
        let rows = asked(rows).await?;
        rows.iter().map(bound).collect::<Result<_, _>>().map_err(|error| unwritten(&error))
    }
}

async fn revisions(
    pool: &PgPool,
    owner: &Owner,
    policy: Option<&str>,
) -> Result<Vec<RevisionRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT tenant_id, policy, number, digest, settings, signer, signature, at, author, message \
         FROM revision \
         WHERE tenant_id = $1 AND ($2::text IS NULL OR policy = $2) ORDER BY policy, number",
    )
    .bind(owner.as_str())
    .bind(policy)
    .fetch_all(pool)
    .await?;
    rows.iter().map(revision).collect()
}

async fn some_revisions(
    pool: &PgPool,
    ids: &[RevisionId],
) -> Result<Vec<RevisionRow>, sqlx::Error> {
    let owners: Vec<&str> = ids.iter().map(|id| id.owner.as_str()).collect();
    let policies: Vec<&str> = ids.iter().map(|id| &*id.policy).collect();
    let numbers: Vec<i64> = ids.iter().map(|id| id.number).collect();
    let rows = sqlx::query(
        "SELECT tenant_id, policy, number, digest, settings, signer, signature, at, author, message \
         FROM revision \
         WHERE (tenant_id, policy, number) IN \
         (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]))",
    )
    .bind(owners)
    .bind(policies)
    .bind(numbers)
    .fetch_all(pool)
    .await?;
    rows.iter().map(revision).collect()
}

fn revision(row: &PgRow) -> Result<RevisionRow, sqlx::Error> {
    Ok(RevisionRow {
        owner: owner_of(row)?,
        policy: row.try_get("policy")?,
        number: row.try_get("number")?,
        digest: row.try_get("digest")?,
        settings: row.try_get("settings")?,
        signer: row.try_get("signer")?,
        signature: row.try_get("signature")?,
        signed: signed(row)?,
    })
}

/// After that time it listens again, where it could not.
const LISTENING_AGAIN: Duration = Duration::from_secs(1);

/// Who binds says so here, once that is committed.
const CHANNEL: &str = "tollgate_bound";

async fn listen(pool: &PgPool, tell: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        // None: the connection was lost, and something with it.
        let _ = listener.try_recv().await?;
        tell.notify_one();
    }
}

/// Who binds waits until whoever binds elsewhere is done: so `moved` is in the order of commits.
async fn put_bindings(pool: &PgPool, bindings: &BindingSetRow) -> Result<bool, sqlx::Error> {
    let BindingSetRow { scope, version, signed, body, .. } = bindings;
    let mut transaction = pool.begin().await?;
    let moved: i64 = sqlx::query_scalar(
        "UPDATE registry SET moved = moved + 1 WHERE tenant_id = '*' RETURNING moved",
    )
    .fetch_one(&mut *transaction)
    .await?;
    let before = sqlx::query(
        "UPDATE binding_set SET is_current = false \
         WHERE tenant_id = $1 AND plan = $2 AND version = $3 AND is_current",
    )
    .bind(scope.owner.as_str())
    .bind(scope.plan.as_str())
    .bind(version - 1)
    .execute(&mut *transaction)
    .await?;
    let bound = sqlx::query(
        "INSERT INTO binding_set (tenant_id, plan, version, moved, is_current, at, author, message, body) \
         VALUES ($1, $2, $3, $4, true, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(scope.owner.as_str())
    .bind(scope.plan.as_str())
    .bind(*version)
    .bind(moved)
    .bind(signed.at)
    .bind(signed.author.as_str())
    .bind(signed.message.as_str())
    .bind(body.as_str())
    .execute(&mut *transaction)
    .await?;
    let follows = *version == 1 || before.rows_affected() == 1;
    if !follows || bound.rows_affected() != 1 {
        transaction.rollback().await?;
        return Ok(false);
    }
    sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

fn bound(row: &PgRow) -> Result<BindingSetRow, sqlx::Error> {
    Ok(BindingSetRow {
        scope: Scope { owner: owner_of(row)?, plan: row.try_get("plan")? },
        version: row.try_get("version")?,
        moved: row.try_get("moved")?,
        signed: signed(row)?,
        body: row.try_get("body")?,
    })
}

fn owner_of(row: &PgRow) -> Result<Owner, sqlx::Error> {
    let name: &str = row.try_get("tenant_id")?;
    Owner::read(name).ok_or_else(|| sqlx::Error::Decode(format!("no owner is `{name}`").into()))
}

fn signed(row: &PgRow) -> Result<Signed, sqlx::Error> {
    Ok(Signed {
        at: row.try_get("at")?,
        author: row.try_get("author")?,
        message: row.try_get("message")?,
    })
}
