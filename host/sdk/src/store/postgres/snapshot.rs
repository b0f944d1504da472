//! The store as of one instant: pages of one transaction that only reads.

use sqlx::{Postgres, Transaction};
use tokio::sync::Mutex;
use tokio::time::Instant as Deadline;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::{PostgresStore, asked, carried, in_time, lists};
use crate::store::pages::{SNAPSHOT, before};
use crate::store::rows::{
    AccountRow, CounterRow, EntryRow, Found, HoldRow, LatestKey, LatestRow, Need, Place, Since,
    UsageRow,
};
use crate::store::{Pages, Snapshot, StoreError, Tenant};

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// What is seen from its first query on. Who reads it may take a while between two pages.
const FIRST: &str = "SELECT set_config('idle_in_transaction_session_timeout', '5s', true)";

/// What stood when it was taken.
pub struct PostgresSnapshot<'a> {
    store: &'a PostgresStore,
    transaction: Mutex<Transaction<'static, Postgres>>,
    deadline: Deadline,
}

impl<'a> PostgresSnapshot<'a> {
    pub(super) async fn take(store: &'a PostgresStore) -> Result<Self, StoreError> {
        let mut transaction = asked(store.pool.begin_with(BEGIN)).await?;
        let deadline = Deadline::now() + SNAPSHOT;
        asked(sqlx::query(FIRST).fetch_one(&mut *transaction)).await?;
        Ok(Self { store, transaction: Mutex::new(transaction), deadline })
    }

    async fn asked<T>(
        &self,
        answer: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        before(self.deadline, asked(answer)).await
    }
}

impl Snapshot for PostgresSnapshot<'_> {
    async fn read(&self, need: &Need) -> Result<Found, StoreError> {
        let mut own = self.transaction.lock().await;
        let found = self.store.read_on(&mut own, std::slice::from_ref(need));
        let found = before(self.deadline, found).await?.pop();
        found.ok_or_else(|| StoreError::UnknownTenant(need.tenant.clone()))
    }

    async fn release(self) {
        let _ = in_time(self.transaction.into_inner().rollback()).await;
    }
}

impl Pages for PostgresSnapshot<'_> {
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
