//! Pages, each as the store stands by then.

use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::{PostgresStore, asked, carried, lists};
use crate::store::rows::{
    AccountRow, CounterRow, EntryRow, HoldRow, LatestKey, LatestRow, Place, Since, UsageRow,
};
use crate::store::{Pages, StoreError, Tenant};

impl Pages for PostgresStore {
    async fn usages(
        &self,
        tenant: &Tenant,
        after: Place,
        limit: u32,
    ) -> Result<Vec<(Place, UsageRow)>, StoreError> {
        asked(lists::usages(&self.pool, tenant, after, limit)).await
    }

    async fn holds(
        &self,
        tenant: &Tenant,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<HoldRow>, StoreError> {
        asked(lists::holds(&self.pool, tenant, after, limit)).await
    }

    async fn entries(
        &self,
        tenant: &Tenant,
        after: Place,
        limit: u32,
    ) -> Result<Vec<(Place, EntryRow)>, StoreError> {
        asked(lists::entries(&self.pool, tenant, after, limit)).await
    }

    async fn latest(
        &self,
        tenant: &Tenant,
        after: &LatestKey,
        limit: u32,
    ) -> Result<Vec<LatestRow>, StoreError> {
        asked(lists::latest(&self.pool, tenant, after, limit)).await
    }

    async fn counters(
        &self,
        tenant: &Tenant,
        after: &Since,
        limit: u32,
    ) -> Result<Vec<CounterRow>, StoreError> {
        asked(lists::counters(&self.pool, tenant, after, limit)).await
    }

    async fn carried_until(&self, tenant: &Tenant) -> Result<Instant, StoreError> {
        asked(carried::until(&self.pool, tenant)).await
    }

    async fn carried_counters(
        &self,
        tenant: &Tenant,
        after: &Since,
        limit: u32,
    ) -> Result<Vec<CounterRow>, StoreError> {
        asked(carried::counters(&self.pool, tenant, after, limit)).await
    }

    async fn carried_accounts(&self, tenant: &Tenant) -> Result<Vec<AccountRow>, StoreError> {
        asked(carried::accounts(&self.pool, tenant)).await
    }
}
