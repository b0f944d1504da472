//! The standard pricing policy as a component.

use tollgate_policy_core::guest::{Manifest, Policy, Quote, Refusal, Usage};
use tollgate_policy_core::pricing::PricingPolicy;

/// The policy, as it is exported.
pub struct Pricing(PricingPolicy);

impl Policy for Pricing {
    const SETTINGS_SCHEMA: &'static str = include_str!("../settings.schema.json");

    fn configure(settings: &str) -> Result<(Self, Manifest), String> {
        let policy = PricingPolicy::configure(settings).map_err(|error| error.to_string())?;
        let manifest = policy.manifest();
        Ok((Self(policy), manifest))
    }

    fn price(&self, usage: &Usage) -> Result<Quote, Refusal> {
        self.0.price(usage)
    }
}

tollgate_policy_core::export_policy!(Pricing: pricing);
