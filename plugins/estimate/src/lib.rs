//! The standard estimator as a component.

use tollgate_policy_core::estimate::{EstimateSettings, Estimator};
use tollgate_policy_core::guest::{Manifest, Policy, Quantity, Task};

/// The policy, as it is exported.
pub struct Estimate(Estimator);

impl Policy for Estimate {
    const SETTINGS_SCHEMA: &'static str = EstimateSettings::SCHEMA;

    fn configure(settings: &str) -> Result<(Self, Manifest), String> {
        let estimator = EstimateSettings::parse(settings)
            .and_then(Estimator::new)
            .map_err(|error| error.to_string())?;
        Ok((Self(estimator), Manifest::default()))
    }

    fn estimate(&self, task: &Task) -> Result<Vec<Quantity>, String> {
        let amounts = self.0.estimate(&task.description).map_err(|error| error.to_string())?;
        amounts
            .into_iter()
            .map(|(meter, amount)| Ok(Quantity { meter: meter.parse()?, amount }))
            .collect::<Result<_, tollgate_policy_core::meter::MeterError>>()
            .map_err(|error| error.to_string())
    }
}

tollgate_policy_core::export_policy!(Estimate: estimation);
