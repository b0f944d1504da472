//! The standard components with no settings at all: the limits that hold then, as a host sees them.

use std::collections::BTreeMap;

use tollgate_host::sandbox::{Compiler, Instances, Limits, Policy, Sandbox, Settings};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::{
    Action, Decision, Dimension, Observation, Reading, Request, Status,
};

fn load(component: &str, settings: &str) -> Policy {
    let limits = Limits::default();
    let instances = Instances::OnDemand;
    let sandbox =
        Sandbox::new(Settings { limits, instances, compiler: Compiler::InProcess, cache: None });
    let component = tollgate_plugins::standard(component).expect("a standard component");
    sandbox.expect("the sandbox").load(component, settings).expect("let in")
}

/// Meter and window of each, and its limit.
const LIMITS: [(&str, &str, u32); 13] = [
    ("active_runs", "in-flight", 5),
    ("cost.usd", "calendar:month", 100),
    ("llm_requests", "calendar:day", 1_000),
    ("llm_tokens", "calendar:day", 1_000_000),
    ("database_queries", "calendar:day", 10_000),
    ("file_operations", "calendar:day", 5_000),
    ("network_requests", "calendar:day", 10_000),
    ("execution_time", "calendar:day", 36_000),
    ("memory_usage", "in-flight", 8_192),
    ("storage_space", "lifetime", 10_240),
    ("concurrent_tasks", "in-flight", 10),
    ("agent_creations", "calendar:day", 20),
    ("tool_creations", "calendar:day", 50),
];

/// The counters that have a limit: their place, their limit, by meter and window.
fn counters(policy: &Policy) -> BTreeMap<(String, String), (usize, Decimal)> {
    let limited = policy.manifest().counters.iter().enumerate().filter_map(|(index, counter)| {
        let limit = counter.limit?;
        assert_eq!(counter.per, ["user"]);
        Some(((counter.meter.to_string(), counter.window.to_string()), (index, limit)))
    });
    limited.collect()
}

fn expected() -> Vec<((String, String), Decimal)> {
    let mut limits = LIMITS
        .map(|(meter, window, limit)| ((meter.into(), window.into()), Decimal::from(limit)))
        .to_vec();
    limits.sort();
    limits
}

/// Readings of which one stands at so many per cent of its limit, of which a tenth is asked.
fn readings(policy: &Policy, index: usize, limit: Decimal, percent: u32) -> Vec<Reading> {
    let part = |percent: u32| {
        Decimal::mul_div(&[limit, percent.into()], Decimal::HUNDRED, 12).expect("a part")
    };
    let mut readings = vec![Reading::default(); policy.manifest().counters.len()];
    readings[index] = Reading {
        used: part(percent - 20),
        held: part(10),
        asked: part(10),
        closes: Some(1_000),
        ..Reading::default()
    };
    readings
}

#[test]
fn quota_holds_each_of_the_standard_limits_and_warns_from_80_per_cent() {
    let policy = load("quota", "{}");
    let counters = counters(&policy);
    let limits: Vec<_> = counters.iter().map(|(key, (_, limit))| (key.clone(), *limit)).collect();
    assert_eq!(limits, expected());
    for (key, (index, limit)) in counters {
        for (percent, status, allowed) in [
            (79, Status::WithinLimit, true),
            (80, Status::ApproachingLimit, true),
            (95, Status::AtLimit, true),
            (100, Status::AtLimit, true),
            (101, Status::Exceeded, false),
        ] {
            let readings = readings(&policy, index, limit, percent);
            let verdict = policy.check(Request { at: 1, readings, ..Request::default() }).outcome;
            let verdict = verdict.expect("a verdict");
            let finding = verdict.findings.iter().find(|it| it.counter == Some(index as u32));
            assert_eq!(finding.expect("a finding").status, status, "{key:?} at {percent} %");
            match verdict.decision {
                Decision::Allow => assert!(allowed, "{key:?} at {percent} %"),
                Decision::Deny(denial) => {
                    assert!(!allowed, "{key:?} at {percent} %");
                    assert_eq!(denial.code, "quota_exceeded");
                    let words = format!("Quota exceeded for {}. Limit: {limit}", key.0);
                    assert!(denial.message.starts_with(&words), "{}", denial.message);
                }
                Decision::Grant(_) => panic!("a grant"),
            }
        }
    }
}

#[test]
fn alerts_tells_of_each_of_the_standard_limits_from_80_per_cent() {
    let policy = load("alerts", "{}");
    let counters = counters(&policy);
    let limits: Vec<_> = counters.iter().map(|(key, (_, limit))| (key.clone(), *limit)).collect();
    assert_eq!(limits, expected());
    for (key, (index, limit)) in counters {
        for (percent, notice) in [
            (79, None),
            (80, Some("quota_approaching")),
            (95, Some("quota_at_limit")),
            (101, Some("quota_exceeded")),
        ] {
            let dimensions = vec![Dimension { name: "user".into(), value: "ana".into() }];
            let readings = readings(&policy, index, limit, percent);
            let occasion = "settled".into();
            let observation =
                Observation { at: 1, dimensions, readings, occasion, ..Observation::default() };
            let actions = policy.review(observation).outcome.expect("actions");
            let keys: Vec<&str> = actions
                .iter()
                .map(|action| match action {
                    Action::Raise(notice) => notice.key.split(':').next().unwrap_or_default(),
                    action => panic!("{action:?}"),
                })
                .collect();
            assert_eq!(keys, Vec::from_iter(notice), "{key:?} at {percent} %");
        }
    }
}

/// An agent above the limit of its own record is disabled until the month ends, where its record
/// says so, and not by the standard limits.
#[test]
fn only_an_agents_record_disables_it() {
    let policy = load("alerts", r#"{"cost_limits": {"monthly_limit": 500, "auto_disable": true}}"#);
    let dimensions = vec![Dimension { name: "agent".into(), value: "sdr".into() }];
    let reading = Reading { used: 501.into(), closes: Some(1_000), ..Reading::default() };
    let readings = vec![reading; policy.manifest().counters.len()];
    let occasion = "settled".into();
    let observation =
        Observation { at: 1, dimensions, readings, occasion, ..Observation::default() };
    let actions = policy.review(observation).outcome.expect("actions");
    let disabled = actions.iter().find_map(|action| match action {
        Action::Disable(disablement) => Some((disablement.dimension.as_str(), disablement.until)),
        _ => None,
    });
    assert_eq!(disabled, Some(("agent", Some(1_000))));
}
