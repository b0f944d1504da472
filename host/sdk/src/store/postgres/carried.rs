//! What was carried forward of usages and entries, so that they may go.

use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, PgPool, Row};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::Instant;

use super::found::amount;
use crate::store::Tenant;
use crate::store::rows::{AccountRow, Carry, CounterRow, Since, Total};

const CARRY: &str = include_str!("carry.sql");

pub async fn until(executor: impl PgExecutor<'_>, tenant: &Tenant) -> Result<Instant, sqlx::Error> {
    let until = sqlx::query_scalar("SELECT until FROM carried WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_optional(executor)
        .await?;
    Ok(until.unwrap_or(Instant::MIN))
}

pub async fn counters(
    executor: impl PgExecutor<'_>,
    tenant: &Tenant,
    after: &Since,
    limit: u32,
) -> Result<Vec<CounterRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT counter, dimension_values, opened, used FROM carried_counter \
         WHERE tenant_id = $1 AND (counter, dimension_values, opened) > ($2, $3, $4) \
         ORDER BY counter, dimension_values, opened LIMIT $5",
    )
    .bind(tenant.as_str())
    .bind(after.counter)
    .bind(after.values.as_str())
    .bind(after.opened)
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await?;
    let row = |row: PgRow| {
        Ok(CounterRow {
            counter: row.try_get(0)?,
            values: row.try_get(1)?,
            opened: row.try_get(2)?,
            version: 0,
            total: Total { used: amount(&row, "used")?, held: Decimal::ZERO },
        })
    };
    rows.into_iter().map(row).collect()
}

pub async fn accounts(
    executor: impl PgExecutor<'_>,
    tenant: &Tenant,
) -> Result<Vec<AccountRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT account, currency, balance FROM carried_account WHERE tenant_id = $1 \
         ORDER BY account, currency",
    )
    .bind(tenant.as_str())
    .fetch_all(executor)
    .await?;
    let row = |row: PgRow| {
        Ok(AccountRow {
            account: row.try_get(0)?,
            currency: row.try_get(1)?,
            balance: amount(&row, "balance")?,
            held: Decimal::ZERO,
        })
    };
    rows.into_iter().map(row).collect()
}

pub async fn carry(pool: &PgPool, carry: &Carry) -> Result<bool, sqlx::Error> {
    let Carry { tenant, from, until, counters, accounts } = carry;
    let amounts = |all: Vec<Decimal>| -> Vec<rust_decimal::Decimal> {
        all.into_iter().map(Into::into).collect()
    };
    let moved: i64 = sqlx::query_scalar(CARRY)
        .bind(tenant.as_str())
        .bind(*from)
        .bind(*until)
        .bind(counters.iter().map(|row| row.counter).collect::<Vec<i64>>())
        .bind(counters.iter().map(|row| row.values.as_str()).collect::<Vec<&str>>())
        .bind(counters.iter().map(|row| row.opened).collect::<Vec<i64>>())
        .bind(amounts(counters.iter().map(|row| row.total.used).collect()))
        .bind(accounts.iter().map(|row| row.account.as_str()).collect::<Vec<&str>>())
        .bind(accounts.iter().map(|row| row.currency.as_str()).collect::<Vec<&str>>())
        .bind(amounts(accounts.iter().map(|row| row.balance).collect()))
        .fetch_one(pool)
        .await?;
    Ok(moved == 1)
}
