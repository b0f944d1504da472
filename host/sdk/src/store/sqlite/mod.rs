//! The store in one file, for one host: the same tables and the same protocol as on Postgres.

mod write;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Connection, Row, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::Instant;

use super::postgres::Durability;
use super::rows::{
    Closure, CounterRow, Found, Head, HoldRow, HoldState, KeyRow, Need, RecordRow, Tenant, Total,
    Write,
};
use super::{Locked, Store, StoreError, Written, migrator};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The store in one file.
#[derive(Clone)]
pub struct SqliteStore {
    /// Of one connection: there is one writer, and what it writes is short.
    pool: SqlitePool,
    clock: Clock,
}

impl SqliteStore {
    /// Opens a file, and makes it where it is not there yet.
    pub async fn open(
        path: &Path,
        durability: Durability,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let synchronous = match durability {
            Durability::Required => SqliteSynchronous::Full,
            Durability::Waived => SqliteSynchronous::Off,
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .busy_timeout(Duration::from_secs(1));
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            // A transaction that SQLite ended by itself is one that sqlx still counts, and in
            // which it would not begin another: such a connection has served its time.
            .before_acquire(|connection, _| {
                Box::pin(async move { Ok(!connection.is_in_transaction()) })
            })
            .connect_with(options)
            .await
            .map_err(|error| failed(&error))?;
        migrator(&[("ledger", include_str!("0001_ledger.sql"))])
            .run(&pool)
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { pool, clock })
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(|error| failed(&error))
    }
}

impl Store for SqliteStore {
    type Locked<'a> = SqliteLocked<'a>;

    async fn create(&self, tenant: &Tenant) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO head (tenant_id, version, stamp, at) VALUES (?, 0, 0, 0) ON CONFLICT DO NOTHING",
        )
        .bind(tenant.as_str().to_owned())
        .execute(&self.pool)
        .await
        .map_err(|error| failed(&error))?;
        Ok(())
    }

    async fn read(&self, needs: &[Need]) -> Result<Vec<Found>, StoreError> {
        let mut transaction = self.begin().await?;
        let mut found = Vec::with_capacity(needs.len());
        for need in needs {
            found.push(read(&mut transaction, need, (self.clock)()).await?);
        }
        Ok(found)
    }

    async fn write(&self, writes: &[Write]) -> Vec<Result<Written, StoreError>> {
        let mut results = Vec::with_capacity(writes.len());
        let mut transaction = match self.begin().await {
            Ok(transaction) => transaction,
            Err(error) => return writes.iter().map(|_| Err(error.clone())).collect(),
        };
        for write in writes {
            match write::in_savepoint(&mut transaction, write).await {
                Ok(result) => results.push(result),
                Err(error) => return writes.iter().map(|_| Err(error.clone())).collect(),
            }
        }
        match transaction.commit().await {
            Ok(()) => results,
            Err(error) => writes.iter().map(|_| Err(failed(&error))).collect(),
        }
    }

    async fn lock(&self, tenant: &Tenant) -> Result<SqliteLocked<'_>, StoreError> {
        let mut transaction = self.begin().await?;
        read(&mut transaction, &Need::head(tenant.clone()), 0).await?;
        Ok(SqliteLocked { store: self, transaction })
    }
}

/// The file itself, locked.
pub struct SqliteLocked<'a> {
    store: &'a SqliteStore,
    transaction: Transaction<'static, Sqlite>,
}

impl Locked for SqliteLocked<'_> {
    async fn read(&mut self, need: &Need) -> Result<Found, StoreError> {
        read(&mut self.transaction, need, (self.store.clock)()).await
    }

    async fn write(self, write: &Write) -> Result<Written, StoreError> {
        let mut transaction = self.transaction;
        let written = write::in_savepoint(&mut transaction, write).await??;
        transaction.commit().await.map_err(|error| failed(&error))?;
        Ok(written)
    }
}

async fn read(
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
    let mut found = Found {
        head,
        now,
        counters: Vec::new(),
        holds: Vec::new(),
        keys: Vec::new(),
        records: Vec::new(),
    };
    for since in &need.counters {
        let rows = sqlx::query(
            "SELECT opened, used, held FROM counter \
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
                total: Total { used: amount(&row, 1)?, held: amount(&row, 2)? },
            });
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
    if need.records {
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

fn amount(row: &SqliteRow, column: usize) -> Result<Decimal, sqlx::Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn failed(error: &sqlx::Error) -> StoreError {
    let refused = error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation() || error.is_check_violation());
    let words = error.to_string();
    if refused { StoreError::Refused(words) } else { StoreError::Unavailable(words) }
}
