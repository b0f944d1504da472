//! What was carried forward of usages and entries, so that they may go.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, SqliteExecutor, Transaction};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::Instant;

use super::found::amount;
use crate::store::Tenant;
use crate::store::rows::{AccountRow, Carry, CounterRow, Since, Total};

const UNTIL: &str = "SELECT until FROM carried WHERE tenant_id = ?";

pub async fn until(
    executor: impl SqliteExecutor<'_>,
    tenant: &Tenant,
) -> Result<Instant, sqlx::Error> {
    let until =
        sqlx::query_scalar(UNTIL).bind(tenant.as_str().to_owned()).fetch_optional(executor).await?;
    Ok(until.unwrap_or(Instant::MIN))
}

pub async fn counters(
    executor: impl SqliteExecutor<'_>,
    tenant: &Tenant,
    after: &Since,
    limit: u32,
) -> Result<Vec<CounterRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT counter, dimension_values, opened, used FROM carried_counter \
         WHERE tenant_id = ?1 AND (counter, dimension_values, opened) > (?2, ?3, ?4) \
         ORDER BY counter, dimension_values, opened LIMIT ?5",
    )
    .bind(tenant.as_str().to_owned())
    .bind(after.counter)
    .bind(after.values.clone())
    .bind(after.opened)
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await?;
    let row = |row: SqliteRow| {
        Ok(CounterRow {
            counter: row.try_get(0)?,
            values: row.try_get(1)?,
            opened: row.try_get(2)?,
            version: 0,
            total: Total { used: amount(&row, 3)?, held: Decimal::ZERO },
        })
    };
    rows.into_iter().map(row).collect()
}

pub async fn accounts(
    executor: impl SqliteExecutor<'_>,
    tenant: &Tenant,
) -> Result<Vec<AccountRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT account, currency, balance FROM carried_account WHERE tenant_id = ? \
         ORDER BY account, currency",
    )
    .bind(tenant.as_str().to_owned())
    .fetch_all(executor)
    .await?;
    let row = |row: SqliteRow| {
        Ok(AccountRow {
            account: row.try_get(0)?,
            currency: row.try_get(1)?,
            balance: amount(&row, 2)?,
            held: Decimal::ZERO,
        })
    };
    rows.into_iter().map(row).collect()
}

pub async fn carry(
    mut transaction: Transaction<'static, Sqlite>,
    carry: &Carry,
) -> Result<bool, sqlx::Error> {
    let Carry { tenant, from, until, counters, accounts } = carry;
    let tenant = || tenant.as_str().to_owned();
    let stands: Option<Instant> =
        sqlx::query_scalar(UNTIL).bind(tenant()).fetch_optional(&mut *transaction).await?;
    if stands.unwrap_or(Instant::MIN) != *from {
        transaction.rollback().await?;
        return Ok(false);
    }
    sqlx::query("INSERT OR REPLACE INTO carried (tenant_id, until) VALUES (?, ?)")
        .bind(tenant())
        .bind(*until)
        .execute(&mut *transaction)
        .await?;
    for row in counters {
        sqlx::query(
            "INSERT OR REPLACE INTO carried_counter \
             (tenant_id, counter, dimension_values, opened, used) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(tenant())
        .bind(row.counter)
        .bind(row.values.clone())
        .bind(row.opened)
        .bind(row.total.used.to_string())
        .execute(&mut *transaction)
        .await?;
    }
    for row in accounts {
        sqlx::query(
            "INSERT OR REPLACE INTO carried_account (tenant_id, account, currency, balance) \
             VALUES (?, ?, ?, ?)",
        )
        .bind(tenant())
        .bind(row.account.clone())
        .bind(row.currency.clone())
        .bind(row.balance.to_string())
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(true)
}
