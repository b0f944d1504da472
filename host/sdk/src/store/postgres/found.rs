//! What `read.sql` brings.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::arrays::bind_needs;
use super::{in_time, unwritten};
use crate::store::rows::{
    AccountRow, Closure, CounterRow, Found, Head, HoldRow, HoldState, KeyRow, LatestKey, LatestRow,
    Need, RecordRow, Total, UsageRow, instant_of,
};
use crate::store::{StoreError, Tenant};

const READ: &str = include_str!("read.sql");

pub async fn read(connection: &mut PgConnection, needs: &[Need]) -> Result<Vec<Found>, StoreError> {
    let read = bind_needs(needs, sqlx::query(READ));
    let rows =
        in_time(read.fetch_all(&mut *connection)).await.map_err(|error| unwritten(&error))?;
    let mut found: Vec<Option<Found>> = needs.iter().map(|_| None).collect();
    for row in &rows {
        sort_in(row, &mut found).map_err(|error| unwritten(&error))?;
    }
    let unknown = |need: &Need| StoreError::UnknownTenant(need.tenant.clone());
    let found = found.into_iter().zip(needs);
    let mut found: Vec<Found> =
        found.map(|(found, need)| found.ok_or_else(|| unknown(need))).collect::<Result<_, _>>()?;
    for (found, need) in found.iter_mut().zip(needs) {
        for id in &need.usages {
            let usage = in_time(usage(&mut *connection, &need.tenant, *id)).await;
            found.usages.extend(usage.map_err(|error| unwritten(&error))?);
        }
    }
    Ok(found)
}

/// Apart from all else, which would have to look at each month's usages as well. It never changes,
/// so that it need not be of the same snapshot.
async fn usage(
    connection: &mut PgConnection,
    tenant: &Tenant,
    id: Uuid,
) -> Result<Option<UsageRow>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT reservation, used_at, late, overshoot, body FROM usage \
         WHERE tenant_id = $1 AND at = $2 AND id = $3",
    )
    .bind(tenant.as_str())
    .bind(instant_of(id))
    .bind(id)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(UsageRow {
            id,
            reservation: row.try_get(0)?,
            used_at: row.try_get(1)?,
            late: row.try_get(2)?,
            overshoot: row.try_get(3)?,
            body: row.try_get(4)?,
        })
    })
    .transpose()
}

/// Puts a row of `read.sql` where it belongs. Heads come first.
fn sort_in(row: &PgRow, found: &mut [Option<Found>]) -> Result<(), sqlx::Error> {
    let place: i64 = row.try_get("place")?;
    let Some(slot) = usize::try_from(place - 1).ok().and_then(|place| found.get_mut(place)) else {
        return Err(sqlx::Error::Protocol("a row of no need".into()));
    };
    let kind: i32 = row.try_get("kind")?;
    if kind == 0 {
        let head =
            Head { version: row.try_get("a")?, stamp: row.try_get("b")?, at: row.try_get("c")? };
        *slot = Some(Found::new(head, row.try_get("d")?, row.try_get("e")?));
        return Ok(());
    }
    let Some(found) = slot else {
        return Err(sqlx::Error::Protocol("a row without a head".into()));
    };
    match kind {
        1 => found.counters.push(CounterRow {
            counter: row.try_get("a")?,
            values: row.try_get("s")?,
            opened: row.try_get("b")?,
            version: row.try_get("c")?,
            total: Total { used: amount(row, "m")?, held: amount(row, "n")? },
        }),
        2 => found.holds.push(HoldState::Open(hold(row)?)),
        3 => {
            let code: i64 = row.try_get("a")?;
            let how = i16::try_from(code).ok().and_then(Closure::of);
            found.holds.push(HoldState::Closed {
                id: row.try_get("id")?,
                how: how.ok_or_else(|| sqlx::Error::Protocol(format!("closure {code}")))?,
                body: row.try_get("x")?,
            });
        }
        4 => {
            let hash: Vec<u8> = row.try_get("x")?;
            found.keys.push(KeyRow {
                operation: row.try_get("s")?,
                key: row.try_get("t")?,
                hash: hash.try_into().map_err(|_| sqlx::Error::Protocol("a hash".into()))?,
                answer: row.try_get("y")?,
            });
        }
        5 => found.records.push(RecordRow {
            kind: row.try_get("s")?,
            name: row.try_get("t")?,
            body: row.try_get("x")?,
        }),
        6 => found.accounts.push(AccountRow {
            account: row.try_get("s")?,
            currency: row.try_get("t")?,
            balance: amount(row, "m")?,
            held: amount(row, "n")?,
        }),
        7 => found.due.push(hold(row)?),
        _ => found.latest.push(LatestRow {
            key: LatestKey { per: row.try_get("s")?, values: row.try_get("t")? },
            version: row.try_get("a")?,
            totals: totals(&String::from_utf8_lossy(row.try_get("x")?))?,
        }),
    }
    Ok(())
}

fn hold(row: &PgRow) -> Result<HoldRow, sqlx::Error> {
    Ok(HoldRow { id: row.try_get("id")?, expires_at: row.try_get("a")?, body: row.try_get("x")? })
}

pub fn totals(text: &str) -> Result<Vec<(i64, Instant, Total)>, sqlx::Error> {
    LatestRow::read(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

pub fn amount(row: &PgRow, column: &str) -> Result<Decimal, sqlx::Error> {
    let amount: rust_decimal::Decimal = row.try_get(column)?;
    Decimal::try_from(amount).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}
