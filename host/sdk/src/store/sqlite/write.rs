//! One batch, written row by row within the transaction that commits it.

use sqlx::{Connection, SqliteConnection};

use super::failed;
use crate::store::rows::Write;
use crate::store::{StoreError, Written};

/// Writes a batch whole or not at all, so that one that is refused harms no other of the same
/// transaction. An error of the outer kind ends the transaction and all that was written in it, as
/// SQLite does by itself where a disk is full.
pub async fn in_savepoint(
    connection: &mut SqliteConnection,
    write: &Write,
) -> Result<Result<Written, StoreError>, StoreError> {
    let mut savepoint = connection.begin().await.map_err(|error| failed(&error))?;
    match rows(&mut savepoint, write).await {
        Ok(Written::Committed) => {
            savepoint.commit().await.map_err(|error| failed(&error))?;
            Ok(Ok(Written::Committed))
        }
        Ok(Written::Missed) => {
            savepoint.rollback().await.map_err(|error| failed(&error))?;
            Ok(Ok(Written::Missed))
        }
        Err(error) => {
            let error = failed(&error);
            // Why it could not be written says more than why that could not be undone.
            savepoint.rollback().await.map_err(|_| error.clone())?;
            Ok(Err(error))
        }
    }
}

/// Runs a statement once for each row, with these columns of it after the tenant. It must find what
/// it is to change.
macro_rules! each {
    ($connection:ident, $write:ident, $rows:expr, $sql:expr, |$row:pat_param| $($column:expr),* $(,)?) => {
        for $row in $rows {
            let done = sqlx::query($sql)
                .bind($write.tenant.as_str().to_owned())
                $(.bind($column))*
                .execute(&mut *$connection)
                .await?;
            exactly_one(done.rows_affected())?;
        }
    };
}

async fn rows(connection: &mut SqliteConnection, write: &Write) -> Result<Written, sqlx::Error> {
    let next = write.leaves();
    // Where nothing moves, this only finds out whether the head stands where it should.
    let stands = sqlx::query(
        "UPDATE head SET version = ?, stamp = ?, at = ? WHERE tenant_id = ? AND version = ? AND stamp = ?",
    )
    .bind(next.version)
    .bind(next.stamp)
    .bind(next.at)
    .bind(write.tenant.as_str().to_owned())
    .bind(write.expected.version)
    .bind(write.expected.stamp)
    .execute(&mut *connection)
    .await?;
    if stands.rows_affected() == 0 {
        return Ok(Written::Missed);
    }
    if !keys(connection, write).await? {
        return Ok(Written::Missed);
    }
    totals(connection, write).await?;
    reservations(connection, write).await?;
    events(connection, write).await?;
    Ok(Written::Committed)
}

/// What was answered under its keys; false: one of them was before.
async fn keys(connection: &mut SqliteConnection, write: &Write) -> Result<bool, sqlx::Error> {
    for row in &write.keys {
        let done = sqlx::query(
            "INSERT INTO idempotency (tenant_id, operation, key, hash, answer, at) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT DO NOTHING",
        )
        .bind(write.tenant.as_str().to_owned())
        .bind(row.operation.clone())
        .bind(row.key.clone())
        .bind(row.hash.to_vec())
        .bind(row.answer.clone())
        .bind(write.next.at)
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is kept up to date.
async fn totals(connection: &mut SqliteConnection, write: &Write) -> Result<(), sqlx::Error> {
    let (version, at) = (write.leaves().version, write.next.at);
    each!(
        connection,
        write,
        &write.new_latest,
        "INSERT INTO latest (tenant_id, per, dimension_values, version, totals) VALUES (?1, ?2, ?3, ?4, ?5)",
        |row| row.key.per.clone(),
        row.key.values.clone(),
        version,
        row.written()
    );
    each!(
        connection,
        write,
        &write.latest,
        "UPDATE latest SET version = ?4, totals = ?5 WHERE tenant_id = ?1 AND per = ?2 AND dimension_values = ?3",
        |row| row.key.per.clone(),
        row.key.values.clone(),
        version,
        row.written()
    );
    each!(
        connection,
        write,
        &write.counters,
        "INSERT INTO counter (tenant_id, counter, dimension_values, opened, version, used, held) \
         VALUES (?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT DO UPDATE SET version = excluded.version, used = excluded.used, held = excluded.held",
        |row| row.counter,
        row.values.clone(),
        row.opened,
        version,
        row.total.used.to_string(),
        row.total.held.to_string()
    );
    each!(
        connection,
        write,
        &write.new_accounts,
        "INSERT INTO account (tenant_id, account, currency, balance, held) VALUES (?1, ?2, ?3, ?4, ?5)",
        |row| row.account.clone(),
        row.currency.clone(),
        row.balance.to_string(),
        row.held.to_string()
    );
    each!(
        connection,
        write,
        &write.accounts,
        "UPDATE account SET balance = ?4, held = ?5 WHERE tenant_id = ?1 AND account = ?2 AND currency = ?3",
        |row| row.account.clone(),
        row.currency.clone(),
        row.balance.to_string(),
        row.held.to_string()
    );
    for row in &write.records {
        sqlx::query("DELETE FROM record WHERE tenant_id = ? AND kind = ? AND name = ?")
            .bind(write.tenant.as_str().to_owned())
            .bind(row.kind.clone())
            .bind(row.name.clone())
            .execute(&mut *connection)
            .await?;
    }
    each!(
        connection,
        write,
        write.records.iter().filter(|row| row.body.is_some()),
        "INSERT INTO record (tenant_id, kind, name, body) VALUES (?, ?, ?, ?)",
        |row| row.kind.clone(),
        row.name.clone(),
        row.body.clone()
    );
    each!(
        connection,
        write,
        &write.records,
        "INSERT INTO change (tenant_id, kind, name, version, at, body) VALUES (?, ?, ?, ?, ?, ?)",
        |row| row.kind.clone(),
        row.name.clone(),
        version,
        at,
        row.body.clone()
    );
    Ok(())
}

/// What opens and ends.
async fn reservations(connection: &mut SqliteConnection, write: &Write) -> Result<(), sqlx::Error> {
    let (version, at) = (write.leaves().version, write.next.at);
    each!(
        connection,
        write,
        &write.new_holds,
        "INSERT INTO hold (tenant_id, id, expires_at, body) VALUES (?1, ?2, ?3, ?4)",
        |row| row.id,
        row.expires_at,
        row.body.clone()
    );
    each!(
        connection,
        write,
        &write.holds,
        "UPDATE hold SET expires_at = ?3, body = ?4 WHERE tenant_id = ?1 AND id = ?2",
        |row| row.id,
        row.expires_at,
        row.body.clone()
    );
    for row in &write.closures {
        let tenant = || write.tenant.as_str().to_owned();
        if row.held {
            let gone = sqlx::query("DELETE FROM hold WHERE tenant_id = ? AND id = ?")
                .bind(tenant())
                .bind(row.id)
                .execute(&mut *connection)
                .await?;
            exactly_one(gone.rows_affected())?;
        }
        // What expired may still be settled; nothing else ends twice.
        let closed = sqlx::query(
            "INSERT INTO closure (tenant_id, id, version, how, at, body) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT DO UPDATE SET version = excluded.version, how = excluded.how, \
                 at = excluded.at, body = excluded.body \
             WHERE closure.how = 3 AND excluded.how = 1",
        )
        .bind(tenant())
        .bind(row.id)
        .bind(version)
        .bind(row.how.code())
        .bind(at)
        .bind(row.body.clone())
        .execute(&mut *connection)
        .await?;
        exactly_one(closed.rows_affected())?;
    }
    each!(
        connection,
        write,
        &write.runs,
        "INSERT INTO run (tenant_id, id, user_value, started_at, ended_at, body) VALUES (?, ?, ?, ?, ?, ?) \
         ON CONFLICT DO UPDATE SET ended_at = excluded.ended_at, body = excluded.body",
        |row| row.id,
        row.user.clone(),
        row.started_at,
        row.ended_at,
        row.body.clone()
    );
    Ok(())
}

/// What is appended, in the order of (version, ordinal).
async fn events(connection: &mut SqliteConnection, write: &Write) -> Result<(), sqlx::Error> {
    let (version, at) = (write.leaves().version, write.next.at);
    each!(
        connection,
        write,
        std::iter::once(write),
        "INSERT INTO batch (tenant_id, at, version, stamp, allowed, denied, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
        |row| at,
        version,
        row.next.stamp,
        serde_json::to_string(&row.allowed).unwrap_or_default(),
        serde_json::to_string(&row.denied).unwrap_or_default(),
        row.body.clone()
    );
    each!(
        connection,
        write,
        (0_i64..).zip(&write.usages),
        "INSERT INTO usage (tenant_id, at, id, version, ordinal, reservation, used_at, late, overshoot, body) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        |(ordinal, row)| at,
        row.id,
        version,
        ordinal,
        row.reservation,
        row.used_at,
        row.late,
        row.overshoot,
        row.body.clone()
    );
    each!(
        connection,
        write,
        (0_i64..).zip(&write.entries),
        "INSERT INTO entry (tenant_id, at, id, version, ordinal, usage_id, account, kind, amount, currency, body) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        |(ordinal, row)| at,
        row.id,
        version,
        ordinal,
        row.usage,
        row.account.clone(),
        row.kind.clone(),
        row.amount.to_string(),
        row.currency.clone(),
        row.body.clone()
    );
    each!(
        connection,
        write,
        &write.notices,
        "INSERT INTO notice (tenant_id, id, at, severity, body, over_at) VALUES (?, ?, ?, ?, ?, ?)",
        |row| row.id,
        at,
        row.severity.clone(),
        row.body.clone(),
        row.is_over.then_some(at)
    );
    for (id, is_over) in &write.turned {
        // It may be gone.
        sqlx::query("UPDATE notice SET over_at = ? WHERE tenant_id = ? AND id = ?")
            .bind(is_over.then_some(at))
            .bind(write.tenant.as_str().to_owned())
            .bind(*id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn exactly_one(rows: u64) -> Result<(), sqlx::Error> {
    if rows == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}
