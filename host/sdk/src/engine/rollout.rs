//! How much the word of a policy counts: a candidate is asked beside what is enforced, for nobody at
//! first, then for some, and both answers are kept.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tollgate_policy_core::contract::{Dimension, dimension};

use super::{Binding, Setup};

/// How much a policy's word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindingMode {
    /// For every call.
    #[default]
    Enforce,
    /// For none: it is asked, and what it says is kept beside what counts.
    Shadow,
    /// For some calls; for the others it is a shadow.
    Canary(Canary),
}

/// For whom a candidate counts: for so many of a hundred values of a dimension, and always for the
/// same ones. Raising the share adds others. A call that names no value is on the other side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// How many.
    pub percent: Percent,
    /// Of which dimension's values: `user`.
    pub by: String,
}

/// From 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

/// More than all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} % is no share: write a whole number from 0 to 100")]
pub struct NotAShare(u8);

impl TryFrom<u8> for Percent {
    type Error = NotAShare;

    fn try_from(percent: u8) -> Result<Self, NotAShare> {
        if percent <= 100 { Ok(Self(percent)) } else { Err(NotAShare(percent)) }
    }
}

impl From<Percent> for u8 {
    fn from(Percent(percent): Percent) -> Self {
        percent
    }
}

impl fmt::Display for BindingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforce => f.write_str("enforced"),
            Self::Shadow => f.write_str("in shadow"),
            Self::Canary(Canary { percent: Percent(percent), by }) => {
                write!(f, "for {percent} % of each `{by}`")
            }
        }
    }
}

impl BindingMode {
    fn is_candidate(&self) -> bool {
        *self != Self::Enforce
    }
}

impl Canary {
    /// Which of a hundred parts a value falls into follows from the policy's name and the value
    /// alone, on every host and in every version.
    fn takes(&self, policy: &str, dimensions: &[Dimension]) -> bool {
        let value = dimension(dimensions, &self.by);
        if value.is_empty() {
            return false;
        }
        let digest = Sha256::new().chain_update(policy).chain_update([0]).chain_update(value);
        let [high, low, ..] = <[u8; 32]>::from(digest.finalize());
        let part = u16::from_be_bytes([high, low]) % 100;
        part < u16::from(self.percent.0)
    }
}

impl Setup {
    /// Whether what the policy in a place says counts for a call about these.
    pub(crate) fn decides(&self, place: usize, dimensions: &[Dimension]) -> bool {
        let Some(own) = self.bindings.get(place) else { return false };
        let taken = |binding: &Binding| match &binding.mode {
            BindingMode::Enforce | BindingMode::Shadow => false,
            BindingMode::Canary(canary) => canary.takes(&binding.name, dimensions),
        };
        match own.mode {
            BindingMode::Enforce => {
                let beside = self.beside(place).and_then(|place| self.bindings.get(place));
                !beside.is_some_and(taken)
            }
            BindingMode::Shadow | BindingMode::Canary(_) => taken(own),
        }
    }

    /// Of a candidate the place that it may take, and the other way round.
    pub(crate) fn beside(&self, place: usize) -> Option<usize> {
        let own = self.bindings.get(place)?;
        let is_beside = |other: &Binding| {
            (other.layer, &other.name) == (own.layer, &own.name)
                && other.mode.is_candidate() != own.mode.is_candidate()
        };
        self.bindings.iter().position(is_beside)
    }
}

impl Binding {
    /// Whether it is asked beside what is enforced.
    #[must_use]
    pub fn is_candidate(&self) -> bool {
        self.mode.is_candidate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canary(percent: u8) -> Canary {
        Canary { percent: percent.try_into().unwrap(), by: "user".into() }
    }

    fn user(number: u32) -> Vec<Dimension> {
        vec![Dimension { name: "user".into(), value: format!("user-{number}") }]
    }

    #[test]
    fn a_canary_takes_its_share_and_raising_it_adds_others() {
        let taken = |percent, policy| -> Vec<u32> {
            (0..10_000).filter(|own| canary(percent).takes(policy, &user(*own))).collect()
        };
        let (ten, thirty) = (taken(10, "house"), taken(30, "house"));
        assert!((900..1_100).contains(&ten.len()), "{}", ten.len());
        assert!((2_850..3_150).contains(&thirty.len()), "{}", thirty.len());
        assert!(ten.iter().all(|own| thirty.contains(own)));
        assert_eq!((taken(0, "house").len(), taken(100, "house").len()), (0, 10_000));
        // Who is first with one policy is not first with all.
        assert_ne!(ten, taken(10, "other"));
        assert!(!canary(100).takes("house", &[]));
    }

    #[test]
    fn who_is_taken_stays_so_in_every_version() {
        let taken: Vec<u32> =
            (0..40).filter(|own| canary(25).takes("house", &user(*own))).collect();
        assert_eq!(taken, WRITTEN_DOWN);
    }

    /// By another implementation of the rule.
    const WRITTEN_DOWN: [u32; 9] = [4, 6, 7, 15, 16, 17, 20, 21, 33];

    #[test]
    fn more_than_all_is_no_share() {
        assert_eq!(Percent::try_from(101), Err(NotAShare(101)));
        let refused = serde_json::from_str::<Canary>(r#"{"percent":101,"by":"user"}"#);
        assert!(refused.unwrap_err().to_string().contains("101 % is no share"));
    }
}
