//! What the standard alerting policy tells, and whom it stops.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use tollgate_policy_core::Decimal;
use tollgate_policy_core::alerts::AlertPolicy;
use tollgate_policy_core::contract::{
    Action, Dimension, Disablement, Fact, Notice, Observation, Read, Reading, Value,
};

/// The names of the two alerts, as the seed has them.
const THRESHOLD_WARNING: &str = "threshold_warning";
const LIMIT_EXCEEDED: &str = "limit_exceeded";

/// When the month closes.
const CLOSES: i64 = 1_767_225_600_000;

/// The cost limits of seeds/004, in its currency and language.
const SEED: &str = r#"{"currency": "BRL", "language": "pt", "cost_limits":
    {"enabled": true, "monthly_limit": 500.00, "auto_disable": true, "alert_threshold": 80}}"#;

const WARNING: &str =
    "⚠️ Atenção: O agente de IA 'Agente SDR' está próximo do limite de custo mensal!

Limite configurado: R$ 500.00
Custo atual: R$ 400.00 (80.0% do limite)

Considere revisar o uso ou aumentar o limite.";

const EXCEEDED: &str = "⚠️ O agente de IA 'Agente SDR' excedeu o limite de custo mensal!

Limite configurado: R$ 500.00
Custo atual: R$ 550.00

O agente foi desativado automaticamente.";

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn reading(used: &str, held: &str, asked: &str) -> Reading {
    let [used, held, asked] = [used, held, asked].map(decimal);
    Reading { used, held, asked, closes: Some(CLOSES), ..Reading::default() }
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

fn number(value: &str) -> Value {
    Value::Number(decimal(value))
}

fn policy(settings: &str) -> AlertPolicy {
    AlertPolicy::configure(settings).unwrap()
}

/// Something that happened to the seed's agent.
fn observed(occasion: &str, readings: &[Reading], facts: &[(&str, Value)]) -> Observation {
    let name = ("agent.name", text("Agente SDR"));
    let fact = |(name, value): &(&str, Value)| Fact { name: (*name).into(), value: value.clone() };
    Observation {
        occasion: occasion.into(),
        dimensions: vec![Dimension { name: "agent".into(), value: "sdr".into() }],
        readings: readings.to_vec(),
        facts: facts.iter().chain([&name]).map(fact).collect(),
        ..Observation::default()
    }
}

/// What follows once the agent has cost so much.
fn settled(settings: &str, used: &str) -> Vec<Action> {
    policy(settings).review(&observed("settled", &[reading(used, "0", "0")], &[]))
}

fn denied(settings: &str, code: &str, used: &str, asked: &str) -> Vec<Action> {
    let facts = [("denial.code", text(code))];
    policy(settings).review(&observed("denied", &[reading(used, "0", asked)], &facts))
}

/// The keys of what is told and, of a disablement, the dimension.
fn keys(actions: &[Action]) -> Vec<String> {
    let key = |action: &Action| match action {
        Action::Raise(notice) => notice.key.clone(),
        Action::Disable(disablement) => format!("disable {}", disablement.dimension),
        other => format!("{other:?}"),
    };
    actions.iter().map(key).collect()
}

fn notice(action: &Action) -> &Notice {
    match action {
        Action::Raise(notice) => notice,
        other => panic!("{other:?}"),
    }
}

#[test]
fn below_the_threshold_nothing_is_told() {
    for used in ["0", "1", "399.999999999999"] {
        assert!(settled(SEED, used).is_empty(), "{used}");
    }
    // What is held is not yet cost.
    let held = observed("settled", &[reading("399", "200", "0")], &[]);
    assert!(policy(SEED).review(&held).is_empty());
}

#[test]
fn at_the_threshold_people_are_warned_in_the_seeds_words_and_nothing_stops() {
    let actions = settled(SEED, "400");
    assert_eq!(
        actions,
        [Action::Raise(Notice {
            key: THRESHOLD_WARNING.into(),
            counter: Some(0),
            severity: "warning".into(),
            title: "O agente de IA 'Agente SDR' está próximo do limite de custo mensal".into(),
            body: WARNING.into(),
            facts: Vec::new(),
        })]
    );
    // Once a month: the month is the counter's, which the notice names.
    assert_eq!(keys(&settled(SEED, "500")), [THRESHOLD_WARNING]);
    let body = &notice(&settled(SEED, "499.98")[0]).body.clone();
    assert!(body.contains("Custo atual: R$ 499.98 (100.0% do limite)"), "{body}");
    let scheduled = observed("scheduled", &[reading("400", "0", "0")], &[]);
    assert_eq!(policy(SEED).review(&scheduled), actions);
}

#[test]
fn above_the_limit_people_are_told_and_the_agent_stops_until_the_month_closes() {
    let title = "O agente de IA 'Agente SDR' excedeu o limite de custo mensal";
    let disablement =
        Disablement { dimension: "agent".into(), reason: title.into(), until: Some(CLOSES) };
    let exceeded = Notice {
        key: LIMIT_EXCEEDED.into(),
        counter: Some(0),
        severity: "critical".into(),
        title: title.into(),
        body: EXCEEDED.into(),
        facts: Vec::new(),
    };
    let wanted = [Action::Disable(disablement), Action::Raise(exceeded)];
    assert_eq!(settled(SEED, "550"), wanted);
    let scheduled = observed("scheduled", &[reading("550", "0", "0")], &[]);
    assert_eq!(policy(SEED).review(&scheduled), wanted);
    assert_eq!(keys(&settled(SEED, "500.000000000001")), ["disable agent", LIMIT_EXCEEDED]);
}

#[test]
fn a_denial_by_the_limit_exceeds_it_and_any_other_denial_tells_nothing() {
    let both = ["disable agent", LIMIT_EXCEEDED];
    assert_eq!(keys(&denied(SEED, "quota_exceeded", "450", "50.01")), both);
    assert_eq!(keys(&denied(SEED, "quota_exceeded", "0", "501")), both);
    // Denied by another limit, while the agent's own has room.
    assert_eq!(keys(&denied(SEED, "quota_exceeded", "450", "50")), [THRESHOLD_WARNING]);
    assert!(denied(SEED, "quota_exceeded", "100", "50").is_empty());
    // What is held denies as well.
    let facts = [("denial.code", text("quota_exceeded"))];
    let held = observed("denied", &[reading("300", "150", "51")], &facts);
    assert_eq!(keys(&policy(SEED).review(&held)), both);
    for code in ["disabled", "quota_unknown", "model_unknown", ""] {
        assert!(denied(SEED, code, "450", "100").is_empty(), "{code}");
        assert!(denied(SEED, code, "900", "100").is_empty(), "{code}");
    }
    let uncoded = observed("denied", &[reading("900", "0", "1")], &[]);
    assert!(policy(SEED).review(&uncoded).is_empty());
}

#[test]
fn without_auto_disable_nobody_is_stopped_and_the_body_does_not_claim_it() {
    for settings in [
        SEED.replace(r#""auto_disable": true, "#, ""),
        SEED.replace(r#""auto_disable": true"#, r#""auto_disable": false"#),
    ] {
        for actions in [settled(&settings, "550"), denied(&settings, "quota_exceeded", "550", "1")]
        {
            assert_eq!(keys(&actions), [LIMIT_EXCEEDED]);
            let told = &notice(&actions[0]).body;
            assert_eq!(*told, EXCEEDED.split("\n\nO agente foi").next().unwrap());
        }
    }
}

#[test]
fn the_words_are_those_of_the_settings_language() {
    let english = SEED.replace(r#""pt""#, r#""en""#);
    assert_eq!(
        notice(&settled(&english, "400")[0]).body,
        "⚠️ Warning: AI agent 'Agente SDR' is close to its monthly cost limit!\n\n\
         Configured limit: R$ 500.00\nCurrent cost: R$ 400.00 (80.0% of the limit)\n\n\
         Consider reviewing usage or raising the limit."
    );
    let actions = settled(&english, "550");
    assert_eq!(
        notice(&actions[1]).body,
        "⚠️ AI agent 'Agente SDR' exceeded its monthly cost limit!\n\n\
         Configured limit: R$ 500.00\nCurrent cost: R$ 550.00\n\n\
         The agent was disabled automatically."
    );
    let Action::Disable(disablement) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(disablement.reason, "AI agent 'Agente SDR' exceeded its monthly cost limit");
    // English and dollars where the settings say nothing.
    let plain = r#"{"cost_limits": {"monthly_limit": 10, "alert_threshold": 50}}"#;
    let body = &notice(&settled(plain, "5.126")[0]).body.clone();
    assert!(body.contains("Current cost: $ 5.13 (51.3% of the limit)"), "{body}");
}

#[test]
fn an_agent_without_a_name_is_called_by_its_value() {
    let mut observation = observed("settled", &[reading("400", "0", "0")], &[]);
    observation.facts.clear();
    let actions = policy(SEED).review(&observation);
    assert!(notice(&actions[0]).body.contains("'sdr'"), "{actions:?}");
    // A call of no agent concerns none.
    observation.dimensions.clear();
    assert!(policy(SEED).review(&observation).is_empty());
}

/// What the standard policy makes of an agent's record; its cost stands behind 13 limits.
fn of_record(settings: &str, used: &str, record: &[(&str, Value)]) -> Vec<Action> {
    let policy = policy(settings);
    let mut readings = vec![reading("0", "0", "0"); policy.manifest().counters.len() - 1];
    readings.push(reading(used, "0", "0"));
    policy.review(&observed("settled", &readings, record))
}

const MONTHLY: &str = "agent.cost_limits.monthly_limit";
const ENABLED: &str = "agent.cost_limits.enabled";
const DISABLE: &str = "agent.cost_limits.auto_disable";
const THRESHOLD: &str = "agent.cost_limits.alert_threshold";

#[test]
fn an_agents_own_record_has_its_own_limit() {
    let disable = (DISABLE, Value::Flag(true));
    for (used, record, wanted) in [
        ("79", vec![(MONTHLY, number("100"))], vec![]),
        ("80", vec![(MONTHLY, number("100"))], vec![THRESHOLD_WARNING]),
        ("50", vec![(MONTHLY, number("100")), (THRESHOLD, number("50"))], vec![THRESHOLD_WARNING]),
        ("101", vec![(MONTHLY, number("100"))], vec![LIMIT_EXCEEDED]),
        (
            "101",
            vec![(MONTHLY, number("100")), disable.clone()],
            vec!["disable agent", LIMIT_EXCEEDED],
        ),
        ("101", vec![(MONTHLY, number("100")), (ENABLED, Value::Flag(false))], vec![]),
        ("101", vec![disable], vec![]),
        ("101", vec![], vec![]),
    ] {
        let actions = of_record("{}", used, &record);
        assert_eq!(keys(&actions), wanted, "{used} {record:?}");
        let counters = actions.iter().filter_map(|action| match action {
            Action::Raise(notice) => Some(notice.counter),
            _ => None,
        });
        assert!(counters.into_iter().all(|counter| counter == Some(13)));
    }
}

#[test]
fn a_limit_set_for_an_agent_stands_above_its_record_and_the_settings() {
    let limited = Reading { limit: Some(decimal("50")), ..reading("51", "0", "0") };
    let actions = policy(SEED).review(&observed("settled", &[limited], &[]));
    assert_eq!(keys(&actions), ["disable agent", LIMIT_EXCEEDED]);
    assert!(notice(&actions[1]).body.contains("Limite configurado: R$ 50.00"), "{actions:?}");
    let raised = Reading { limit: Some(decimal("900")), ..reading("550", "0", "0") };
    assert!(policy(SEED).review(&observed("settled", &[raised], &[])).is_empty());
}

#[test]
fn a_limit_of_zero_is_exceeded_by_any_cost() {
    let settings = r#"{"cost_limits": {"monthly_limit": 0, "auto_disable": true}}"#;
    assert!(settled(settings, "0").is_empty());
    assert_eq!(keys(&settled(settings, "0.01")), ["disable agent", LIMIT_EXCEEDED]);
    let asked = denied(settings, "quota_exceeded", "0", "0.01");
    assert_eq!(keys(&asked), ["disable agent", LIMIT_EXCEEDED]);
}

#[test]
fn a_new_month_enables_the_agent_and_tells_nothing() {
    let opened = |used: &str, facts: &[(&str, Value)]| {
        policy(SEED).review(&observed("period-opened", &[reading(used, "0", "0")], facts))
    };
    for used in ["0", "550"] {
        let month = [("period.window", text("calendar:month"))];
        assert_eq!(opened(used, &month), [Action::Enable("agent".into())]);
        // Other windows of other counters, and nothing that is known.
        for window in ["calendar:day", "calendar:month@2", "calendar:month@utc", "lifetime", ""] {
            assert!(opened(used, &[("period.window", text(window))]).is_empty(), "{window}");
        }
        assert!(opened(used, &[("period.window", number("1"))]).is_empty());
        assert!(opened(used, &[]).is_empty());
    }
}

#[test]
fn an_agent_that_was_stopped_until_the_month_is_told_of_as_enabled() {
    let facts = [("period.window", text("calendar:month")), ("disabled.agent", text("over"))];
    let opened = |settings: &str| {
        policy(settings).review(&observed("period-opened", &[reading("0", "0", "0")], &facts))
    };
    let notice = Notice {
        key: "agent_enabled".into(),
        counter: Some(0),
        severity: "info".into(),
        title: "O agente de IA 'Agente SDR' foi reativado".into(),
        body: "O agente de IA 'Agente SDR' foi reativado: um novo mês começou.\n\n\
               Limite configurado: R$ 500.00\nCusto atual: R$ 0.00"
            .into(),
        facts: Vec::new(),
    };
    assert_eq!(opened(SEED), [Action::Enable("agent".into()), Action::Raise(notice)]);
    // Without a limit there is nothing to say of it.
    let unlimited = SEED.replace(r#""enabled": true"#, r#""enabled": false"#);
    assert_eq!(opened(&unlimited), [Action::Enable("agent".into())]);
}

#[test]
fn the_other_limits_have_notices_in_the_quotas_words() {
    let settings = r#"{"quotas": {"llm_tokens": {"limit": 1000, "period": "day"}}}"#;
    let near = |used: &str, held: &str| {
        let readings = [reading(used, held, "0"), reading("0", "0", "0")];
        policy(settings).review(&observed("settled", &readings, &[]))
    };
    assert!(near("799", "0").is_empty());
    for (used, held, key, severity, body) in [
        (
            "700",
            "100",
            "quota_approaching:llm_tokens:calendar:day:user",
            "warning",
            "Quota approaching limit for llm_tokens. Remaining: 200/1000",
        ),
        (
            "950",
            "0",
            "quota_at_limit:llm_tokens:calendar:day:user",
            "warning",
            "Quota at limit for llm_tokens. Remaining: 50/1000",
        ),
        (
            "1001",
            "0",
            "quota_exceeded:llm_tokens:calendar:day:user",
            "critical",
            "Quota exceeded for llm_tokens. Limit: 1000, cannot proceed.",
        ),
    ] {
        let notice = Notice {
            key: key.into(),
            counter: Some(0),
            severity: severity.into(),
            title: body.into(),
            body: body.into(),
            facts: Vec::new(),
        };
        assert_eq!(near(used, held), [Action::Raise(notice)]);
    }
    // A denial tells what it would have come to, and a limit of these dimensions is the one told.
    let facts = [("denial.code", text("quota_exceeded"))];
    let limited = Reading { limit: Some(decimal("10")), ..reading("9", "0", "2") };
    let pt = settings.replacen('{', r#"{"language": "pt-BR", "#, 1);
    let actions = policy(&pt).review(&observed("denied", &[limited], &facts));
    assert_eq!(
        notice(&actions[0]).body,
        "Cota excedida para llm_tokens. Limite: 10, não é possível continuar."
    );
    assert_eq!(actions.len(), 1);
    // The second limit of two is told as the second.
    let readings: Vec<Reading> = (0..14).map(|_| reading("0", "0", "0")).collect();
    let mut readings = readings;
    readings[3] = reading("990000", "0", "0");
    let actions = policy("{}").review(&observed("settled", &readings, &[]));
    assert_eq!((actions.len(), notice(&actions[0]).counter), (1, Some(3)));
}

#[test]
fn the_agents_cost_limit_is_told_once_and_not_as_a_quota_too() {
    const AT_LIMIT: &str = "quota_at_limit:llm_requests:calendar:day:agent";
    let both = r#"{"rate_limits": {"period": "day", "max_messages": 500, "max_tokens": 500000},
        "cost_limits": {"monthly_limit": 500, "auto_disable": true}}"#;
    let policy = policy(both);
    let readings = [reading("499", "0", "0"), reading("0", "0", "0"), reading("550", "0", "0")];
    let actions = policy.review(&observed("settled", &readings, &[]));
    assert_eq!(keys(&actions), [AT_LIMIT, "disable agent", LIMIT_EXCEEDED]);
    assert_eq!(notice(&actions[2]).counter, Some(2));
    assert_eq!(
        policy.manifest().reads,
        [
            Read::Dimension("agent".into()),
            Read::Fact("agent.*".into()),
            Read::Fact("denial.code".into()),
            Read::Fact("period.window".into()),
            Read::Fact("disabled.agent".into()),
            Read::Fact("local.*".into()),
            Read::Fact("quarantine.*".into()),
            Read::Fact("limit.*".into()),
            Read::Fact("drift.*".into()),
            Read::Fact("tenant.language".into()),
        ]
    );
}

/// Only the limit of `cost_limits` has texts of its own.
#[test]
fn other_limits_on_an_agents_cost_have_notices_as_quotas() {
    for (period, per) in [("day", "agent"), ("month", "user"), ("month", "agent")] {
        let limit = format!(
            r#"{{"limits": [{{"meter": "cost.usd", "limit": 9, "period": "{period}", "per": "{per}"}}]"#
        );
        let readings = [reading("10", "0", "0"), reading("10", "0", "0")];
        let observation = observed("settled", &readings, &[]);
        let alone = policy(&format!("{limit}}}")).review(&observation);
        let exceeded = format!("quota_exceeded:cost.usd:calendar:{period}:{per}");
        assert_eq!(keys(&alone), [&*exceeded], "{period} {per}");
        if (period, per) != ("month", "agent") {
            let beside = format!(r#"{limit}, "cost_limits": {{"monthly_limit": 5}}}}"#);
            let told = policy(&beside).review(&observation);
            assert_eq!(keys(&told), [&*exceeded, LIMIT_EXCEEDED], "{period} {per}");
        }
    }
}

#[test]
fn a_wrong_threshold_in_a_record_does_not_silence_its_limit() {
    for threshold in [number("800"), number("-1"), text("80")] {
        let record =
            [(MONTHLY, number("100")), (DISABLE, Value::Flag(true)), (THRESHOLD, threshold)];
        assert_eq!(keys(&of_record("{}", "80", &record)), [THRESHOLD_WARNING]);
        let both = ["disable agent", LIMIT_EXCEEDED];
        assert_eq!(keys(&of_record("{}", "101", &record)), both);
    }
}

#[test]
fn a_limit_below_zero_in_a_record_stops_nobody() {
    let record = [(MONTHLY, number("-1")), (DISABLE, Value::Flag(true))];
    assert!(of_record("{}", "0", &record).is_empty());
}

#[test]
fn where_records_are_not_read_the_settings_limit_is_the_one_told() {
    let record = [(MONTHLY, number("1000"))];
    let actions = of_record(SEED, "550", &record);
    assert_eq!(keys(&actions), ["disable agent", LIMIT_EXCEEDED]);
    assert_eq!(notice(&actions[1]).body, EXCEEDED);
    // Where both hold, the quotas enforce the lower one.
    let both = SEED.replacen('{', r#"{"agent_settings": true, "#, 1);
    assert_eq!(keys(&of_record(&both, "550", &record)), ["disable agent", LIMIT_EXCEEDED]);
    let lower = [(MONTHLY, number("100"))];
    assert_eq!(keys(&of_record(&both, "101", &lower)), [LIMIT_EXCEEDED]);
    assert!(of_record(SEED, "101", &lower).is_empty());
}
