//! The store in one file, for one host: the same tables and the same protocol as on Postgres.

mod access;
mod carried;
mod erased;
mod forget;
mod found;
mod lists;
mod notices;
mod pages;
mod registry;
mod rollups;
mod snapshot;
mod tenants;
mod write;

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::erased::{ChangeKey, ChangeRow, Renamed, Rewritten};
use super::postgres::Durability;
use super::rows::{
    BatchKey, BatchRow, Carry, Found, Need, Place, RollUp, RollUpRow, RunRow, Write,
};
use super::{
    Clock, ContextRow, Locked, Month, Past, RunQuery, Store, StoreError, Tenant, Written, migrator,
};
use found::read;
use snapshot::SqliteSnapshot;

/// How long a file that another process holds is waited for. Callers wait for at most a second, and
/// something else of this process may have waited before them.
const BUSY: Duration = Duration::from_millis(400);

/// The store in one file.
#[derive(Clone)]
pub struct SqliteStore {
    /// Of one connection: there is one writer, and what it writes is short.
    pool: SqlitePool,
    /// For lists, which may be read while a batch is judged under the lock.
    readers: SqlitePool,
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
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .test_before_acquire(false)
            .before_acquire(|connection, _| outside(connection))
            .connect_with(options.clone())
            .await
            .map_err(|error| failed(&error))?;
        migrator(&[
            ("ledger", include_str!("0001_ledger.sql")),
            ("registry", include_str!("0002_registry.sql")),
            ("access", include_str!("0003_access.sql")),
            ("notices", include_str!("0004_notices.sql")),
            ("active runs", include_str!("0005_active_runs.sql")),
            ("signatures", include_str!("0006_signatures.sql")),
            ("rotated tokens", include_str!("0007_rotated_tokens.sql")),
        ])
        .run(&pool)
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .test_before_acquire(false)
            .before_acquire(|connection, _| outside(connection))
            .connect_lazy_with(options.read_only(true));
        Ok(Self { pool, readers, clock })
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(|error| failed(&error))
    }
}

impl Store for SqliteStore {
    type Locked<'a> = SqliteLocked<'a>;
    type Snapshot<'a> = SqliteSnapshot<'a>;

    async fn create(&self, tenants: &[Tenant]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        tenants::create(&mut transaction, tenants).await.map_err(|error| failed(&error))?;
        transaction.commit().await.map_err(|error| failed(&error))
    }

    async fn keep_contexts(&self, contexts: &[ContextRow]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        tenants::keep_contexts(&mut transaction, contexts).await.map_err(|error| failed(&error))?;
        transaction.commit().await.map_err(|error| failed(&error))
    }

    async fn context(&self, tenant: &Tenant, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        tenants::context(&self.readers, tenant, name).await.map_err(|error| failed(&error))
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

    async fn snapshot(&self) -> Result<SqliteSnapshot<'_>, StoreError> {
        SqliteSnapshot::take(self).await
    }

    async fn batches(
        &self,
        tenant: &Tenant,
        after: BatchKey,
        limit: u32,
    ) -> Result<Vec<BatchRow>, StoreError> {
        lists::batches(&self.readers, tenant, after, limit).await.map_err(|error| failed(&error))
    }

    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        lists::tenants(&self.readers).await.map_err(|error| failed(&error))
    }

    async fn runs(&self, tenant: &Tenant, query: &RunQuery) -> Result<Vec<RunRow>, StoreError> {
        lists::runs(&self.readers, tenant, query).await.map_err(|error| failed(&error))
    }

    async fn active_runs(&self, tenant: &Tenant, user: Option<&str>) -> Result<u64, StoreError> {
        let active = lists::active_runs(&self.readers, tenant, user).await;
        active.map_err(|error| failed(&error))
    }

    async fn rolled_up(&self, tenant: &Tenant) -> Result<Option<Place>, StoreError> {
        rollups::rolled_up(&self.readers, tenant).await.map_err(|error| failed(&error))
    }

    async fn roll_up(&self, rollup: &RollUp) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        rollups::roll_up(transaction, rollup).await.map_err(|error| failed(&error))
    }

    async fn rollups(
        &self,
        tenant: &Tenant,
        grouping: &str,
        values: Option<&str>,
        grain_ms: i64,
        began: Range<Instant>,
    ) -> Result<Vec<RollUpRow>, StoreError> {
        rollups::rollups(&self.readers, tenant, grouping, values, grain_ms, began)
            .await
            .map_err(|error| failed(&error))
    }

    async fn overdue(&self, tenants: &[Tenant]) -> Result<Vec<Tenant>, StoreError> {
        let now = (self.clock)();
        lists::overdue(&self.readers, tenants, now).await.map_err(|error| failed(&error))
    }

    async fn now(&self) -> Result<Instant, StoreError> {
        Ok((self.clock)())
    }

    async fn carry(&self, carry: &Carry) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        carried::carry(transaction, carry).await.map_err(|error| failed(&error))
    }

    /// A file is not divided.
    async fn make_months(&self, _: &[Month]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn months(&self, _: Past) -> Result<Vec<Month>, StoreError> {
        Ok(Vec::new())
    }

    async fn drop_month(&self, _: Past, _: Month) -> Result<(), StoreError> {
        Ok(())
    }

    async fn forget(
        &self,
        tenant: &Tenant,
        past: Past,
        gone: Range<Instant>,
        limit: u32,
    ) -> Result<bool, StoreError> {
        forget::forget(&self.pool, tenant, past, gone, limit).await.map_err(|error| failed(&error))
    }

    async fn expired(
        &self,
        tenant: &Tenant,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<(Uuid, Vec<u8>)>, StoreError> {
        erased::expired(&self.readers, tenant, after, limit).await.map_err(|error| failed(&error))
    }

    async fn changes(
        &self,
        tenant: &Tenant,
        after: &ChangeKey,
        limit: u32,
    ) -> Result<Vec<ChangeRow>, StoreError> {
        erased::changes(&self.readers, tenant, after, limit).await.map_err(|error| failed(&error))
    }

    async fn rewrite(&self, tenant: &Tenant, rewritten: &Rewritten) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        erased::rewrite(transaction, tenant, rewritten).await.map_err(|error| failed(&error))
    }

    async fn rename_rollups(
        &self,
        tenant: &Tenant,
        erasure: &str,
        grouping: &str,
        values: &str,
        new: &str,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        erased::rename_rollups(transaction, tenant, erasure, grouping, values, new)
            .await
            .map_err(|error| failed(&error))
    }
}

/// The file itself, locked.
pub struct SqliteLocked<'a> {
    store: &'a SqliteStore,
    transaction: Transaction<'static, Sqlite>,
}

impl Locked for SqliteLocked<'_> {
    async fn patient(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn read(&mut self, need: &Need) -> Result<Found, StoreError> {
        read(&mut self.transaction, need, (self.store.clock)()).await
    }

    async fn write(self, write: &Write) -> Result<Written, StoreError> {
        let mut transaction = self.transaction;
        let written = write::in_savepoint(&mut transaction, write).await??;
        transaction.commit().await.map_err(|error| failed(&error))?;
        Ok(written)
    }

    async fn rename(self, renamed: &Renamed, write: &Write) -> Result<Written, StoreError> {
        let mut transaction = self.transaction;
        let done = erased::rename(&mut transaction, &write.tenant, renamed).await;
        done.map_err(|error| failed(&error))?;
        Self { transaction, ..self }.write(write).await
    }

    async fn release(self) {
        let _ = self.transaction.rollback().await;
    }
}

/// A transaction that SQLite ended by itself is one that sqlx still counts, and in which it would not
/// begin another: such a connection has served its time.
fn outside(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
    Box::pin(async move { Ok(!connection.is_in_transaction()) })
}

fn failed(error: &sqlx::Error) -> StoreError {
    let refused = error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation() || error.is_check_violation());
    let words = error.to_string();
    // What is to change and is not there will not be there the next time.
    if refused || matches!(error, sqlx::Error::RowNotFound) {
        StoreError::Refused(words)
    } else {
        StoreError::Unavailable(words)
    }
}
