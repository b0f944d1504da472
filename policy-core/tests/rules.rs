//! The settings of the standard policies: the seeds' as they stand, the standard limits, and what
//! is wrong with those that make no sense.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use tollgate_policy_core::alerts::AlertPolicy;
use tollgate_policy_core::contract::{Counter, Read};
use tollgate_policy_core::limits::{Limit, LimitSettings};
use tollgate_policy_core::quota::QuotaPolicy;
use tollgate_policy_core::{Currency, Decimal};

/// `meter window per,per limit threshold`
fn shown(limit: &Limit) -> String {
    let Limit { meter, window, per, limit, warning_threshold, .. } = limit;
    format!("{meter} {window} {} {limit} {warning_threshold}", per.join(","))
}

fn limits(settings: &str) -> Vec<String> {
    let settings = LimitSettings::parse(settings).unwrap();
    settings.limits.iter().map(shown).collect()
}

/// The complete example of seeds/004.
const COMPLETE: &str = r#"{
    "followup_types": ["general"],
    "welcome_message": null,
    "rate_limits": {"enabled": true, "period": "day", "max_messages": 500, "max_tokens": 500000},
    "cost_limits": {"enabled": true, "monthly_limit": 500.00, "auto_disable": true, "alert_threshold": 80}
}"#;

const STANDARD: [&str; 13] = [
    "active_runs in-flight user 5 0.8",
    "cost.usd calendar:month user 100 0.8",
    "llm_requests calendar:day user 1000 0.8",
    "llm_tokens calendar:day user 1000000 0.8",
    "database_queries calendar:day user 10000 0.8",
    "file_operations calendar:day user 5000 0.8",
    "network_requests calendar:day user 10000 0.8",
    "execution_time calendar:day user 36000 0.8",
    "memory_usage in-flight user 8192 0.8",
    "storage_space lifetime user 10240 0.8",
    "concurrent_tasks in-flight user 10 0.8",
    "agent_creations calendar:day user 20 0.8",
    "tool_creations calendar:day user 50 0.8",
];

#[test]
fn the_standard_limits_hold_where_no_limit_is_named() {
    for settings in ["{}", r#"{"followup_types": [], "language": "pt"}"#, r#"{"defaults": true}"#] {
        assert_eq!(limits(settings), STANDARD, "{settings}");
    }
    assert!(limits(r#"{"defaults": false}"#).is_empty());
    let settings = LimitSettings::parse("{}").unwrap();
    assert!(settings.agent_settings && settings.cost_limits.is_none() && !settings.unknown_allows);
    assert_eq!((settings.currency, settings.language), (Currency::USD, None));
    // They are settings, not constants.
    let reais = limits(r#"{"currency": "BRL", "warning_threshold": 0.5}"#);
    assert_eq!(reais[1], "cost.brl calendar:month user 100 0.5");
}

#[test]
fn the_standard_policy_counts_what_it_limits_and_what_agents_may_choose() {
    let manifest = QuotaPolicy::configure("{}").unwrap().manifest();
    let show = |Counter { meter, window, per, limit }: &Counter| {
        let limit = limit.map_or_else(|| "-".into(), |limit| limit.to_string());
        format!("{meter} {window} {} {limit}", per.join(","))
    };
    let counters: Vec<String> = manifest.counters.iter().map(show).collect();
    let standard = STANDARD.map(|limit| limit.replace(" 0.8", ""));
    assert_eq!(counters[..13], standard);
    assert_eq!(
        counters[13..],
        [
            "llm_requests calendar:hour agent -",
            "llm_requests calendar:day agent -",
            "llm_requests calendar:month agent -",
            "llm_tokens calendar:hour agent -",
            "llm_tokens calendar:day agent -",
            "llm_tokens calendar:month agent -",
            "cost.usd calendar:month agent -",
        ]
    );
    let language = Read::Fact("tenant.language".into());
    assert_eq!(manifest.reads, [Read::Fact("agent.*".into()), language.clone()]);

    let named = QuotaPolicy::configure(COMPLETE).unwrap().manifest();
    assert_eq!((named.counters.len(), named.reads), (3, vec![language]));
    let both = r#"{"monthly_limit": 7, "agent_settings": true}"#;
    assert_eq!(QuotaPolicy::configure(both).unwrap().manifest().counters.len(), 1 + 7);
    let neither = r#"{"agent_settings": false}"#;
    assert_eq!(QuotaPolicy::configure(neither).unwrap().manifest().counters.len(), 13);

    // The alerts look at the same limits, and at each agent's cost behind them.
    let counters = AlertPolicy::configure("{}").unwrap().manifest().counters;
    assert_eq!(counters[..13].iter().map(show).collect::<Vec<_>>(), standard);
    assert_eq!(show(&counters[13]), "cost.usd calendar:month agent -");
    let counters = AlertPolicy::configure(COMPLETE).unwrap().manifest().counters;
    let counters: Vec<String> = counters.iter().map(show).collect();
    assert_eq!(
        counters,
        [
            "llm_requests calendar:day agent 500",
            "llm_tokens calendar:day agent 500000",
            "cost.usd calendar:month agent 500",
        ]
    );
}

#[test]
fn the_fifth_rows_settings_are_taken_as_they_stand() {
    assert_eq!(
        limits(COMPLETE),
        [
            "llm_requests calendar:day agent 500 0.8",
            "llm_tokens calendar:day agent 500000 0.8",
            "cost.usd calendar:month agent 500 0.8",
        ]
    );
    let settings = LimitSettings::parse(COMPLETE).unwrap();
    assert!(settings.cost_limits.is_some_and(|cost| cost.enabled && cost.auto_disable));
    assert!(!settings.agent_settings);
    let rate = r#"{"rate_limits": {"enabled": true, "period": "hour", "max_messages": 100, "max_tokens": 100000}}"#;
    let hourly =
        ["llm_requests calendar:hour agent 100 0.8", "llm_tokens calendar:hour agent 100000 0.8"];
    assert_eq!(limits(rate), hourly);
    let cost = r#"{"currency": "BRL", "cost_limits":
        {"enabled": true, "monthly_limit": 100.00, "auto_disable": true, "alert_threshold": 90}}"#;
    assert_eq!(limits(cost), ["cost.brl calendar:month agent 100 0.9"]);
}

#[test]
fn an_agents_limits_hold_as_far_as_they_are_set_and_enabled() {
    for (settings, wanted) in [
        (r#"{"rate_limits": {"max_messages": 5}}"#, vec!["llm_requests calendar:hour agent 5 0.8"]),
        (
            r#"{"rate_limits": {"period": "month", "max_tokens": 5, "max_messages": null}}"#,
            vec!["llm_tokens calendar:month agent 5 0.8"],
        ),
        (r#"{"rate_limits": {"enabled": false, "max_messages": 5, "max_tokens": 5}}"#, vec![]),
        (r#"{"rate_limits": {}}"#, vec![]),
        (r#"{"cost_limits": {"monthly_limit": 5}}"#, vec!["cost.usd calendar:month agent 5 0.8"]),
        (r#"{"cost_limits": {"enabled": false, "monthly_limit": 5}}"#, vec![]),
        (r#"{"cost_limits": {"enabled": true}}"#, vec![]),
        (
            r#"{"cost_limits": {"monthly_limit": 5, "alert_threshold": 33.3}}"#,
            vec!["cost.usd calendar:month agent 5 0.333"],
        ),
    ] {
        assert_eq!(limits(settings), wanted, "{settings}");
    }
}

#[test]
fn the_third_rows_quotas_are_taken_in_all_their_spellings() {
    let quotas = r#"{
        "llm_requests": {"limit": 1000, "period": "per_day", "warning_threshold": 0.8},
        "llm_tokens": {"limit": 1000000, "period": "per_day", "warning_threshold": 0.8},
        "memory_usage": {"limit": 512.5, "period": "per_request", "warning_threshold": 0.75}
    }"#;
    let wanted = [
        "llm_requests calendar:day user 1000 0.8",
        "llm_tokens calendar:day user 1000000 0.8",
        "memory_usage request user 512.5 0.75",
    ];
    let upper = ["llm_requests", "llm_tokens", "memory_usage"]
        .iter()
        .fold(quotas.to_owned(), |quotas, name| quotas.replace(name, &name.to_uppercase()));
    for quotas in [quotas, &upper] {
        assert_eq!(limits(quotas), wanted, "{quotas}");
        assert_eq!(limits(&format!(r#"{{"quotas": {quotas}}}"#)), wanted);
        assert_eq!(limits(&format!(r#"{{"default_quotas": {quotas}}}"#)), wanted);
    }
    // Under `quotas` any meter, at the top the eleven resources only.
    let open = r#"{"quotas": {"gpu_seconds": {"limit": 5, "period": "total"}}}"#;
    assert_eq!(limits(open), ["gpu_seconds lifetime user 5 0.8"]);
    let left_alone = r#"{"gpu_seconds": {"limit": 5, "period": "total"}, "monthly_limit": 7}"#;
    assert_eq!(limits(left_alone), ["cost.usd calendar:month user 7 0.8"]);
}

#[test]
fn the_first_rows_limits_have_keys_of_their_own() {
    let settings = r#"{"max_active_runs": 8, "monthly_limit": "250.50"}"#;
    let wanted = ["active_runs in-flight user 8 0.8", "cost.usd calendar:month user 250.5 0.8"];
    assert_eq!(limits(settings), wanted);
    let with_standard = limits(r#"{"max_active_runs": 8, "defaults": true}"#);
    assert_eq!(with_standard[0], "active_runs in-flight user 8 0.8");
    assert_eq!(with_standard[1..], limits("{}")[1..]);
}

#[test]
fn every_period_has_its_name_and_the_seeds() {
    for (names, window) in [
        (["request", "per_request"], "request"),
        (["minute", "per_minute"], "calendar:minute"),
        (["hour", "per_hour"], "calendar:hour"),
        (["day", "per_day"], "calendar:day"),
        (["week", "per_week"], "calendar:week"),
        (["month", "per_month"], "calendar:month"),
        (["total", "lifetime"], "lifetime"),
        (["rolling:18000", "rolling:18000"], "rolling:18000"),
        (["calendar:month@31", "calendar:month@31"], "calendar:month@31"),
    ] {
        for name in names {
            let quotas = format!(r#"{{"llm_tokens": {{"limit": 5, "period": "{name}"}}}}"#);
            assert_eq!(limits(&quotas), [format!("llm_tokens {window} user 5 0.8")]);
        }
    }
}

#[test]
fn a_limit_says_for_whom_and_from_where_on_to_warn() {
    let settings = r#"{"warning_threshold": 0.6, "limits": [
        {"meter": "cost.usd", "limit": 5, "window": "day"},
        {"meter": "llm_tokens.output", "limit": 6, "period": "hour", "per": "api_key", "warning_threshold": 1},
        {"meter": "llm_requests", "limit": 0, "period": "minute", "per": ["user", "model"], "warning_threshold": 0}
    ]}"#;
    assert_eq!(
        limits(settings),
        [
            "cost.usd calendar:day  5 0.6",
            "llm_tokens.output calendar:hour api_key 6 1",
            "llm_requests calendar:minute user,model 0 0",
        ]
    );
}

#[test]
fn settings_that_make_no_sense_are_refused_in_words() {
    const PERIODS: &str = "is not a period: write `request`, `minute`, `hour`, `day`, `week`, `month`, `year` or `total`, or a window like `rolling:18000`";
    const METER: &str = "is not a meter: write lower-case words with `_`, classes after a dot, like `llm_tokens.input`";
    let limit = |rest: &str| format!(r#"{{"llm_requests": {{{rest}}}}}"#);
    for (settings, error) in [
        ("".into(), "EOF while parsing a value at line 1 column 0".into()),
        ("7".into(), "invalid type: integer `7`, expected a map at line 1 column 1".into()),
        ("[]".into(), "invalid type: sequence, expected a map at line 1 column 0".into()),
        ("null".into(), "invalid type: null, expected a map at line 1 column 4".into()),
        (limit(r#""period": "day""#), "limit on `llm_requests`: missing field `limit`".into()),
        (limit(r#""limit": 5"#), "limit on `llm_requests`: missing field `period`".into()),
        (
            limit(r#""limit": -1, "period": "day""#),
            "limit on `llm_requests`: `-1` lies below zero: a limit is zero or more".into(),
        ),
        (
            limit(r#""limit": 1e15, "period": "day""#),
            "limit on `llm_requests`: `1e+15`: an amount of 10^15 or more: amounts lie below that"
                .into(),
        ),
        (
            limit(r#""limit": 1, "period": "daily""#),
            format!("limit on `llm_requests`: `daily` {PERIODS}"),
        ),
        (
            limit(r#""limit": 1, "period": "per_total""#),
            format!("limit on `llm_requests`: `per_total` {PERIODS}"),
        ),
        (
            limit(r#""limit": 1, "period": "day", "warning_threshold": 80"#),
            "`warning_threshold` 80 is not a fraction: write 0.8 for 80 %".into(),
        ),
        (
            r#"{"warning_threshold": 80}"#.into(),
            "`warning_threshold` 80 is not a fraction: write 0.8 for 80 %".into(),
        ),
        (
            r#"{"warning_threshold": -0.1}"#.into(),
            "`warning_threshold` -0.1 is not a fraction: write 0.8 for 80 %".into(),
        ),
        (
            r#"{"quotas": {"LLM Requests": {"limit": 1, "period": "day"}}}"#.into(),
            format!("limit on `llm requests`: `llm requests` {METER}"),
        ),
        (r#"{"limits": [{"limit": 1, "period": "day"}]}"#.into(), format!("limit on ``: `` {METER}")),
        (
            r#"{"quotas": {"x": {"limit": 1, "period": "day", "perr": "user"}}}"#.into(),
            "unknown field `perr`, expected one of `meter`, `limit`, `period`, `window`, `per`, `warning_threshold`, `scaling`".into(),
        ),
        (
            r#"{"max_active_runs": -5}"#.into(),
            "limit on `active_runs`: `-5` lies below zero: a limit is zero or more".into(),
        ),
        (
            r#"{"monthly_limit": -5}"#.into(),
            "limit on `cost.usd`: `-5` lies below zero: a limit is zero or more".into(),
        ),
        (
            r#"{"rate_limits": {"period": "week"}}"#.into(),
            "limit on `rate_limits`: `week` is not a period: write `hour`, `day` or `month`".into(),
        ),
        (
            r#"{"rate_limits": {"max_messages": -5}}"#.into(),
            "limit on `llm_requests`: `-5` lies below zero: a limit is zero or more".into(),
        ),
        (
            r#"{"rate_limits": {"max_message": 5}}"#.into(),
            "unknown field `max_message`, expected one of `enabled`, `period`, `max_messages`, `max_tokens`".into(),
        ),
        (
            r#"{"cost_limits": {"monthly_limit": -5}}"#.into(),
            "limit on `cost.usd`: `-5` lies below zero: a limit is zero or more".into(),
        ),
        (
            r#"{"currency": "reais"}"#.into(),
            "`reais` is not a currency: write three letters, like `USD`".into(),
        ),
        (r#"{"unknown": "maybe"}"#.into(), "unknown variant `maybe`, expected `deny` or `allow`".into()),
    ] {
        let error = format!("settings: {error}");
        assert_eq!(QuotaPolicy::configure(&settings).unwrap_err().to_string(), error);
        assert_eq!(AlertPolicy::configure(&settings).unwrap_err().to_string(), error);
    }
}

#[test]
fn a_wrong_alert_threshold_is_named_as_it_was_written() {
    for threshold in ["150", "-1"] {
        let settings =
            format!(r#"{{"cost_limits": {{"monthly_limit": 5, "alert_threshold": {threshold}}}}}"#);
        let error = format!(
            "settings: `alert_threshold` {threshold} is not a percentage: write 80 for 80 %"
        );
        assert_eq!(QuotaPolicy::configure(&settings).unwrap_err().to_string(), error);
        assert_eq!(AlertPolicy::configure(&settings).unwrap_err().to_string(), error);
    }
}

#[test]
fn no_error_names_a_type_of_the_program() {
    for settings in [
        r#"{"llm_requests": 5}"#,
        r#"{"rate_limits": 5}"#,
        r#"{"cost_limits": []}"#,
        r#"{"limits": [{"meter": "x", "limit": 1, "period": "day", "per": 5}]}"#,
    ] {
        let error = QuotaPolicy::configure(settings).unwrap_err().to_string();
        for name in ["struct", "enum", "WrittenLimit", "RateLimits", "CostLimits", "OneOrMany"] {
            assert!(!error.contains(name), "{error}");
        }
    }
}

#[test]
fn a_limit_for_agents_takes_no_standard_limit_from_users() {
    let settings = r#"{"defaults": true, "limits": [
        {"meter": "cost.usd", "limit": 900, "period": "month", "per": "agent"}]}"#;
    let limits = limits(settings);
    assert!(limits.contains(&"cost.usd calendar:month user 100 0.8".into()), "{limits:?}");
}

#[test]
fn an_amount_in_the_settings_is_exact() {
    let settings = r#"{"monthly_limit": 0.123456789012}"#;
    let limit = LimitSettings::parse(settings).unwrap().limits[0].limit;
    assert_eq!(limit, "0.123456789012".parse::<Decimal>().unwrap());
    assert!(LimitSettings::parse(r#"{"monthly_limit": 0.1234567890123}"#).is_err());
}
