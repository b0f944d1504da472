//! What stands of a tenant and what happened, page by page: as it stands by each page, or all as of one
//! instant.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant as Deadline;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::rows::{
    AccountRow, CounterRow, EntryRow, Found, HoldRow, LatestKey, LatestRow, Need, Place, Since,
    UsageRow,
};
use super::{StoreError, Tenant};

/// How long a snapshot is read: what must be kept for it slows down those that write.
pub(super) const SNAPSHOT: Duration = Duration::from_secs(5);

/// The rows of a tenant, page by page.
pub trait Pages: Send + Sync {
    /// What was used, in order, after a place: a page of at most so many. Who holds the head's lock
    /// reads all there is.
    fn usages(
        &self,
        tenant: &Tenant,
        after: Place,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Place, UsageRow)>, StoreError>> + Send;

    /// Open reservations, in the order of their identifiers, after one of them: a page.
    fn holds(
        &self,
        tenant: &Tenant,
        after: Uuid,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<HoldRow>, StoreError>> + Send;

    /// Entries of the ledger, in order, after a place: a page.
    fn entries(
        &self,
        tenant: &Tenant,
        after: Place,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(Place, EntryRow)>, StoreError>> + Send;

    /// What the latest stretches of counters stand at, in the order of their keys, after one of
    /// them: a page.
    fn latest(
        &self,
        tenant: &Tenant,
        after: &LatestKey,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<LatestRow>, StoreError>> + Send;

    /// What other stretches stand at, in the order of their keys, after one of them: a page.
    fn counters(
        &self,
        tenant: &Tenant,
        after: &Since,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<CounterRow>, StoreError>> + Send;

    /// Up to where a tenant's usages and entries were carried forward; [`Instant::MIN`]: they never
    /// were.
    fn carried_until(
        &self,
        tenant: &Tenant,
    ) -> impl Future<Output = Result<Instant, StoreError>> + Send;

    /// What was carried of counters, in the order of their keys, after one of them: a page.
    fn carried_counters(
        &self,
        tenant: &Tenant,
        after: &Since,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<CounterRow>, StoreError>> + Send;

    /// What was carried of accounts.
    fn carried_accounts(
        &self,
        tenant: &Tenant,
    ) -> impl Future<Output = Result<Vec<AccountRow>, StoreError>> + Send;
}

/// A store as of one instant: what is written after it was taken is not seen, and nobody waits for it. For
/// a few seconds; then nothing more is read of it.
pub trait Snapshot: Pages {
    /// What stands under a need.
    fn read(&self, need: &Need) -> impl Future<Output = Result<Found, StoreError>> + Send;

    /// Lets go. Dropped, it does so somewhat later.
    fn release(self) -> impl Future<Output = ()> + Send;
}

/// What comes before the time of a snapshot is over.
pub(super) async fn before<T>(
    deadline: Deadline,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let over = |_| {
        let words = format!(
            "a snapshot is read for {} s, and these were not enough: try again when there is less to do",
            SNAPSHOT.as_secs()
        );
        Err(StoreError::Unavailable(words))
    };
    tokio::time::timeout_at(deadline, answer).await.unwrap_or_else(over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_whose_time_is_over_is_read_no_longer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let never = std::future::pending::<Result<(), StoreError>>();
        let over = runtime.block_on(async { before(Deadline::now(), never).await });
        let Err(StoreError::Unavailable(words)) = over else { panic!("{over:?}") };
        assert!(words.contains("read for 5 s"), "{words}");
    }
}
