//! Values that are erased, and what takes their place.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteConnection, SqlitePool, Transaction};
use uuid::Uuid;

use super::found::amount;
use super::rollups::add;
use crate::store::Tenant;
use crate::store::erased::{ChangeKey, ChangeRow, Renamed, Rewritten};
use crate::store::rows::RollUpRow;

pub async fn expired(
    pool: &SqlitePool,
    tenant: &Tenant,
    after: Uuid,
    limit: u32,
) -> Result<Vec<(Uuid, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, body FROM closure WHERE tenant_id = ? AND id > ? AND how = 3 \
         ORDER BY id LIMIT ?",
    )
    .bind(tenant.as_str().to_owned())
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
}

pub async fn changes(
    pool: &SqlitePool,
    tenant: &Tenant,
    after: &ChangeKey,
    limit: u32,
) -> Result<Vec<ChangeRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT kind, name, version, at, body FROM change \
         WHERE tenant_id = ? AND (kind, name, version) > (?, ?, ?) \
         ORDER BY kind, name, version LIMIT ?",
    )
    .bind(tenant.as_str().to_owned())
    .bind(after.kind.clone())
    .bind(after.name.clone())
    .bind(after.version)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let row = |row: SqliteRow| {
        Ok(ChangeRow {
            key: ChangeKey {
                kind: row.try_get(0)?,
                name: row.try_get(1)?,
                version: row.try_get(2)?,
            },
            at: row.try_get(3)?,
            body: row.try_get(4)?,
        })
    };
    rows.into_iter().map(row).collect()
}

/// Runs a statement once for each row: what it sets, the tenant, by what it finds it.
macro_rules! each {
    ($connection:expr, $tenant:expr, $sql:expr, $rows:expr, |$row:pat_param| ($($set:expr),*), ($($by:expr),*)) => {
        for $row in $rows {
            sqlx::query($sql)
                $(.bind($set.clone()))*
                .bind($tenant.as_str().to_owned())
                $(.bind($by.clone()))*
                .execute(&mut *$connection)
                .await?;
        }
    };
}

pub async fn rename(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    renamed: &Renamed,
) -> Result<(), sqlx::Error> {
    let Renamed { latest, counters } = renamed;
    each!(
        connection,
        tenant,
        "UPDATE latest SET dimension_values = ? WHERE tenant_id = ? AND per = ? AND dimension_values = ?",
        latest,
        |(key, new)| (new),
        (key.per, key.values)
    );
    for table in [
        "UPDATE counter SET dimension_values = ? WHERE tenant_id = ? AND counter = ? AND dimension_values = ?",
        "UPDATE carried_counter SET dimension_values = ? \
         WHERE tenant_id = ? AND counter = ? AND dimension_values = ?",
    ] {
        each!(connection, tenant, table, counters, |(counter, old, new)| (new), (counter, old));
    }
    Ok(())
}

pub async fn rename_rollups(
    mut transaction: Transaction<'static, Sqlite>,
    tenant: &Tenant,
    erasure: &str,
    grouping: &str,
    values: &str,
    new: &str,
) -> Result<(), sqlx::Error> {
    let gone = sqlx::query(
        "DELETE FROM rollup WHERE tenant_id = ?1 AND grouping_name = ?2 AND dimension_values = ?3 \
         AND EXISTS (SELECT 1 FROM record WHERE tenant_id = ?1 AND kind = 'erasure' AND name = ?4) \
         RETURNING grain_ms, opened, meter, amount",
    )
    .bind(tenant.as_str().to_owned())
    .bind(grouping.to_owned())
    .bind(values.to_owned())
    .bind(erasure.to_owned())
    .fetch_all(&mut *transaction)
    .await?;
    for row in gone {
        let row = RollUpRow {
            grain_ms: row.try_get(0)?,
            opened: row.try_get(1)?,
            grouping: grouping.to_owned(),
            values: new.to_owned(),
            meter: row.try_get(2)?,
            amount: amount(&row, 3)?,
        };
        add(&mut transaction, tenant, &row).await?;
    }
    transaction.commit().await
}

pub async fn rewrite(
    mut transaction: Transaction<'static, Sqlite>,
    tenant: &Tenant,
    rewritten: &Rewritten,
) -> Result<(), sqlx::Error> {
    let Rewritten { batches, usages, entries, expired, runs, changes, notices, acts } = rewritten;
    each!(
        transaction,
        tenant,
        "UPDATE batch SET body = ? WHERE tenant_id = ? AND at = ? AND version = ? AND stamp = ?",
        batches,
        |(key, body)| (body),
        (key.at, key.version, key.stamp)
    );
    each!(
        transaction,
        tenant,
        "UPDATE usage SET body = ? WHERE tenant_id = ? AND at = ? AND id = ?",
        usages,
        |(at, id, body)| (body),
        (at, id)
    );
    each!(
        transaction,
        tenant,
        "UPDATE entry SET body = ? WHERE tenant_id = ? AND at = ? AND id = ?",
        entries,
        |(at, id, body)| (body),
        (at, id)
    );
    each!(
        transaction,
        tenant,
        "UPDATE closure SET body = ? WHERE tenant_id = ? AND id = ? AND how = 3",
        expired,
        |(id, body)| (body),
        (id)
    );
    each!(
        transaction,
        tenant,
        "UPDATE delivery SET error = 'erased' WHERE tenant_id = ? AND notice = ? AND error IS NOT NULL",
        notices,
        |(id, _)| (),
        (id)
    );
    each!(
        transaction,
        tenant,
        "UPDATE notice SET body = ? WHERE tenant_id = ? AND id = ?",
        notices,
        |(id, body)| (body),
        (id)
    );
    each!(
        transaction,
        tenant,
        "UPDATE run SET user_value = ?, body = ? WHERE tenant_id = ? AND id = ?",
        runs,
        |(id, user, body)| (user, body),
        (id)
    );
    each!(
        transaction,
        tenant,
        "UPDATE change SET name = ?, body = ? WHERE tenant_id = ? AND kind = ? AND name = ? AND version = ?",
        changes,
        |(key, new, body)| (new, body),
        (key.kind, key.name, key.version)
    );
    each!(
        transaction,
        tenant,
        "UPDATE audit SET subject = ?, before = ?, after = ?, outcome = coalesce(?, outcome) \
         WHERE tenant_id = ? AND at = ? AND id = ?",
        acts,
        |act| (act.subject, act.before, act.after, act.outcome),
        (act.at, act.id)
    );
    transaction.commit().await
}
