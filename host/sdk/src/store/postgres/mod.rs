//! The store on Postgres: any number of hosts, one statement a commit.

mod access;
mod arrays;
mod carried;
mod erased;
mod found;
mod lists;
mod locked;
mod months;
mod notices;
mod pages;
mod registry;
mod rollups;
mod snapshot;
mod tenants;
mod writers;

use std::collections::HashSet;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool, Postgres, Row};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::erased::{ChangeKey, ChangeRow, Rewritten};
use super::rows::{
    BatchKey, BatchRow, Carry, Found, Need, Place, RollUp, RollUpRow, RunRow, Write,
};
use super::{
    Clock, ContextRow, Month, Past, RunQuery, Store, StoreError, Tenant, Written, migrator,
};
use arrays::Writes;
use locked::PostgresLocked;
use snapshot::PostgresSnapshot;
use writers::Writers;

const WRITE: &str = include_str!("write.sql");

/// On a connection on which no answer comes for so long none will come. Locks are waited for a
/// second at most.
const ANSWERED: Duration = Duration::from_secs(3);

/// How long after it was sent a write whose answer was lost is asked after: callers are told before
/// they would hear that it is under way yet.
const SETTLING: Duration = Duration::from_secs(10);
const SETTLING_STEP: Duration = Duration::from_millis(50);

/// Whether a database may be used that could lose what it acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// No.
    #[default]
    Required,
    /// Yes: for measuring, or where losing is no loss.
    Waived,
}

/// The store on Postgres.
#[derive(Clone)]
pub struct PostgresStore {
    pool: PgPool,
    writers: Arc<Writers>,
    clock: Option<Clock>,
    /// Whether no statement touches two tenants.
    apart: bool,
    /// Whether it listens to what is bound.
    listens: bool,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// What each connection is told first. Statements that decide reach all they touch by keys, and
    /// must do so however few rows a generic plan expects; they are planned once.
    pub const SESSION: &str = "SET enable_seqscan = off; SET client_min_messages = error; SET lock_timeout = '1s'; \
                               SET plan_cache_mode = force_generic_plan; \
                               SET idle_in_transaction_session_timeout = '1s'";

    /// Connects, checks that the database keeps what it acknowledges, and brings its tables up to
    /// date. A quarter of the connections is kept for writing.
    pub async fn connect(
        options: PgConnectOptions,
        connections: u32,
        durability: Durability,
    ) -> Result<Self, StoreError> {
        let writers = connections / 4;
        let pool = PgPoolOptions::new()
            .max_connections(connections - writers)
            .acquire_timeout(Duration::from_secs(1))
            // sqlx 0.9.0 can hand out a connection that was left inside a transaction; what is
            // written on it looks committed and is not.
            .test_before_acquire(false)
            .before_acquire(|connection, _| {
                Box::pin(async move {
                    connection.execute("ROLLBACK").await?;
                    Ok(true)
                })
            })
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(Self::SESSION).await?;
                    Ok(())
                })
            })
            // sqlx waits here for what was not answered yet, and would do so for ever.
            .after_release(|connection, _| {
                Box::pin(async move { in_time(connection.ping()).await.map(|()| true) })
            })
            .connect_with(options.clone())
            .await
            .map_err(|error| unwritten(&error))?;
        if durability == Durability::Required {
            check_durability(&pool).await?;
        }
        // Whoever finds another host at it waits for as long as that takes, in a session without
        // the time limits of those that decide.
        let mut session = options.connect().await.map_err(|error| unwritten(&error))?;
        migrator(&[
            ("ledger", include_str!("0001_ledger.sql")),
            ("registry", include_str!("0002_registry.sql")),
            ("access", include_str!("0003_access.sql")),
            ("readers", include_str!("0004_readers.sql")),
            ("notices", include_str!("0005_notices.sql")),
            ("active runs", include_str!("0006_active_runs.sql")),
            ("signatures", include_str!("0007_signatures.sql")),
            ("rotated tokens", include_str!("0008_rotated_tokens.sql")),
        ])
        .run(&mut session)
        .await
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let _ = session.close().await;
        let writers = Arc::new(Writers::new(options, writers));
        Ok(Self { pool, writers, clock: None, apart: false, listens: true })
    }

    /// Goes by another clock than the database's: to simulate.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Has no statement touch two tenants: for a database whose tables are distributed by them, and
    /// which may not write to several of its parts in one statement. Slower with many tenants.
    #[must_use]
    pub fn one_tenant_a_statement(self) -> Self {
        Self { apart: true, ..self }
    }

    /// Listens to nothing: for a connection pooler in between that cannot. What is bound is found by
    /// asking.
    #[must_use]
    pub fn without_listening(self) -> Self {
        Self { listens: false, ..self }
    }

    /// For so many tenants something is written at once that is no batch.
    fn at_once(&self) -> usize {
        if self.apart { 1 } else { 512 }
    }

    /// Waits for all, some of them at a time; the answers are in the order of what was asked.
    async fn some_at_a_time<A>(&self, asked: Vec<impl Future<Output = A>>) -> Vec<A> {
        // Others need connections as well.
        let lanes = self.pool.options().get_max_connections().div_ceil(2).max(1);
        stream::iter(asked).buffered(usize::try_from(lanes).unwrap_or(1)).collect().await
    }

    async fn read_on(
        &self,
        connection: &mut PgConnection,
        needs: &[Need],
    ) -> Result<Vec<Found>, StoreError> {
        let mut found = found::read(connection, needs).await?;
        if let Some(clock) = &self.clock {
            found.iter_mut().for_each(|found| found.now = clock());
        }
        Ok(found)
    }

    async fn read_some(&self, needs: &[Need]) -> Result<Vec<Found>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(|error| unwritten(&error))?;
        self.read_on(&mut connection, needs).await
    }

    /// Hands a connection back in the middle of a transaction, as a cancelled caller does to it.
    #[doc(hidden)]
    pub async fn leave_in_transaction(&self) {
        if let Ok(mut connection) = self.pool.acquire().await {
            let _ = connection.execute("BEGIN").await;
        }
    }

    /// Which of the writes were committed, by their place; an error means that none was, or that
    /// nobody knows.
    async fn attempt<'c>(
        &self,
        connection: impl Executor<'c, Database = Postgres>,
        writes: &[Write],
    ) -> Result<HashSet<usize>, sqlx::Error> {
        let write = Writes::of(writes).bind(sqlx::query(WRITE)).bind(self.clock.is_none());
        let row = in_time(write.fetch_one(connection)).await?;
        let places: Vec<i64> = row.try_get("places")?;
        Ok(places.into_iter().filter_map(|place| usize::try_from(place - 1).ok()).collect())
    }

    /// On a connection for writes, or else on any. The outer error: there was none, and nothing was sent.
    async fn attempt_somewhere(
        &self,
        writes: &[Write],
    ) -> Result<Result<HashSet<usize>, sqlx::Error>, sqlx::Error> {
        if let Some(mut writer) = self.writers.take().await? {
            let attempted = self.attempt(&mut writer.connection, writes).await;
            if attempted.is_ok() {
                writer.put_back();
            }
            return Ok(attempted);
        }
        let mut connection = self.pool.acquire().await?;
        Ok(self.attempt(&mut *connection, writes).await)
    }

    /// Writes in one statement; where that fails as a whole, one by one.
    async fn write_all(&self, writes: &[Write]) -> Vec<Result<Written, StoreError>> {
        let deadline = settling();
        let error = match self.attempt_somewhere(writes).await {
            Err(error) => return writes.iter().map(|_| Err(unwritten(&error))).collect(),
            Ok(Ok(places)) => {
                let written = |place| match places.contains(&place) {
                    true => Written::Committed,
                    false => Written::Missed,
                };
                return (0..writes.len()).map(|place| Ok(written(place))).collect();
            }
            Ok(Err(error)) => failed(&error),
        };
        let lost = matches!(error, StoreError::Lost(_));
        // One by one, so that one that is refused harms no other.
        let mut results = Vec::with_capacity(writes.len());
        for write in writes {
            results.push(match &error {
                // The callers of all of them have waited together.
                error if lost && tokio::time::Instant::now() >= deadline => Err(error.clone()),
                _ => self.again(write, lost, deadline).await,
            });
        }
        results
    }

    /// Writes once more what failed, or whose answer was `lost`: until the deadline it asks until
    /// it is told. The first try may still be running, so that only who holds the head's lock can
    /// tell what became of it.
    fn again<'a>(
        &'a self,
        write: &'a Write,
        mut lost: bool,
        deadline: tokio::time::Instant,
    ) -> Pin<Box<dyn Future<Output = Result<Written, StoreError>> + Send + 'a>> {
        Box::pin(async move {
            loop {
                let result = self.settle(write).await;
                lost |= matches!(result, Err(StoreError::Lost(_)));
                match result {
                    Err(StoreError::Lost(_) | StoreError::Unavailable(_))
                        if lost && tokio::time::Instant::now() < deadline =>
                    {
                        tokio::time::sleep(SETTLING_STEP).await;
                    }
                    Err(StoreError::Unavailable(words)) if lost => {
                        return Err(StoreError::Lost(words));
                    }
                    result => return result,
                }
            }
        })
    }

    async fn settle(&self, write: &Write) -> Result<Written, StoreError> {
        let mut locked = self.lock(&write.tenant).await?;
        if locked.stands(write).await? {
            return Ok(Written::Committed);
        }
        locked.write_once(write).await
    }
}

impl Store for PostgresStore {
    type Locked<'a> = PostgresLocked<'a>;
    type Snapshot<'a> = PostgresSnapshot<'a>;

    async fn create(&self, tenants: &[Tenant]) -> Result<(), StoreError> {
        for some in tenants.chunks(self.at_once()) {
            asked(tenants::create(&self.pool, some)).await?;
        }
        Ok(())
    }

    async fn keep_contexts(&self, contexts: &[ContextRow]) -> Result<(), StoreError> {
        for some in contexts.chunks(self.at_once()) {
            asked(tenants::keep_contexts(&self.pool, some)).await?;
        }
        Ok(())
    }

    async fn context(&self, tenant: &Tenant, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        asked(tenants::context(&self.pool, tenant, name)).await
    }

    async fn read(&self, needs: &[Need]) -> Result<Vec<Found>, StoreError> {
        if !self.apart {
            return self.read_some(needs).await;
        }
        let one = |need| self.read_some(need);
        let found = self.some_at_a_time(needs.chunks(1).map(one).collect()).await;
        Ok(found.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
    }

    async fn write(&self, writes: &[Write]) -> Vec<Result<Written, StoreError>> {
        if !self.apart {
            return self.write_all(writes).await;
        }
        let one = |write| self.write_all(write);
        self.some_at_a_time(writes.chunks(1).map(one).collect()).await.concat()
    }

    async fn lock(&self, tenant: &Tenant) -> Result<PostgresLocked<'_>, StoreError> {
        PostgresLocked::take(self, tenant).await
    }

    async fn snapshot(&self) -> Result<PostgresSnapshot<'_>, StoreError> {
        PostgresSnapshot::take(self).await
    }

    async fn batches(
        &self,
        tenant: &Tenant,
        after: BatchKey,
        limit: u32,
    ) -> Result<Vec<BatchRow>, StoreError> {
        asked(lists::batches(&self.pool, tenant, after, limit)).await
    }

    async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        asked(lists::tenants(&self.pool)).await
    }

    async fn runs(&self, tenant: &Tenant, query: &RunQuery) -> Result<Vec<RunRow>, StoreError> {
        asked(lists::runs(&self.pool, tenant, query)).await
    }

    async fn active_runs(&self, tenant: &Tenant, user: Option<&str>) -> Result<u64, StoreError> {
        asked(lists::active_runs(&self.pool, tenant, user)).await
    }

    async fn rolled_up(&self, tenant: &Tenant) -> Result<Option<Place>, StoreError> {
        asked(rollups::rolled_up(&self.pool, tenant)).await
    }

    async fn roll_up(&self, rollup: &RollUp) -> Result<bool, StoreError> {
        asked(rollups::roll_up(&self.pool, rollup)).await
    }

    async fn rollups(
        &self,
        tenant: &Tenant,
        grouping: &str,
        values: Option<&str>,
        grain_ms: i64,
        began: Range<Instant>,
    ) -> Result<Vec<RollUpRow>, StoreError> {
        asked(rollups::rollups(&self.pool, tenant, grouping, values, grain_ms, began)).await
    }

    async fn overdue(&self, tenants: &[Tenant]) -> Result<Vec<Tenant>, StoreError> {
        let now = self.clock.as_ref().map(|clock| clock());
        let overdue = |tenants| in_time(lists::overdue(&self.pool, tenants, now));
        let overdue = match self.apart {
            true => self.some_at_a_time(tenants.chunks(1).map(overdue).collect()).await,
            false => vec![overdue(tenants).await],
        };
        let overdue = overdue.into_iter().collect::<Result<Vec<_>, _>>();
        Ok(overdue.map_err(|error| unwritten(&error))?.concat())
    }

    async fn now(&self) -> Result<Instant, StoreError> {
        match &self.clock {
            Some(clock) => Ok(clock()),
            None => asked(lists::now(&self.pool)).await,
        }
    }

    async fn carry(&self, carry: &Carry) -> Result<bool, StoreError> {
        asked(carried::carry(&self.pool, carry)).await
    }

    async fn make_months(&self, months: &[Month]) -> Result<(), StoreError> {
        months::make(&self.pool, months).await.map_err(|error| unwritten(&error))
    }

    async fn months(&self, past: Past) -> Result<Vec<Month>, StoreError> {
        asked(months::list(&self.pool, past)).await
    }

    async fn drop_month(&self, past: Past, month: Month) -> Result<(), StoreError> {
        months::drop(&self.pool, past, month).await.map_err(|error| unwritten(&error))
    }

    async fn forget(
        &self,
        tenant: &Tenant,
        past: Past,
        gone: Range<Instant>,
        limit: u32,
    ) -> Result<bool, StoreError> {
        asked(months::forget(&self.pool, tenant, past, gone, limit)).await
    }

    async fn expired(
        &self,
        tenant: &Tenant,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<(Uuid, Vec<u8>)>, StoreError> {
        asked(erased::expired(&self.pool, tenant, after, limit)).await
    }

    async fn changes(
        &self,
        tenant: &Tenant,
        after: &ChangeKey,
        limit: u32,
    ) -> Result<Vec<ChangeRow>, StoreError> {
        asked(erased::changes(&self.pool, tenant, after, limit)).await
    }

    async fn rewrite(&self, tenant: &Tenant, rewritten: &Rewritten) -> Result<(), StoreError> {
        asked(erased::rewrite(&self.pool, tenant, rewritten)).await
    }

    async fn rename_rollups(
        &self,
        tenant: &Tenant,
        erasure: &str,
        grouping: &str,
        values: &str,
        new: &str,
    ) -> Result<(), StoreError> {
        asked(erased::rename_rollups(&self.pool, tenant, erasure, grouping, values, new)).await
    }
}

/// What comes within the time in which an answer may.
async fn in_time<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let silent = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
    tokio::time::timeout(ANSWERED, answer).await.unwrap_or_else(silent)
}

/// The same, where nothing is written.
async fn asked<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    in_time(answer).await.map_err(|error| unwritten(&error))
}

/// Until when a write that is sent now is asked after, should its answer be lost.
fn settling() -> tokio::time::Instant {
    tokio::time::Instant::now() + SETTLING
}

/// Of what failed before anything was written.
fn unwritten(error: &sqlx::Error) -> StoreError {
    match failed(error) {
        StoreError::Lost(words) => StoreError::Unavailable(words),
        error => error,
    }
}

fn failed(error: &sqlx::Error) -> StoreError {
    let words = error.to_string();
    let Some(answer) = error.as_database_error() else {
        return match error {
            sqlx::Error::PoolTimedOut => StoreError::Unavailable(words),
            _ => StoreError::Lost(words),
        };
    };
    let code = answer.code().unwrap_or_default();
    let is_of = |classes: &[&str]| classes.iter().any(|class| code.starts_with(class));
    if is_of(&["21", "22", "23", "42", "54"]) {
        // Data, integrity, syntax, size: the same again would end the same.
        StoreError::Refused(words)
    } else if is_of(&["08", "57", "25P03", "25P04"]) {
        // An operator's doing, or time was up: the session may have ended in the middle of its commit.
        StoreError::Lost(words)
    } else {
        StoreError::Unavailable(words)
    }
}

async fn check_durability(pool: &PgPool) -> Result<(), StoreError> {
    let off: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM pg_settings \
         WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off' ORDER BY name",
    )
    .fetch_all(pool)
    .await
    .map_err(|error| unwritten(&error))?;
    if off.is_empty() {
        Ok(())
    } else {
        Err(StoreError::NotDurable(format!("`{}`", off.join("`, `"))))
    }
}
