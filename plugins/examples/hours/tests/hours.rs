//! The example does what it says, and is the one that the README shows.

use tollgate_example_hours::Hours;
use tollgate_policy_core::guest::{Decision, Fact, Policy, Request, Value};

#[test]
fn calls_go_ahead_within_working_hours_only() {
    let (hours, _) = Hours::configure(r#"{"from": 9, "until": 17}"#).unwrap();
    let allowed = |hour: u32| {
        let fact = Fact { name: "local.hour".into(), value: Value::Number(hour.into()) };
        let request = Request { facts: vec![fact], ..Request::default() };
        hours.check(&request).decision == Decision::Allow
    };
    assert!(allowed(9) && allowed(16));
    assert!(!allowed(8) && !allowed(17));
}

#[test]
fn the_readme_shows_this_very_policy_in_under_forty_lines() {
    let source = include_str!("../src/lib.rs");
    assert!(include_str!("../../../../README.md").contains(source));
    assert!(source.lines().count() < 40);
}
