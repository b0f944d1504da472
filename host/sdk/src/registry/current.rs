//! What is bound now, in all scopes, and what that comes to for a tenant.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::prices::PriceList;

use super::bindings::{Bindings, Bound, Prices, TenantSettings};
use super::{Registry, RegistryError};
use crate::engine::{Binding, Layer, Setup, Tariff};
use crate::sandbox::Ability;
use crate::store::{Owner, RegistryStore, RevisionId, Scope, Store, StoreError, Tenant};

/// As of the last look at the store.
#[derive(Default)]
pub struct Current {
    moved: i64,
    /// For whom something is bound that was not brought to a host yet.
    changed: BTreeSet<Tenant>,
    /// An error: a later version wrote it, so that nobody can tell who is judged by what.
    scopes: BTreeMap<Scope, Result<Bindings, RegistryError>>,
}

/// What is bound for a tenant, layer by layer.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Layers {
    platform: Bindings,
    plan: Bindings,
    tenant: Bindings,
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
            bound.as_ref().is_ok_and(|own: &Bindings| own.tenant.plan.as_ref() == Some(&scope.plan))
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
        let (owner, plan) = (Owner::Tenant(tenant.clone()), String::new());
        self.scopes.entry(Scope { owner, plan }).or_insert_with(|| Ok(Bindings::default()));
    }

    /// The same, and it is to be brought.
    pub fn follow(&mut self, tenant: &Tenant) {
        self.know(tenant);
        self.changed.insert(tenant.clone());
    }

    /// What is bound for a tenant.
    pub fn of(&self, tenant: &Tenant) -> Result<Layers, RegistryError> {
        let tenant = self.bound(Owner::Tenant(tenant.clone()), "")?;
        let (platform, plan) = (self.bound(Owner::Platform, "")?, self.plan(&tenant)?);
        Ok(Layers { platform, plan, tenant })
    }

    /// What the plan binds that a tenant is on.
    fn plan(&self, tenant: &Bindings) -> Result<Bindings, RegistryError> {
        match tenant.tenant.plan.as_deref() {
            None | Some("") => Ok(Bindings::default()),
            Some(plan) => self.bound(Owner::Platform, plan),
        }
    }

    /// The same, were this bound in a scope: for the scope's tenant, or for one that has nothing of
    /// its own.
    pub fn with(&self, scope: &Scope, bindings: &Bindings) -> Result<Layers, RegistryError> {
        let bindings = bindings.clone();
        let platform = || self.bound(Owner::Platform, "");
        Ok(match (&scope.owner, scope.plan.is_empty()) {
            (Owner::Tenant(_), _) => {
                Layers { platform: platform()?, plan: self.plan(&bindings)?, tenant: bindings }
            }
            (Owner::Platform, true) => Layers { platform: bindings, ..Layers::default() },
            (Owner::Platform, false) => {
                Layers { platform: platform()?, plan: bindings, ..Layers::default() }
            }
        })
    }

    fn bound(&self, owner: Owner, plan: &str) -> Result<Bindings, RegistryError> {
        let scope = Scope { owner, plan: plan.to_owned() };
        self.scopes.get(&scope).cloned().unwrap_or_else(|| Ok(Bindings::default()))
    }
}

impl Layers {
    /// All revisions that are bound.
    pub fn revisions(&self) -> impl Iterator<Item = RevisionId> {
        let Self { platform, plan, tenant } = self;
        [platform, plan, tenant].into_iter().flat_map(|own| own.policies.iter().map(Bound::id))
    }

    /// The same for all whose layers are alike.
    pub fn name(&self) -> String {
        let Self { platform, plan, tenant } = self;
        format!("{platform}{plan}{tenant}")
    }
}

impl<S: Store + RegistryStore> Registry<S> {
    /// The platform's policies are asked first, then the plan's, then the tenant's own. Where a plan
    /// prices, the platform's prices give way.
    pub(super) async fn assemble(&self, layers: &Layers) -> Result<Setup, RegistryError> {
        let Layers { platform, plan, tenant } = layers;
        let mut bindings: Vec<Binding> = Vec::new();
        for (layer, bound) in
            [(Layer::Platform, platform), (Layer::Plan, plan), (Layer::Tenant, tenant)]
        {
            for bound in &bound.policies {
                let policy = self.load(&bound.id()).await?;
                let prices = policy.can(Ability::Pricing);
                let (name, failing) = (bound.policy.clone(), bound.failing);
                let (revision, mode) = (Some(bound.id()), bound.mode.clone());
                let binding = Binding { name, policy, failing, layer, revision, mode };
                if prices && layer == Layer::Plan && !binding.is_candidate() {
                    bindings.retain(|own| {
                        own.layer == Layer::Plan || !own.policy.can(Ability::Pricing)
                    });
                }
                bindings.push(binding);
            }
        }
        priced(&bindings)?;
        let TenantSettings { time_zone, first_day_of_week, prices, .. } = &tenant.tenant;
        let calendar = TenantCalendar {
            zone: time_zone.unwrap_or_default(),
            first_day_of_week: *first_day_of_week,
        };
        let unreadable = |error: tollgate_policy_core::prices::PriceListError| {
            RegistryError::Unreadable(error.to_string())
        };
        let catalog = match prices {
            Prices::None => None,
            Prices::Current => Some(PriceList::catalog().map_err(unreadable)?),
            Prices::Seed => Some(PriceList::seed().map_err(unreadable)?),
        };
        let TenantSettings { expiring, required_dimensions, meters, proposals, language, .. } =
            tenant.tenant.clone();
        Ok(Setup {
            bindings,
            calendar,
            catalog,
            expiring,
            required_dimensions,
            meters,
            proposals,
            language,
        })
    }
}

/// A cost or a price can be limited only where something tells it.
fn priced(bindings: &[Binding]) -> Result<(), RegistryError> {
    for tariff in Tariff::ALL {
        let prices = |own: &Binding| {
            own.tariff() == tariff && !own.is_candidate() && own.policy.can(Ability::Pricing)
        };
        if bindings.iter().any(prices) {
            continue;
        }
        // Whoever has no price of its own is at no limit on it.
        let is_theirs = |own: &&Binding| tariff == Tariff::Cost || own.tariff() == tariff;
        for binding in bindings.iter().filter(is_theirs) {
            let mut counters = binding.policy.manifest().counters.iter();
            if let Some(counter) = counters.find(|own| tariff.has(own.meter.as_str())) {
                let (policy, meter) = (binding.name.clone(), counter.meter.clone());
                return Err(RegistryError::Unpriced { policy, meter });
            }
        }
    }
    Ok(())
}
