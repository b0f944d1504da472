//! What tenants are judged with from now on: of each layer what is bound last, as far as it loads
//! here. So what one of them binds keeps nothing of the others from being judged by.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::bindings::Bound;
use super::current::Wanted;
use super::layers::Layers;
use super::{Registry, RegistryError};
use crate::engine::Setup;
use crate::store::{RegistryStore, RevisionId, Scope, Store, Tenant};

/// What a tenant is judged with.
#[derive(Clone)]
pub struct Ready {
    pub setup: Arc<Setup>,
    pub layers: Arc<Layers>,
}

/// Why something that is bound does not serve.
#[derive(Clone, Debug)]
pub struct Unready {
    pub why: RegistryError,
    /// What must be compiled first.
    pub uncompiled: BTreeSet<RevisionId>,
}

impl From<RegistryError> for Unready {
    fn from(why: RegistryError) -> Self {
        Self { why, uncompiled: BTreeSet::new() }
    }
}

impl Unready {
    fn of_uncompiled(id: &RevisionId) -> Self {
        let why = RegistryError::Compiling(id.to_string());
        Self { why, uncompiled: BTreeSet::from([id.clone()]) }
    }

    /// The first of both, with all that must be compiled.
    fn and(mut self, other: Self) -> Self {
        self.uncompiled.extend(other.uncompiled);
        self
    }
}

/// Looks for many tenants, of whom many are judged with the same.
pub struct Round<'a, S> {
    registry: &'a Registry<S>,
    /// Only these may be compiled now: what takes long holds up nobody else.
    tried: &'a BTreeSet<RevisionId>,
    loaded: HashMap<RevisionId, Result<(), Unready>>,
    ready: HashMap<String, Result<Ready, RegistryError>>,
}

impl<'a, S: Store + RegistryStore> Round<'a, S> {
    pub fn new(registry: &'a Registry<S>, tried: &'a BTreeSet<RevisionId>) -> Self {
        Self { registry, tried, loaded: HashMap::new(), ready: HashMap::new() }
    }

    /// What serves a tenant; none: nothing new does. And why that is not all that is bound, if it is
    /// not.
    pub async fn ready(
        &mut self,
        tenant: &Tenant,
        wanted: Wanted,
        before: Option<&Layers>,
    ) -> (Option<Ready>, Option<Unready>) {
        let mut unready = Vec::new();
        let ready = self.ready_or(tenant, wanted, before, &mut unready).await;
        (ready, unready.into_iter().reduce(Unready::and))
    }

    async fn ready_or(
        &mut self,
        tenant: &Tenant,
        wanted: Wanted,
        before: Option<&Layers>,
        unready: &mut Vec<Unready>,
    ) -> Option<Ready> {
        let Wanted { platform, plan, own, settings } = wanted;
        let of_plan = Scope::plan(settings.plan.clone().unwrap_or_default());
        let platform = self.house(&Scope::platform(), platform, unready).await;
        let plan = self.house(&of_plan, plan, unready).await;
        let (Some(platform), Some(plan)) = (platform, plan) else {
            // What else must be compiled is told as well.
            if let Ok(own) = &own {
                unready.extend(self.load(own).await.err());
            }
            return None;
        };
        let layers = Layers { platform, plan, settings, ..Layers::default() };
        let is_passing = |all: &[Unready]| all.iter().any(|own| own.why.is_passing());
        let houses = unready.len();

        let own = own.map_err(|why| unready.push(why.into())).ok();
        let last = self.registry.served_in(&Scope::of(tenant));
        for policies in own.iter().chain(&last) {
            let tried = Layers { own: policies.clone(), ..layers.clone() };
            let ready = match self.load(policies).await {
                Ok(()) => self.assemble(&tried).await.map_err(Unready::from),
                Err(why) => Err(why),
            };
            match ready {
                Ok(ready) => return Some(ready),
                Err(why) => unready.push(why),
            }
        }
        // It may go with what the platform is about to have, or be there in a moment: that is waited
        // for, unless something else has come, or something is out already.
        let is_out = before.is_some_and(|own| !own.out.is_empty());
        let is_houses_to_come = !is_out && is_passing(&unready[..houses]);
        let is_nothing_else = |own: &Layers| {
            (&own.platform, &own.plan, &own.settings)
                == (&layers.platform, &layers.plan, &layers.settings)
        };
        let is_own_to_come = is_passing(&unready[houses..]) && before.is_none_or(is_nothing_else);
        if is_houses_to_come || is_own_to_come {
            return None;
        }
        let own = own.or(last).or_else(|| before.map(|own| own.own.clone()))?;
        self.in_part(Layers { own, ..layers }, unready).await
    }

    /// What is bound in a scope of the platform's, or what of it served last.
    async fn house(
        &mut self,
        scope: &Scope,
        policies: Result<Vec<Bound>, RegistryError>,
        unready: &mut Vec<Unready>,
    ) -> Option<Vec<Bound>> {
        let policies = policies.map_err(|why| unready.push(why.into())).ok();
        for policies in policies.into_iter().chain(self.registry.served_in(scope)) {
            match self.load(&policies).await {
                Ok(()) => return Some(policies),
                Err(why) => unready.push(why),
            }
        }
        None
    }

    /// With those of the tenant's own policies that load and go with the others: the platform's word
    /// holds, whatever else a tenant binds.
    async fn in_part(&mut self, layers: Layers, unready: &mut Vec<Unready>) -> Option<Ready> {
        // What is enforced comes before its candidate.
        let mut layers = Layers { out: layers.own.iter().map(Bound::place).collect(), ..layers };
        let mut ready = self.assemble(&layers).await;
        loop {
            let before = layers.out.len();
            for place in layers.out.clone() {
                let is_there = |own: &&Bound| own.place() == place;
                let policies: Vec<Bound> = layers.own.iter().filter(is_there).cloned().collect();
                let mut tried = layers.clone();
                tried.out.remove(&place);
                if self.load(&policies).await.is_ok()
                    && let Ok(with_it) = self.assemble(&tried).await
                {
                    (layers, ready) = (tried, Ok(with_it));
                }
            }
            // One may have lacked another one.
            if layers.out.len() == before {
                return ready.map_err(|why| unready.push(why.into())).ok();
            }
        }
    }

    /// Has all of these loaded.
    async fn load(&mut self, policies: &[Bound]) -> Result<(), Unready> {
        let mut unready = Vec::new();
        for bound in policies {
            let id = bound.id();
            if !self.loaded.contains_key(&id) {
                let loaded = self.load_one(&id).await;
                self.loaded.insert(id.clone(), loaded);
            }
            unready.extend(self.loaded.get(&id).and_then(|own| own.clone().err()));
        }
        unready.into_iter().reduce(Unready::and).map_or(Ok(()), Err)
    }

    async fn load_one(&self, id: &RevisionId) -> Result<(), Unready> {
        if self.tried.contains(id) || self.registry.is_compiled(id).await {
            return Ok(self.registry.load(id).await.map(drop)?);
        }
        Err(Unready::of_uncompiled(id))
    }

    async fn assemble(&mut self, layers: &Layers) -> Result<Ready, RegistryError> {
        match self.ready.entry(layers.name()) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => {
                let setup = self.registry.assemble(layers).await;
                let (setup, layers) = (setup.map(Arc::new), Arc::new(layers.clone()));
                place.insert(setup.map(|setup| Ready { setup, layers })).clone()
            }
        }
    }
}
