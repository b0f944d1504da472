//! Limits as data: set for the values of dimensions, changed at once, and enforced by the host
//! itself beside the policies that read them.

use serde::{Deserialize, Serialize};
use tollgate_policy_core::contract::{Counter, Denial, Dimension, Reading, Status};
use tollgate_policy_core::messages::{self, Language};
use tollgate_policy_core::quota::QUOTA_EXCEEDED;
use tollgate_policy_core::window::{Instant, Window};
use tollgate_policy_core::{Decimal, Meter};

use super::Layer;

/// What a limit stands on: one counter, for certain values of its dimensions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LimitKey {
    /// What is limited.
    pub meter: Meter,
    /// Over which time.
    pub window: Window,
    /// Whom it limits: `user` `ana`; none: the tenant.
    #[serde(default)]
    pub dimensions: Vec<Dimension>,
}

/// A limit that somebody set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// How much.
    pub limit: Decimal,
    /// From then on; none: at once.
    #[serde(default)]
    pub valid_from: Option<Instant>,
    /// Until then; none: until it is lifted.
    #[serde(default)]
    pub valid_until: Option<Instant>,
    /// Who set it, in words.
    pub set_by: String,
    /// Whether that is the platform's word: no tenant's changes it, and it counts in the place of what a
    /// policy of the platform's has itself, where a tenant's only tightens that. The host says so, by who
    /// asks.
    #[serde(default)]
    pub is_platforms: bool,
}

impl LimitKey {
    /// Dimensions in the order of their names, so that a limit has one key.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.dimensions.sort();
        self.dimensions.dedup_by(|one, other| one.name == other.name);
        self
    }

    /// The counter that it reads.
    #[must_use]
    pub fn counter(&self) -> Counter {
        let per = self.dimensions.iter().map(|dimension| dimension.name.clone()).collect();
        Counter { meter: self.meter.clone(), window: self.window, per, limit: None }
    }

    /// Under which values the counter adds up what this limits.
    pub(super) fn values(&self) -> String {
        let values: Vec<&str> =
            self.dimensions.iter().map(|dimension| dimension.value.as_str()).collect();
        serde_json::to_string(&values).unwrap_or_default()
    }
}

impl Limit {
    /// Whether it is fed to a policy of this layer, whose own limit is this.
    pub(super) fn is_for(&self, layer: Layer, own: Option<Decimal>) -> bool {
        self.is_platforms || layer == Layer::Tenant || own.is_some_and(|own| self.limit <= own)
    }

    /// Whether it stands at an instant.
    #[must_use]
    pub fn stands(&self, at: Instant) -> bool {
        self.valid_from.is_none_or(|from| from <= at)
            && self.valid_until.is_none_or(|until| at < until)
    }

    /// Why a reading does not fit under it.
    pub(super) fn denial(&self, meter: &Meter, reading: &Reading) -> Option<Denial> {
        let Reading { used, held, asked, .. } = reading;
        let sum = used.checked_add(*held).and_then(|taken| taken.checked_add(*asked));
        // What asks for nothing passes no limit, even above it.
        if asked.is_zero() || sum.is_ok_and(|sum| sum <= self.limit) {
            return None;
        }
        let remaining = self.left(reading);
        let message = messages::quota(
            Language::English,
            Status::Exceeded,
            meter.as_str(),
            self.limit,
            remaining,
        );
        Some(Denial { retry_at: reading.closes, ..Denial::new(QUOTA_EXCEEDED, message) })
    }

    /// limit − used − held, at least zero.
    pub(super) fn left(&self, reading: &Reading) -> Decimal {
        let left = self.limit.checked_sub(reading.used);
        let left = left.and_then(|left| left.checked_sub(reading.held));
        left.unwrap_or_default().at_least_zero()
    }
}
