//! Pages, each as the store stands by then.

use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::{SqliteStore, carried, failed, lists};
use crate::store::rows::{
    AccountRow, CounterRow, EntryRow, HoldRow, LatestKey, LatestRow, Place, Since, UsageRow,
};
use crate::store::{Pages, StoreError, Tenant};

impl Pages for SqliteStore {
    async fn usages(
        &self,
        tenant: &Tenant,
        after: Place,
        limit: u32,
    ) -> Result<Vec<(Place, UsageRow)>, StoreError> {
        lists::usages(&self.readers, tenant, after, limit).await.map_err(|error| failed(&error))
    }

    async fn holds(
        &self,
        tenant: &Tenant,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<HoldRow>, StoreError> {
        lists::holds(&self.readers, tenant, after, limit).await.map_err(|error| failed(&error))
    }

    async fn entries(
        &self,
        tenant: &Tenant,
        after: Place,
        limit: u32,
    ) -> Result<Vec<(Place, EntryRow)>, StoreError> {
        lists::entries(&self.readers, tenant, after, limit).await.map_err(|error| failed(&error))
    }

    async fn latest(
        &self,
        tenant: &Tenant,
        after: &LatestKey,
        limit: u32,
    ) -> Result<Vec<LatestRow>, StoreError> {
        lists::latest(&self.readers, tenant, after, limit).await.map_err(|error| failed(&error))
    }

    async fn counters(
        &self,
        tenant: &Tenant,
        after: &Since,
        limit: u32,
    ) -> Result<Vec<CounterRow>, StoreError> {
        lists::counters(&self.readers, tenant, after, limit).await.map_err(|error| failed(&error))
    }

    async fn carried_until(&self, tenant: &Tenant) -> Result<Instant, StoreError> {
        carried::until(&self.readers, tenant).await.map_err(|error| failed(&error))
    }

    async fn carried_counters(
        &self,
        tenant: &Tenant,
        after: &Since,
        limit: u32,
    ) -> Result<Vec<CounterRow>, StoreError> {
        carried::counters(&self.readers, tenant, after, limit).await.map_err(|error| failed(&error))
    }

    async fn carried_accounts(&self, tenant: &Tenant) -> Result<Vec<AccountRow>, StoreError> {
        carried::accounts(&self.readers, tenant).await.map_err(|error| failed(&error))
    }
}
