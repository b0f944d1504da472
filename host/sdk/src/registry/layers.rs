//! What is bound for a tenant, layer by layer, and what it is judged with by that.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::contract::{Counter, Denial, Priced};
use tollgate_policy_core::prices::{PriceList, PriceListError};
use tollgate_policy_core::{Currency, Meter};

use super::bindings::{Bound, Prices, TenantSettings};
use super::{Registry, RegistryError};
use crate::engine::{Binding, BindingMode, Failing, Layer, Setup, Tariff, unfit};
use crate::sandbox::Ability;
use crate::store::{RegistryStore, Store};

/// Some of a tenant's own policies cannot be asked, and that denies.
pub const POLICIES_UNFIT: &str = "policies_unfit";

/// A policy's name, and whether it is the candidate beside what is enforced.
pub type Place = (String, bool);

/// What is bound for a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Layers {
    pub platform: Vec<Bound>,
    pub plan: Vec<Bound>,
    pub own: Vec<Bound>,
    /// Those of the tenant's own that are not asked: they do not load, or do not go with the others.
    pub out: BTreeSet<Place>,
    pub settings: TenantSettings,
}

impl Layers {
    /// What is asked, in that order.
    fn asked(&self) -> impl Iterator<Item = (Layer, &Bound)> {
        let Self { platform, plan, own, .. } = self;
        let platform = platform.iter().map(|own| (Layer::Platform, own));
        let plan = plan.iter().map(|own| (Layer::Plan, own));
        let own = own.iter().filter(|own| !self.is_out(own));
        platform.chain(plan).chain(own.map(|own| (Layer::Tenant, own)))
    }

    fn is_out(&self, own: &Bound) -> bool {
        !self.out.is_empty() && self.out.contains(&own.place())
    }

    /// The same for all whose layers are alike.
    pub fn name(&self) -> String {
        // Of our own types, which JSON can hold.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The host's own price lists.
static CATALOG: LazyLock<Result<Arc<PriceList>, PriceListError>> =
    LazyLock::new(|| PriceList::catalog().map(Arc::new));
static SEED: LazyLock<Result<Arc<PriceList>, PriceListError>> =
    LazyLock::new(|| PriceList::seed().map(Arc::new));

impl<S: Store + RegistryStore> Registry<S> {
    /// The platform's policies are asked first, then the plan's, then the tenant's own. Where a plan
    /// prices, the platform's prices give way.
    pub(super) async fn assemble(&self, layers: &Layers) -> Result<Setup, RegistryError> {
        let mut bindings: Vec<Binding> = Vec::new();
        for (layer, bound) in layers.asked() {
            let policy = self.load(&bound.id()).await?;
            let prices = policy.can(Ability::Pricing);
            let (name, failing) = (bound.policy.clone(), bound.failing);
            let (revision, mode) = (Some(bound.id()), bound.mode.clone());
            let binding = Binding { name, policy, failing, layer, revision, mode };
            if prices && layer == Layer::Plan && !binding.is_candidate() {
                bindings
                    .retain(|own| own.layer == Layer::Plan || !own.policy.can(Ability::Pricing));
            }
            bindings.push(binding);
        }
        let TenantSettings { time_zone, first_day_of_week, prices, .. } = &layers.settings;
        let calendar = TenantCalendar {
            zone: time_zone.unwrap_or_default(),
            first_day_of_week: *first_day_of_week,
        };
        let catalog = match prices {
            Prices::None => None,
            Prices::Current => Some(&*CATALOG),
            Prices::Seed => Some(&*SEED),
        };
        let catalog = catalog.cloned().transpose();
        let catalog = catalog.map_err(|error| RegistryError::Unreadable(error.to_string()))?;
        priced(&bindings, catalog.as_deref())?;
        let TenantSettings { expiring, required_dimensions, meters, proposals, language, .. } =
            layers.settings.clone();
        let setup = Setup {
            bindings,
            closed: self.closed(layers),
            calendar,
            catalog,
            expiring,
            required_dimensions,
            meters,
            proposals,
            language,
        };
        setup.check()?;
        Ok(setup)
    }

    /// What is out denies as where it failed. A candidate is not needed, nor is what only looks on.
    fn closed(&self, layers: &Layers) -> Option<Denial> {
        let denies = |own: &&Bound| {
            let (policy, closed) = (self.at_hand(&own.id()), own.failing == Failing::Closed);
            let can = |ability| policy.as_ref().map(|own| own.can(ability));
            let prices = can(Ability::Pricing).unwrap_or(false);
            own.mode == BindingMode::Enforce
                && (prices || closed && can(Ability::Quota).unwrap_or(true))
        };
        let mut out = layers.own.iter().filter(|own| layers.is_out(own));
        let language = layers.settings.language;
        out.find(denies).map(|own| Denial::new(POLICIES_UNFIT, unfit(language, &own.policy)))
    }
}

/// A cost or a price can be limited only where something tells it, and in a currency in which it is
/// told.
fn priced(bindings: &[Binding], catalog: Option<&PriceList>) -> Result<(), RegistryError> {
    for tariff in Tariff::ALL {
        let charges = |own: &&Binding| {
            let decides = own.mode != BindingMode::Shadow;
            decides && own.tariff() == tariff && own.policy.can(Ability::Pricing)
        };
        let is_priced = bindings.iter().filter(charges).any(|own| !own.is_candidate());
        let told =
            bindings.iter().filter(charges).map(|own| match own.policy.manifest().currency()? {
                Priced::In(currency) => Some(currency),
                Priced::AsRates => catalog.map(|catalog| catalog.currency),
            });
        // Where one does not say, any may be told.
        let told: Option<Vec<Currency>> = told.collect();
        // Whoever has no price of its own is at no limit on it.
        let is_theirs = |own: &&Binding| tariff == Tariff::Cost || own.tariff() == tariff;
        for binding in bindings.iter().filter(is_theirs) {
            let counters = binding.policy.manifest().counters.iter();
            let of_tariff = |own: &&Counter| tariff.has(own.meter.as_str());
            let meters: Vec<&Meter> = counters.filter(of_tariff).map(|own| &own.meter).collect();
            let Some(first) = meters.first() else { continue };
            let (policy, meter) = (binding.name.clone(), (*first).clone());
            if !is_priced {
                return Err(RegistryError::Unpriced { policy, meter });
            }
            // Who limits several currencies goes with any of them; who looks on limits nothing.
            let limits = binding.policy.can(Ability::Quota) && binding.mode != BindingMode::Shadow;
            let is_told =
                |told: &Currency| meters.iter().any(|own| tariff.meter(*told) == own.as_str());
            let untold = told.iter().flatten().find(|told| limits && !is_told(told));
            if let Some(currency) = untold.copied() {
                return Err(RegistryError::OtherCurrency { policy, meter, currency });
            }
        }
    }
    Ok(())
}
