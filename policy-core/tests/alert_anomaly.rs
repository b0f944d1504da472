//! Sudden spending: an hour against its week.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod observed;

use num_bigint::BigInt;
use observed::{amounts, decimal, notice, observed, policy, text, used, words};
use proptest::prelude::*;
use tollgate_policy_core::Decimal;
use tollgate_policy_core::alerts::AlertPolicy;
use tollgate_policy_core::anomaly::Anomaly;
use tollgate_policy_core::contract::{Action, Counter, Notice, Observation, Reading};

/// Five times the usual, from 10 on, and no other notice in the way.
const FIVE: &str = r#"{"currency": "BRL", "cost_limits": {"enabled": false},
    "forecast": false, "anomaly": {"factor": 5, "least": 10.00}}"#;

/// What follows where the agent cost so much in the last hour and in the last week.
fn review(settings: &str, occasion: &str, hour: &str, week: &str) -> Vec<Action> {
    let readings = [used("1"), used(hour), used(week), used("500")];
    policy(settings).review(&observed(occasion, &readings, &[("agent.name", text("Agente SDR"))]))
}

#[test]
fn an_hour_that_stands_out_is_told_once_a_day() {
    // 167 hours at 2, and one at 11.
    let actions = review(FIVE, "settled", "11", "345");
    let body = "⚠️ AI agent 'Agente SDR' spent R$ 11.00 in the last hour, more than 5 times its \
                usual R$ 2.00 an hour.\n\nConsider reviewing what it is doing.";
    let told = Notice {
        key: "spend_anomaly".into(),
        counter: Some(3),
        severity: "critical".into(),
        title: "AI agent 'Agente SDR' is spending far more than usual".into(),
        body: body.into(),
        facts: Vec::new(),
    };
    assert_eq!(actions, [Action::Raise(told)]);
    let scheduled = review(FIVE, "scheduled", "11", "345");
    assert_eq!(notice(&scheduled), notice(&actions));
    let portuguese = FIVE.replacen('{', r#"{"language": "pt", "#, 1);
    let actions = review(&portuguese, "settled", "11", "345");
    assert_eq!(
        notice(&actions).title,
        "O agente de IA 'Agente SDR' está gastando muito mais que o normal"
    );
    assert_eq!(
        notice(&actions).body,
        "⚠️ O agente de IA 'Agente SDR' gastou R$ 11.00 na última hora, mais de 5 vezes o seu \
         normal de R$ 2.00 por hora.\n\nConsidere revisar o que ele está fazendo."
    );
}

#[test]
fn an_hour_stands_out_above_the_factor_from_the_least_on_and_with_a_past() {
    for (hour, week, is_told) in [
        // Five times 2 are 10: not above.
        ("10", "344", false),
        ("10.000000000001", "344.000000000001", true),
        ("10", "343.999999999999", true),
        // Five times nearly nothing, just below the least and at it.
        ("9.999999999999", "10", false),
        ("10", "11", true),
        // Nothing before it, and a week that lags behind its hour.
        ("500", "500", false),
        ("500", "499", false),
        ("500", "500.000000000001", true),
        ("0", "0", false),
        ("-11", "345", false),
    ] {
        let told = words(&review(FIVE, "settled", hour, week));
        assert_eq!(!told.is_empty(), is_told, "{hour} of {week}: {told:?}");
    }
}

#[test]
fn an_hour_that_stands_out_no_more_is_over() {
    let of_limit = ["no limit_exceeded", "no spend_forecast", "no threshold_warning"];
    let calm = words(&review(FIVE, "scheduled", "10", "344"));
    assert_eq!(calm, [of_limit[0], "no spend_anomaly", of_limit[1], of_limit[2]]);
    let sudden = words(&review(FIVE, "scheduled", "11", "345"));
    assert_eq!(sudden, ["spend_anomaly", of_limit[0], of_limit[1], of_limit[2]]);
    assert!(review(FIVE, "settled", "10", "344").is_empty());
    assert!(review(FIVE, "denied", "11", "345").is_empty());
    // Of no agent, and of less than was asked for.
    let readings = [used("1"), used("11"), used("345"), used("500")];
    let nobody = Observation { dimensions: Vec::new(), ..observed("settled", &readings, &[]) };
    assert!(policy(FIVE).review(&nobody).is_empty());
    assert!(policy(FIVE).review(&observed("settled", &readings[..2], &[])).is_empty());
}

/// A denial by a limit is an occasion to look at limits alone.
#[test]
fn a_denial_is_no_spending() {
    let facts = [("denial.code", text("quota_exceeded"))];
    let readings = [used("1"), used("11"), used("345"), used("500")];
    assert!(policy(FIVE).review(&observed("denied", &readings, &facts)).is_empty());
}

#[test]
fn an_agents_hour_week_and_day_are_counted_where_they_are_looked_at() {
    let show = |Counter { meter, window, per, limit }: &Counter| {
        format!("{meter} {window} {} {limit:?}", per.join(","))
    };
    let counters = |settings: &str| -> Vec<String> {
        policy(settings).manifest().counters.iter().map(show).collect()
    };
    let limited = r#"{"max_active_runs": 5, "anomaly": {"factor": 5, "least": "0.01"}}"#;
    assert_eq!(
        counters(limited)[1..],
        [
            "cost.usd calendar:month agent None",
            "cost.usd rolling:3600 agent None",
            "cost.usd rolling:604800 agent None",
            "cost.usd calendar:day agent None",
        ]
    );
    assert_eq!(counters(r#"{"max_active_runs": 5}"#).len(), 2);
    // Behind the limits, the notice is still the day's.
    let readings = [used("0"), used("0"), used("11"), used("345"), used("500")];
    let actions = policy(limited).review(&observed("settled", &readings, &[]));
    assert_eq!(notice(&actions).counter, Some(4));
}

#[test]
fn settings_without_sense_are_refused() {
    for (anomaly, error) in [
        (r#"{"factor": 5}"#, "missing field `least`"),
        (r#"{"least": 5}"#, "missing field `factor`"),
        (
            r#"{"factor": 0, "least": 5}"#,
            "`factor` 0 of `anomaly` is not above zero: write a number like 5",
        ),
        (
            r#"{"factor": 5, "least": -1}"#,
            "`least` -1 of `anomaly` is not above zero: write a number like 10.00",
        ),
        (
            r#"{"factor": 5, "least": 5, "hours": 2}"#,
            "unknown field `hours`, expected `factor` or `least`",
        ),
        ("true", "invalid type: boolean `true`, expected an object with `factor` and `least`"),
    ] {
        let told = AlertPolicy::configure(&format!(r#"{{"anomaly": {anomaly}}}"#));
        assert_eq!(told.unwrap_err().to_string(), format!("settings: {error}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn an_hour_stands_out_where_long_arithmetic_says_so(
        factor in amounts(),
        least in amounts(),
        hour in amounts(),
        past in amounts(),
    ) {
        let [factor, least] = [factor, least].map(|own| own.max(decimal("0.000000000001")));
        let Ok(week) = hour.checked_add(past) else { return Ok(()) };
        let big = |amount: Decimal| BigInt::from(amount.units());
        let one = big(Decimal::ONE);
        let is_sudden = past > Decimal::ZERO
            && hour >= least
            && big(hour) * 167 * one > big(factor) * big(past);
        let usual = Anomaly { factor, least }.usual(hour, week);
        prop_assert_eq!(usual.is_some(), is_sudden);
    }

    #[test]
    fn no_reading_is_too_much(used in prop::collection::vec(amounts(), 4)) {
        let reading = |used: &Decimal| Reading { used: *used, ..Reading::default() };
        let readings: Vec<Reading> = used.iter().map(reading).collect();
        let _ = policy(FIVE).review(&observed("settled", &readings, &[]));
    }
}
