//! Connections that do nothing but write batches. A pool asks a connection three things each time it
//! lends it, and lends the one that rested longest, whose server process has all to fetch anew; here
//! the one that wrote last writes next. None is ever inside a transaction: a batch is one statement, and
//! a connection comes back only once that has succeeded.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::PostgresStore;

/// Under load one write follows the other: a connection that wrote so short a time ago is not asked
/// whether it is still there. Where it is lost just then, so may have been the write before.
const FRESH: Duration = Duration::from_millis(5);

/// How long it may take until there is one.
const LENT: Duration = Duration::from_secs(1);

pub struct Writers {
    options: PgConnectOptions,
    places: Semaphore,
    /// Those that wrote last are at the end.
    free: Mutex<Vec<(PgConnection, Instant)>>,
}

/// One that is lent.
pub struct Writer<'a> {
    pub connection: PgConnection,
    of: &'a Writers,
    _place: SemaphorePermit<'a>,
}

impl Writers {
    /// So many at the most.
    pub fn new(options: PgConnectOptions, most: u32) -> Self {
        let places = Semaphore::new(usize::try_from(most).unwrap_or(0));
        Self { options, places, free: Mutex::default() }
    }

    /// None: all of them write.
    pub async fn take(&self) -> Result<Option<Writer<'_>>, sqlx::Error> {
        let Ok(place) = self.places.try_acquire() else { return Ok(None) };
        let connection = timeout(LENT, self.connection()).await;
        let connection = connection.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        Ok(Some(Writer { connection, of: self, _place: place }))
    }

    async fn connection(&self) -> Result<PgConnection, sqlx::Error> {
        loop {
            let Some((mut connection, wrote_at)) = self.free().pop() else { break };
            if wrote_at.elapsed() < FRESH || connection.ping().await.is_ok() {
                return Ok(connection);
            }
        }
        let mut connection = self.options.connect().await?;
        connection.execute(PostgresStore::SESSION).await?;
        Ok(connection)
    }

    fn free(&self) -> MutexGuard<'_, Vec<(PgConnection, Instant)>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer<'_> {
    /// It has written.
    pub fn put_back(self) {
        self.of.free().push((self.connection, Instant::now()));
    }
}
