//! What is bound now, in all scopes, and so for a tenant.

use std::collections::{BTreeMap, BTreeSet};

use super::RegistryError;
use super::bindings::{Bindings, Bound, TenantSettings};
use super::layers::Layers;
use crate::store::{Owner, RegistryStore, RevisionId, Scope, StoreError, Tenant};

/// What is to judge a tenant, layer by layer, as far as it can be read.
pub struct Wanted {
    pub platform: Result<Vec<Bound>, RegistryError>,
    pub plan: Result<Vec<Bound>, RegistryError>,
    pub own: Result<Vec<Bound>, RegistryError>,
    pub settings: TenantSettings,
}

impl Wanted {
    /// All revisions that are bound.
    pub fn revisions(&self) -> impl Iterator<Item = RevisionId> {
        let layers = [&self.platform, &self.plan, &self.own];
        layers.into_iter().flat_map(|bound| bound.iter().flatten().map(Bound::id))
    }
}

/// As of the last look at the store.
#[derive(Default)]
pub struct Current {
    moved: i64,
    /// For whom something is bound that was not brought to a host yet.
    changed: BTreeSet<Tenant>,
    /// An error: a later version wrote it, so that nobody can tell who is judged by what.
    scopes: BTreeMap<Scope, Result<Bindings, RegistryError>>,
}

impl Current {
    /// Looks at the store.
    pub async fn refresh<S: RegistryStore>(&mut self, store: &S) -> Result<(), StoreError> {
        for row in store.bound_since(self.moved).await? {
            self.moved = row.moved;
            let before = self.touched(&row.scope);
            self.scopes.insert(row.scope.clone(), Bindings::read(&row.body));
            self.changed.extend(before);
            self.changed.extend(self.touched(&row.scope));
        }
        Ok(())
    }

    pub fn moved(&self) -> i64 {
        self.moved
    }

    /// The tenants for whom something is bound now that was not when this was last asked.
    pub fn take_changed(&mut self) -> BTreeSet<Tenant> {
        std::mem::take(&mut self.changed)
    }

    /// For whom it matters what is bound in a scope.
    fn touched(&self, scope: &Scope) -> Vec<Tenant> {
        let is_on = |bound: &Result<Bindings, _>| {
            // What it is on that cannot be read is not known.
            let is_it = |own: &Bindings| own.tenant.plan.as_ref() == Some(&scope.plan);
            bound.as_ref().map_or(true, is_it)
        };
        let tenants =
            self.scopes.iter().filter_map(|(own, bound)| match (&own.owner, &scope.owner) {
                (Owner::Tenant(tenant), Owner::Tenant(other)) => {
                    (tenant == other).then_some(tenant)
                }
                (Owner::Tenant(tenant), Owner::Platform) => {
                    (scope.plan.is_empty() || is_on(bound)).then_some(tenant)
                }
                (Owner::Platform, _) => None,
            });
        let tenants = tenants.cloned();
        tenants.collect()
    }

    /// Whatever is bound for all matters to this tenant, also where it has nothing of its own.
    pub fn know(&mut self, tenant: &Tenant) {
        self.scopes.entry(Scope::of(tenant)).or_insert_with(|| Ok(Bindings::default()));
    }

    /// The same, and it is to be brought.
    pub fn follow(&mut self, tenant: &Tenant) {
        self.know(tenant);
        self.changed.insert(tenant.clone());
    }

    /// What is bound for a tenant. Where what it is itself cannot be read it is what it was before.
    pub fn wanted(
        &self,
        tenant: &Tenant,
        before: Option<&Layers>,
    ) -> Result<Wanted, RegistryError> {
        let own = self.bound(&Scope::of(tenant));
        let settings = match (&own, before) {
            (Ok(own), _) => own.tenant.clone(),
            (Err(_), Some(before)) => before.settings.clone(),
            (Err(error), None) => return Err(error.clone()),
        };
        let policies = |bound: Result<Bindings, _>| bound.map(|own| own.policies);
        let (platform, plan) = (self.bound(&Scope::platform()), self.plan(&settings));
        let (platform, plan, own) = (policies(platform), policies(plan), policies(own));
        Ok(Wanted { platform, plan, own, settings })
    }

    /// The same; an error where any of it cannot be read.
    pub fn of(&self, tenant: &Tenant) -> Result<Layers, RegistryError> {
        let Wanted { platform, plan, own, settings } = self.wanted(tenant, None)?;
        let out = BTreeSet::new();
        Ok(Layers { platform: platform?, plan: plan?, own: own?, out, settings })
    }

    /// What the plan binds that a tenant is on.
    fn plan(&self, settings: &TenantSettings) -> Result<Bindings, RegistryError> {
        match settings.plan.as_deref() {
            None | Some("") => Ok(Bindings::default()),
            Some(plan) => self.bound(&Scope::plan(plan.to_owned())),
        }
    }

    /// The same, were this bound in a scope: for the scope's tenant, or for those that have nothing
    /// of their own, on each plan.
    pub fn with(&self, scope: &Scope, bindings: &Bindings) -> Result<Vec<Layers>, RegistryError> {
        let Bindings { policies, tenant: settings, .. } = bindings.clone();
        let platform = || self.bound(&Scope::platform()).map(|own| own.policies);
        Ok(match (&scope.owner, scope.plan.is_empty()) {
            (Owner::Tenant(_), _) => {
                let (platform, plan) = (platform()?, self.plan(&settings)?.policies);
                let out = BTreeSet::new();
                vec![Layers { platform, plan, own: policies, out, settings }]
            }
            (Owner::Platform, false) => {
                vec![Layers { platform: platform()?, plan: policies, ..Layers::default() }]
            }
            (Owner::Platform, true) => {
                let plans = self
                    .scopes
                    .iter()
                    .filter(|(own, _)| own.owner == Owner::Platform && !own.plan.is_empty());
                // What cannot be read judges nobody.
                let plans = plans.filter_map(|(_, bound)| bound.as_ref().ok());
                let plans = plans.map(|own| own.policies.clone()).chain([Vec::new()]);
                let layers =
                    |plan| Layers { platform: policies.clone(), plan, ..Layers::default() };
                plans.map(layers).collect()
            }
        })
    }

    fn bound(&self, scope: &Scope) -> Result<Bindings, RegistryError> {
        self.scopes.get(scope).cloned().unwrap_or_else(|| Ok(Bindings::default()))
    }
}
