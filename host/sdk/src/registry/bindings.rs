//! What is bound in a scope: which revisions, in which order, and what a tenant is.

use std::collections::BTreeSet;
use std::fmt;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use tollgate_policy_core::Meter;
use tollgate_policy_core::messages::Language;
use tollgate_policy_core::window::Weekday;

use super::RegistryError;
use super::signing::Signing;
use crate::engine::{BindingMode, Bounds, Expiring, Failing};
use crate::store::{Owner, RevisionId};

/// All that is bound in a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bindings {
    /// Asked in this order.
    #[serde(default)]
    pub policies: Vec<Bound>,
    /// Of a tenant or the platform: who vouches for its components.
    #[serde(default)]
    pub signing: Signing,
    /// Of a tenant: what it is beside its policies.
    #[serde(default)]
    pub tenant: TenantSettings,
}

/// A revision in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The policy, as people call it: in a scope one of its revisions is enforced at the most, and
    /// one is a candidate beside it.
    pub policy: String,
    /// Whose revision.
    pub of: Owner,
    /// Its number.
    pub revision: i64,
    /// What it means that it fails.
    #[serde(default)]
    pub failing: Failing,
    /// How much its word counts.
    #[serde(default)]
    pub mode: BindingMode,
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
    /// Of what the host itself tells people.
    pub language: Language,
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
    /// In the place of the policy's other revision, or last. A candidate gives way to a candidate
    /// only.
    Bind(Bound),
    /// A policy's candidate is enforced.
    Promote(String),
    /// A policy's candidate is bound no longer.
    Withdraw(String),
    /// A policy is bound no longer, nor is its candidate.
    Unbind(String),
    /// All policies, by their names in the order in which they are asked from now on; a candidate
    /// goes with what it stands beside.
    Order(Vec<String>),
    /// Who vouches for components that are pushed from now on.
    Signing(Signing),
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
                let is_candidate = bound.mode != BindingMode::Enforce;
                match self.place(&bound.policy, is_candidate) {
                    Some(place) => self.policies[place] = bound,
                    None => match self.place(&bound.policy, !is_candidate) {
                        // What they are asked in stays as it was.
                        Some(place) => {
                            self.policies.insert(place + usize::from(is_candidate), bound);
                        }
                        None => self.policies.push(bound),
                    },
                }
            }
            Change::Promote(policy) => {
                let place = self.place(&policy, true);
                let place = place.ok_or_else(|| RegistryError::NoCandidate(policy.clone()))?;
                self.policies[place].mode = BindingMode::Enforce;
                if let Some(before) = self.place(&policy, false).filter(|before| *before != place) {
                    self.policies.remove(before);
                }
            }
            Change::Withdraw(policy) => {
                let place = self.place(&policy, true);
                self.policies.remove(place.ok_or(RegistryError::NoCandidate(policy))?);
            }
            Change::Unbind(policy) => {
                let before = self.policies.len();
                self.policies.retain(|own| own.policy != policy);
                if self.policies.len() == before {
                    return Err(RegistryError::NotBound(policy));
                }
            }
            Change::Order(names) => {
                let mut bound: Vec<&String> = Vec::new();
                for own in &self.policies {
                    if !bound.contains(&&own.policy) {
                        bound.push(&own.policy);
                    }
                }
                let is_each_once =
                    names.len() == bound.len() && bound.iter().all(|bound| names.contains(bound));
                if !is_each_once {
                    let all: Vec<_> = bound.iter().map(|own| format!("`{own}`")).collect();
                    return Err(RegistryError::Order(all.join(", ")));
                }
                self.policies.sort_by_key(|own| names.iter().position(|name| *name == own.policy));
            }
            Change::Signing(signing) => self.signing = signing,
            Change::Settings(settings) => self.tenant = *settings,
        }
        Ok(self)
    }

    /// Where a policy is bound, to be enforced or as a candidate.
    fn place(&self, policy: &str, candidate: bool) -> Option<usize> {
        let is_it =
            |own: &Bound| own.policy == policy && (own.mode != BindingMode::Enforce) == candidate;
        self.policies.iter().position(is_it)
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

    pub(super) fn place(&self) -> (String, bool) {
        (self.policy.clone(), self.mode != BindingMode::Enforce)
    }
}
