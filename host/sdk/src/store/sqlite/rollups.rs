//! Roll-ups, and to where they are added up.

use std::ops::Range;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::Instant;

use super::found::amount;
use crate::store::Tenant;
use crate::store::rows::{Place, RollUp, RollUpRow};

const ROLLED_UP: &str = "SELECT at, version, ordinal FROM rolled_up WHERE tenant_id = ?";

pub async fn rolled_up(pool: &SqlitePool, tenant: &Tenant) -> Result<Option<Place>, sqlx::Error> {
    let row = sqlx::query(ROLLED_UP).bind(tenant.as_str().to_owned()).fetch_optional(pool).await?;
    row.map(|row| place(&row)).transpose()
}

fn place(row: &SqliteRow) -> Result<Place, sqlx::Error> {
    Ok(Place { at: row.try_get(0)?, version: row.try_get(1)?, ordinal: row.try_get(2)? })
}

pub async fn roll_up(
    mut transaction: Transaction<'static, Sqlite>,
    rollup: &RollUp,
) -> Result<bool, sqlx::Error> {
    let RollUp { tenant, from, to, rows } = rollup;
    let tenant = || tenant.as_str().to_owned();
    let stands = sqlx::query(ROLLED_UP).bind(tenant()).fetch_optional(&mut *transaction).await?;
    if stands.map(|row| place(&row)).transpose()? != *from {
        transaction.rollback().await?;
        return Ok(false);
    }
    sqlx::query(
        "INSERT OR REPLACE INTO rolled_up (tenant_id, at, version, ordinal) VALUES (?, ?, ?, ?)",
    )
    .bind(tenant())
    .bind(to.at)
    .bind(to.version)
    .bind(to.ordinal)
    .execute(&mut *transaction)
    .await?;
    for row in rows {
        add(&mut transaction, &rollup.tenant, row).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

pub async fn add(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    row: &RollUpRow,
) -> Result<(), sqlx::Error> {
    let stood = sqlx::query(
        "SELECT amount FROM rollup WHERE tenant_id = ? AND grouping_name = ? AND grain_ms = ? \
         AND opened = ? AND dimension_values = ? AND meter = ?",
    )
    .bind(tenant.as_str().to_owned())
    .bind(row.grouping.clone())
    .bind(row.grain_ms)
    .bind(row.opened)
    .bind(row.values.clone())
    .bind(row.meter.clone())
    .fetch_optional(&mut *connection)
    .await?;
    let stood = stood.map_or(Ok(Decimal::ZERO), |row| amount(&row, 0))?;
    let sum = stood.saturating_add(row.amount);
    sqlx::query(
        "INSERT OR REPLACE INTO rollup \
         (tenant_id, grouping_name, grain_ms, opened, dimension_values, meter, amount) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant.as_str().to_owned())
    .bind(row.grouping.clone())
    .bind(row.grain_ms)
    .bind(row.opened)
    .bind(row.values.clone())
    .bind(row.meter.clone())
    .bind(sum.to_string())
    .execute(&mut *connection)
    .await?;
    Ok(())
}

pub async fn rollups(
    pool: &SqlitePool,
    tenant: &Tenant,
    grouping: &str,
    values: Option<&str>,
    grain_ms: i64,
    began: Range<Instant>,
) -> Result<Vec<RollUpRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT opened, dimension_values, meter, amount FROM rollup \
         WHERE tenant_id = ?1 AND grouping_name = ?2 AND grain_ms = ?3 AND opened >= ?4 AND opened < ?5 \
             AND (?6 IS NULL OR dimension_values = ?6) \
         ORDER BY opened, dimension_values, meter",
    )
    .bind(tenant.as_str().to_owned())
    .bind(grouping.to_owned())
    .bind(grain_ms)
    .bind(began.start)
    .bind(began.end)
    .bind(values.map(str::to_owned))
    .fetch_all(pool)
    .await?;
    let row = |row: SqliteRow| {
        Ok(RollUpRow {
            grain_ms,
            opened: row.try_get(0)?,
            grouping: grouping.to_owned(),
            values: row.try_get(1)?,
            meter: row.try_get(2)?,
            amount: amount(&row, 3)?,
        })
    };
    rows.into_iter().map(row).collect()
}
