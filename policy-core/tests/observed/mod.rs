//! What the tests of the alerting policy have in common.
#![allow(dead_code, reason = "each test uses a part of it")]

use proptest::prelude::*;
use tollgate_policy_core::Decimal;
use tollgate_policy_core::alerts::AlertPolicy;
use tollgate_policy_core::contract::{
    Action, Dimension, Fact, Notice, Observation, Reading, Value,
};

pub fn decimal(text: &str) -> Decimal {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub fn text(value: &str) -> Value {
    Value::Text(value.into())
}

pub fn number(value: &str) -> Value {
    Value::Number(decimal(value))
}

pub fn used(used: &str) -> Reading {
    Reading { used: decimal(used), ..Reading::default() }
}

/// Something that happened to the agent `sdr`.
pub fn observed(occasion: &str, readings: &[Reading], facts: &[(&str, Value)]) -> Observation {
    let fact = |(name, value): &(&str, Value)| Fact { name: (*name).into(), value: value.clone() };
    Observation {
        occasion: occasion.into(),
        dimensions: vec![Dimension { name: "agent".into(), value: "sdr".into() }],
        readings: readings.to_vec(),
        facts: facts.iter().map(fact).collect(),
        ..Observation::default()
    }
}

pub fn policy(settings: &str) -> AlertPolicy {
    AlertPolicy::configure(settings).unwrap_or_else(|error| panic!("{settings}: {error}"))
}

/// What is done, in a word each.
pub fn words(actions: &[Action]) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Raise(notice) => notice.key.clone(),
        Action::Resolve(key) => format!("no {key}"),
        Action::Disable(disablement) => format!("disable {}", disablement.dimension),
        Action::Enable(dimension) => format!("enable {dimension}"),
        Action::ProposeLimit { counter, limit } => format!("limit {counter} {limit}"),
    };
    actions.iter().map(word).collect()
}

/// The only notice of these.
pub fn notice(actions: &[Action]) -> &Notice {
    let mut notices = actions.iter().filter_map(|action| match action {
        Action::Raise(notice) => Some(notice),
        _ => None,
    });
    match (notices.next(), notices.next()) {
        (Some(notice), None) => notice,
        _ => panic!("{actions:?}"),
    }
}

/// Amounts of any length, of either sign.
pub fn amounts() -> impl Strategy<Value = Decimal> {
    let any_length = (0..=27_u32).prop_flat_map(|digits| 0..10_i128.pow(digits));
    (any_length, prop::bool::weighted(0.1)).prop_map(|(units, negative)| {
        Decimal::from_units(if negative { -units } else { units }).unwrap_or_default()
    })
}
