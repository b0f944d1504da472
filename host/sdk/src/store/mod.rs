//! What is kept durably, and how it moves: whole batches, each of one tenant, each only where the
//! tenant's head still stands where the writer saw it. Knows no policies.

mod access;
mod erased;
mod month;
mod notices;
mod pages;
mod past;
mod postgres;
mod registry;
mod rows;
mod runs;
mod sqlite;
mod tenant;

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

pub use access::{AccessStore, AuditRow, OlderSecret, RotationRow, TokenRow};
pub use erased::{ChangeKey, ChangeRow, Renamed, Rewritten};
pub use month::Month;
pub use notices::{ChannelRow, DeliveryRow, DeliveryState, KeptNotice, NoticeStore, Portion};
pub use pages::{Pages, Snapshot};
pub use past::Past;
pub use postgres::{Durability, PostgresStore};
pub use registry::{
    Announcements, BindingSetRow, Owner, RegistryStore, RevisionId, RevisionRow, Scope, Signed,
};
pub use rows::{
    AccountRow, BatchKey, BatchRow, Carry, Closure, ClosureRow, CounterRow, DUE_MAX, EntryRow,
    Found, Head, HoldRow, HoldState, KeyRow, LatestKey, LatestRow, Need, NoticeRow, Place,
    RecordRow, RollUp, RollUpRow, RunRow, Since, Total, UsageRow, Write, first_id_of, instant_of,
};
pub use runs::RunQuery;
pub use sqlite::SqliteStore;
pub use tenant::{ContextRow, Tenant, TenantError};

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Why a store could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or is not able to do this just now. Nothing was written.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// Its answer was lost, and could not be had in the time that callers wait. A write may stand
    /// or not, and must not be acknowledged.
    #[error("the store was lost before it answered: {0}")]
    Lost(String),
    /// It refuses this write, and would refuse it again.
    #[error("the store refuses this: {0}")]
    Refused(String),
    /// There is no such tenant.
    #[error("there is no tenant `{0}`: create it first")]
    UnknownTenant(Tenant),
    /// It could lose what it acknowledges.
    #[error(
        "the database runs with {0} off, and could lose what it acknowledged: switch it on, or allow it expressly"
    )]
    NotDurable(String),
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It stands, and will after any crash.
    Committed,
    /// The head was elsewhere, or held by another writer, or a key was answered before. Nothing of it
    /// was written.
    Missed,
}

/// A store. Where the answer to a write is lost, it finds out under the head's lock what became of
/// it, for as long as callers can wait.
pub trait Store: Pages + NoticeStore + AccessStore + Send + Sync + 'static {
    /// A tenant's head, locked until it is written or dropped.
    type Locked<'a>: Locked
    where
        Self: 'a;

    /// All of it as of one instant.
    type Snapshot<'a>: Snapshot
    where
        Self: 'a;

    /// Creates tenants, or finds that they are there.
    fn create(&self, tenants: &[Tenant]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps what tenants are judged with. What is there stays.
    fn keep_contexts(
        &self,
        contexts: &[ContextRow],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What a tenant was judged with, by its name.
    fn context(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;

    /// What stands under each need, each as of one head.
    fn read(&self, needs: &[Need]) -> impl Future<Output = Result<Vec<Found>, StoreError>> + Send;

    /// Writes batches of different tenants, all in one go; where that fails as a whole, one by
    /// one. The answers are in the order of the writes.
    fn write(
        &self,
        writes: &[Write],
    ) -> impl Future<Output = Vec<Result<Written, StoreError>>> + Send;

    /// Takes a tenant's head, so that nobody else moves it until it is written.
    fn lock(
        &self,
        tenant: &Tenant,
    ) -> impl Future<Output = Result<Self::Locked<'_>, StoreError>> + Send;

    /// Keeps in view what stands now, whatever is written meanwhile.
    fn snapshot(&self) -> impl Future<Output = Result<Self::Snapshot<'_>, StoreError>> + Send;

    /// What was decided, batch by batch, after one of them: a page.
    fn batches(
        &self,
        tenant: &Tenant,
        after: BatchKey,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<BatchRow>, StoreError>> + Send;

    /// All tenants there are.
    fn tenants(&self) -> impl Future<Output = Result<Vec<Tenant>, StoreError>> + Send;

    /// A page of runs.
    fn runs(
        &self,
        tenant: &Tenant,
        query: &RunQuery,
    ) -> impl Future<Output = Result<Vec<RunRow>, StoreError>> + Send;

    /// How many runs are under way; of a user, or everybody's.
    fn active_runs(
        &self,
        tenant: &Tenant,
        user: Option<&str>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// To where a tenant's usage is rolled up; none: nothing is yet.
    fn rolled_up(
        &self,
        tenant: &Tenant,
    ) -> impl Future<Output = Result<Option<Place>, StoreError>> + Send;

    /// Adds to roll-ups what lies between two places, if they still end at the first; false: they
    /// do not. A sum that does not fit is told as the greatest amount.
    fn roll_up(&self, rollup: &RollUp) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Roll-ups of a grain and a grouping that began in a stretch of time; of some values, or all.
    fn rollups(
        &self,
        tenant: &Tenant,
        grouping: &str,
        values: Option<&str>,
        grain_ms: i64,
        began: Range<Instant>,
    ) -> impl Future<Output = Result<Vec<RollUpRow>, StoreError>> + Send;

    /// Those of these tenants that have a reservation whose time is over.
    fn overdue(
        &self,
        tenants: &[Tenant],
    ) -> impl Future<Output = Result<Vec<Tenant>, StoreError>> + Send;

    /// The store's clock.
    fn now(&self) -> impl Future<Output = Result<Instant, StoreError>> + Send;

    /// Carries forward, if what was carried still ends where it began; false: it does not.
    fn carry(&self, carry: &Carry) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Makes room for history of these months, where a store divides it. What cannot be made in a
    /// moment is left for another time.
    fn make_months(&self, months: &[Month]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The months of which this can be dropped whole.
    fn months(&self, past: Past) -> impl Future<Output = Result<Vec<Month>, StoreError>> + Send;

    /// Drops all of a month, of all tenants. What cannot be dropped in a moment is left for another
    /// time.
    fn drop_month(
        &self,
        past: Past,
        month: Month,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes a few rows of a stretch of time that are in no month that can be dropped whole.
    /// Whether there may be more.
    fn forget(
        &self,
        tenant: &Tenant,
        past: Past,
        gone: Range<Instant>,
        limit: u32,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Reservations whose time was over and that were not settled, in the order of their
    /// identifiers, after one of them, with what is kept of them: a page.
    fn expired(
        &self,
        tenant: &Tenant,
        after: Uuid,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Uuid, Vec<u8>)>, StoreError>> + Send;

    /// How records came to be what they are, in the order of their keys, after one of them: a page.
    fn changes(
        &self,
        tenant: &Tenant,
        after: &ChangeKey,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<ChangeRow>, StoreError>> + Send;

    /// Writes what happened anew, in other words. Not all of it may stand where this fails.
    fn rewrite(
        &self,
        tenant: &Tenant,
        rewritten: &Rewritten,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Adds the roll-ups of some values to those of others, and removes them, while a record `erasure`
    /// of this name stands.
    fn rename_rollups(
        &self,
        tenant: &Tenant,
        erasure: &str,
        grouping: &str,
        values: &str,
        new: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A locked head.
pub trait Locked: Send {
    /// Lets some seconds pass between two statements: for those who read much elsewhere meanwhile.
    fn patient(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What stands under a need, as of the locked head.
    fn read(&mut self, need: &Need) -> impl Future<Output = Result<Found, StoreError>> + Send;

    /// Writes and lets go.
    fn write(self, write: &Write) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// The same, with counters told of other values. Where the answer is lost it is not found out
    /// what became of it.
    fn rename(
        self,
        renamed: &Renamed,
        write: &Write,
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// Lets go. Dropped, it does so somewhat later.
    fn release(self) -> impl Future<Output = ()> + Send;
}

/// Versions are places in the list: a statement that was released is never changed. What a newer
/// host added only adds, so that an older one may start beside it while hosts are replaced.
fn migrator(statements: &[(&'static str, &'static str)]) -> Migrator {
    let migrations = (1..).zip(statements).map(|(version, (description, sql))| {
        let sql = sqlx::SqlStr::from_static(sql);
        Migration::new(version, (*description).into(), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.set_ignore_missing(true);
    migrator
}
