use super::{Meter::*, Per::*, Window::*, *};

type Limits<'a> = &'a [(Meter, Window, Per, i128)];
const NO_LIMIT: Limits = &[];
const OWN: Limits = &[(CostUsd, Month, Agent, USD)];

/// Rows such as `10-31 12:00:00 ana bot 1000`: gpt-4 with input alone, 0.03 USD per 1,000.
fn run(limits: Limits, auto_disable: Option<bool>, rows: &[&str]) -> Prediction {
    let csv = rows.iter().fold(HEADER.to_owned(), |csv, row| {
        let cells: Vec<&str> = row.split(' ').collect();
        let [day, time, user, agent, tokens] = cells[..] else { panic!("{row}") };
        format!("{csv}\n2025-{day} {time},{tokens},0,gpt-4,openai,{user},{agent},s,byok")
    });
    let alert = auto_disable.map(|auto_disable| AgentAlert {
        monthly_limit: USD,
        threshold_percent: 80,
        auto_disable,
    });
    let limits = limits.iter().copied().map(Limit::from).collect();
    predict(&csv, &Rules { limits, alert }).unwrap()
}

fn keys(p: &Prediction) -> Vec<&str> {
    p.notices.iter().map(|notice| &*notice.0).collect()
}

#[test]
fn each_model_costs_its_price_to_the_last_digit() {
    let cost = |model, i, o| price(model, i, o).map(amount_text);
    let whole = PRICES.map(|(model, ..)| cost(model, 1_000, 1_000).unwrap());
    assert_eq!(whole, ["0.09", "0.02", "0.003", "0.09", "0.018", "0.0032"]);
    let single = PRICES.map(|(model, ..)| cost(model, 1, 0).unwrap());
    assert_eq!(single, ["0.00003", "0.000005", "0.000001", "0.000015", "0.000003", "0.0000008"]);
    assert_eq!(cost("claude-instant", 1, 1).unwrap(), "0.0000032");
    assert_eq!(cost("gpt-5", 1, 1), None);
    assert_eq!([25, 35, 26, 24].map(|n| half_even(n, 10)), [2, 4, 3, 2]);
    assert_eq!([0, USD, 10 * USD, 1].map(amount_text), ["0", "1", "10", "0.000000000001"]);
}

#[test]
fn a_limit_may_be_reached_and_a_denied_row_moves_no_total() {
    let rows = ["10-31 12:00:00 ana a 900", "10-31 12:00:00 ana a 101", "10-31 12:00:00 ana a 100"];
    let limits = [(LlmTokens, Lifetime, Tenant, 1_000), (LlmRequests, Lifetime, Tenant, 2)];
    let p = run(&limits, None, &rows);
    assert_eq!((p.requests, p.allowed, p.denied, p.input_tokens), (3, 2, 1, 1_000));
    assert_eq!((p.denied_by["quota_exceeded"], p.cost_text()), (1, "0.03".to_owned()));
    assert_eq!(p.cost_by_model["gpt-4"], (p.cost, 2));
}

#[test]
fn a_window_turns_at_its_first_instant_in_utc() {
    let times = [
        "10-30 23:59:59.9999999",
        "10-31 22:59:59.9999999",
        "10-31 23:00:00",
        "11-01 00:00:00.0000001",
    ];
    let rows = times.map(|time| format!("{time} ana a 1"));
    for (window, allowed) in [(Lifetime, 1), (Month, 2), (Day, 3), (Hour, 4)] {
        let limit = (LlmRequests, window, Tenant, 1);
        assert_eq!(run(&[limit], None, &rows.each_ref().map(|r| &**r)).allowed, allowed);
    }
    assert_eq!(next_month("2025-12-31T23:59:59.999Z"), "2026-01-01T00:00:00.000Z");
}

#[test]
fn a_limit_is_kept_for_the_tenant_or_each_user_or_each_agent() {
    let rows = [
        "10-31 12:00:00 ana a 1",
        "10-31 12:00:00 ana b 1",
        "10-31 12:00:00 ana c 1",
        "10-31 12:00:00 bob a 1",
    ];
    for (per, allowed) in [(Tenant, 1), (User, 2), (Agent, 3)] {
        assert_eq!(run(&[(LlmRequests, Lifetime, per, 1)], None, &rows).allowed, allowed);
    }
}

#[test]
fn a_warning_comes_once_from_the_threshold_to_the_limit() {
    let rows =
        ["10-31 12:00:00 ana a 26666", "10-31 12:00:00.9876 ana a 1", "10-31 12:00:01 ana a 6666"];
    let p = run(NO_LIMIT, Some(true), &rows);
    assert_eq!((keys(&p), p.disabled.len()), (vec!["threshold_warning"], 0));
    assert_eq!(p.notices[0].2, "2025-10-31T12:00:00.987Z");
}

#[test]
fn passing_the_limit_disables_until_the_month_turns() {
    let rows = [
        "10-31 12:00:00 ana a 33333",
        "10-31 12:00:01 ana a 1",
        "10-31 23:59:59.9999 ana a 1",
        "10-31 23:59:59.9999 ana b 1",
        "11-01 00:00:00 ana a 27000",
    ];
    let p = run(NO_LIMIT, Some(true), &rows);
    assert_eq!(keys(&p), ["threshold_warning", "limit_exceeded", "threshold_warning"]);
    let [at, until] = ["2025-10-31T12:00:01.000Z", "2025-11-01T00:00:00.000Z"].map(str::to_owned);
    assert_eq!(p.disabled, [("a".to_owned(), at, until)]);
    assert_eq!((p.denied_by["disabled"], p.denied), (1, 1));
}

#[test]
fn a_row_that_jumps_past_threshold_and_limit_only_exceeds() {
    let rows = ["10-31 12:00:00 ana a 40000", "10-31 12:00:00 ana a 1"];
    let p = run(NO_LIMIT, Some(true), &rows);
    assert_eq!((keys(&p), p.allowed), (vec!["limit_exceeded"], 1));
}

#[test]
fn only_the_agents_own_monthly_limit_alerts_when_it_denies() {
    let rows = ["10-31 12:00:00 ana a 10000", "10-31 12:00:00 ana a 30000"];
    let p = run(OWN, Some(true), &rows);
    assert_eq!((keys(&p), p.disabled.len()), (vec!["limit_exceeded"], 1));
    assert_eq!(p.denied_by["quota_exceeded"], 1);
    let others = [
        (CostUsd, Day, Agent, USD),
        (CostUsd, Month, User, USD),
        (LlmTokens, Month, Agent, 20_000),
    ];
    for other in others {
        let p = run(&[other], Some(true), &rows);
        assert_eq!((p.denied, p.notices.len(), p.disabled.len()), (1, 0, 0));
        let p = run(&[other, OWN[0]], Some(true), &rows);
        assert_eq!((keys(&p), p.disabled.len()), (vec!["limit_exceeded"], 1));
    }
}

#[test]
fn without_auto_disable_the_limit_goes_on_denying_and_tells_once() {
    let big = "10-31 12:00:00 ana a 30000";
    let rows = [big, big, big, "10-31 12:00:00 ana a 3333", "11-01 12:00:00 ana a 40000"];
    let p = run(OWN, Some(false), &rows);
    assert_eq!(keys(&p), ["threshold_warning", "limit_exceeded", "limit_exceeded"]);
    assert_eq!((p.allowed, p.denied_by["quota_exceeded"]), (2, 3));
    assert!(p.disabled.is_empty());
}

#[test]
fn what_cannot_be_read_is_refused_with_its_line() {
    let row = "2025-10-31 12:00:00,1,1,gpt-4,openai,ana,a,s,byok";
    let earlier = format!("{row}\n{}", row.replace("12:", "11:"));
    for (csv, why) in [
        (row.replace("gpt-4", "gpt-5"), "line 2: `gpt-5` has no price"),
        (row.replace(",1,1,", ",1,-1,"), "line 2: `-1` is no number of tokens"),
        (row.replace("12:00", "noon"), "line 2: `2025-10-31 noon:00` is no instant"),
        (row.replace(",byok", ""), "has not nine cells"),
        (row.replace(",a,", ",\"a\","), "has a quoted cell"),
        (earlier, "line 3: `2025-10-31T11:00:00.000Z` is before"),
    ] {
        let error = predict(&format!("{HEADER}\n{csv}"), &Rules::default()).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    assert!(predict("User,Agent\n", &Rules::default()).is_err());
}

fn report() -> Value {
    let instants = ("2025-10-31T12:00:00Z", "2025-11-01T00:00:00.000000+00:00");
    json!({
        "requests": 2, "allowed": 1, "denied": 1, "denied_by": {"disabled": 1, "other": 0},
        "input_tokens": 40000, "output_tokens": 0,
        "cost": [{"currency": "USD", "amount": "1.2"}],
        "cost_by_model": [
            {"model": "gpt-4", "currency": "USD", "amount": "1.2", "requests": 1}
        ],
        "notices": [{"key": "limit_exceeded", "severity": "critical", "title": "t",
            "body": "AI agent 'Ágata' exceeded its limit", "at": instants.0}],
        "disabled": [{"dimensions": {"agent": "Ágata"}, "at": instants.0, "until": instants.1}],
    })
}

#[test]
fn a_right_report_has_no_difference_and_every_wrong_field_is_told() {
    let rows = ["10-31 12:00:00 ana Ágata 40000", "10-31 12:00:00 ana Ágata 1"];
    let p = run(NO_LIMIT, Some(true), &rows);
    assert_eq!(compare(&p, &report()), Vec::<String>::new());
    for (place, wrong) in [
        ("/requests", json!(3)),
        ("/allowed", json!(null)),
        ("/denied", json!("1")),
        ("/denied_by/disabled", json!(2)),
        ("/denied_by/other", json!(1)),
        ("/input_tokens", json!(1)),
        ("/output_tokens", json!(1)),
        ("/cost", json!([])),
        ("/cost/0/currency", json!("BRL")),
        ("/cost/0/amount", json!("1.20")),
        ("/cost_by_model/0/model", json!("gpt-4o")),
        ("/cost_by_model/0/amount", json!(1.2)),
        ("/cost_by_model/0/requests", json!(2)),
        ("/notices", json!([])),
        ("/notices/0/key", json!("threshold_warning")),
        ("/notices/0/body", json!("AI agent 'Other'")),
        ("/notices/0/at", json!("2025-10-31T12:00:00.001Z")),
        ("/disabled/0/dimensions", json!({"agent": "Ágata", "user": "ana"})),
        ("/disabled/0/at", json!("2025-10-31T12:00:00")),
        ("/disabled/0/until", json!("2025-11-02T00:00:00Z")),
    ] {
        let mut report = report();
        *report.pointer_mut(place).unwrap() = wrong;
        let differences = compare(&p, &report);
        assert_eq!(differences.len(), 1, "{place}: {differences:?}");
    }
    let mut twice = report();
    let again = twice["notices"][0].clone();
    twice["notices"].as_array_mut().unwrap().push(again);
    assert_eq!(compare(&p, &twice).len(), 1);
    assert_eq!(compare(&p, &json!({})).len(), 10);
}

#[test]
fn the_sample_trace_shows_every_outcome_under_the_demo_rules() {
    let csv = crate::trace::generate(crate::trace::SEED, crate::trace::ROWS);
    let rules = demo_rules();
    let p = predict(&csv, &rules).unwrap();
    assert!(p.allowed * 10 > p.requests * 7);
    assert!(p.denied_by["quota_exceeded"] > 50 && p.denied_by["disabled"] > 50);
    assert!(keys(&p).iter().filter(|key| **key == "threshold_warning").count() >= 2);
    // Each limit denies something that the others would not.
    for index in 0..rules.limits.len() {
        let mut fewer = rules.clone();
        fewer.limits.remove(index);
        assert_ne!(predict(&csv, &fewer).unwrap().denied_by, p.denied_by);
    }
    // An agent disabled in October is at its limit again in November: it had allowed calls.
    let months = |agent: &str| p.disabled.iter().filter(|d| d.0 == agent).count();
    assert!(p.disabled.iter().any(|d| months(&d.0) == 2));
    assert!(p.disabled.iter().any(|d| d.0 != p.disabled[0].0));
}
