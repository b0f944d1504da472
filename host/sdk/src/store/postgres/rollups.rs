//! Roll-ups, and to where they are added up.

use std::ops::Range;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::Instant;

use super::found::amount;
use crate::store::Tenant;
use crate::store::rows::{Place, RollUp, RollUpRow};

const ROLL_UP: &str = include_str!("roll_up.sql");

pub async fn rolled_up(pool: &PgPool, tenant: &Tenant) -> Result<Option<Place>, sqlx::Error> {
    let row = sqlx::query("SELECT at, version, ordinal FROM rolled_up WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_optional(pool)
        .await?;
    row.map(|row| {
        Ok(Place { at: row.try_get(0)?, version: row.try_get(1)?, ordinal: row.try_get(2)? })
    })
    .transpose()
}

pub async fn roll_up(pool: &PgPool, rollup: &RollUp) -> Result<bool, sqlx::Error> {
    let RollUp { tenant, from, to, rows } = rollup;
    let column = |of: fn(&RollUpRow) -> &str| rows.iter().map(of).collect::<Vec<&str>>();
    let amounts: Vec<rust_decimal::Decimal> = rows.iter().map(|row| row.amount.into()).collect();
    let moved: i64 = sqlx::query_scalar(ROLL_UP)
        .bind(tenant.as_str())
        .bind(to.at)
        .bind(to.version)
        .bind(to.ordinal)
        .bind(from.map(|from| from.at))
        .bind(from.map(|from| from.version))
        .bind(from.map(|from| from.ordinal))
        .bind(column(|row| &row.grouping))
        .bind(rows.iter().map(|row| row.grain_ms).collect::<Vec<i64>>())
        .bind(rows.iter().map(|row| row.opened).collect::<Vec<i64>>())
        .bind(column(|row| &row.values))
        .bind(column(|row| &row.meter))
        .bind(amounts)
        .fetch_one(pool)
        .await?;
    Ok(moved == 1)
}

pub async fn rollups(
    pool: &PgPool,
    tenant: &Tenant,
    grouping: &str,
    values: Option<&str>,
    grain_ms: i64,
    began: Range<Instant>,
) -> Result<Vec<RollUpRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT opened, dimension_values, meter, least(greatest(amount, -$7::numeric), $7) AS amount FROM rollup \
         WHERE tenant_id = $1 AND grouping_name = $2 AND grain_ms = $3 AND opened >= $4 AND opened < $5 \
             AND ($6::text IS NULL OR dimension_values = $6) \
         ORDER BY opened, dimension_values, meter",
    )
    .bind(tenant.as_str())
    .bind(grouping)
    .bind(grain_ms)
    .bind(began.start)
    .bind(began.end)
    .bind(values)
    // The database adds up whatever it may come to.
    .bind(rust_decimal::Decimal::from(Decimal::MAX))
    .fetch_all(pool)
    .await?;
    let row = |row: PgRow| {
        Ok(RollUpRow {
            grain_ms,
            opened: row.try_get(0)?,
            grouping: grouping.to_owned(),
            values: row.try_get(1)?,
            meter: row.try_get(2)?,
            amount: amount(&row, "amount")?,
        })
    };
    rows.into_iter().map(row).collect()
}
