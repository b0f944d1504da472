//! With what batches were judged, as it is kept: enough to judge their decisions again.

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tollgate_policy_core::window::Weekday;

use super::{BindingMode, Failing, Layer, Setup};
use crate::store::RevisionId;

/// What batches were judged with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// In the order in which they were asked.
    pub policies: Vec<ContextPolicy>,
    /// The tenant's zone.
    pub time_zone: Tz,
    /// Where its weeks begin.
    pub first_day_of_week: Weekday,
    /// Whose rates the pricing policy was handed.
    pub catalog: Option<String>,
}

/// A policy that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextPolicy {
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub layer: Layer,
    /// Its revision; none: it was embedded as it is.
    pub revision: Option<RevisionId>,
    /// What it meant that it fails.
    pub failing: Failing,
    /// How much its word counted.
    pub mode: BindingMode,
    /// The component's digest.
    pub component: String,
    /// As they were written: JSON.
    pub settings: String,
}

impl Context {
    /// Of those who are judged with this.
    #[must_use]
    pub fn of(setup: &Setup) -> Self {
        let policies = setup.bindings.iter().map(|binding| ContextPolicy {
            name: binding.name.clone(),
            layer: binding.layer,
            revision: binding.revision.clone(),
            failing: binding.failing,
            mode: binding.mode.clone(),
            component: binding.policy.admitted().digest.clone(),
            settings: binding.policy.settings().to_owned(),
        });
        Self {
            policies: policies.collect(),
            time_zone: setup.calendar.zone,
            first_day_of_week: setup.calendar.first_day_of_week,
            catalog: setup.catalog.as_ref().map(|catalog| catalog.name.clone()),
        }
    }

    /// As it is kept, and the name by which batches know it: a digest of that.
    #[must_use]
    pub fn named(&self) -> (String, Vec<u8>) {
        // Of our own types, which JSON can hold.
        let body = serde_json::to_vec(self).unwrap_or_default();
        let digest = Sha256::digest(&body);
        let name = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        (name, body)
    }

    /// None where a later engine wrote it.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}
