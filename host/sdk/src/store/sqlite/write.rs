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

async fn rows(connection: &mut SqliteConnection, write: &Write) -> Result<Written, sqlx::Error> {
    let tenant = || write.tenant.as_str().to_owned();
    let (version, at) = (write.next.version, write.next.at);
    let moved = sqlx::query(
        "UPDATE head SET version = ?, stamp = ?, at = ? WHERE tenant_id = ? AND version = ? AND stamp = ?",
    )
    .bind(version)
    .bind(write.next.stamp)
    .bind(at)
    .bind(tenant())
    .bind(write.expected.version)
    .bind(write.expected.stamp)
    .execute(&mut *connection)
    .await?;
    if moved.rows_affected() == 0 {
        return Ok(Written::Missed);
    }
    sqlx::query("INSERT INTO batch (tenant_id, version, stamp, at) VALUES (?, ?, ?, ?)")
        .bind(tenant())
        .bind(version)
        .bind(write.next.stamp)
        .bind(at)
        .execute(&mut *connection)
        .await?;
    for row in &write.counters {
        sqlx::query(
            "INSERT INTO counter (tenant_id, counter, dimension_values, opened, used, held) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT DO UPDATE SET used = excluded.used, held = excluded.held",
        )
        .bind(tenant())
        .bind(row.counter)
        .bind(row.values.clone())
        .bind(row.opened)
        .bind(row.total.used.to_string())
        .bind(row.total.held.to_string())
        .execute(&mut *connection)
        .await?;
    }
    for row in &write.holds {
        sqlx::query("INSERT INTO hold (tenant_id, id, expires_at, body) VALUES (?, ?, ?, ?)")
            .bind(tenant())
            .bind(row.id)
            .bind(row.expires_at)
            .bind(row.body.clone())
            .execute(&mut *connection)
            .await?;
    }
    for row in &write.closures {
        if row.held {
            let gone = sqlx::query("DELETE FROM hold WHERE tenant_id = ? AND id = ?")
                .bind(tenant())
                .bind(row.id)
                .execute(&mut *connection)
                .await?;
            if gone.rows_affected() != 1 {
                return Err(sqlx::Error::RowNotFound);
            }
        }
        sqlx::query(
            "INSERT INTO closure (tenant_id, id, version, how, body) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(tenant())
        .bind(row.id)
        .bind(version)
        .bind(row.how.code())
        .bind(row.body.clone())
        .execute(&mut *connection)
        .await?;
    }
    for row in &write.keys {
        sqlx::query(
            "INSERT INTO idempotency (tenant_id, operation, key, hash, answer, at) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant())
        .bind(row.operation.clone())
        .bind(row.key.clone())
        .bind(row.hash.to_vec())
        .bind(row.answer.clone())
        .bind(at)
        .execute(&mut *connection)
        .await?;
    }
    for row in &write.records {
        let statement = match &row.body {
            Some(body) => sqlx::query(
                "INSERT INTO record (tenant_id, kind, name, body) VALUES (?, ?, ?, ?) \
                 ON CONFLICT DO UPDATE SET body = excluded.body",
            )
            .bind(tenant())
            .bind(row.kind.clone())
            .bind(row.name.clone())
            .bind(body.clone()),
            None => sqlx::query("DELETE FROM record WHERE tenant_id = ? AND kind = ? AND name = ?")
                .bind(tenant())
                .bind(row.kind.clone())
                .bind(row.name.clone()),
        };
        statement.execute(&mut *connection).await?;
    }
    events(connection, write).await?;
    Ok(Written::Committed)
}

/// What is appended, in the order of (version, ordinal).
async fn events(connection: &mut SqliteConnection, write: &Write) -> Result<(), sqlx::Error> {
    let tenant = || write.tenant.as_str().to_owned();
    let (version, at) = (write.next.version, write.next.at);
    for (ordinal, row) in (0_i64..).zip(&write.decisions) {
        sqlx::query(
            "INSERT INTO decision (tenant_id, version, ordinal, at, id, allowed, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant())
        .bind(version)
        .bind(ordinal)
        .bind(at)
        .bind(row.id)
        .bind(row.allowed)
        .bind(row.body.clone())
        .execute(&mut *connection)
        .await?;
    }
    for (ordinal, row) in (0_i64..).zip(&write.usages) {
        sqlx::query(
            "INSERT INTO usage (tenant_id, version, ordinal, at, id, used_at, late, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant())
        .bind(version)
        .bind(ordinal)
        .bind(at)
        .bind(row.id)
        .bind(row.used_at)
        .bind(row.late)
        .bind(row.body.clone())
        .execute(&mut *connection)
        .await?;
    }
    for (ordinal, row) in (0_i64..).zip(&write.entries) {
        sqlx::query(
            "INSERT INTO entry (tenant_id, version, ordinal, at, id, account, kind, amount, currency, body) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(tenant())
        .bind(version)
        .bind(ordinal)
        .bind(at)
        .bind(row.id)
        .bind(row.account.clone())
        .bind(row.kind.clone())
        .bind(row.amount.to_string())
        .bind(row.currency.clone())
        .bind(row.body.clone())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
