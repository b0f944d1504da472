//! Brings what is bound to a host that runs, soon after it is bound.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::current::Layers;
use super::{Registry, RegistryError};
use crate::engine::{Host, HostError, Setup};
use crate::store::{RegistryStore, Store, Tenant};

/// So many tenants are made known to the store in one go.
const SERVED_AT_ONCE: usize = 512;

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
    /// Has all tenants of the store served that are not yet, the next time that what is bound is
    /// brought.
    pub async fn follow_tenants(&self) -> Result<(), RegistryError> {
        let tenants = self.0.store.tenants().await?;
        let mut current = self.0.current.lock().await;
        current.refresh(&*self.0.store).await?;
        tenants.iter().for_each(|tenant| current.follow(tenant));
        Ok(())
    }

    /// The number of what was bound last, as of when this was last looked at.
    pub async fn moved(&self) -> i64 {
        self.0.current.lock().await.moved()
    }

    /// Serves every tenant for which something was bound since the last time with what is bound
    /// now. One whose policies do not load is judged as before, and named among the troubles.
    pub async fn bring(&self, host: &Host) -> Result<(), RegistryError> {
        let _alone = self.0.bringing.lock().await;
        let mut current = self.0.current.lock().await;
        current.refresh(&*self.0.store).await?;
        let mut changed = current.take_changed();
        changed.extend(self.troubles().into_iter().map(|(tenant, _)| tenant));
        let mut layers: Vec<(Tenant, Layers)> = Vec::with_capacity(changed.len());
        for tenant in changed {
            match current.of(&tenant) {
                Ok(own) => layers.push((tenant, own)),
                Err(error) => self.trouble(tenant, error.into()),
            }
        }
        drop(current);
        let ids: BTreeSet<_> = layers.iter().flat_map(|(_, layers)| layers.revisions()).collect();
        if let Err(error) = self.learn(&Vec::from_iter(ids)).await {
            // They are brought the next time.
            for (tenant, _) in layers {
                self.trouble(tenant, error.clone().into());
            }
            return Err(error);
        }
        let ready = self.ready(layers).await;
        for some in ready.chunks(SERVED_AT_ONCE) {
            match host.serve_all(some.to_vec()).await {
                Ok(()) => some.iter().for_each(|(tenant, _)| self.no_trouble(tenant)),
                Err(error) => {
                    some.iter().for_each(|(tenant, _)| {
                        self.trouble(tenant.clone(), error.clone().into());
                    });
                }
            }
        }
        Ok(())
    }

    /// What each is judged with from now on; those for whom the same is bound share it.
    async fn ready(&self, layers: Vec<(Tenant, Layers)>) -> Vec<(Tenant, Arc<Setup>)> {
        let mut shared: HashMap<String, Result<Arc<Setup>, RegistryError>> = HashMap::new();
        let mut ready = Vec::with_capacity(layers.len());
        for (tenant, layers) in layers {
            let setup = match shared.entry(layers.name()) {
                Entry::Occupied(shared) => shared.get().clone(),
                Entry::Vacant(place) => place.insert(self.sound(&layers).await).clone(),
            };
            match setup {
                Ok(setup) => ready.push((tenant, setup)),
                Err(error) => self.trouble(tenant, error.into()),
            }
        }
        ready
    }

    async fn sound(&self, layers: &Layers) -> Result<Arc<Setup>, RegistryError> {
        let setup = self.assemble(layers).await?;
        setup.check()?;
        Ok(Arc::new(setup))
    }

    fn trouble(&self, tenant: Tenant, trouble: Trouble) {
        let mut troubles = self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.insert(tenant, trouble);
    }

    fn no_trouble(&self, tenant: &Tenant) {
        self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner).remove(tenant);
    }

    /// Does so whenever the store tells that something was bound, and every so often, since what it
    /// tells may be lost; until the host is gone.
    pub async fn follow(self, host: Host, every: Duration) {
        let host = {
            let weak = host.downgrade();
            drop(host);
            weak
        };
        let mut ticks = tokio::time::interval(every.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let announcements = self.0.store.announcements();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = announcements.next() => {}
            }
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
