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
    pub(super) fn denial(
        &self,
        language: Language,
        meter: &Meter,
        reading: &Reading,
    ) -> Option<Denial> {
        let Reading { used, held, asked, .. } = reading;
        let sum = used.checked_add(*held).and_then(|taken| taken.checked_add(*asked));
        // What asks for nothing passes no limit, even above it.
        if asked.is_zero() || sum.is_ok_and(|sum| sum <= self.limit) {
            return None;
        }
        let remaining = self.left(reading);
        let (status, meter) = (Status::Exceeded, meter.as_str());
        let message = messages::quota(language, status, meter, self.limit, remaining);
        Some(Denial { retry_at: reading.closes, ..Denial::new(QUOTA_EXCEEDED, message) })
    }

    /// limit − used − held, at least zero.
    pub(super) fn left(&self, reading: &Reading) -> Decimal {
        let left = self.limit.checked_sub(reading.used);
        let left = left.and_then(|left| left.checked_sub(reading.held));
        left.unwrap_or_default().at_least_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Language::English;

    fn limit(limit: u32) -> Limit {
        let (valid_from, valid_until) = (None, None);
        let (limit, set_by) = (limit.into(), "finance".to_owned());
        Limit { limit, valid_from, valid_until, set_by, is_platforms: false }
    }

    #[test]
    fn it_stands_from_its_first_instant_until_before_its_last() {
        let bounded = Limit { valid_from: Some(10), valid_until: Some(20), ..limit(5) };
        for (at, stands) in [(9, false), (10, true), (19, true), (20, false)] {
            assert_eq!(bounded.stands(at), stands, "at {at}");
        }
        assert!(limit(5).stands(Instant::MIN) && limit(5).stands(Instant::MAX));
    }

    #[test]
    fn a_tenants_only_tightens_what_the_platforms_policies_have_themselves() {
        let own = Some(Decimal::from(100));
        for layer in [Layer::Platform, Layer::Plan] {
            assert!(limit(99).is_for(layer, own) && limit(100).is_for(layer, own));
            assert!(!limit(101).is_for(layer, own));
            // Where the policy has none of its own there is nothing that it could tighten.
            assert!(!limit(1).is_for(layer, None));
            let platforms = Limit { is_platforms: true, ..limit(101) };
            assert!(platforms.is_for(layer, own) && platforms.is_for(layer, None));
        }
        assert!(limit(101).is_for(Layer::Tenant, own) && limit(101).is_for(Layer::Tenant, None));
    }

    #[test]
    fn what_is_left_is_neither_used_nor_held_and_never_below_zero() {
        let reading = |used: u32, held: u32, asked: u32| Reading {
            used: used.into(),
            held: held.into(),
            asked: asked.into(),
            limit: None,
            opened: 0,
            closes: Some(60),
        };
        assert_eq!(limit(10).left(&reading(3, 2, 0)), 5.into());
        assert_eq!(limit(10).left(&reading(8, 4, 0)), Decimal::ZERO);
        let meter: Meter = "llm_tokens".parse().unwrap();
        assert_eq!(limit(10).denial(English, &meter, &reading(3, 2, 5)), None);
        let denial = limit(10).denial(English, &meter, &reading(3, 2, 6)).expect("denied");
        assert_eq!((&*denial.code, denial.retry_at), (QUOTA_EXCEEDED, Some(60)));
        assert_eq!(limit(10).denial(English, &meter, &reading(12, 0, 0)), None);
    }

    #[test]
    fn dimensions_are_named_once_and_in_order() {
        let named = |name: &str, value: &str| Dimension { name: name.into(), value: value.into() };
        let key = LimitKey {
            meter: "calls".parse().unwrap(),
            window: Window::Lifetime,
            dimensions: vec![named("user", "ana"), named("agent", "a"), named("agent", "b")],
        };
        assert_eq!(key.clone().sorted().dimensions, [named("agent", "a"), named("user", "ana")]);
        assert_eq!(key.sorted().values(), r#"["a","ana"]"#);
    }
}
