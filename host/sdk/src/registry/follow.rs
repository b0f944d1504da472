//! Brings what is bound to a host that runs, soon after it is bound.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::{Arc, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::bindings::Bound;
use super::layers::Layers;
use super::ready::{Ready, Round, Unready};
use super::{Registry, RegistryError};
use crate::engine::{Host, HostError};
use crate::sandbox::Refused;
use crate::store::{Owner, RegistryStore, RevisionId, Scope, Store, Tenant};

/// So many tenants are made known to the store in one go.
const SERVED_AT_ONCE: usize = 512;

/// So many components are compiled at a time for those who follow.
pub const COMPILED_AT_ONCE: usize = 8;

/// What must be compiled before a tenant can be judged by it.
type Uncompiled = BTreeMap<Tenant, BTreeSet<RevisionId>>;

/// With what a tenant is judged from now on, why that is not all, and whether more is to come.
type Brought = (Tenant, Ready, Option<Trouble>, bool);

/// Why a tenant is not judged by all that is bound for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// What is bound does not load.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The host does not take it.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl Trouble {
    fn is_passing(&self) -> bool {
        match self {
            Self::Registry(RegistryError::Refused { reason, .. }) => {
                matches!(reason, Refused::Host(_))
            }
            Self::Registry(error) => error.is_passing(),
            Self::Host(_) => true,
        }
    }

    fn is_compiling(&self) -> bool {
        matches!(self, Self::Registry(RegistryError::Compiling(_)))
    }
}

/// A trouble, and when it was last looked at.
pub struct Tried {
    trouble: Trouble,
    /// Something of it is to be compiled.
    is_to_come: bool,
    at: Instant,
}

/// What is not the fault of what is bound is tried again after that time.
const PASSING: Duration = Duration::from_secs(1);

/// And whatever else is, where nothing was bound.
const LASTING: Duration = Duration::from_secs(30);

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
    /// now. Where something of that does not load, what of its scope served last does, and the tenant
    /// is named among the troubles.
    pub async fn bring(&self, host: &Host) -> Result<(), RegistryError> {
        self.bring_where(host, |_, _| true).await
    }

    /// The same, but that others' components are left to who follows, where they are to be compiled:
    /// for a tenant what it is judged by is waited for, and for all what is the platform's.
    pub async fn bring_to(
        &self,
        host: &Host,
        tenant: Option<&Tenant>,
    ) -> Result<(), RegistryError> {
        self.bring_where(host, |own, revision| match tenant {
            Some(tenant) => own == tenant,
            None => revision.owner == Owner::Platform,
        })
        .await
    }

    async fn bring_where(
        &self,
        host: &Host,
        is_waited_for: impl Fn(&Tenant, &RevisionId) -> bool,
    ) -> Result<(), RegistryError> {
        let uncompiled = self.bring_compiled(host, BTreeSet::new()).await?;
        let mut wanted = BTreeSet::new();
        for (tenant, revisions) in uncompiled {
            wanted.extend(revisions.into_iter().filter(|own| is_waited_for(&tenant, own)));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let lanes = available_parallelism().map_or(1, usize::from);
        let turns = Arc::new(Semaphore::new(lanes));
        let mut loads = JoinSet::new();
        for revision in wanted.clone() {
            let (own, turns) = (self.clone(), Arc::clone(&turns));
            loads.spawn(async move {
                let _turn = turns.acquire().await;
                // What becomes of it is told of whom it matters to.
                let _ = own.load(&revision).await;
            });
        }
        while loads.join_next().await.is_some() {}
        self.bring_compiled(host, wanted).await.map(drop)
    }

    /// Serves those for whom nothing has to be compiled, or only what was `tried`: to compile takes
    /// long, for which nobody else may wait. It goes on also where nobody waits for it: what changed
    /// is told once.
    async fn bring_compiled(
        &self,
        host: &Host,
        tried: BTreeSet<RevisionId>,
    ) -> Result<Uncompiled, RegistryError> {
        let (own, host) = (self.clone(), host.clone());
        let brought = tokio::spawn(async move { own.bring_all(&host, &tried).await });
        match brought.await {
            Ok(brought) => brought,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime ends, and whoever waits with it.
                Err(_) => pending().await,
            },
        }
    }

    async fn bring_all(
        &self,
        host: &Host,
        tried: &BTreeSet<RevisionId>,
    ) -> Result<Uncompiled, RegistryError> {
        let _alone = self.0.bringing.lock().await;
        let mut current = self.0.current.lock().await;
        current.refresh(&*self.0.store).await?;
        let changed = current.take_changed();
        let again = self.to_be_tried(!tried.is_empty());
        let mut all = Vec::with_capacity(changed.len());
        for tenant in
            changed.iter().cloned().chain(again.into_iter().filter(|own| !changed.contains(own)))
        {
            let before = self.served(&tenant);
            match current.wanted(&tenant, before.as_ref().map(|own| &*own.layers)) {
                Ok(wanted) => all.push((tenant, wanted, before)),
                Err(error) => self.told(tenant, Some(error.into()), false),
            }
        }
        drop(current);
        let ids: BTreeSet<_> = all.iter().flat_map(|(_, wanted, _)| wanted.revisions()).collect();
        if let Err(error) = self.learn(&Vec::from_iter(ids)).await {
            // They are brought the next time.
            for (tenant, ..) in all {
                self.told(tenant, Some(error.clone().into()), true);
            }
            return Err(error);
        }
        let (mut brought, mut uncompiled) = (Vec::with_capacity(all.len()), Uncompiled::new());
        let mut round = Round::new(self, tried);
        for (tenant, wanted, before) in all {
            let layers = before.as_ref().map(|own| &*own.layers);
            let (ready, unready) = round.ready(&tenant, wanted, layers).await;
            let is_to_come = unready.as_ref().is_some_and(|own| !own.uncompiled.is_empty());
            let trouble = unready.map(|Unready { why, uncompiled: own }| {
                uncompiled.insert(tenant.clone(), own);
                Trouble::from(why)
            });
            // Whether what is out denies is known only once it is loaded.
            let serves = |own: &Ready| {
                before.as_ref().is_some_and(|before| {
                    before.layers == own.layers && before.setup.closed == own.setup.closed
                })
            };
            match ready.filter(|own| changed.contains(&tenant) || !serves(own)) {
                Some(ready) => brought.push((tenant, ready, trouble, is_to_come)),
                None => self.told(tenant, trouble, is_to_come),
            }
        }
        self.serve(host, brought).await;
        Ok(uncompiled)
    }

    async fn serve(&self, host: &Host, brought: Vec<Brought>) {
        for some in brought.chunks(SERVED_AT_ONCE) {
            let setups =
                some.iter().map(|(tenant, ready, ..)| (tenant.clone(), Arc::clone(&ready.setup)));
            let served = host.serve_all(setups.collect()).await;
            for (tenant, ready, trouble, is_to_come) in some {
                if served.is_ok() {
                    self.has_served(tenant, &ready.layers);
                    let mut all = self.0.served.lock().unwrap_or_else(PoisonError::into_inner);
                    all.insert(tenant.clone(), ready.clone());
                }
                let trouble = served.clone().err().map(Trouble::from).or_else(|| trouble.clone());
                self.told(tenant.clone(), trouble, *is_to_come);
            }
        }
    }

    /// What serves a tenant.
    fn served(&self, tenant: &Tenant) -> Option<Ready> {
        self.0.served.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    /// Whatever becomes of what is bound after it, this does.
    fn has_served(&self, tenant: &Tenant, layers: &Layers) {
        let Layers { platform, plan, own, out, settings } = layers;
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keep = |scope, policies: &Vec<Bound>| match last.entry(scope) {
            Entry::Occupied(last) if last.get() == policies => {}
            Entry::Occupied(mut last) => last.get_mut().clone_from(policies),
            Entry::Vacant(place) => drop(place.insert(policies.clone())),
        };
        keep(Scope::platform(), platform);
        if let Some(name) = settings.plan.as_ref().filter(|name| !name.is_empty()) {
            keep(Scope::plan(name.clone()), plan);
        }
        if out.is_empty() {
            keep(Scope::of(tenant), own);
        }
    }

    pub(super) fn served_in(&self, scope: &Scope) -> Option<Vec<Bound>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).get(scope).cloned()
    }

    /// Whose trouble may be over without that anything is bound; all, where something was compiled.
    fn to_be_tried(&self, all: bool) -> Vec<Tenant> {
        let (now, mut troubles) =
            (Instant::now(), self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner));
        let troubles = troubles.iter_mut().filter(|(_, tried)| {
            let after = if tried.trouble.is_passing() { PASSING } else { LASTING };
            all || tried.is_to_come || now >= tried.at + after
        });
        troubles
            .map(|(tenant, tried)| {
                tried.at = now;
                tenant.clone()
            })
            .collect()
    }

    fn told(&self, tenant: Tenant, trouble: Option<Trouble>, is_to_come: bool) {
        let mut troubles = self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(trouble) = trouble else {
            if troubles.remove(&tenant).is_some() {
                tracing::info!(%tenant, "judged by all that is bound for it");
            }
            return;
        };
        match troubles.get_mut(&tenant) {
            // What was refused is compiled again now and then, which is no news.
            Some(known)
                if known.trouble == trouble
                    || trouble.is_compiling() && !known.trouble.is_passing() =>
            {
                known.is_to_come = is_to_come;
            }
            _ => {
                tracing::warn!(%tenant, %trouble, "not judged by all that is bound for it");
                troubles.insert(tenant, Tried { trouble, is_to_come, at: Instant::now() });
            }
        }
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
            let uncompiled = self.bring_compiled(&host, BTreeSet::new()).await;
            for revision in uncompiled.into_iter().flatten().flat_map(|(_, own)| own) {
                self.compile_beside(&host, revision);
            }
        }
    }

    /// Compiles what nobody compiles yet, and serves by it.
    fn compile_beside(&self, host: &Host, revision: RevisionId) {
        if !self.0.loaded.begin(&revision) {
            return;
        }
        let (own, host) = (self.clone(), host.downgrade());
        tokio::spawn(async move {
            let Ok(_turn) = own.0.turns.acquire().await else { return };
            let _ = own.load(&revision).await;
            own.0.loaded.end(&revision);
            if let Some(host) = host.upgrade() {
                let _ = own.bring_compiled(&host, BTreeSet::from([revision])).await;
            }
        });
    }

    /// Tenants that this host does not judge by all that is bound for them, and why.
    #[must_use]
    pub fn troubles(&self) -> Vec<(Tenant, Trouble)> {
        let troubles = self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = troubles
            .iter()
            .map(|(tenant, tried)| (tenant.clone(), tried.trouble.clone()))
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }
}
