//! What policies there are, and where they are bound.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqlitePool, Transaction};

use super::{SqliteStore, failed};
use crate::store::StoreError;
use crate::store::registry::{
    Announcements, BindingSetRow, Owner, RegistryStore, RevisionId, RevisionRow, Scope, Signed,
};

impl RegistryStore for SqliteStore {
    async fn put_component(
        &self,
        owner: &Owner,
        digest: &str,
        bytes: &[u8],
        signed: &Signed,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO component (tenant_id, digest, at, author, bytes) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT DO NOTHING",
        )
        .bind(owner.as_str().to_owned())
        .bind(digest.to_owned())
        .bind(signed.at)
        .bind(signed.author.clone())
        .bind(bytes.to_owned())
        .execute(&self.pool);
        Ok(done.await.map_err(|error| failed(&error))?.rows_affected() == 1)
    }

    async fn component(&self, owner: &Owner, digest: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes =
            sqlx::query_scalar("SELECT bytes FROM component WHERE tenant_id = ?1 AND digest = ?2")
                .bind(owner.as_str().to_owned())
                .bind(digest.to_owned())
                .fetch_optional(&self.readers);
        bytes.await.map_err(|error| failed(&error))
    }

    async fn put_revision(&self, revision: &RevisionRow) -> Result<bool, StoreError> {
        let RevisionRow { owner, policy, number, digest, settings, signer, signature, signed } =
            revision;
        let done = sqlx::query(
            "INSERT INTO revision (tenant_id, policy, number, digest, settings, signer, \
             signature, at, author, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
        )
        .bind(owner.as_str().to_owned())
        .bind(policy.clone())
        .bind(*number)
        .bind(digest.clone())
        .bind(settings.clone())
        .bind(signer.clone())
        .bind(signature.clone())
        .bind(signed.at)
        .bind(signed.author.clone())
        .bind(signed.message.clone())
        .execute(&self.pool);
        Ok(done.await.map_err(|error| failed(&error))?.rows_affected() == 1)
    }

    async fn revisions(
        &self,
        owner: &Owner,
        policy: Option<&str>,
    ) -> Result<Vec<RevisionRow>, StoreError> {
        revisions(&self.readers, owner, policy, None).await.map_err(|error| failed(&error))
    }

    async fn some_revisions(&self, ids: &[RevisionId]) -> Result<Vec<RevisionRow>, StoreError> {
        let mut rows = Vec::with_capacity(ids.len());
        for RevisionId { owner, policy, number } in ids {
            let found = revisions(&self.readers, owner, Some(policy), Some(*number)).await;
            rows.append(&mut found.map_err(|error| failed(&error))?);
        }
        Ok(rows)
    }

    fn announcements(&self) -> Announcements {
        Announcements::none()
    }

    async fn put_bindings(&self, bindings: &BindingSetRow) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        put_bindings(transaction, bindings).await.map_err(|error| failed(&error))
    }

    async fn bindings(&self, scope: &Scope, limit: u32) -> Result<Vec<BindingSetRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT tenant_id, plan, version, moved, at, author, message, body FROM binding_set \
             WHERE tenant_id = ?1 AND plan = ?2 ORDER BY version DESC LIMIT ?3",
        )
        .bind(scope.owner.as_str().to_owned())
        .bind(scope.plan.clone())
        .bind(i64::from(limit))
        .fetch_all(&self.readers);
        let rows = rows.await.map_err(|error| failed(&error))?;
        rows.iter().map(bound).collect::<Result<_, _>>().map_err(|error| failed(&error))
    }

    async fn bound_since(&self, moved: i64) -> Result<Vec<BindingSetRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT tenant_id, plan, version, moved, at, author, message, body FROM binding_set \
             WHERE is_current AND moved > ?1 ORDER BY moved",
        )
        .bind(moved)
        .fetch_all(&self.readers);
        let rows = rows.await.map_err(|error| failed(&error))?;
        rows.iter().map(bound).collect::<Result<_, _>>().map_err(|error| failed(&error))
    }
}

async fn revisions(
    pool: &SqlitePool,
    owner: &Owner,
    policy: Option<&str>,
    number: Option<i64>,
) -> Result<Vec<RevisionRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT tenant_id, policy, number, digest, settings, signer, signature, at, author, message \
         FROM revision \
         WHERE tenant_id = ?1 AND (?2 IS NULL OR policy = ?2) AND (?3 IS NULL OR number = ?3) \
         ORDER BY policy, number",
    )
    .bind(owner.as_str().to_owned())
    .bind(policy.map(str::to_owned))
    .bind(number)
    .fetch_all(pool)
    .await?;
    let row = |row: &SqliteRow| {
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
    };
    rows.iter().map(row).collect()
}

async fn put_bindings(
    mut transaction: Transaction<'static, Sqlite>,
    bindings: &BindingSetRow,
) -> Result<bool, sqlx::Error> {
    let BindingSetRow { scope, version, signed, body, .. } = bindings;
    let moved: i64 = sqlx::query_scalar(
        "UPDATE registry SET moved = moved + 1 WHERE tenant_id = '*' RETURNING moved",
    )
    .fetch_one(&mut *transaction)
    .await?;
    let before = sqlx::query(
        "UPDATE binding_set SET is_current = false \
         WHERE tenant_id = ?1 AND plan = ?2 AND version = ?3 AND is_current",
    )
    .bind(scope.owner.as_str().to_owned())
    .bind(scope.plan.clone())
    .bind(version - 1)
    .execute(&mut *transaction)
    .await?;
    let bound = sqlx::query(
        "INSERT INTO binding_set (tenant_id, plan, version, moved, is_current, at, author, message, body) \
         VALUES (?1, ?2, ?3, ?4, true, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
    )
    .bind(scope.owner.as_str().to_owned())
    .bind(scope.plan.clone())
    .bind(*version)
    .bind(moved)
    .bind(signed.at)
    .bind(signed.author.clone())
    .bind(signed.message.clone())
    .bind(body.clone())
    .execute(&mut *transaction)
    .await?;
    let follows = *version == 1 || before.rows_affected() == 1;
    if !follows || bound.rows_affected() != 1 {
        transaction.rollback().await?;
        return Ok(false);
    }
    transaction.commit().await?;
    Ok(true)
}

fn bound(row: &SqliteRow) -> Result<BindingSetRow, sqlx::Error> {
    Ok(BindingSetRow {
        scope: Scope { owner: owner_of(row)?, plan: row.try_get("plan")? },
        version: row.try_get("version")?,
        moved: row.try_get("moved")?,
        signed: signed(row)?,
        body: row.try_get("body")?,
    })
}

fn owner_of(row: &SqliteRow) -> Result<Owner, sqlx::Error> {
    let name: &str = row.try_get("tenant_id")?;
    Owner::read(name).ok_or_else(|| sqlx::Error::Decode(format!("no owner is `{name}`").into()))
}

fn signed(row: &SqliteRow) -> Result<Signed, sqlx::Error> {
    Ok(Signed {
        at: row.try_get("at")?,
        author: row.try_get("author")?,
        message: row.try_get("message")?,
    })
}
