//! Tenants, and what they are judged with.

use sqlx::PgPool;

use crate::store::{ContextRow, Tenant};

pub async fn create(pool: &PgPool, tenants: &[Tenant]) -> Result<(), sqlx::Error> {
    let names: Vec<&str> = tenants.iter().map(Tenant::as_str).collect();
    sqlx::query(
        "INSERT INTO head (tenant_id, version, stamp, at) \
         SELECT name, 0, 0, 0 FROM unnest($1::text[]) AS sent (name) ORDER BY name \
         ON CONFLICT DO NOTHING",
    )
    .bind(names)
    .execute(pool)
    .await?;
    Ok(())
}

pub async fn keep_contexts(pool: &PgPool, contexts: &[ContextRow]) -> Result<(), sqlx::Error> {
    let tenants: Vec<&str> = contexts.iter().map(|own| own.tenant.as_str()).collect();
    let names: Vec<&str> = contexts.iter().map(|own| &*own.name).collect();
    let bodies: Vec<&[u8]> = contexts.iter().map(|own| &*own.body).collect();
    sqlx::query(
        "INSERT INTO context (tenant_id, name, body) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]) AS sent (tenant_id, name, body) \
         ORDER BY tenant_id, name ON CONFLICT DO NOTHING",
    )
    .bind(tenants)
    .bind(names)
    .bind(bodies)
    .execute(pool)
    .await?;
    Ok(())
}

pub async fn context(
    pool: &PgPool,
    tenant: &Tenant,
    name: &str,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("SELECT body FROM context WHERE tenant_id = $1 AND name = $2")
        .bind(tenant.as_str())
        .bind(name)
        .fetch_optional(pool)
        .await
}
