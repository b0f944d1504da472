//! What a policy can do, told by the interfaces that it exports.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The interface that every policy exports.
pub const POLICY: &str = "tollgate:policy/policy@0.1.0";

/// One of the abilities of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// May this call go ahead?
    Quota,
    /// What does this usage cost?
    Pricing,
    /// What should people be told, and who should be stopped?
    Alerting,
    /// What will this task need?
    Estimation,
}

impl Ability {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Quota, Self::Pricing, Self::Alerting, Self::Estimation];

    /// Its interface and its one function.
    #[must_use]
    pub fn export(self) -> (&'static str, &'static str) {
        match self {
            Self::Quota => ("tollgate:policy/quota@0.1.0", "check"),
            Self::Pricing => ("tollgate:policy/pricing@0.1.0", "price"),
            Self::Alerting => ("tollgate:policy/alerting@0.1.0", "review"),
            Self::Estimation => ("tollgate:policy/estimation@0.1.0", "estimate"),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quota => "quota",
            Self::Pricing => "pricing",
            Self::Alerting => "alerting",
            Self::Estimation => "estimation",
        }
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
