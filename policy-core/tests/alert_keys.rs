//! What a limit's notices are called, and when they are over.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod observed;

use observed::{decimal, notice, observed, policy, text, used, words};
use tollgate_policy_core::contract::{Observation, Reading};

/// Limits of the same 100, of which only the first is counted for nobody in particular.
const LIMITS: &str = r#"{"limits": [
    {"meter": "llm_tokens", "limit": 100, "period": "rolling:3600"},
    {"meter": "llm_requests", "limit": 100, "period": "per_day", "per": "user"},
    {"meter": "active_runs", "limit": 100, "period": "in-flight", "per": ["user", "model"]}]}"#;

const SUBJECTS: [&str; 3] = [
    "llm_tokens:rolling:3600",
    "llm_requests:calendar:day:user",
    "active_runs:in-flight:user+model",
];

fn seen(settings: &str, occasion: &str, readings: &[Reading]) -> Vec<String> {
    words(&policy(settings).review(&observed(occasion, readings, &[])))
}

/// The words for one of the subjects.
fn of(subject: &str, words: &[&str]) -> Vec<String> {
    words.iter().map(|word| format!("{word}:{subject}")).collect()
}

#[test]
fn a_key_says_what_is_limited_and_of_whom() {
    for (place, subject) in SUBJECTS.iter().enumerate() {
        for (amount, kind) in
            [("80", "quota_approaching"), ("95", "quota_at_limit"), ("101", "quota_exceeded")]
        {
            let mut readings = vec![used("0"); 3];
            readings[place] = used(amount);
            let actions = policy(LIMITS).review(&observed("settled", &readings, &[]));
            assert_eq!(words(&actions), of(subject, &[kind]));
            let counter = u32::try_from(place).unwrap();
            assert_eq!(notice(&actions).counter, Some(counter));
        }
    }
}

#[test]
fn a_worse_status_keeps_the_lesser_notices_and_a_better_one_ends_the_worse() {
    const NO: [&str; 3] = ["no quota_approaching", "no quota_at_limit", "no quota_exceeded"];
    let subject = SUBJECTS[1];
    for (amount, wanted) in [
        ("0", vec![NO[0], NO[1], NO[2]]),
        ("79.999999999999", vec![NO[0], NO[1], NO[2]]),
        ("80", vec!["quota_approaching", NO[1], NO[2]]),
        ("94.999999999999", vec!["quota_approaching", NO[1], NO[2]]),
        ("95", vec!["quota_at_limit", NO[2]]),
        ("100", vec!["quota_at_limit", NO[2]]),
        ("100.000000000001", vec!["quota_exceeded"]),
    ] {
        let readings = [used("0"), used(amount), used("0")];
        let mine = |words: Vec<String>| -> Vec<String> {
            words.into_iter().filter(|word| word.ends_with(subject)).collect()
        };
        let scheduled = mine(seen(LIMITS, "scheduled", &readings));
        assert_eq!(scheduled, of(subject, &wanted), "{amount}");
        // Nothing is over but where time alone has passed.
        let raised: Vec<&str> = wanted.into_iter().filter(|word| !word.contains(' ')).collect();
        assert_eq!(mine(seen(LIMITS, "settled", &readings)), of(subject, &raised), "{amount}");
    }
}

#[test]
fn what_cannot_be_told_is_not_over() {
    let limits = r#"{"limits": [{"meter": "llm_tokens", "limit": 1, "period": "day"}]}"#;
    let below_zero = Reading { limit: Some(decimal("-1")), ..used("0") };
    let huge = Reading { held: decimal("1"), ..used("999999999999999") };
    for reading in [below_zero, huge] {
        assert!(seen(limits, "scheduled", &[reading]).is_empty(), "{reading:?}");
    }
}

/// As where people are warned of one and stopped by the other.
#[test]
fn what_one_of_two_limits_on_a_counter_holds_is_not_over() {
    let limits = r#"{"limits": [{"meter": "llm_tokens", "limit": 100, "period": "day"},
        {"meter": "llm_tokens", "limit": 200, "period": "day"}]}"#;
    let of = |words: &[&str]| of("llm_tokens:calendar:day", words);
    let seen = |amount| seen(limits, "scheduled", &[used(amount), used(amount)]);
    assert_eq!(seen("101"), of(&["quota_exceeded"]));
    assert_eq!(seen("85"), of(&["quota_approaching", "no quota_at_limit", "no quota_exceeded"]));
    let none = ["no quota_approaching", "no quota_at_limit", "no quota_exceeded"];
    assert_eq!(seen("79"), of(&none));
}

#[test]
fn an_agents_notices_are_over_in_the_same_way() {
    const AGENT: &str = r#"{"cost_limits": {"monthly_limit": 500}}"#;
    const FORECAST: &str = "no spend_forecast";
    for (amount, wanted) in [
        ("0", vec!["no limit_exceeded", FORECAST, "no threshold_warning"]),
        ("399.99", vec!["no limit_exceeded", FORECAST, "no threshold_warning"]),
        ("400", vec!["threshold_warning"]),
        ("500", vec!["threshold_warning"]),
        ("500.01", vec!["limit_exceeded"]),
    ] {
        assert_eq!(seen(AGENT, "scheduled", &[used(amount)]), wanted, "{amount}");
        let raised: Vec<&str> = wanted.into_iter().filter(|word| !word.contains(' ')).collect();
        assert_eq!(seen(AGENT, "settled", &[used(amount)]), raised, "{amount}");
    }
    // Whoever has no limit any more is neither near nor above it.
    let none = ["no limit_exceeded", FORECAST, "no threshold_warning"];
    let unlimited = r#"{"cost_limits": {"enabled": false, "monthly_limit": 500}}"#;
    assert_eq!(seen(unlimited, "scheduled", &[used("900")]), none);
    assert!(seen(unlimited, "settled", &[used("900")]).is_empty());
    // A look at no agent says nothing of one.
    let nobody =
        Observation { dimensions: Vec::new(), ..observed("scheduled", &[used("900")], &[]) };
    assert!(policy(AGENT).review(&nobody).is_empty());
}

/// A call that was denied stops an agent below its limit: that is over with the disablement.
#[test]
fn what_stopped_an_agent_is_not_over_while_it_is_stopped() {
    let settings = r#"{"forecast":false,"cost_limits":{"monthly_limit":500,"auto_disable":true}}"#;
    let observation = |facts| observed("scheduled", &[used("0")], facts);
    let stopped = [("disabled.agent", text("it exceeded its limit"))];
    assert_eq!(words(&policy(settings).review(&observation(&stopped))), ["no spend_forecast"]);
    let seen = words(&policy(settings).review(&observation(&[])));
    assert_eq!(seen, ["no limit_exceeded", "no spend_forecast", "no threshold_warning"]);
}
