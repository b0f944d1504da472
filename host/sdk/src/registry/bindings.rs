//! What is bound in a scope: which revisions, in which order, and what a tenant is.

use std::collections::BTreeSet;
use std::fmt;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use tollgate_policy_core::Meter;
use tollgate_policy_core::window::Weekday;

use super::RegistryError;
use crate::engine::{Bounds, Expiring, Failing};
use crate::store::{Owner, RevisionId};

/// All that is bound in a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bindings {
    /// Asked in this order.
    #[serde(default)]
    pub policies: Vec<Bound>,
    /// Of a tenant: what it is beside its policies.
    #[serde(default)]
    pub tenant: TenantSettings,
}

/// A revision in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The policy, as people call it: bound once in a scope.
    pub policy: String,
    /// Whose revision.
    pub of: Owner,
    /// Its number.
    pub revision: i64,
    /// What it means that it fails.
    #[serde(default)]
    pub failing: Failing,
}

/// What a tenant is beside its policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantSettings {
    /// The plan that it is on; none: on no plan.
    pub plan: Option<String>,
    /// Its time zone; none: UTC.
    pub time_zone: Option<Tz>,
    /// Where its weeks begin.
    pub first_day_of_week: Weekday,
    /// Whose rates its pricing policy is handed.
    pub prices: Prices,
    /// What becomes of reservations whose time is over.
    pub expiring: Expiring,
    /// What every call must name.
    pub required_dimensions: Vec<String>,
    /// The meters that may be asked for and told; none: any.
    pub meters: Option<BTreeSet<Meter>>,
    /// Within what policies may propose limits.
    pub proposals: Vec<Bounds>,
}

/// The host's own prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prices {
    /// None are handed over.
    #[default]
    None,
    /// The current catalog.
    Current,
    /// The six models of the seed.
    Seed,
}

/// How what is bound in a scope changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// In the place of the policy's other revision, or last.
    Bind(Bound),
    /// A policy is bound no longer.
    Unbind(String),
    /// What the tenant is.
    Settings(Box<TenantSettings>),
}

impl Bindings {
    pub(super) fn read(body: &str) -> Result<Self, RegistryError> {
        serde_json::from_str(body).map_err(|error| RegistryError::Unreadable(error.to_string()))
    }

    pub(super) fn with(mut self, change: Change) -> Result<Self, RegistryError> {
        match change {
            Change::Bind(bound) => {
                match self.policies.iter_mut().find(|own| own.policy == bound.policy) {
                    Some(own) => *own = bound,
                    None => self.policies.push(bound),
                }
            }
            Change::Unbind(policy) => {
                let place = self.policies.iter().position(|own| own.policy == policy);
                self.policies.remove(place.ok_or(RegistryError::NotBound(policy))?);
            }
            Change::Settings(settings) => self.tenant = *settings,
        }
        Ok(self)
    }
}

impl fmt::Display for Bindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of our own types, which JSON can hold.
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

impl Bound {
    /// Its revision.
    #[must_use]
    pub fn id(&self) -> RevisionId {
        let (owner, policy) = (self.of.clone(), self.policy.clone());
        RevisionId { owner, policy, number: self.revision }
    }
}
