//! A head that is locked, for tenants that several hosts write at a time: lock, read and write are
//! statements of one transaction, since one statement that waits for a lock sees old rows.

use sqlx::{Postgres, Transaction};

use super::erased::rename;
use super::{PostgresStore, failed, in_time, settling, unwritten};
use crate::store::erased::Renamed;
use crate::store::rows::{Found, Need, Write};
use crate::store::{Locked, StoreError, Tenant, Written};

/// A locked head; dropped without a write it is let go.
pub struct PostgresLocked<'a> {
    store: &'a PostgresStore,
    transaction: Transaction<'static, Postgres>,
}

impl<'a> PostgresLocked<'a> {
    pub(super) async fn take(
        store: &'a PostgresStore,
        tenant: &Tenant,
    ) -> Result<Self, StoreError> {
        let begun = in_time(store.pool.begin()).await;
        let mut transaction = begun.map_err(|error| unwritten(&error))?;
        let head = sqlx::query("SELECT 1 FROM head WHERE tenant_id = $1 FOR NO KEY UPDATE")
            .bind(tenant.as_str())
            .fetch_optional(&mut *transaction);
        let head = in_time(head).await.map_err(|error| unwritten(&error))?;
        match head {
            Some(_) => Ok(Self { store, transaction }),
            None => Err(StoreError::UnknownTenant(tenant.clone())),
        }
    }

    pub(super) async fn write_once(self, write: &Write) -> Result<Written, StoreError> {
        let mut transaction = self.transaction;
        let writes = std::slice::from_ref(write);
        let written = self.store.attempt(&mut *transaction, writes).await;
        if !matches!(&written, Ok(places) if !places.is_empty()) {
            // Dropped, it would hold the lock until its connection serves again.
            let _ = in_time(transaction.rollback()).await;
            return match written {
                Ok(_) => Ok(Written::Missed),
                Err(error) => Err(failed(&error)),
            };
        }
        in_time(transaction.commit()).await.map_err(|error| failed(&error))?;
        Ok(Written::Committed)
    }

    /// Whether a write was committed before.
    pub(super) async fn stands(&mut self, write: &Write) -> Result<bool, StoreError> {
        let stands = sqlx::query_scalar(
            "SELECT 1 FROM batch WHERE tenant_id = $1 AND at = $2 AND version = $3 AND stamp = $4",
        )
        .bind(write.tenant.as_str())
        .bind(write.next.at)
        .bind(write.leaves().version)
        .bind(write.next.stamp)
        .fetch_optional(&mut *self.transaction);
        let stands: Option<i32> = in_time(stands).await.map_err(|error| unwritten(&error))?;
        Ok(stands.is_some())
    }
}

impl Locked for PostgresLocked<'_> {
    async fn patient(&mut self) -> Result<(), StoreError> {
        let longer = sqlx::query("SET LOCAL idle_in_transaction_session_timeout = '5s'")
            .execute(&mut *self.transaction);
        in_time(longer).await.map(drop).map_err(|error| unwritten(&error))
    }

    async fn read(&mut self, need: &Need) -> Result<Found, StoreError> {
        let needs = std::slice::from_ref(need);
        let mut found = self.store.read_on(&mut self.transaction, needs).await?;
        found.pop().ok_or_else(|| StoreError::UnknownTenant(need.tenant.clone()))
    }

    async fn write(self, write: &Write) -> Result<Written, StoreError> {
        let (store, deadline) = (self.store, settling());
        match self.write_once(write).await {
            Err(StoreError::Lost(_)) => store.again(write, true, deadline).await,
            result => result,
        }
    }

    async fn rename(mut self, renamed: &Renamed, write: &Write) -> Result<Written, StoreError> {
        let done = in_time(rename(&mut self.transaction, &write.tenant, renamed)).await;
        if let Err(error) = done {
            self.release().await;
            return Err(unwritten(&error));
        }
        self.write_once(write).await
    }

    async fn release(self) {
        let _ = in_time(self.transaction.rollback()).await;
    }
}
