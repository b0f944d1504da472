//! What is bound for a tenant, layer by layer, and what it is judged with by that.

use serde::Serialize;
use tollgate_policy_core::Currency;
use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::contract::Denial;
use tollgate_policy_core::prices::PriceList;

use super::bindings::{Bound, Prices, TenantSettings};
use super::{Registry, RegistryError};
use crate::engine::{Binding, BindingMode, Failing, Layer, Setup, Tariff};
use crate::sandbox::Ability;
use crate::store::{RegistryStore, Store};

/// A tenant's own policies cannot be asked, and their failing denies.
pub const POLICIES_UNFIT: &str = "policies_unfit";

/// What is bound for a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Layers {
    pub platform: Vec<Bound>,
    pub plan: Vec<Bound>,
    pub own: Vec<Bound>,
    /// The tenant's own are not asked: they do not load, or do not go with the others.
    pub own_is_out: bool,
    pub settings: TenantSettings,
}

impl Layers {
    /// The layers, in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = (Layer, &Vec<Bound>)> {
        [Layer::Platform, Layer::Plan, Layer::Tenant].map(|own| (own, self.of(own))).into_iter()
    }

    /// What is bound in one of them.
    pub fn of(&self, layer: Layer) -> &Vec<Bound> {
        match layer {
            Layer::Platform => &self.platform,
            Layer::Plan => &self.plan,
            Layer::Tenant => &self.own,
        }
    }

    pub fn place(&mut self, layer: Layer) -> &mut Vec<Bound> {
        match layer {
            Layer::Platform => &mut self.platform,
            Layer::Plan => &mut self.plan,
            Layer::Tenant => &mut self.own,
        }
    }

    /// The same for all whose layers are alike.
    pub fn name(&self) -> String {
        // Of our own types, which JSON can hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What is out denies as it would where each of its policies failed.
    fn closed(&self) -> Option<Denial> {
        let denies =
            |own: &Bound| own.failing == Failing::Closed && own.mode != BindingMode::Shadow;
        let is_closed = self.own_is_out && self.own.iter().any(denies);
        is_closed.then(|| {
            let words = "the tenant's own policies cannot be asked beside the platform's: have them \
                         bound anew, or no longer";
            Denial::new(POLICIES_UNFIT, words)
        })
    }
}

impl<S: Store + RegistryStore> Registry<S> {
    /// The platform's policies are asked first, then the plan's, then the tenant's own. Where a plan
    /// prices, the platform's prices give way.
    pub(super) async fn assemble(&self, layers: &Layers) -> Result<Setup, RegistryError> {
        let mut bindings: Vec<Binding> = Vec::new();
        let asked = |layer: Layer| layer != Layer::Tenant || !layers.own_is_out;
        for (layer, bound) in layers.iter().filter(|(layer, _)| asked(*layer)) {
            for bound in bound {
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
        let TenantSettings { time_zone, first_day_of_week, prices, .. } = &layers.settings;
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
            layers.settings.clone();
        let setup = Setup {
            bindings,
            closed: layers.closed(),
            calendar,
            catalog,
            expiring,
            required_dimensions,
            meters,
            proposals,
            language,
        };
        priced(&setup.bindings)?;
        setup.check()?;
        Ok(setup)
    }
}

/// A cost or a price can be limited only where something tells it, and in a currency in which it is
/// told.
fn priced(bindings: &[Binding]) -> Result<(), RegistryError> {
    for tariff in Tariff::ALL {
        let charges = |own: &&Binding| {
            let decides = own.mode != BindingMode::Shadow;
            decides && own.tariff() == tariff && own.policy.can(Ability::Pricing)
        };
        let is_priced = bindings.iter().filter(charges).any(|own| !own.is_candidate());
        let told = bindings.iter().filter(charges).map(|own| own.policy.manifest().currency());
        let told: Vec<Currency> = told.flatten().collect();
        // Whoever has no price of its own is at no limit on it.
        let is_theirs = |own: &&Binding| tariff == Tariff::Cost || own.tariff() == tariff;
        for binding in bindings.iter().filter(is_theirs) {
            let counters = binding.policy.manifest().counters.iter();
            for counter in counters.filter(|own| tariff.has(own.meter.as_str())) {
                let (policy, meter) = (binding.name.clone(), counter.meter.clone());
                if !is_priced {
                    return Err(RegistryError::Unpriced { policy, meter });
                }
                let mut others = told.iter().filter(|own| tariff.meter(**own) != meter.as_str());
                if let Some(currency) = others.next().copied() {
                    return Err(RegistryError::OtherCurrency { policy, meter, currency });
                }
            }
        }
    }
    Ok(())
}
