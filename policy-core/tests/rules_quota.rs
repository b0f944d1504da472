//! What the standard quota policy decides.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use proptest::prelude::*;
use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::{
    Decision, Denial, Fact, Finding, Quantity, Read, Reading, Request, Status, Value, Verdict,
};
use tollgate_policy_core::messages::{self, Language};
use tollgate_policy_core::quota::{QUOTA_EXCEEDED, QUOTA_UNKNOWN, QuotaPolicy};

/// When the windows of the readings close.
const CLOSES: i64 = 1_767_225_600_000;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn reading(used: &str, held: &str, asked: &str) -> Reading {
    let [used, held, asked] = [used, held, asked].map(decimal);
    Reading { used, held, asked, closes: Some(CLOSES), ..Reading::default() }
}

fn limited(limit: &str, reading: Reading) -> Reading {
    Reading { limit: Some(decimal(limit)), ..reading }
}

fn policy(settings: &str) -> QuotaPolicy {
    QuotaPolicy::configure(settings).unwrap()
}

/// One limit on requests, of a user and a day.
fn of_requests(limit: &str) -> QuotaPolicy {
    policy(&format!(r#"{{"llm_requests": {{"limit": {limit}, "period": "day"}}}}"#))
}

fn check(policy: &QuotaPolicy, readings: &[Reading]) -> Verdict {
    policy.check(&Request { readings: readings.to_vec(), ..Request::default() })
}

fn denial(decision: Decision) -> Denial {
    match decision {
        Decision::Deny(denial) => denial,
        other => panic!("{other:?}"),
    }
}

/// In the words that the host lends to a finding without any.
fn worded(finding: &Finding) -> String {
    let (limit, remaining) = (finding.limit.unwrap(), finding.remaining.unwrap());
    messages::quota(Language::English, finding.status, "llm_requests", limit, remaining)
}

#[test]
fn each_status_begins_at_its_border_and_has_the_seeds_message() {
    use Status::{ApproachingLimit, AtLimit, Exceeded, WithinLimit};
    let policy = of_requests("1000");
    for (total, status, message) in [
        ("0", WithinLimit, "Quota OK for llm_requests. Remaining: 1000/1000"),
        (
            "799.999999999999",
            WithinLimit,
            "Quota OK for llm_requests. Remaining: 200.000000000001/1000",
        ),
        ("800", ApproachingLimit, "Quota approaching limit for llm_requests. Remaining: 200/1000"),
        (
            "949.999999999999",
            ApproachingLimit,
            "Quota approaching limit for llm_requests. Remaining: 50.000000000001/1000",
        ),
        ("950", AtLimit, "Quota at limit for llm_requests. Remaining: 50/1000"),
        ("1000", AtLimit, "Quota at limit for llm_requests. Remaining: 0/1000"),
        (
            "1000.000000000001",
            Exceeded,
            "Quota exceeded for llm_requests. Limit: 1000, cannot proceed.",
        ),
        ("5000", Exceeded, "Quota exceeded for llm_requests. Limit: 1000, cannot proceed."),
    ] {
        let verdict = check(&policy, &[reading(total, "0", "0")]);
        let finding = &verdict.findings[0];
        assert_eq!((finding.counter, finding.status), (Some(0), status), "{total}");
        assert_eq!((finding.limit, &finding.message), (Some(decimal("1000")), &None));
        assert_eq!(worded(finding), message);
        if status == Exceeded {
            let denial = denial(verdict.decision);
            assert_eq!((denial.code.as_str(), denial.message.as_str()), (QUOTA_EXCEEDED, message));
        } else {
            assert_eq!(verdict.decision, Decision::Allow, "{total}");
        }
    }
}

#[test]
fn used_held_and_asked_are_judged_together_and_only_asked_is_not_gone() {
    let policy = of_requests("1000");
    for (used, held, asked, status, remaining) in [
        ("400", "300", "99", Status::WithinLimit, "300"),
        ("400", "300", "100", Status::ApproachingLimit, "300"),
        ("0", "950", "0", Status::AtLimit, "50"),
        ("0", "0", "1000", Status::AtLimit, "1000"),
        ("500", "500", "0.000000000001", Status::Exceeded, "0"),
        ("500", "700", "0", Status::Exceeded, "0"),
    ] {
        let finding = &check(&policy, &[reading(used, held, asked)]).findings[0];
        let wanted = (status, Some(decimal(remaining)));
        assert_eq!((finding.status, finding.remaining), wanted, "{used} {held} {asked}");
    }
}

#[test]
fn thresholds_are_exact_for_the_smallest_and_the_largest_limits() {
    for (limit, threshold, total, status) in [
        ("0.000000000001", "0.8", "0", Status::WithinLimit),
        ("0.000000000001", "0.8", "0.000000000001", Status::AtLimit),
        ("999999999999999", "0.8", "799999999999999.2", Status::ApproachingLimit),
        ("999999999999999", "0.8", "799999999999999.199999999999", Status::WithinLimit),
        ("3", "0.333333333333", "0.999999999999", Status::ApproachingLimit),
        ("3", "0.333333333333", "0.999999999998", Status::WithinLimit),
        ("1000", "1", "999", Status::AtLimit),
        ("1000", "1", "949", Status::WithinLimit),
        ("1000", "0", "0", Status::ApproachingLimit),
    ] {
        let policy = policy(&format!(
            r#"{{"llm_requests": {{"limit": {limit}, "period": "day", "warning_threshold": {threshold}}}}}"#
        ));
        let finding = &check(&policy, &[reading(total, "0", "0")]).findings[0];
        assert_eq!(finding.status, status, "{total} of {limit} from {threshold} on");
    }
}

#[test]
fn a_limit_of_zero_lets_nothing_pass_but_nothing() {
    let policy = of_requests("0");
    assert_eq!(check(&policy, &[reading("0", "0", "0")]).decision, Decision::Allow);
    let denied = denial(check(&policy, &[reading("0", "0", "0.000000000001")]).decision);
    assert_eq!(denied.message, "Quota exceeded for llm_requests. Limit: 0, cannot proceed.");
    assert_eq!(denied.retry_at, None);
}

/// Invariant 1: what settled above its hold blocks what follows.
#[test]
fn use_above_the_limit_denies_even_an_ask_of_nothing() {
    let policy = of_requests("1000");
    let denied = denial(check(&policy, &[reading("1000.5", "0", "0")]).decision);
    assert_eq!((denied.code.as_str(), denied.retry_at), (QUOTA_EXCEEDED, Some(CLOSES)));
    let partial = Request {
        readings: vec![reading("1000.5", "0", "0")],
        partial: true,
        ..Request::default()
    };
    assert_eq!(policy.check(&partial).decision, Decision::Deny(denied));
}

#[test]
fn a_limit_set_for_these_dimensions_replaces_the_policys() {
    let policy = of_requests("1000");
    let raised = check(&policy, &[limited("2000", reading("1500", "0", "0"))]);
    assert_eq!(raised.decision, Decision::Allow);
    assert_eq!(raised.findings[0].limit, Some(decimal("2000")));
    assert_eq!(raised.findings[0].remaining, Some(decimal("500")));
    let lowered = denial(check(&policy, &[limited("10", reading("10", "0", "1"))]).decision);
    assert_eq!(lowered.message, "Quota exceeded for llm_requests. Limit: 10, cannot proceed.");
}

#[test]
fn what_cannot_be_judged_is_denied_unless_the_settings_allow_it() {
    let unknown = "Quota unknown for llm_requests: the limit or its reading cannot be judged. Check the settings of the limit.";
    let most = "999999999999999";
    let strict = of_requests("1000");
    let lax = policy(r#"{"unknown": "allow", "llm_requests": {"limit": 1000, "period": "day"}}"#);
    for readings in [
        vec![],
        vec![limited("-1", reading("0", "0", "1"))],
        vec![reading(most, most, "0")],
        vec![reading(most, "0", most)],
    ] {
        let verdict = check(&strict, &readings);
        assert_eq!(verdict.findings[0].status, Status::Unknown);
        assert_eq!(verdict.decision, Decision::Deny(Denial::new(QUOTA_UNKNOWN, unknown)));
        let verdict = check(&lax, &readings);
        assert_eq!(verdict.findings[0].status, Status::Unknown);
        assert_eq!(verdict.decision, Decision::Allow);
    }
    // What can be judged is denied all the same.
    assert_eq!(denial(check(&lax, &[reading("1000", "0", "1")]).decision).code, QUOTA_EXCEEDED);
}

#[test]
fn what_cannot_be_judged_shows_no_limit_below_zero() {
    let policy = of_requests("1000");
    for readings in [vec![], vec![limited("-1", reading("0", "0", "1"))]] {
        let finding = &check(&policy, &readings).findings[0];
        assert_eq!((finding.limit, finding.remaining), (None, None));
    }
}

// The record of an agent: what follows the 13 standard limits.

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

fn number(value: &str) -> Value {
    Value::Number(decimal(value))
}

/// The standard policy's verdict on an agent's record, each of whose counters reads 50 and asks
/// for 1.
fn of_agent(record: &[(&str, Value)]) -> Verdict {
    let policy = policy("{}");
    let readings = (0..20)
        .map(|index| if index < 13 { reading("0", "0", "0") } else { reading("50", "0", "1") });
    let fact = |(name, value): &(&str, Value)| Fact { name: (*name).into(), value: value.clone() };
    let facts = record.iter().map(fact).collect();
    policy.check(&Request { readings: readings.collect(), facts, ..Request::default() })
}

/// The counters of agents that were judged.
fn judged(verdict: &Verdict) -> Vec<u32> {
    verdict.findings.iter().filter_map(|finding| finding.counter).filter(|at| *at >= 13).collect()
}

const PERIOD: &str = "agent.rate_limits.period";
const MESSAGES: &str = "agent.rate_limits.max_messages";
const TOKENS: &str = "agent.rate_limits.max_tokens";
const RATE: &str = "agent.rate_limits.enabled";
const MONTHLY: &str = "agent.cost_limits.monthly_limit";
const COST: &str = "agent.cost_limits.enabled";

#[test]
fn only_the_period_that_an_agents_record_chooses_applies() {
    for (period, messages, tokens) in
        [(None, 13, 16), (Some("hour"), 13, 16), (Some("day"), 14, 17), (Some("month"), 15, 18)]
    {
        let mut record = vec![(RATE, Value::Flag(true)), (MESSAGES, number("51"))];
        record.extend(period.map(|period| (PERIOD, text(period))));
        let verdict = of_agent(&record);
        assert_eq!((judged(&verdict), &verdict.decision), (vec![messages], &Decision::Allow));
        record.push((TOKENS, number("50.5")));
        let verdict = of_agent(&record);
        assert_eq!(judged(&verdict), [messages, tokens], "{period:?}");
        assert_eq!(
            denial(verdict.decision).message,
            "Quota exceeded for llm_tokens. Limit: 50.5, cannot proceed."
        );
    }
}

#[test]
fn an_agents_monthly_cost_is_limited_by_its_record() {
    for (limit, message) in [
        ("51", None),
        ("50.99", Some("Quota exceeded for cost.usd. Limit: 50.99, cannot proceed.")),
    ] {
        let verdict = of_agent(&[(COST, Value::Flag(true)), (MONTHLY, number(limit))]);
        assert_eq!(judged(&verdict), [19]);
        let denied = match verdict.decision {
            Decision::Deny(denial) => Some(denial.message),
            _ => None,
        };
        assert_eq!(denied.as_deref(), message, "{limit}");
    }
}

#[test]
fn what_a_record_disables_or_leaves_out_limits_nothing() {
    for record in [
        vec![],
        vec![(RATE, Value::Flag(true)), (PERIOD, text("day"))],
        vec![(RATE, Value::Flag(false)), (MESSAGES, number("1")), (TOKENS, number("1"))],
        vec![(RATE, Value::Flag(false)), (PERIOD, text("fortnight")), (MESSAGES, number("-1"))],
        vec![(COST, Value::Flag(false)), (MONTHLY, number("1"))],
        vec![(COST, Value::Flag(true))],
        vec![("agent.name", text("Agente SDR")), ("agent.followup_types", text("general"))],
    ] {
        let verdict = of_agent(&record);
        assert_eq!(verdict.decision, Decision::Allow, "{record:?}");
        assert!(judged(&verdict).is_empty(), "{record:?}");
    }
}

#[test]
fn nonsense_in_a_record_cannot_be_judged_and_is_denied() {
    for (record, counters) in [
        (vec![(MESSAGES, number("-1"))], vec![13]),
        (vec![(MESSAGES, text("100"))], vec![13]),
        (vec![(TOKENS, Value::Flag(true))], vec![16]),
        (vec![(PERIOD, text("fortnight")), (MESSAGES, number("100"))], (13..19).collect()),
        (vec![(PERIOD, number("1")), (MESSAGES, number("100"))], (13..19).collect()),
        (vec![(RATE, text("yes")), (MESSAGES, number("100"))], (13..19).collect()),
        (vec![(MONTHLY, number("-0.01"))], vec![19]),
        (vec![(MONTHLY, text("100"))], vec![19]),
        (vec![(COST, number("1")), (MONTHLY, number("100"))], vec![19]),
    ] {
        let verdict = of_agent(&record);
        assert_eq!(judged(&verdict), counters, "{record:?}");
        let statuses = verdict.findings.iter().skip(13).map(|finding| finding.status);
        assert!(statuses.into_iter().all(|status| status == Status::Unknown), "{record:?}");
        assert_eq!(denial(verdict.decision).code, QUOTA_UNKNOWN, "{record:?}");
    }
}

#[test]
fn a_limit_set_for_an_agent_stands_above_its_record() {
    let policy = policy("{}");
    let mut readings = vec![reading("0", "0", "0"); 20];
    readings[14] = limited("7", reading("7", "0", "1"));
    let record = vec![Fact { name: RATE.into(), value: Value::Flag(false) }];
    let verdict = policy.check(&Request { readings, facts: record, ..Request::default() });
    assert_eq!(judged(&verdict), [14]);
    let message = "Quota exceeded for llm_requests. Limit: 7, cannot proceed.";
    assert_eq!(denial(verdict.decision).message, message);
}

#[test]
fn asking_again_is_worth_it_when_the_last_window_has_turned_if_ever() {
    let policy = policy(
        r#"{"limits": [
            {"meter": "llm_requests", "limit": 10, "period": "hour"},
            {"meter": "llm_requests", "limit": 100, "period": "day"},
            {"meter": "concurrent_tasks", "limit": 3, "period": "in-flight"}]}"#,
    );
    let closing = |closes: Option<i64>, reading: Reading| Reading { closes, ..reading };
    let free = closing(None, reading("0", "0", "0"));
    let hour = |used: &str, asked: &str| closing(Some(1_000), reading(used, "0", asked));
    let day = |used: &str, asked: &str| closing(Some(9_000), reading(used, "0", asked));
    for (readings, retry_at, limit) in [
        ([hour("10", "1"), day("10", "1"), free], Some(1_000), "10"),
        ([hour("10", "1"), day("100", "1"), free], Some(9_000), "10"),
        ([hour("0", "1"), day("100", "1"), free], Some(9_000), "100"),
        // Never: more than the limit in one call, or no end to wait for.
        ([hour("0", "11"), day("0", "11"), free], None, "10"),
        ([hour("10", "10"), day("100", "10"), free], Some(9_000), "10"),
        ([hour("10", "1"), day("0", "1"), closing(None, reading("3", "0", "1"))], None, "10"),
    ] {
        let denied = denial(check(&policy, &readings).decision);
        assert_eq!(denied.retry_at, retry_at, "{readings:?}");
        assert!(denied.message.contains(&format!("Limit: {limit},")), "{}", denied.message);
    }
}

#[test]
fn a_caller_that_takes_less_is_granted_what_is_left_of_every_limit() {
    let policy = policy(
        r#"{"limits": [
            {"meter": "llm_tokens", "limit": 1000, "period": "hour"},
            {"meter": "llm_tokens", "limit": 5000, "period": "day"},
            {"meter": "cost.usd", "limit": 2, "period": "month"}]}"#,
    );
    let ask = |readings: &[Reading], partial: bool| {
        policy
            .check(&Request { readings: readings.to_vec(), partial, ..Request::default() })
            .decision
    };
    let grant = |granted: &[(&str, &str)]| {
        let quantity = |(meter, amount): &(&str, &str)| Quantity {
            meter: meter.parse().unwrap(),
            amount: decimal(amount),
        };
        Decision::Grant(granted.iter().map(quantity).collect())
    };
    let fits = reading("0", "0", "1");
    for (readings, decision) in [
        ([reading("0", "0", "500"), reading("0", "0", "500"), fits], Decision::Allow),
        (
            [reading("600", "100", "500"), reading("600", "100", "500"), fits],
            grant(&[("llm_tokens", "300")]),
        ),
        // The smaller rest of a meter that stands under two limits.
        (
            [reading("600", "100", "500"), reading("4900", "0", "500"), fits],
            grant(&[("llm_tokens", "100")]),
        ),
        (
            [reading("600", "100", "500"), reading("0", "0", "500"), reading("1.5", "0", "0.75")],
            grant(&[("llm_tokens", "300"), ("cost.usd", "0.5")]),
        ),
    ] {
        assert_eq!(ask(&readings, true), decision, "{readings:?}");
    }
    // Nothing left of one of them, or nothing asked of it: no part of the call can go ahead.
    let spent = [reading("600", "100", "500"), reading("5000", "0", "500"), fits];
    assert_eq!(denial(ask(&spent, true)).code, QUOTA_EXCEEDED);
    let passed = [reading("600", "100", "500"), reading("0", "0", "500"), reading("3", "0", "0")];
    assert_eq!(denial(ask(&passed, true)).code, QUOTA_EXCEEDED);
    // A caller that wants all of it is not granted a part.
    let less = [reading("600", "100", "500"), reading("600", "100", "500"), fits];
    assert_eq!(denial(ask(&less, false)).code, QUOTA_EXCEEDED);
    // What cannot be judged is not granted either.
    assert_eq!(denial(ask(&less[..2], true)).code, QUOTA_UNKNOWN);
}

/// The settings' language counts before the tenant's, and the settings' words before both.
#[test]
fn a_denial_is_in_the_settings_words_or_in_the_tenants_language() {
    const LIMIT: &str = r#""defaults": false, "llm_requests": {"limit": 5, "period": "day"}"#;
    let english = "Quota exceeded for llm_requests. Limit: 5, cannot proceed.";
    let portuguese = "Cota excedida para llm_requests. Limite: 5, não é possível continuar.";
    let read = Read::Fact("tenant.language".into());
    for (named, tenants, own, wanted) in [
        ("", "pt", "", portuguese),
        ("", "en", "", english),
        (r#""language": "en","#, "pt", "", english),
        (r#""language": "pt","#, "en", "", portuguese),
        ("", "pt", r#""title": "T""#, portuguese),
        ("", "pt", r#""body": "{resource}: {remaining}/{limit}""#, "llm_requests: 1/5"),
    ] {
        let messages = format!(r#""messages": {{"quota_exceeded": {{{own}}}}}"#);
        let policy = policy(&format!("{{{named} {messages}, {LIMIT}}}"));
        let facts = vec![Fact { name: "tenant.language".into(), value: text(tenants) }];
        let readings = vec![reading("4", "0", "2")];
        let verdict = policy.check(&Request { readings, facts, ..Request::default() });
        assert_eq!(denial(verdict.decision).message, wanted, "{named} {tenants} {own}");
        assert_eq!(
            policy.manifest().reads,
            if named.is_empty() { vec![read.clone()] } else { vec![] }
        );
    }
    // What cannot be judged has no words of its own.
    let policy = policy(&format!("{{{LIMIT}}}"));
    let facts = vec![Fact { name: "tenant.language".into(), value: text("pt") }];
    let verdict = policy.check(&Request { facts, ..Request::default() });
    assert!(denial(verdict.decision).message.starts_with("Cota desconhecida para llm_requests"));
}

#[test]
fn the_first_limit_that_is_passed_is_named_in_the_settings_language() {
    let settings = r#"{"language": "pt-BR", "unknown": "deny", "limits": [
        {"meter": "llm_tokens", "limit": 5, "period": "hour"},
        {"meter": "cost.usd", "limit": 6, "period": "month"}]}"#;
    let policy = policy(settings);
    let denied = denial(check(&policy, &[reading("0", "0", "1"), reading("6", "0", "1")]).decision);
    assert_eq!(denied.message, "Cota excedida para cost.usd. Limite: 6, não é possível continuar.");
    let denied = denial(check(&policy, &[reading("5", "0", "1"), reading("6", "0", "1")]).decision);
    assert_eq!(
        denied.message,
        "Cota excedida para llm_tokens. Limite: 5, não é possível continuar."
    );
    let unknown = denial(check(&policy, &[reading("0", "0", "1")]).decision);
    assert!(
        unknown.message.starts_with("Cota desconhecida para cost.usd: "),
        "{}",
        unknown.message
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Invariant 1, for any readings and limits, whole or in part.
    #[test]
    fn what_is_admitted_passes_no_limit(
        parts in prop::collection::vec([0..50_u32, 0..50, 0..50], 3),
        limits in prop::collection::vec(prop::option::of(0..120_u32), 3),
        partial in any::<bool>(),
    ) {
        let policy = policy(
            r#"{"limits": [
                {"meter": "llm_tokens", "limit": 60, "period": "hour"},
                {"meter": "llm_tokens", "limit": 80, "period": "day"},
                {"meter": "cost.usd", "limit": 100, "period": "month"}]}"#,
        );
        let own = [60, 80, 100_u32];
        let readings: Vec<Reading> = (parts.iter().zip(&limits))
            .map(|([used, held, asked], limit)| Reading {
                used: Decimal::from(*used),
                held: Decimal::from(*held),
                asked: Decimal::from(*asked),
                limit: limit.map(Decimal::from),
                ..Reading::default()
            })
            .collect();
        let verdict = policy.check(&Request { readings, partial, ..Request::default() });
        let granted: Vec<Quantity> = match verdict.decision {
            Decision::Deny(_) => return Ok(()),
            Decision::Allow => Vec::new(),
            Decision::Grant(granted) => granted,
        };
        prop_assert!(partial || granted.is_empty());
        for (index, meter) in ["llm_tokens", "llm_tokens", "cost.usd"].iter().enumerate() {
            let [used, held, asked] = parts[index];
            let asked = Decimal::from(asked);
            let part = granted.iter().find(|quantity| quantity.meter.as_str() == *meter);
            let asked = part.map_or(asked, |quantity| quantity.amount.min(asked));
            let total = Decimal::from(used + held).checked_add(asked).unwrap();
            prop_assert!(total <= Decimal::from(limits[index].unwrap_or(own[index])));
        }
    }
}
