//! When a limit on cost is reached at the pace of its window so far.
#![cfg(feature = "windows")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod observed;

use chrono::DateTime;
use num_bigint::BigInt;
use observed::{amounts, decimal, notice, number, observed, policy, text, words};
use proptest::prelude::*;
use tollgate_policy_core::Decimal;
use tollgate_policy_core::alerts::AlertPolicy;
use tollgate_policy_core::calendar::{LocalTime, TenantCalendar};
use tollgate_policy_core::contract::{Action, Notice, Observation, Read, Reading, Value};
use tollgate_policy_core::forecast::{Forecast, local_date};
use tollgate_policy_core::limits::LimitSettings;
use tollgate_policy_core::window::Instant;

const SEED: &str =
    r#"{"currency": "BRL", "language": "pt", "cost_limits": {"monthly_limit": 500}}"#;

/// November in São Paulo, three hours behind UTC.
const NOVEMBER: [&str; 2] = ["2025-11-01T03:00:00Z", "2025-12-01T03:00:00Z"];
/// Ten of its thirty days are over.
const NOW: &str = "2025-11-11T03:00:00Z";

fn instant(text: &str) -> Instant {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
}

fn reading(used: &str, [opened, closes]: [&str; 2]) -> Reading {
    let (opened, closes) = (instant(opened), Some(instant(closes)));
    Reading { used: decimal(used), opened, closes, ..Reading::default() }
}

/// A look at this time, told as the host tells it in this zone.
fn look(zone: &str, now: &str, readings: &[Reading]) -> Observation {
    let calendar = TenantCalendar { zone: zone.parse().unwrap(), ..TenantCalendar::default() };
    let now = instant(now);
    let LocalTime { date, hour, minute, .. } = calendar.local(now).unwrap();
    let facts = [
        ("local.date", text(&date.to_string())),
        ("local.hour", Value::Number(hour.into())),
        ("local.minute", Value::Number(minute.into())),
        ("agent.name", text("Agente SDR")),
    ];
    Observation { now, ..observed("scheduled", readings, &facts) }
}

fn forecast(actions: &[Action]) -> Option<&Notice> {
    let told = words(actions).iter().any(|word| word.starts_with("spend_forecast"));
    told.then(|| notice(actions))
}

/// The seed's agent in November, once it has cost so much.
fn november(settings: &str, now: &str, used: &str) -> Vec<Action> {
    policy(settings).review(&look("America/Sao_Paulo", now, &[reading(used, NOVEMBER)]))
}

#[test]
fn people_are_told_on_which_day_an_agent_reaches_its_limit() {
    // Half of it in ten days: all of it in twenty, as the 21st begins.
    let actions = november(SEED, NOW, "250");
    let body = "Neste ritmo, o agente de IA 'Agente SDR' atinge o limite de custo mensal de \
                R$ 500.00 no dia 21.\n\nCusto até agora: R$ 250.00\n\n\
                Considere revisar o uso ou aumentar o limite.";
    let title = "O agente de IA 'Agente SDR' caminha para o limite de custo mensal";
    let told = Notice {
        key: "spend_forecast".into(),
        counter: Some(0),
        severity: "warning".into(),
        title: title.into(),
        body: body.into(),
        facts: Vec::new(),
    };
    assert_eq!(*notice(&actions), told);
    let over = ["no limit_exceeded", "no threshold_warning"];
    assert_eq!(words(&actions), ["spend_forecast", over[0], over[1]]);
    let actions = november(&SEED.replace(r#""pt""#, r#""en""#), NOW, "250");
    assert_eq!(
        notice(&actions).title,
        "AI agent 'Agente SDR' is heading for its monthly cost limit"
    );
    assert_eq!(
        notice(&actions).body,
        "At this pace AI agent 'Agente SDR' reaches its monthly cost limit of R$ 500.00 on the \
         21st.\n\nCost so far: R$ 250.00\n\nConsider reviewing usage or raising the limit."
    );
}

#[test]
fn a_day_turns_at_the_tenants_midnight() {
    let own = SEED.replacen('{', r#"{"messages": {"spend_forecast": {"title": "{date}"}}, "#, 1);
    for (used, day) in [
        // 500 / 277.77 are 1.80005 times ten days, and 500 / 277.78 are 1.79999.
        ("277.77", "2025-11-19"),
        ("277.78", "2025-11-18"),
        ("399.99", "2025-11-13"),
        // 29 days and 23 hours.
        ("166.9", "2025-11-30"),
    ] {
        assert_eq!(notice(&november(&own, NOW, used)).title, day, "{used}");
    }
}

#[test]
fn a_limit_that_is_reached_as_the_window_closes_is_not_reached_in_it() {
    // A third of the month, and of the limit but for a hair.
    assert_eq!(forecast(&november(SEED, NOW, "166.666666666666")), None);
    let told = forecast(&november(SEED, NOW, "166.666666666667")).cloned();
    assert!(told.is_some_and(|notice| notice.body.contains("no dia 30.")));
    let ended = ["no limit_exceeded", "no spend_forecast", "no threshold_warning"];
    for used in ["0", "-1", "166.666666666666"] {
        assert_eq!(words(&november(SEED, NOW, used)), ended, "{used}");
    }
}

#[test]
fn from_the_warning_on_a_forecast_is_no_news_and_not_over() {
    assert!(forecast(&november(SEED, NOW, "399.999999999999")).is_some());
    let warned = ["threshold_warning"];
    assert_eq!(words(&november(SEED, NOW, "400")), warned);
    assert_eq!(words(&november(SEED, NOW, "501")), ["limit_exceeded"]);
}

#[test]
fn too_short_a_time_is_no_pace() {
    // A tenth of thirty days, to the millisecond.
    for (now, told) in [
        ("2025-11-04T02:59:59.999Z", false),
        ("2025-11-04T03:00:00Z", true),
        ("2025-12-01T02:59:59.999Z", false),
        ("2025-11-01T03:00:00Z", false),
    ] {
        assert_eq!(forecast(&november(SEED, now, "60")).is_some(), told, "{now}");
    }
    for (after, told) in
        [("0", true), ("0.333333333333", true), ("0.333333333334", false), ("1", false)]
    {
        let settings = SEED.replacen('{', &format!(r#"{{"forecast": {{"after": {after}}}, "#), 1);
        assert_eq!(forecast(&november(&settings, NOW, "250")).is_some(), told, "{after}");
    }
    // An hour into the month, where any pace will do.
    let any = SEED.replacen('{', r#"{"forecast": {"after": 0}, "#, 1);
    assert!(forecast(&november(&any, "2025-11-01T04:00:00Z", "1")).is_some());
    assert!(forecast(&november(&any, NOVEMBER[0], "1")).is_none());
    assert!(forecast(&november(&any, "2025-11-01T02:00:00Z", "1")).is_none());
    assert!(forecast(&november(&any, NOVEMBER[1], "250")).is_none());
}

#[test]
fn the_day_is_that_of_the_tenants_clock() {
    let settings = |limit: &str| {
        format!(
            r#"{{"messages": {{"spend_forecast": {{"title": "{{day}} {{date}}"}}}},
                "cost_limits": {{"monthly_limit": {limit}}}}}"#
        )
    };
    let rows = [
        // 13 hours ahead: 361.5 hours in it is 2026-01-15T12:30Z.
        (
            "Pacific/Auckland",
            ["2025-12-31T11:00:00Z", "2026-01-31T11:00:00Z"],
            "2026-01-10T11:00:00Z",
            ("361.5", "240"),
            "16th 2026-01-16",
        ),
        // The 13th half an hour before midnight in UTC is the 14th in Kolkata since 05:00.
        (
            "Asia/Kolkata",
            ["2026-01-31T18:30:00Z", "2026-02-28T18:30:00Z"],
            "2026-02-05T18:30:00Z",
            ("317", "120"),
            "14th 2026-02-14",
        ),
        // Clocks were set back on the 2nd: 241 hours to the 11th, and 481 to the 21st.
        (
            "America/New_York",
            ["2025-11-01T04:00:00Z", "2025-12-01T05:00:00Z"],
            "2025-11-11T05:00:00Z",
            ("481", "241"),
            "21st 2025-11-21",
        ),
        (
            "America/New_York",
            ["2025-11-01T04:00:00Z", "2025-12-01T05:00:00Z"],
            "2025-11-11T05:00:00Z",
            ("481", "241.01"),
            "20th 2025-11-20",
        ),
        // They are set forward on the 8th, which is not known on the 5th: noon is the same day,
        (
            "America/New_York",
            ["2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"],
            "2026-03-05T05:00:00Z",
            ("467", "96"),
            "20th 2026-03-20",
        ),
        // and half past midnight of the 20th is still the 19th by the clock of the 5th.
        (
            "America/New_York",
            ["2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"],
            "2026-03-05T05:00:00Z",
            ("455.5", "96"),
            "19th 2026-03-19",
        ),
        // 28 days and a half of a leap year's February.
        (
            "America/Sao_Paulo",
            ["2028-02-01T03:00:00Z", "2028-03-01T03:00:00Z"],
            "2028-02-11T03:00:00Z",
            ("285", "100"),
            "29th 2028-02-29",
        ),
    ];
    for (zone, window, now, (limit, used), wanted) in rows {
        let actions = policy(&settings(limit)).review(&look(zone, now, &[reading(used, window)]));
        assert_eq!(notice(&actions).title, wanted, "{zone} {used}/{limit}");
    }
    // Without a 29th it is not reached.
    let february = ["2027-02-01T03:00:00Z", "2027-03-01T03:00:00Z"];
    let look = look("America/Sao_Paulo", "2027-02-11T03:00:00Z", &[reading("100", february)]);
    assert_eq!(forecast(&policy(&settings("285")).review(&look)), None);
}

#[test]
fn limits_on_cost_are_forecast_over_weeks_months_and_years() {
    let told = |limit: &str, window: [&str; 2], now: &str, used: &str| {
        let settings = format!(r#"{{"limits": [{limit}]}}"#);
        let observation = look("UTC", now, &[reading(used, window)]);
        forecast(&policy(&settings).review(&observation)).cloned()
    };
    // A fifth of the year, and two fifths of the limit: all of it in half a year.
    let year = ["2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"];
    let limit = r#"{"meter": "cost.eur", "limit": 365, "period": "year"}"#;
    let notice = told(limit, year, "2025-03-15T00:00:00Z", "146").unwrap();
    let body = "At this pace cost.eur reaches its limit of € 365.00 on 2025-07-02.\n\n\
                Cost so far: € 146.00\n\nConsider reviewing usage or raising the limit.";
    assert_eq!(
        (notice.key.as_str(), notice.counter),
        ("spend_forecast:cost.eur:calendar:year", Some(0))
    );
    assert_eq!(
        (notice.title.as_str(), notice.body.as_str()),
        ("cost.eur is heading for its limit", body)
    );
    // Five days of a month from the 15th on, and a quarter of the limit: twenty days, the 5th.
    let month = ["2025-11-15T00:00:00Z", "2025-12-15T00:00:00Z"];
    let now = "2025-11-20T00:00:00Z";
    let limit = r#"{"meter": "cost.usd", "limit": 100, "period": "calendar:month@15", "per": ["user", "model"]}"#;
    let notice = told(limit, month, now, "25").unwrap();
    assert_eq!(notice.key, "spend_forecast:cost.usd:calendar:month@15:user+model");
    assert!(notice.body.contains("$ 100.00 on 2025-12-05."), "{notice:?}");
    for (meter, window, is_told) in [
        ("cost.usd", "week", true),
        ("cost.usd", "calendar:week@7@utc", true),
        ("cost.usd", "calendar:year@04-01", true),
        ("cost.usd", "day", false),
        ("cost.usd", "rolling:2592000", false),
        ("cost.usd", "total", false),
        ("llm_tokens", "month", false),
        ("price.usd", "month", false),
        ("cost.dollars", "month", false),
    ] {
        let limit = format!(r#"{{"meter": "{meter}", "limit": 100, "period": "{window}"}}"#);
        assert_eq!(told(&limit, month, now, "25").is_some(), is_told, "{meter} {window}");
    }
    // Its own threshold, and a limit that was set for these.
    let limit =
        r#"{"meter": "cost.usd", "limit": 100, "period": "month", "warning_threshold": 0.2}"#;
    assert_eq!(told(limit, month, now, "20"), None);
    assert!(told(limit, month, now, "19.99").is_some());
    let raised = Reading { limit: Some(decimal("200")), ..reading("25", month) };
    let settings = r#"{"limits": [{"meter": "cost.usd", "limit": 100, "period": "month"}]}"#;
    assert_eq!(forecast(&policy(settings).review(&look("UTC", now, &[raised]))), None);
}

#[test]
fn a_limit_for_each_agent_names_the_agent() {
    for (per, title) in [("agent", "Agente SDR cost.usd"), ("user", " cost.usd")] {
        let settings = format!(
            r#"{{"messages": {{"spend_forecast": {{"title": "{{agent}} {{resource}}"}}}}, "limits":
                [{{"meter": "cost.usd", "limit": 500, "period": "month", "per": "{per}"}}]}}"#
        );
        assert_eq!(notice(&november(&settings, NOW, "250")).title, title);
    }
}

#[test]
fn only_time_is_an_occasion_to_look_ahead() {
    for occasion in ["settled", "denied", "period-opened"] {
        let at_half = look("America/Sao_Paulo", NOW, &[reading("250", NOVEMBER)]);
        let observation = Observation { occasion: occasion.into(), ..at_half };
        assert!(policy(SEED).review(&observation).is_empty(), "{occasion}");
    }
}

/// What would be told on an unknown day is not told, and is not over either.
#[test]
fn without_a_clock_nothing_is_told() {
    let facts = |name: &str, value: Value| {
        let mut observation = look("America/Sao_Paulo", NOW, &[reading("250", NOVEMBER)]);
        observation.facts.retain(|fact| fact.name != name);
        observation.facts.push(tollgate_policy_core::contract::Fact { name: name.into(), value });
        words(&policy(SEED).review(&observation))
    };
    let over = ["no limit_exceeded", "no threshold_warning"];
    for (name, value) in [
        ("local.date", text("yesterday")),
        ("local.date", number("5")),
        ("local.hour", number("24")),
        ("local.hour", number("-1")),
        ("local.hour", text("7")),
        ("local.minute", number("60")),
        ("local.minute", number("999999999999999")),
    ] {
        assert_eq!(facts(name, value), over, "{name}");
    }
    let mut observation = look("America/Sao_Paulo", NOW, &[reading("250", NOVEMBER)]);
    observation.facts.clear();
    assert_eq!(words(&policy(SEED).review(&observation)), over);
}

#[test]
fn a_forecast_is_made_unless_it_is_turned_off_and_the_clock_read_only_for_it() {
    let local = Read::Fact("local.*".into());
    for (forecast_setting, is_on) in [
        ("true", true),
        ("{}", true),
        (r#"{"after": 0.1}"#, true),
        (r#"{"enabled": true, "after": "0.1"}"#, true),
        ("false", false),
        (r#"{"enabled": false}"#, false),
        (r#"{"enabled": false, "after": 0.1}"#, false),
    ] {
        let settings = SEED.replacen('{', &format!(r#"{{"forecast": {forecast_setting}, "#), 1);
        let parsed = LimitSettings::parse(&settings).unwrap().forecast;
        assert_eq!((parsed.enabled, parsed.after), (is_on, decimal("0.1")), "{forecast_setting}");
        assert_eq!(policy(&settings).manifest().reads.contains(&local), is_on);
        assert_eq!(forecast(&november(&settings, NOW, "250")).is_some(), is_on);
    }
    for (settings, reads) in [
        ("{}", true),
        (r#"{"monthly_limit": 5}"#, true),
        (r#"{"quotas": {"llm_tokens": {"limit": 5, "period": "month"}}}"#, false),
        (r#"{"agent_settings": true, "max_active_runs": 5}"#, true),
    ] {
        assert_eq!(policy(settings).manifest().reads.contains(&local), reads, "{settings}");
    }
    let shape = "`forecast` takes `true`, `false` or an object with `enabled` and `after`";
    for (forecast_setting, error) in [
        ("5", shape),
        (r#"{"afer": 0.1}"#, shape),
        (r#"{"after": 10}"#, "`after` 10 of `forecast` is not a fraction: write 0.1 for 10 %"),
        (r#"{"after": -0.1}"#, "`after` -0.1 of `forecast` is not a fraction: write 0.1 for 10 %"),
    ] {
        let told = AlertPolicy::configure(&format!(r#"{{"forecast": {forecast_setting}}}"#));
        assert_eq!(told.unwrap_err().to_string(), format!("settings: {error}"));
    }
}

/// Instants of a usual year, and any.
fn instants() -> impl Strategy<Value = Instant> {
    prop_oneof![3 => 0..31_622_400_000_i64, 1 => any::<i64>()]
}

fn readings() -> impl Strategy<Value = Reading> {
    (amounts(), amounts(), prop::option::of(amounts()), instants(), prop::option::of(instants()))
        .prop_map(|(used, held, limit, opened, closes)| Reading {
            used,
            held,
            limit,
            opened,
            closes,
            ..Reading::default()
        })
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        amounts().prop_map(Value::Number),
        (0..70_u32).prop_map(|number| Value::Number(number.into())),
        any::<i64>().prop_map(Value::Instant),
        prop::sample::select(&["2025-11-11", "-262143-01-01", "+262142-12-31", "x"][..])
            .prop_map(text),
    ]
}

/// So many whole milliseconds, where that lies within the window.
fn reached(reading: &Reading, limit: Decimal, now: Instant) -> Option<BigInt> {
    let big = |instant: Instant| BigInt::from(instant);
    let passed = big(now) - big(reading.opened);
    let length = big(reading.closes?) - big(reading.opened);
    let used = BigInt::from(reading.used.units());
    let zero = BigInt::ZERO;
    if passed <= zero || passed >= length || used <= zero || limit.is_negative() {
        return None;
    }
    let all = BigInt::from(limit.units()) * &passed;
    let enough = &passed * 10 >= length;
    (enough && &used * &length > all).then(|| big(reading.opened) + all / used)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_forecast_is_what_long_arithmetic_says(
        reading in readings(),
        limit in amounts(),
        now in instants(),
    ) {
        let told = Forecast::default().reached(&reading, limit, now).map(BigInt::from);
        prop_assert_eq!(told, reached(&reading, limit, now));
    }

    #[test]
    fn no_reading_and_no_fact_is_too_much(
        occasion in prop::sample::select(&["settled", "denied", "scheduled", "period-opened"][..]),
        readings in prop::collection::vec(readings(), 0..8),
        local in prop::collection::vec(values(), 4),
        now in instants(),
        at in instants(),
    ) {
        let settings = r#"{"anomaly": {"factor": 1e-12, "least": 1e-12}, "forecast": {"after": 0},
            "cost_limits": {"monthly_limit": 1e14, "auto_disable": true}, "limits": [
            {"meter": "cost.usd", "limit": 5, "period": "month", "scaling": {"at": 1, "by": 9e14}},
            {"meter": "cost.usd", "limit": 1e14, "period": "year", "warning_threshold": 0}]}"#;
        let names = ["local.date", "local.hour", "local.minute", "period.window"];
        let facts: Vec<_> = names.into_iter().zip(local).chain([
            ("denial.code", text("quota_exceeded")),
        ]).collect();
        let observation = Observation { now, ..observed(occasion, &readings, &facts) };
        let _ = policy(settings).review(&observation);
        let _ = local_date(&observation.facts, now, at);
    }
}
