//! What tenants are judged with from now on: of each layer what is bound last, as far as it loads
//! here. So what one of them binds keeps nothing of the others from being judged by.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::bindings::Bound;
use super::current::Wanted;
use super::layers::Layers;
use super::{Registry, RegistryError};
use crate::engine::{Layer, Setup};
use crate::store::{RegistryStore, RevisionId, Store};

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
    fn of_uncompiled(uncompiled: BTreeSet<RevisionId>) -> Self {
        let all: Vec<_> = uncompiled.iter().map(ToString::to_string).collect();
        Self { why: RegistryError::Compiling(all.join("`, `")), uncompiled }
    }

    /// Whether it is no better in a moment.
    fn is_lasting(&self) -> bool {
        !matches!(self.why, RegistryError::Compiling(_) | RegistryError::Store(_))
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

    /// What serves a tenant, and why that is not all that is bound, if it is not. An error: nothing
    /// new does.
    pub async fn ready(
        &mut self,
        wanted: Wanted,
        before: Option<&Layers>,
    ) -> Result<(Ready, Option<Unready>), Unready> {
        let (mut layers, unready) = self.choose(wanted, before).await?;
        let why = match self.assemble(&layers).await {
            Ok(ready) => return Ok((ready, unready)),
            Err(why) => why,
        };
        // The platform's word holds, whatever else a tenant binds.
        let gives_way = !layers.own.is_empty() && !layers.own_is_out && why.is_unfit();
        let unready = match unready {
            Some(unready) => unready.and(why.into()),
            None => why.into(),
        };
        if gives_way {
            layers.own_is_out = true;
            if let Ok(ready) = self.assemble(&layers).await {
                return Ok((ready, Some(unready)));
            }
        }
        Err(unready)
    }

    /// Of each layer what is bound, or where that does not load what served before.
    async fn choose(
        &mut self,
        Wanted { policies, settings }: Wanted,
        before: Option<&Layers>,
    ) -> Result<(Layers, Option<Unready>), Unready> {
        let mut layers = Layers { settings, ..Layers::default() };
        let (mut unready, mut lacks) = (Vec::new(), false);
        for (layer, policies) in policies {
            let (mut policies, why) = match policies {
                Ok(policies) => {
                    let why = self.load(&policies).await.err();
                    (policies, why)
                }
                Err(why) => {
                    (before.map(|own| own.of(layer).clone()).unwrap_or_default(), Some(why.into()))
                }
            };
            if let Some(why) = why {
                let served = before.filter(|own| layer != Layer::Tenant || !own.own_is_out);
                match served.map(|own| own.of(layer)) {
                    Some(served) if self.load(served).await.is_ok() => policies.clone_from(served),
                    _ if layer == Layer::Tenant && why.is_lasting() => layers.own_is_out = true,
                    _ => lacks = true,
                }
                unready.push(why);
            }
            *layers.place(layer) = policies;
        }
        match unready.into_iter().reduce(Unready::and) {
            Some(why) if lacks => Err(why),
            unready => Ok((layers, unready)),
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
        Err(Unready::of_uncompiled(BTreeSet::from([id.clone()])))
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
