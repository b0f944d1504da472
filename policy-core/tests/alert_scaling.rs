//! Limits that grow with use.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod observed;

use num_bigint::BigInt;
use observed::{amounts, decimal, observed, policy, text, used, words};
use proptest::prelude::*;
use tollgate_policy_core::Decimal;
use tollgate_policy_core::alerts::AlertPolicy;
use tollgate_policy_core::contract::{Action, Reading};
use tollgate_policy_core::quota::QuotaPolicy;
use tollgate_policy_core::scaling::Scaling;

/// Grows by a quarter at 90 %; the limit before it does not grow.
const SCALING: &str = r#"{"limits": [
    {"meter": "llm_requests", "limit": 10, "period": "day"},
    {"meter": "llm_tokens", "limit": 1000, "period": "day", "per": "user",
        "warning_threshold": 1, "scaling": {"at": 0.9, "by": 0.25}}]}"#;

/// The limits that are proposed.
fn proposed(settings: &str, occasion: &str, readings: &[Reading]) -> Vec<String> {
    let facts = [("denial.code", text("quota_exceeded"))];
    let actions = policy(settings).review(&observed(occasion, readings, &facts));
    let is_limit = |action: &&Action| matches!(action, Action::ProposeLimit { .. });
    words(&actions.iter().filter(is_limit).cloned().collect::<Vec<_>>())
}

fn tokens(reading: Reading) -> Vec<String> {
    proposed(SCALING, "settled", &[used("10"), reading])
}

#[test]
fn a_limit_is_to_grow_once_enough_of_it_is_used() {
    for (amount, wanted) in [
        ("0", vec![]),
        ("899.999999999999", vec![]),
        ("900", vec!["limit 1 1250"]),
        ("1000", vec!["limit 1 1250"]),
        ("5000", vec!["limit 1 1250"]),
        ("-900", vec![]),
    ] {
        assert_eq!(tokens(used(amount)), wanted, "{amount}");
    }
    for (occasion, is_told) in
        [("settled", true), ("scheduled", true), ("denied", false), ("period-opened", false)]
    {
        let told = proposed(SCALING, occasion, &[used("0"), used("900")]);
        assert_eq!(!told.is_empty(), is_told, "{occasion}");
    }
}

#[test]
fn only_settled_use_counts() {
    let held = Reading { held: decimal("900"), asked: decimal("900"), ..used("899") };
    assert!(tokens(held).is_empty());
}

#[test]
fn a_limit_that_was_set_is_the_one_that_grows() {
    let set = |amount, limit| Reading { limit: Some(decimal(limit)), ..used(amount) };
    assert!(tokens(set("900", "1250")).is_empty());
    assert_eq!(tokens(set("1125", "1250")), ["limit 1 1562.5"]);
    assert_eq!(tokens(set("90", "100")), ["limit 1 125"]);
    // Nothing grows to nothing, and what is too large stays.
    assert!(tokens(set("5", "0")).is_empty());
    assert!(tokens(set("5", "-1")).is_empty());
    assert!(tokens(set("999999999999999", "999999999999999")).is_empty());
    assert!(tokens(set("5", "0.000000000001")).is_empty());
}

#[test]
fn the_limit_on_agents_cost_grows_on_its_own_counter() {
    let settings = r#"{"cost_limits": {"monthly_limit": 500}, "max_active_runs": 5, "limits": [
        {"meter": "cost.usd", "limit": 400, "period": "month", "per": "agent",
            "scaling": {"at": 0.5, "by": 1}}]}"#;
    assert_eq!(proposed(settings, "settled", &[used("0"), used("200")]), ["limit 1 800"]);
    assert!(proposed(settings, "settled", &[used("0"), used("199.99")]).is_empty());
    assert!(proposed(settings, "settled", &[used("0")]).is_empty());
}

#[test]
fn quotas_may_grow_too_and_the_quota_policy_minds_none_of_it() {
    let quota =
        r#"{"LLM_TOKENS": {"limit": 10, "period": "day", "scaling": {"at": 1, "by": 0.5}}}"#;
    for settings in [quota.to_owned(), format!(r#"{{"quotas": {}}}"#, quota.to_lowercase())] {
        assert_eq!(proposed(&settings, "settled", &[used("10")]), ["limit 0 15"]);
        assert!(proposed(&settings, "settled", &[used("9.99")]).is_empty());
        let scaled = QuotaPolicy::configure(&settings).unwrap().manifest();
        let plain = r#"{"quotas": {"llm_tokens": {"limit": 10, "period": "day"}}}"#;
        assert_eq!(scaled, QuotaPolicy::configure(plain).unwrap().manifest());
    }
}

#[test]
fn settings_without_sense_are_refused() {
    const AT: &str = "of `scaling` is not a fraction above zero: write 0.9 for 90 %";
    for (scaling, error) in [
        (r#"{"at": 0.9}"#, "missing field `by`".into()),
        (r#"{"by": 0.9}"#, "missing field `at`".into()),
        (r#"{"at": 0, "by": 1}"#, format!("`at` 0 {AT}")),
        (r#"{"at": 1.01, "by": 1}"#, format!("`at` 1.01 {AT}")),
        (
            r#"{"at": 1, "by": 0}"#,
            "`by` 0 of `scaling` is not above zero: write 0.25 for 25 %".into(),
        ),
        (r#"{"at": 1, "by": 1, "to": 5}"#, "unknown field `to`, expected `at` or `by`".into()),
        ("0.9", "invalid type: number, expected an object with `at` and `by`".into()),
    ] {
        let settings = format!(
            r#"{{"quotas": {{"x": {{"limit": 1, "period": "day", "scaling": {scaling}}}}}}}"#
        );
        let told = AlertPolicy::configure(&settings).unwrap_err();
        assert_eq!(told.to_string(), format!("settings: {error}"));
        assert_eq!(QuotaPolicy::configure(&settings).unwrap_err(), told);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_limit_grows_where_long_arithmetic_says_so(
        at in 1..=1_000_000_000_000_i128,
        by in 1..=2_000_000_000_000_i128,
        used in amounts(),
        limit in amounts(),
    ) {
        let scaling = Scaling {
            at: Decimal::from_units(at).unwrap(),
            by: Decimal::from_units(by).unwrap(),
        };
        let raised = scaling.raised(used, limit);
        let (one, big) = (BigInt::from(10).pow(12), |amount: Decimal| BigInt::from(amount.units()));
        let is_used = big(used) * &one >= big(limit) * at;
        // Half to even: at most half a unit away.
        let exact = big(limit) * (&one + by);
        match raised {
            Some(raised) => {
                prop_assert!(is_used && raised > limit && !limit.is_negative());
                let away = (big(raised) * &one - &exact) * 2;
                prop_assert!(-&one <= away && away <= one);
            }
            None => {
                let grows = &exact * 2 > (big(limit) * 2 + 1) * &one;
                let fits = exact < BigInt::from(10).pow(39) - &one;
                prop_assert!(!(is_used && grows && fits) || limit.is_negative());
            }
        }
    }
}
