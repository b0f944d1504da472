//! The settings' own texts of notices.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod observed;

use observed::{notice, number, observed, policy, text, used, words};
use tollgate_policy_core::alerts::AlertPolicy;
use tollgate_policy_core::contract::{Action, Fact, Notice, Observation, Read, Reading};
use tollgate_policy_core::matter::Matter;
use tollgate_policy_core::messages::Language;
use tollgate_policy_core::quota::QuotaPolicy;
use tollgate_policy_core::{Currency, Money};

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

/// What the host itself has people told, as facts.
fn matters() -> [Matter; 3] {
    let money = |amount: u32| Money::new(amount.into(), Currency::BRL);
    [
        Matter::Quarantined {
            policy: "own".into(),
            revision: "acme/own@3".into(),
            code: "policy_trapped".into(),
        },
        Matter::LimitChanged {
            policy: "*/alerts".into(),
            meter: "llm_tokens".into(),
            window: "calendar:day".into(),
            whose: "user `ana`".into(),
            before: Some(150.into()),
            limit: 180.into(),
        },
        Matter::ProviderDrift {
            provider: "openai".into(),
            model: Some("gpt-4o".into()),
            day: "2025-11-03".into(),
            invoiced: money(90),
            computed: money(60),
        },
    ]
}

fn worded(messages: &str, matter: &Matter) -> Notice {
    let observation = Observation {
        occasion: matter.occasion().into(),
        facts: matter.facts(),
        ..Observation::default()
    };
    let policy = policy(&settings(messages));
    let is_read = |fact: &Fact| policy.manifest().reads.iter().any(|read| read.covers(&fact.name));
    assert!(observation.facts.iter().all(is_read));
    notice(&policy.review(&observation)).clone()
}

/// The standard words are those of a host whose tenant has no alerting policy.
#[test]
fn what_the_host_has_people_told_is_in_the_settings_words() {
    for (matter, own, wanted, standard) in [
        (
            0,
            "{policy} {revision} {code}",
            "own acme/own@3 policy_trapped",
            [
                "A política `own` está em quarentena",
                "A política `own` (acme/own@3) falhou repetidamente, por último com \
                 `policy_trapped`, e não é mais consultada.\n\n\
                 Corrija-a e vincule outra revisão, ou libere-a.",
            ],
        ),
        (
            1,
            "{policy} {meter} {window}{of}{from} {limit}",
            "*/alerts llm_tokens calendar:day de user `ana` de 150 180",
            [
                "O limite de `llm_tokens` de user `ana` mudou de 150 para 180",
                "A política `*/alerts` propôs outro limite de `llm_tokens` (calendar:day) de user \
                 `ana`, dentro do que a plataforma permite.\n\n\
                 Limite: 180",
            ],
        ),
        (
            2,
            "{provider}{for_model} {day} {invoiced} {computed}",
            "openai pelo modelo `gpt-4o` 2025-11-03 R$ 90.00 R$ 60.00",
            [
                "O provedor `openai` faturou R$ 90.00, e o calculado é R$ 60.00",
                "O provedor `openai` faturou R$ 90.00 pelo modelo `gpt-4o` em 2025-11-03 (UTC). O que \
                 foi informado desse dia soma R$ 60.00.\n\n\
                 Verifique a lista de preços e se todas as chamadas foram informadas.",
            ],
        ),
    ] {
        let matter = &matters()[matter];
        let kind = matter.kind();
        let both = format!(r#"{{"{kind}": {{"title": "T {own}", "body": "B {own}"}}}}"#);
        let said = worded(&both, matter);
        assert_eq!((said.key.as_str(), said.severity.as_str()), (kind, matter.severity()));
        assert_eq!((said.title, said.body), (format!("T {wanted}"), format!("B {wanted}")));
        let said = worded("{}", matter);
        assert_eq!([said.title.as_str(), said.body.as_str()], standard);
        let [title, body] = standard.map(str::to_owned);
        assert_eq!(matter.say_standard(Language::Portuguese), (title, body));
        let (title, _) = matter.say_standard(Language::English);
        assert_ne!(title, standard[0]);
    }
}

/// Of what there is not nothing is left, not even a space.
#[test]
fn what_is_of_nobody_and_was_nothing_before_is_told_without_it() {
    let [_, limit, drift] = matters();
    let Matter::LimitChanged { policy, meter, window, limit, .. } = limit else { panic!() };
    let whose = String::new();
    let limit = Matter::LimitChanged { policy, meter, window, whose, before: None, limit };
    let Matter::ProviderDrift { provider, day, invoiced, computed, .. } = drift else { panic!() };
    let drift = Matter::ProviderDrift { provider, model: None, day, invoiced, computed };
    for (matter, wanted) in [
        (limit, "The limit on `llm_tokens` was changed to 180"),
        (drift, "Provider `openai` invoiced R$ 90.00, and R$ 60.00 was computed"),
    ] {
        let (title, body) = matter.say_standard(Language::English);
        assert_eq!(title, wanted);
        assert!(
            !body.contains("  ") && !body.contains("` ,") && !body.contains("for model"),
            "{body}"
        );
        assert_eq!(Matter::observed(matter.occasion(), &matter.facts()), Some(matter));
    }
}

/// A host that feeds less than it should is looked past.
#[test]
fn what_the_host_does_not_tell_whole_is_no_matter() {
    for matter in matters() {
        assert_eq!(Matter::observed(matter.occasion(), &matter.facts()), Some(matter.clone()));
        let mut facts = matter.facts();
        facts.remove(0);
        assert_eq!(Matter::observed(matter.occasion(), &facts), None);
        assert_eq!(Matter::observed("settled", &matter.facts()), None);
    }
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
        ("policy_quarantined", "write `{policy}`, `{revision}` or `{code}`, or"),
        (
            "limit_changed",
            "write `{policy}`, `{meter}`, `{window}`, `{of}`, `{from}` or `{limit}`, or",
        ),
        (
            "provider_drift",
            "write `{provider}`, `{for_model}`, `{day}`, `{invoiced}` or `{computed}`, or",
        ),
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
            "unknown field `limit_warning`, expected one of `threshold_warning`, `limit_exceeded`, `quota_approaching`, `quota_at_limit`, `quota_exceeded`, `spend_forecast`, `spend_anomaly`, `agent_enabled`, `policy_quarantined`, `limit_changed`, `provider_drift`",
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
