//! The settings' own texts of notices.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod observed;

use observed::{notice, number, observed, policy, text, used, words};
use tollgate_policy_core::alerts::AlertPolicy;
use tollgate_policy_core::contract::{Action, Read, Reading};
use tollgate_policy_core::quota::QuotaPolicy;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// With a limit of tokens as counter 0, the agent's cost as 1, and behind it hour, week and day.
fn settings(messages: &str) -> String {
    format!(
        r#"{{"currency": "BRL", "language": "pt", "messages": {messages},
            "cost_limits": {{"monthly_limit": 500, "auto_disable": true}},
            "quotas": {{"llm_tokens": {{"limit": 1000, "period": "day"}}}},
            "anomaly": {{"factor": 2.5, "least": 10}}}}"#
    )
}

/// What is said where tokens, the agent's month, its hour and its week stand so.
fn said(messages: &str, readings: [&str; 4]) -> (String, String) {
    let [tokens, month, hour, week] = readings.map(used);
    let month = Reading { opened: 0, closes: Some(30 * DAY_MS), ..month };
    let facts = [
        ("local.date", text("1970-01-11")),
        ("local.hour", number("0")),
        ("local.minute", number("0")),
    ];
    let mut observation = observed("scheduled", &[tokens, month, hour, week], &facts);
    observation.now = 10 * DAY_MS;
    let actions = policy(&settings(messages)).review(&observation);
    let notice = notice(&actions);
    (notice.title.clone(), notice.body.clone())
}

#[test]
fn every_notice_is_told_in_the_settings_words_with_what_it_is_about() {
    let agent = "{agent} {cost}/{limit} {percent} %";
    let quota = "{resource} {remaining}/{limit}";
    for (kind, own, readings, wanted) in [
        ("threshold_warning", agent, ["0", "400", "0", "0"], "sdr R$ 400.00/R$ 500.00 80.0 %"),
        ("limit_exceeded", agent, ["0", "550", "0", "0"], "sdr R$ 550.00/R$ 500.00 110.0 %"),
        ("quota_approaching", quota, ["800", "0", "0", "0"], "llm_tokens 200/1000"),
        ("quota_at_limit", quota, ["950", "0", "0", "0"], "llm_tokens 50/1000"),
        ("quota_exceeded", quota, ["1001", "0", "0", "0"], "llm_tokens 0/1000"),
        (
            "spend_forecast",
            "{agent} {resource} {cost}/{limit} {day} {date}",
            ["0", "250", "0", "0"],
            "sdr cost.brl R$ 250.00/R$ 500.00 21 1970-01-21",
        ),
        (
            "spend_anomaly",
            "{agent} {cost} {usual} {factor}",
            // 167 hours at 3.
            ["0", "1", "20", "521"],
            "sdr R$ 20.00 R$ 3.00 2.5",
        ),
    ] {
        let both = format!(r#"{{"{kind}": {{"title": "T {own}", "body": "{{{{{own}}}}}"}}}}"#);
        let (title, body) = said(&both, readings);
        assert_eq!(title, format!("T {wanted}"));
        assert_eq!(body, format!("{{{wanted}}}"));
        // What is not given stays as it is.
        let (standard, whole) = said("{}", readings);
        let (title, body) = said(&format!(r#"{{"{kind}": {{"title": "{own}"}}}}"#), readings);
        assert_eq!((title.as_str(), body), (wanted, whole));
        let (title, body) = said(&format!(r#"{{"{kind}": {{"body": "{own}"}}}}"#), readings);
        assert_eq!((title, body.as_str()), (standard.clone(), wanted));
        for others in [r#"{"agent_enabled": {"title": "x", "body": "x"}}"#, r#"{"KIND": {}}"#] {
            let (title, _) = said(&others.replace("KIND", kind), readings);
            assert_eq!(title, standard);
        }
    }
}

#[test]
fn an_agent_that_is_enabled_again_is_told_of_in_the_settings_words() {
    let own = r#"{"agent_enabled": {"title": "{agent}", "body": "{cost} {limit} {percent}"}}"#;
    let facts = [("period.window", text("calendar:month")), ("disabled.agent", text("over"))];
    let opened = observed("period-opened", &[used("0"), used("50")], &facts);
    let actions = policy(&settings(own)).review(&opened);
    assert_eq!(words(&actions), ["enable agent", "agent_enabled"]);
    let notice = notice(&actions);
    assert_eq!((notice.title.as_str(), notice.counter), ("sdr", Some(1)));
    assert_eq!(notice.body, "R$ 50.00 R$ 500.00 10.0");
}

#[test]
fn a_consequence_is_a_paragraph_where_the_agent_was_disabled() {
    let own = r#"{"limit_exceeded": {"title": "{agent} over", "body": "Over.{consequence}"}}"#;
    let observation = observed("settled", &[used("0"), used("501")], &[]);
    let actions = policy(&settings(own)).review(&observation);
    assert_eq!(notice(&actions).body, "Over.\n\nO agente foi desativado automaticamente.");
    let Action::Disable(disablement) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(disablement.reason, "sdr over");
    let lenient = settings(own).replace(r#""auto_disable": true"#, r#""auto_disable": false"#);
    assert_eq!(notice(&policy(&lenient).review(&observation)).body, "Over.");
}

/// The settings' language counts before the tenant's, and the settings' words before both.
#[test]
fn where_the_settings_name_no_language_it_is_the_tenants() {
    const PORTUGUESE: &str = "O agente de IA 'sdr' está próximo do limite de custo mensal";
    const ENGLISH: &str = "AI agent 'sdr' is close to its monthly cost limit";
    let read = Read::Fact("tenant.language".into());
    for (named, tenants, own, wanted) in [
        ("", Some("pt"), "", PORTUGUESE),
        ("", None, "", ENGLISH),
        ("", Some("en"), "", ENGLISH),
        ("", Some("xx"), "", ENGLISH),
        (r#""language": "en","#, Some("pt"), "", ENGLISH),
        (r#""language": "pt-BR","#, None, "", PORTUGUESE),
        ("", Some("pt"), r#""title": "own""#, "own"),
    ] {
        let settings = format!(
            r#"{{{named} "messages": {{"threshold_warning": {{{own}}}}},
                "cost_limits": {{"monthly_limit": 500}}}}"#
        );
        let facts: Vec<_> = tenants.iter().map(|tag| ("tenant.language", text(tag))).collect();
        let policy = policy(&settings);
        let actions = policy.review(&observed("settled", &[used("400")], &facts));
        assert_eq!(notice(&actions).title, wanted, "{named} {tenants:?}");
        assert_eq!(policy.manifest().reads.contains(&read), named.is_empty());
    }
}

/// What is filled in is not a template.
#[test]
fn an_agents_name_is_told_as_it_is() {
    let own = r#"{"threshold_warning": {"title": "{agent} {cost}"}}"#;
    let facts = [("agent.name", text("{cost} }} {x"))];
    let observation = observed("settled", &[used("0"), used("400")], &facts);
    let actions = policy(&settings(own)).review(&observation);
    assert_eq!(notice(&actions).title, "{cost} }} {x R$ 400.00");
}

#[test]
fn a_text_that_cannot_be_filled_in_is_refused_with_what_can() {
    const AGENT: &str = "write `{agent}`, `{limit}`, `{cost}` or `{percent}`, or";
    const QUOTA: &str = "write `{resource}`, `{limit}` or `{remaining}`, or";
    for (kind, known) in [
        ("threshold_warning", AGENT),
        ("agent_enabled", AGENT),
        (
            "limit_exceeded",
            "write `{agent}`, `{limit}`, `{cost}`, `{percent}` or `{consequence}`, or",
        ),
        ("quota_approaching", QUOTA),
        ("quota_at_limit", QUOTA),
        ("quota_exceeded", QUOTA),
        (
            "spend_forecast",
            "write `{agent}`, `{resource}`, `{limit}`, `{cost}`, `{day}` or `{date}`, or",
        ),
        ("spend_anomaly", "write `{agent}`, `{cost}`, `{usual}` or `{factor}`, or"),
    ] {
        for part in ["title", "body"] {
            for (text, reason) in [
                ("{agente}", format!("`{{agente}}` is not a placeholder here: {known} `{{{{`")),
                ("at {cost", format!("a `{{` is not closed: {known} `{{{{`")),
                ("at cost}", format!("a `}}` closes nothing: {known} `}}}}`")),
            ] {
                let own = settings(&format!(r#"{{"{kind}": {{"{part}": "{text}"}}}}"#));
                let error = AlertPolicy::configure(&own).unwrap_err();
                let wanted = format!("settings: message `{kind}`: {reason} for a brace");
                assert_eq!(error.to_string(), wanted);
                assert_eq!(QuotaPolicy::configure(&own).unwrap_err(), error);
            }
        }
    }
}

#[test]
fn messages_of_another_shape_are_refused() {
    for (messages, error) in [
        ("5", "invalid type: number, expected an object with texts by kind of notice"),
        (
            r#"{"limit_warning": {}}"#,
            "unknown field `limit_warning`, expected one of `threshold_warning`, `limit_exceeded`, `quota_approaching`, `quota_at_limit`, `quota_exceeded`, `spend_forecast`, `spend_anomaly`, `agent_enabled`",
        ),
        (
            r#"{"limit_exceeded": "x"}"#,
            "invalid type: string \"x\", expected an object with `title` and `body`",
        ),
        (
            r#"{"limit_exceeded": {"text": "x"}}"#,
            "unknown field `text`, expected `title` or `body`",
        ),
        (r#"{"limit_exceeded": {"title": 5}}"#, "invalid type: number, expected a string"),
    ] {
        let settings = format!(r#"{{"messages": {messages}}}"#);
        let told = AlertPolicy::configure(&settings).unwrap_err().to_string();
        assert_eq!(told, format!("settings: {error}"));
    }
}
