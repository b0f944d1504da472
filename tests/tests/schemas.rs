//! The settings' schemas say of settings what the standard policies say of them.

use serde_json::{Value as Json, json};
use tollgate_policy_core::guest::Policy;

fn cases() -> Vec<(&'static str, Json, bool)> {
    let agent = json!({
        "personality": "kind",
        "followup_types": ["message"],
        "rate_limits": { "enabled": true, "period": "hour", "max_messages": 100, "max_tokens": 100000 },
        "cost_limits": { "enabled": true, "monthly_limit": 500.00, "auto_disable": true, "alert_threshold": 80 },
        "currency": "BRL",
    });
    let quotas = json!({ "default_quotas": {
        "llm_requests": { "limit": 1000, "period": "per_day", "warning_threshold": 0.8 },
        "llm_tokens": { "limit": 1_000_000, "period": "day" },
    } });
    let limits = json!({ "limits": [
        { "meter": "llm_tokens", "limit": "12.5", "window": "rolling:3600", "per": ["user", "agent"] },
        { "meter": "cost.usd", "limit": 5, "period": "calendar:month@31", "per": "user" },
    ] });
    let prices = json!({ "prices": {
        "name": "own",
        "currency": "USD",
        "models": { "m": { "units": 1000, "prices": {
            "llm_tokens.input": 0.005,
            "llm_tokens.output": { "price": "0.015", "tiers": [
                { "threshold": 200_000, "of": ["llm_tokens.input"], "whole": true, "price": 0.03 },
            ] },
        } } },
        "aliases": { "other": "m" },
    } });
    let rates = json!({ "currency": "BRL", "exchange_rates": [
        { "from": "USD", "to": "BRL", "rate": "5.43", "on": "2025-10-01" },
    ] });
    let mut cases = Vec::new();
    for component in ["quota", "alerts"] {
        for settings in [&json!({}), &agent, &quotas, &limits, &json!({ "max_active_runs": 8 })] {
            cases.push((component, settings.clone(), true));
        }
        for settings in [
            json!([]),
            json!({ "limits": [{ "limit": 5, "period": "day" }] }),
            json!({ "limits": [{ "meter": "LLM Tokens", "limit": 5, "period": "day" }] }),
            json!({ "limits": [{ "meter": "llm_tokens", "limit": 5, "period": "day", "perr": [] }] }),
            json!({ "rate_limits": { "max_message": 5 } }),
            json!({ "rate_limits": { "period": "year" } }),
            json!({ "cost_limits": { "monthly_limit": true } }),
            json!({ "currency": "dollars" }),
            json!({ "language": "de" }),
            json!({ "unknown": "maybe" }),
        ] {
            cases.push((component, settings, false));
        }
    }
    for settings in
        [json!({}), json!({ "prices": "seed" }), json!({ "prices": "host" }), prices, rates]
    {
        cases.push(("pricing", settings, true));
    }
    for settings in [
        json!({ "prices": "free" }),
        json!({ "price": "seed" }),
        json!({ "prices": { "name": "own", "models": {} } }),
        json!({ "exchange_rates": [{ "from": "USD", "to": "BRL", "rate": 5 }] }),
    ] {
        cases.push(("pricing", settings, false));
    }
    cases.push(("estimate", json!({}), true));
    cases.push(("estimate", json!({ "operations": 5 }), false));
    cases
}

/// A policy's schema, and what it says of settings.
fn configured<P: Policy>(settings: &str) -> (&'static str, Result<(), String>) {
    (P::SETTINGS_SCHEMA, P::configure(settings).map(|_| ()))
}

#[test]
fn a_schema_and_its_policy_agree() {
    for (name, settings, right) in cases() {
        let text = settings.to_string();
        let (schema, said) = match name {
            "quota" => configured::<tollgate_quota::Quota>(&text),
            "alerts" => configured::<tollgate_alerts::Alerts>(&text),
            "pricing" => configured::<tollgate_pricing::Pricing>(&text),
            _ => configured::<tollgate_estimate::Estimate>(&text),
        };
        let schema: Json = serde_json::from_str(schema).expect("a schema in JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        assert_eq!(validator.is_valid(&settings), right, "{name}'s schema of {settings}");
        assert_eq!(said.is_ok(), right, "{name} of {settings}: {said:?}");
    }
}
