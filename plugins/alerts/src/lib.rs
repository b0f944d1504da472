//! The standard alerting policy as a component.

use tollgate_policy_core::alerts::AlertPolicy;
use tollgate_policy_core::guest::{Action, Manifest, Observation, Policy};

/// The policy, as it is exported.
pub struct Alerts(AlertPolicy);

impl Policy for Alerts {
    const SETTINGS_SCHEMA: &'static str = include_str!("../../limits.schema.json");

    fn configure(settings: &str) -> Result<(Self, Manifest), String> {
        let policy = AlertPolicy::configure(settings).map_err(|error| error.to_string())?;
        let manifest = policy.manifest();
        Ok((Self(policy), manifest))
    }

    fn review(&self, observation: &Observation) -> Vec<Action> {
        self.0.review(observation)
    }
}

tollgate_policy_core::export_policy!(Alerts: alerting);
