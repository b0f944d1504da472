//! Brings what is bound to a host that runs, soon after it is bound.

use std::sync::PoisonError;
use std::time::Duration;

use super::{Registry, RegistryError};
use crate::engine::{Host, HostError};
use crate::store::{RegistryStore, Store, Tenant};

/// Why a tenant is still judged with what was bound before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// What is bound does not load.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The host does not take it.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl<S: Store + RegistryStore> Registry<S> {
    /// Serves every tenant for which something was bound since the last time with what is bound
    /// now. One whose policies do not load is judged as before, and named among the troubles.
    pub async fn bring(&self, host: &Host) -> Result<(), RegistryError> {
        let _alone = self.0.bringing.lock().await;
        let mut current = self.0.current.lock().await;
        current.refresh(&*self.0.store).await?;
        let mut changed = current.take_changed();
        drop(current);
        changed.extend(self.troubles().into_iter().map(|(tenant, _)| tenant));
        for tenant in changed {
            let brought = self.bring_one(host, &tenant).await;
            let mut troubles = self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner);
            match brought {
                Ok(()) => troubles.remove(&tenant),
                Err(trouble) => troubles.insert(tenant, trouble),
            };
        }
        Ok(())
    }

    async fn bring_one(&self, host: &Host, tenant: &Tenant) -> Result<(), Trouble> {
        let current = self.0.current.lock().await;
        let layers = current.of(tenant);
        drop(current);
        let setup = self.assemble(&layers).await?;
        Ok(host.serve(tenant, setup).await?)
    }

    /// Does so again and again, until the host is gone.
    pub async fn follow(self, host: Host, every: Duration) {
        let host = {
            let weak = host.downgrade();
            drop(host);
            weak
        };
        let mut ticks = tokio::time::interval(every.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(host) = host.upgrade() else { return };
            // What cannot be had now is had at the next tick.
            let _ = self.bring(&host).await;
        }
    }

    /// Tenants that this host judges with what was bound before, and why.
    #[must_use]
    pub fn troubles(&self) -> Vec<(Tenant, Trouble)> {
        let troubles = self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> =
            troubles.iter().map(|(tenant, trouble)| (tenant.clone(), trouble.clone())).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }
}
