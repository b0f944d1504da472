//! What stands under a need, read within one transaction.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::Instant;

use super::failed;
use crate::store::StoreError;
use crate::store::rows::{
    AccountRow, Closure, CounterRow, DUE_MAX, Found, Head, HoldRow, HoldState, KeyRow, LatestRow,
    Need, RecordRow, Total, UsageRow, instant_of,
};

pub async fn read(
    connection: &mut SqliteConnection,
    need: &Need,
    now: Instant,
) -> Result<Found, StoreError> {
    let found = read_rows(connection, need, now).await.map_err(|error| failed(&error))?;
    found.ok_or_else(|| StoreError::UnknownTenant(need.tenant.clone()))
}

async fn read_rows(
    connection: &mut SqliteConnection,
    need: &Need,
    now: Instant,
) -> Result<Option<Found>, sqlx::Error> {
    let tenant = need.tenant.as_str();
    let head = sqlx::query("SELECT version, stamp, at FROM head WHERE tenant_id = ?")
        .bind(tenant.to_owned())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = head else {
        return Ok(None);
    };
    let head = Head { version: row.try_get(0)?, stamp: row.try_get(1)?, at: row.try_get(2)? };
    let mut found = Found::new(head, now, None);
    for since in &need.counters {
        let rows = sqlx::query(
            "SELECT opened, version, used, held FROM counter \
             WHERE tenant_id = ? AND counter = ? AND dimension_values = ? AND (opened >= ? OR opened = ?)",
        )
        .bind(tenant.to_owned())
        .bind(since.counter)
        .bind(since.values.clone())
        .bind(since.opened)
        .bind(Instant::MIN)
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            found.counters.push(CounterRow {
                counter: since.counter,
                values: since.values.clone(),
                opened: row.try_get(0)?,
                version: row.try_get(1)?,
                total: Total { used: amount(&row, 2)?, held: amount(&row, 3)? },
            });
        }
    }
    for key in &need.latest {
        let row = sqlx::query(
            "SELECT version, totals FROM latest WHERE tenant_id = ? AND per = ? AND dimension_values = ?",
        )
        .bind(tenant.to_owned())
        .bind(key.per.clone())
        .bind(key.values.clone())
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(row) = row {
            let (version, totals) = (row.try_get(0)?, totals(row.try_get(1)?)?);
            found.latest.push(LatestRow { key: key.clone(), version, totals });
        }
    }
    for id in &need.holds {
        let open = sqlx::query("SELECT expires_at, body FROM hold WHERE tenant_id = ? AND id = ?")
            .bind(tenant.to_owned())
            .bind(*id)
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = open {
            let (expires_at, body) = (row.try_get(0)?, row.try_get(1)?);
            found.holds.push(HoldState::Open(HoldRow { id: *id, expires_at, body }));
        }
        let closed = sqlx::query("SELECT how, body FROM closure WHERE tenant_id = ? AND id = ?")
            .bind(tenant.to_owned())
            .bind(*id)
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = closed {
            let code: i16 = row.try_get(0)?;
            let how = Closure::of(code)
                .ok_or_else(|| sqlx::Error::Protocol(format!("closure {code}")))?;
            found.holds.push(HoldState::Closed { id: *id, how, body: row.try_get(1)? });
        }
    }
    for (operation, key) in &need.keys {
        let answered = sqlx::query(
            "SELECT hash, answer FROM idempotency WHERE tenant_id = ? AND operation = ? AND key = ?",
        )
        .bind(tenant.to_owned())
        .bind(operation.clone())
        .bind(key.clone())
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(row) = answered {
            let hash: Vec<u8> = row.try_get(0)?;
            found.keys.push(KeyRow {
                operation: operation.clone(),
                key: key.clone(),
                hash: hash.try_into().map_err(|_| sqlx::Error::Protocol("a hash".into()))?,
                answer: row.try_get(1)?,
            });
        }
    }
    for id in &need.usages {
        let usage = sqlx::query(
            "SELECT reservation, used_at, late, overshoot, body FROM usage WHERE tenant_id = ? AND at = ? AND id = ?",
        )
        .bind(tenant.to_owned())
        .bind(instant_of(*id))
        .bind(*id)
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(row) = usage {
            found.usages.push(UsageRow {
                id: *id,
                reservation: row.try_get(0)?,
                used_at: row.try_get(1)?,
                late: row.try_get(2)?,
                overshoot: row.try_get(3)?,
                body: row.try_get(4)?,
            });
        }
    }
    if need.whole || need.due.is_some() {
        found.next_expiry = sqlx::query_scalar(
            "SELECT min(expires_at) FROM hold WHERE tenant_id = ? AND expires_at > ?",
        )
        .bind(tenant.to_owned())
        .bind(need.due.unwrap_or(Instant::MIN))
        .fetch_one(&mut *connection)
        .await?;
    }
    if let Some(due) = need.due {
        let rows = sqlx::query(
            "SELECT id, expires_at, body FROM hold WHERE tenant_id = ? AND expires_at <= ? \
             ORDER BY expires_at LIMIT ?",
        )
        .bind(tenant.to_owned())
        .bind(due)
        .bind(i64::try_from(DUE_MAX).unwrap_or(i64::MAX))
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            let (id, expires_at, body) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            found.due.push(HoldRow { id, expires_at, body });
        }
    }
    if need.whole {
        let rows =
            sqlx::query("SELECT account, currency, balance, held FROM account WHERE tenant_id = ?")
                .bind(tenant.to_owned())
                .fetch_all(&mut *connection)
                .await?;
        for row in rows {
            let (account, currency) = (row.try_get(0)?, row.try_get(1)?);
            let (balance, held) = (amount(&row, 2)?, amount(&row, 3)?);
            found.accounts.push(AccountRow { account, currency, balance, held });
        }
        let rows = sqlx::query("SELECT kind, name, body FROM record WHERE tenant_id = ?")
            .bind(tenant.to_owned())
            .fetch_all(&mut *connection)
            .await?;
        for row in rows {
            let (kind, name, body) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            found.records.push(RecordRow { kind, name, body });
        }
    }
    Ok(Some(found))
}

pub fn totals(text: &str) -> Result<Vec<(i64, Instant, Total)>, sqlx::Error> {
    LatestRow::read(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

pub fn amount(row: &SqliteRow, column: usize) -> Result<Decimal, sqlx::Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
