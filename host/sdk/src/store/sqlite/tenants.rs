//! Tenants, and what they are judged with.

use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::store::{ContextRow, Tenant};

pub async fn create(
    transaction: &mut Transaction<'_, Sqlite>,
    tenants: &[Tenant],
) -> Result<(), sqlx::Error> {
    for tenant in tenants {
        sqlx::query(
            "INSERT INTO head (tenant_id, version, stamp, at) VALUES (?, 0, 0, 0) ON CONFLICT DO NOTHING",
        )
        .bind(tenant.as_str().to_owned())
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

pub async fn keep_contexts(
    transaction: &mut Transaction<'_, Sqlite>,
    contexts: &[ContextRow],
) -> Result<(), sqlx::Error> {
    for ContextRow { tenant, name, body } in contexts {
        sqlx::query(
            "INSERT INTO context (tenant_id, name, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(tenant.as_str().to_owned())
        .bind(name.clone())
        .bind(body.clone())
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

pub async fn context(
    pool: &SqlitePool,
    tenant: &Tenant,
    name: &str,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("SELECT body FROM context WHERE tenant_id = ? AND name = ?")
        .bind(tenant.as_str().to_owned())
        .bind(name.to_owned())
        .fetch_optional(pool)
        .await
}
