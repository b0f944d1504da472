//! The file as of one instant: pages of one transaction that only reads, beside which others write.

use sqlx::{Sqlite, Transaction};
use tokio::sync::Mutex;
use tokio::time::Instant as Deadline;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::found::read;
use super::{SqliteStore, carried, failed, lists};
use crate::store::pages::{SNAPSHOT, before};
use crate::store::rows::{
    AccountRow, CounterRow, EntryRow, Found, HoldRow, LatestKey, LatestRow, Need, Place, Since,
    UsageRow,
};
use crate::store::{Pages, Snapshot, StoreError, Tenant};

/// What is seen from its first query on.
const FIRST: &str = "SELECT 1 FROM head LIMIT 1";

/// What stood when it was taken.
pub struct SqliteSnapshot<'a> {
    store: &'a SqliteStore,
    transaction: Mutex<Transaction<'static, Sqlite>>,
    deadline: Deadline,
}

impl<'a> SqliteSnapshot<'a> {
    pub(super) async fn take(store: &'a SqliteStore) -> Result<Self, StoreError> {
        let mut transaction = store.readers.begin().await.map_err(|error| failed(&error))?;
        let deadline = Deadline::now() + SNAPSHOT;
        let first = sqlx::query(FIRST).fetch_optional(&mut *transaction).await;
        first.map_err(|error| failed(&error))?;
        Ok(Self { store, transaction: Mutex::new(transaction), deadline })
    }

    async fn asked<T>(
        &self,
        answer: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        before(self.deadline, async { answer.await.map_err(|error| failed(&error)) }).await
    }
}

impl Snapshot for SqliteSnapshot<'_> {
    async fn read(&self, need: &Need) -> Result<Found, StoreError> {
        let mut own = self.transaction.lock().await;
        before(self.deadline, read(&mut own, need, (self.store.clock)())).await
    }

    async fn release(self) {
        let _ = self.transaction.into_inner().rollback().await;
    }
}

impl Pages for SqliteSnapshot<'_> {
    async fn usages(
        &self,
        tenant: &Tenant,
        after: Place,
        limit: u32,
    ) -> Result<Vec<(Place, UsageRow)>, StoreError> {
        let mut own = self.transaction.lock().await;
        self.asked(lists::usages(&mut **own, tenant, after, limit)).await
    }

    async fn holds(
        &self,
        tenant: &Tenant,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<HoldRow>, StoreError> {
        let mut own = self.transaction.lock().await;
        self.asked(lists::holds(&mut **own, tenant, after, limit)).await
    }

    async fn entries(
        &self,
        tenant: &Tenant,
        after: Place,
        limit: u32,
    ) -> Result<Vec<(Place, EntryRow)>, StoreError> {
        let mut own = self.transaction.lock().await;
        self.asked(lists::entries(&mut **own, tenant, after, limit)).await
    }

    async fn latest(
        &self,
        tenant: &Tenant,
        after: &LatestKey,
        limit: u32,
    ) -> Result<Vec<LatestRow>, StoreError> {
        let mut own = self.transaction.lock().await;
        self.asked(lists::latest(&mut **own, tenant, after, limit)).await
    }

    async fn counters(
        &self,
        tenant: &Tenant,
        after: &Since,
        limit: u32,
    ) -> Result<Vec<CounterRow>, StoreError> {
        let mut own = self.transaction.lock().await;
        self.asked(lists::counters(&mut **own, tenant, after, limit)).await
    }

    async fn carried_until(&self, tenant: &Tenant) -> Result<Instant, StoreError> {
        let mut own = self.transaction.lock().await;
        self.asked(carried::until(&mut **own, tenant)).await
    }

    async fn carried_counters(
        &self,
        tenant: &Tenant,
        after: &Since,
        limit: u32,
    ) -> Result<Vec<CounterRow>, StoreError> {
        let mut own = self.transaction.lock().await;
        self.asked(carried::counters(&mut **own, tenant, after, limit)).await
    }

    async fn carried_accounts(&self, tenant: &Tenant) -> Result<Vec<AccountRow>, StoreError> {
        let mut own = self.transaction.lock().await;
        self.asked(carried::accounts(&mut **own, tenant)).await
    }
}
