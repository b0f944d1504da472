//! What each operation does, on every store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tollgate_host::engine::{
    AgentText, Author, Call, Entry, EntryKind, Expiring, Host, HostError, Mode, Operation, Outcome,
    Recorded, Report, Reserved, Setup, Subject, Tariff, follow, metrics, usages, verify,
};
use tollgate_host::store::{Closure, Place, RollUpRow, RunQuery, Store};
use tollgate_policy_core::contract::{Dimension, Quantity, Status};
use tollgate_policy_core::{Currency, Decimal, Meter, Money};
use uuid::Uuid;

use crate::house::{House, acme, ask, binding, call, limited, reserved, tokens};

pub const DAY_MS: i64 = 86_400_000;
pub const MINUTE: Duration = Duration::from_secs(60);

/// Of ana's, for a model that costs half a cent a thousand.
pub fn anas(amount: u32) -> Call {
    call(
        &[("user", "ana"), ("model", "gpt-4o")],
        &[("llm_tokens", amount), ("llm_tokens.input", amount)],
    )
}

fn usd(amount: &str) -> Money {
    Money::new(amount.parse().expect("an amount"), Currency::USD)
}

async fn balance(host: &Host) -> (Decimal, Decimal) {
    let accounts = host.accounts(&acme()).await.expect("accounts");
    accounts
        .first()
        .map_or_else(Default::default, |account| (account.balance.amount, account.held.amount))
}

fn amounts(balance: &str, held: &str) -> (Decimal, Decimal) {
    (balance.parse().expect("an amount"), held.parse().expect("an amount"))
}

pub fn bens(amount: u32) -> Call {
    let dimensions = [("user", "ben"), ("model", "gpt-4o")];
    call(&dimensions, &[("llm_tokens", amount), ("llm_tokens.input", amount)])
}

/// Whether so much may be reserved; it is given back.
pub async fn fits(host: &Host, call: Call) -> bool {
    match host.reserve(&acme(), None, call, MINUTE).await.expect("an answer") {
        Ok(reserved) => {
            host.release(&acme(), None, reserved.id).await.expect("released");
            true
        }
        Err(denied) => {
            assert_eq!(denied.denial.code, "quota_exceeded", "{denied:?}");
            false
        }
    }
}

pub fn month(limit: u32) -> Setup {
    limited(&format!(r#"[{{"meter":"llm_tokens","period":"month","limit":{limit}}}]"#))
}

pub async fn hold(host: &Host, call: Call) -> Uuid {
    host.reserve(&acme(), None, call, MINUTE).await.expect("an answer").expect("allowed").id
}

pub async fn what_expires_is_charged_where_the_tenant_says_so<S: Store>(house: &House<S>) {
    let setup = Setup { expiring: Expiring::Charge, ..month(100) }.into();
    let host = house.host(&setup).await;
    let id = hold(&host, anas(60)).await;
    assert_eq!(balance(&host).await, amounts("0", "0.0003"));
    house.advance(61_000);
    assert!(!fits(&host, anas(41)).await, "60 are charged");
    assert_eq!(balance(&host).await, amounts("-0.0003", "0"));
    // What was really used takes its place, on whatever host it is told.
    let other = house.host(&setup).await;
    let settled = other.settle(&acme(), None, id, tokens(20)).await.expect("settled");
    assert_eq!((settled.late, settled.charged.cost), (true, Some(usd("0.0001"))));
    assert_eq!(balance(&other).await, amounts("-0.0001", "0"));
    assert!(fits(&other, anas(80)).await && !fits(&other, anas(81)).await);
}

pub async fn reservations_of_tenants_from_whom_nothing_is_heard_expire<S: Store>(house: &House<S>) {
    let host = house.host(&month(100).into()).await;
    let id = hold(&host, anas(60)).await;
    house.advance(61_000);
    assert_eq!(ask(&host, Operation::Expire).await, Ok(Outcome::Done));
    let holds = house.store.holds(&acme(), Uuid::nil(), 9).await.expect("holds");
    assert!(holds.is_empty(), "{holds:?}");
    let overdue = house.store.overdue(&[acme()]).await.expect("an answer");
    assert!(overdue.is_empty());
    let released = host.release(&acme(), None, id).await;
    assert_eq!(released, Err(HostError::Ended { id, how: Closure::Expired }));
}

pub async fn a_call_that_is_under_way_may_hold_more_and_longer<S: Store>(house: &House<S>) {
    let setup = month(100).into();
    let host = house.host(&setup).await;
    let id = hold(&host, anas(60)).await;
    let more = |amount: u32| anas(amount).quantities;
    let extend = |amount| Operation::Extend { id, more: more(amount), ttl_ms: 3 * 60_000 };
    let denied = ask(&host, extend(41)).await.expect("an answer");
    assert!(matches!(denied, Outcome::Denied(_)), "{denied:?}");
    let extended = ask(&host, extend(40)).await.expect("an answer");
    assert!(matches!(extended, Outcome::Extended { .. }), "{extended:?}");
    assert_eq!(balance(&host).await, amounts("0", "0.0005"));
    // Past its first time it is still held, and other hosts know.
    house.advance(2 * 60_000);
    let other = house.host(&setup).await;
    assert!(!fits(&other, anas(1)).await);
    let settled = other.settle(&acme(), None, id, more(90)).await.expect("settled");
    assert_eq!((settled.late, settled.overshoot), (false, false));
    assert!(fits(&other, anas(10)).await && !fits(&other, anas(11)).await);
    assert_eq!(balance(&other).await, amounts("-0.00045", "0"));
    let ended = ask(&other, extend(1)).await;
    assert_eq!(ended, Err(HostError::Ended { id, how: Closure::Settled }));
}

pub fn report(amount: u32, used_at: Option<i64>) -> Report {
    Report { call: anas(amount), used_at }
}

pub async fn record(host: &Host, reports: Vec<Report>) -> Result<Vec<Recorded>, HostError> {
    match ask(host, Operation::Record { reports }).await? {
        Outcome::Recorded(recorded) => Ok(recorded),
        outcome => panic!("{outcome:?}"),
    }
}

pub async fn what_is_told_afterwards_lands_in_the_window_that_it_belongs_to<S: Store>(
    house: &House<S>,
) {
    let host = house.host(&month(100).into()).await;
    let now = house.at();
    let earlier = now - 25 * DAY_MS;
    let recorded = record(&host, vec![report(70, Some(earlier)), report(40, None)]).await;
    let recorded = recorded.expect("recorded");
    assert_eq!(recorded.iter().map(|own| own.late).collect::<Vec<_>>(), [true, false]);
    assert!(fits(&host, anas(60)).await && !fits(&host, anas(61)).await);
    assert_eq!(balance(&host).await, amounts("-0.00055", "0"));
    let future = record(&host, vec![report(1, None), report(1, Some(now + DAY_MS))]).await;
    assert_eq!(future, Err(HostError::Future(now + DAY_MS)));
    // All of them, or none: the last one cannot be priced.
    let mut unknown = report(5, None);
    unknown.call.dimensions[1].value = "no-such-model".into();
    let refused = record(&host, vec![report(5, None), report(5, None), unknown]).await;
    assert!(matches!(refused, Err(HostError::Engine(_))), "{refused:?}");
    assert!(fits(&host, anas(60)).await, "nothing of it was booked");
    assert_eq!(balance(&host).await, amounts("-0.00055", "0"));
}

/// Memory, say, which is told now and then: what comes late is no news, on whatever host.
pub async fn a_level_is_what_was_last_told_of_it<S: Store>(house: &House<S>) {
    let limits = |per: &str| -> Arc<Setup> {
        let of =
            |per: &str| format!(r#"{{"meter":"memory_usage","period":"level","limit":900{per}}}"#);
        let settings = format!(r#"{{"limits":[{}{per}]}}"#, of(r#","per":["user"]"#));
        Setup { bindings: vec![binding("quota", &settings)], ..Setup::default() }.into()
    };
    let setup = limits("");
    let mut hosts = vec![house.host(&setup).await];
    let told = |level: u32, used_at: Option<i64>| {
        let call = call(&[("user", "ana"), ("model", "gpt-4o")], &[("memory_usage", level)]);
        vec![Report { call, used_at }]
    };
    let stands = async |host: &Host, level: u32| {
        let checked = host.check(&acme(), anas(0)).await.expect("an answer");
        let stands: Vec<Decimal> = checked.standings.iter().map(|own| own.used).collect();
        assert!(!stands.is_empty() && stands.iter().all(|own| *own == level.into()), "{stands:?}");
    };
    for _ in 0..2 {
        let began = house.at();
        let host = hosts.last().expect("a host");
        record(host, told(50, None)).await.expect("recorded");
        record(host, told(70, Some(began - 60_000))).await.expect("recorded");
        stands(host, 50).await;
        house.advance(10_000);
        let other = house.host(&setup).await;
        record(&other, told(30, Some(began - 1))).await.expect("recorded");
        stands(&other, 50).await;
        let nothing = record(&other, told(0, None)).await.expect("recorded");
        stands(&other, 0).await;
        let wrong = record(&other, told(40, Some(began + 10_000))).await.expect("recorded");
        stands(&other, 40).await;
        for Recorded { usage, .. } in nothing.into_iter().chain(wrong) {
            let reason = "told wrongly".into();
            ask(&other, Operation::Void { usage, reason }).await.expect("undone");
            stands(&other, 40).await;
        }
        house.advance(10_000);
        let held = hold(&other, anas(1)).await;
        let used = told(60, None).remove(0).call.quantities;
        other.settle(&acme(), None, held, used).await.expect("settled");
        stands(&other, 60).await;
        hosts.push(other);
    }
    // A counter that is new is filled the same way.
    let more = limits(r#",{"meter":"memory_usage","period":"level","limit":900}"#);
    let host = house.host(&more).await;
    record(&host, told(20, Some(house.at() - 1))).await.expect("recorded");
    stands(&host, 60).await;
}

pub async fn a_usage_is_undone_once_and_where_it_landed<S: Store>(house: &House<S>) {
    let setup = month(100).into();
    let host = house.host(&setup).await;
    let recorded = record(&host, vec![report(70, None), report(30, None)]).await.expect("recorded");
    assert!(!fits(&host, anas(1)).await);
    let void = |usage| Operation::Void { usage, reason: "told twice".into() };
    let other = house.host(&setup).await;
    let usage = recorded[0].usage;
    let outcome = ask(&other, void(usage)).await.expect("undone");
    let Outcome::Voided { usage: undoing } = outcome else { panic!("{outcome:?}") };
    assert!(fits(&other, anas(70)).await && !fits(&other, anas(71)).await);
    assert_eq!(balance(&other).await, amounts("-0.00015", "0"));
    for host in [&other, &house.host(&setup).await] {
        let again = ask(host, void(usage)).await;
        assert_eq!(again, Err(HostError::Ended { id: usage, how: Closure::Voided }));
        assert_eq!(ask(host, void(undoing)).await, Err(HostError::UnknownUsage(undoing)));
        let unknown = Uuid::from_u128(7);
        assert_eq!(ask(host, void(unknown)).await, Err(HostError::UnknownUsage(unknown)));
    }
}

/// What was reserved yesterday and settled today is of yesterday, and so is its undoing; the history
/// says both.
pub async fn what_landed_in_the_window_before_is_undone_there<S: Store>(house: &House<S>) {
    let today = r#"[{"meter":"llm_tokens","period":"day","limit":100}]"#;
    let host = house.host(&limited(today).into()).await;
    house.advance(DAY_MS - house.at().rem_euclid(DAY_MS) - 1_000);
    let id = hold(&host, anas(20)).await;
    house.advance(2_000);
    let settled = host.settle(&acme(), None, id, anas(30).quantities).await.expect("settled");
    assert!(fits(&host, anas(90)).await && !fits(&host, anas(91)).await, "20 are yesterday's");
    let void = Operation::Void { usage: settled.usage, reason: "told wrongly".into() };
    ask(&host, void).await.expect("undone");
    assert!(fits(&host, anas(100)).await && !fits(&host, anas(101)).await);
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    let page = usages(&*house.store, &acme(), Place::before(0), 9).await.expect("what was used");
    let charged = page.iter().map(|(_, used)| used.as_ref().expect("a usage").charged.cost);
    let charged: Vec<_> = charged.map(|own| own.expect("a cost").amount).collect();
    assert_eq!(charged.len(), 2);
    assert_eq!(charged[0], charged[1].negated());
}

fn runs(limit: u32) -> Setup {
    let per_user = format!(
        r#"[{{"meter":"active_runs","period":"in-flight","limit":{limit},"per":["user"]}}]"#
    );
    limited(&per_user)
}

async fn start(host: &Host, user: &str) -> Option<Uuid> {
    let call = call(&[("user", user), ("model", "gpt-4o")], &[("active_runs", 1)]);
    match ask(host, Operation::Start { call, ttl_ms: 60_000 }).await.expect("an answer") {
        Outcome::Reserved(reserved) => Some(reserved.id),
        Outcome::Denied(_) => None,
        outcome => panic!("{outcome:?}"),
    }
}

pub async fn a_run_counts_once_holds_many_calls_and_is_freed_by_time<S: Store>(house: &House<S>) {
    let setup = runs(2).into();
    let host = house.host(&setup).await;
    let began = house.at();
    let first = start(&host, "ana").await.expect("one of two");
    let second = start(&host, "ana").await.expect("two of two");
    assert_eq!(start(&host, "ana").await, None);
    assert!(start(&host, "ben").await.is_some());
    // Its calls are its signs of life, and do not count as runs.
    let run = first.to_string();
    let of_run = || {
        let dimensions = [("user", "ana"), ("model", "gpt-4o"), ("run", run.as_str())];
        call(&dimensions, &[("llm_tokens", 5), ("llm_tokens.input", 5)])
    };
    for _ in 0..3 {
        house.advance(40_000);
        let calls = [hold(&host, of_run()).await, hold(&host, of_run()).await];
        for id in calls {
            host.settle(&acme(), None, id, of_run().quantities).await.expect("settled");
        }
    }
    // The second one has shown none for its time, so that there is room for a third.
    let other = house.host(&setup).await;
    let third = start(&other, "ana").await.expect("two of two");
    assert_eq!(start(&other, "ana").await, None);
    let finish = |id| Operation::Finish { id };
    assert_eq!(ask(&other, finish(first)).await, Ok(Outcome::Released));
    let ended = ask(&other, finish(first)).await;
    assert_eq!(ended, Err(HostError::Ended { id: first, how: Closure::Settled }));
    let expired = ask(&other, finish(second)).await;
    assert_eq!(expired, Err(HostError::Ended { id: second, how: Closure::Expired }));
    let call = hold(&other, of_run()).await;
    assert_eq!(ask(&other, finish(call)).await, Err(HostError::NotARun(call)));
    let settled = other.settle(&acme(), None, third, tokens(1)).await;
    assert_eq!(settled, Err(HostError::IsARun(third)));
    let began_then = began..began + DAY_MS;
    let anas = RunQuery { user: Some("ana".into()), began: began_then, ..RunQuery::first(9) };
    let listed = house.store.runs(&acme(), &anas).await;
    let listed: HashMap<_, _> = listed
        .expect("runs")
        .into_iter()
        .map(|run| (run.id, run.ended_at.map(|at| at - began)))
        .collect();
    let expected = [(first, Some(120_000)), (second, Some(80_000)), (third, None)];
    assert_eq!(listed, expected.into());
}

/// A call may be longer than its run may be silent.
pub async fn a_call_that_is_extended_keeps_its_run<S: Store>(house: &House<S>) {
    let setup = runs(1).into();
    let host = house.host(&setup).await;
    let run = start(&host, "ana").await.expect("one of one");
    let name = run.to_string();
    let dimensions = [("user", "ana"), ("model", "gpt-4o"), ("run", name.as_str())];
    let call = call(&dimensions, &[("llm_tokens", 5), ("llm_tokens.input", 5)]);
    let id = hold(&host, call).await;
    for _ in 0..4 {
        house.advance(40_000);
        let extend = Operation::Extend { id, more: Vec::new(), ttl_ms: 60_000 };
        let extended = ask(&host, extend).await.expect("an answer");
        assert!(matches!(extended, Outcome::Extended { .. }), "{extended:?}");
    }
    assert_eq!(start(&host, "ana").await, None);
    assert_eq!(ask(&host, Operation::Finish { id: run }).await, Ok(Outcome::Released));
}

pub async fn the_balance_is_the_sum_of_its_entries<S: Store>(house: &House<S>) {
    let setup = month(1_000).into();
    let host = house.host(&setup).await;
    let book = |kind, amount: &str| {
        let account = Tariff::Cost;
        let entry = Entry { account, kind, money: usd(amount), reason: "paid".into() };
        Operation::Book { entry }
    };
    let booked = ask(&host, book(EntryKind::Credit, "10")).await.expect("booked");
    assert!(matches!(booked, Outcome::Booked { balance, .. } if balance == usd("10")));
    record(&host, vec![report(400, None)]).await.expect("recorded");
    ask(&host, book(EntryKind::Adjustment, "-0.5")).await.expect("booked");
    ask(&host, book(EntryKind::Refund, "0.25")).await.expect("booked");
    for refused in [book(EntryKind::Credit, "-1"), book(EntryKind::Refund, "0")] {
        let refused = ask(&host, refused).await;
        assert!(matches!(refused, Err(HostError::Negative { .. })), "{refused:?}");
    }
    let reais = Entry {
        account: Tariff::Cost,
        kind: EntryKind::Credit,
        money: Money::new(3.into(), Currency::BRL),
        reason: "pago".into(),
    };
    ask(&host, Operation::Book { entry: reais }).await.expect("booked");
    for host in [&host, &house.host(&setup).await] {
        let accounts = host.accounts(&acme()).await.expect("accounts");
        let balances: Vec<Money> = accounts.iter().map(|account| account.balance).collect();
        assert_eq!(balances, [Money::new(3.into(), Currency::BRL), usd("9.748")]);
    }
}

pub async fn what_can_be_had_is_granted_where_that_is_enough<S: Store>(house: &House<S>) {
    let host = house.host(&month(100).into()).await;
    let best = |amount| {
        let (call, mode) = (anas(amount), Mode::BestEffort);
        Operation::Reserve { call, ttl_ms: 60_000, mode }
    };
    let granted = async |amount| match ask(&host, best(amount)).await.expect("an answer") {
        Outcome::Reserved(Reserved { granted, quotes, .. }) => {
            let cost = quotes.cost.expect("a quote").lines[0].cost;
            Some((granted.into_iter().map(|own| own.amount).collect::<Vec<_>>(), cost))
        }
        Outcome::Denied(_) => None,
        outcome => panic!("{outcome:?}"),
    };
    let of = |amount: u32, cost: &str| {
        Some((vec![Decimal::from(amount); 2], cost.parse::<Decimal>().expect("a cost")))
    };
    assert_eq!(granted(60).await, of(60, "0.0003"));
    assert_eq!(granted(60).await, of(40, "0.0002"));
    assert_eq!(granted(60).await, None, "nothing is left");
    assert_eq!(balance(&host).await, amounts("0", "0.0005"));
}

pub async fn a_check_answers_like_a_reservation_and_holds_nothing<S: Store>(house: &House<S>) {
    let setup = month(100).into();
    let host = house.host(&setup).await;
    let other = house.host(&setup).await;
    hold(&host, anas(60)).await;
    for amount in [40, 41, 41, 40] {
        let checked = host.check(&acme(), anas(amount)).await.expect("an answer");
        let code = checked.denial.as_ref().map(|denial| denial.code.as_str());
        assert_eq!(code, (amount > 40).then_some("quota_exceeded"));
        let standing = &checked.standings[0];
        let (status, allowed) = match amount {
            40 => (Status::AtLimit, true),
            _ => (Status::Exceeded, false),
        };
        assert_eq!((standing.status, standing.allowed), (status, allowed));
        assert_eq!((standing.used, standing.held), (0.into(), 60.into()));
        assert_eq!(standing.remaining, Some(40.into()));
        assert!(standing.message.starts_with("Quota"), "{}", standing.message);
    }
    // Within a second another host answers from where it knows the tenant to stand.
    let version = host.check(&acme(), anas(1)).await.expect("an answer").version;
    let held = async |host: &Host| {
        let checked = host.check(&acme(), anas(1)).await.expect("an answer");
        (checked.version, checked.standings[0].held)
    };
    assert_eq!(held(&other).await, (version, 60.into()));
    hold(&host, anas(10)).await;
    assert_eq!(held(&other).await, (version, 60.into()));
    house.advance(1_001);
    assert_eq!(held(&other).await, (version + 1, 70.into()));
    assert!(reserved(&other, 30).await.is_some());
}

pub async fn what_makes_no_sense_is_refused_and_nothing_is_written<S: Store>(house: &House<S>) {
    let strict = Setup {
        required_dimensions: vec!["user".into()],
        meters: Some(
            ["llm_tokens", "llm_tokens.input"].map(|m| m.parse().expect("a meter")).into(),
        ),
        ..month(100)
    };
    let host = house.host(&strict.into()).await;
    let reserve = |call| Operation::Reserve { call, ttl_ms: 60_000, mode: Mode::All };
    let nobodys = call(&[("model", "gpt-4o")], &[("llm_tokens", 1)]);
    let refused = ask(&host, reserve(nobodys)).await;
    assert_eq!(refused, Err(HostError::MissingDimension("user".into())));
    let other = call(&[("user", "ana")], &[("llm_requests", 1)]);
    let meter = "llm_requests".parse().expect("a meter");
    assert_eq!(ask(&host, reserve(other.clone())).await, Err(HostError::UnknownMeter(meter)));
    let id = hold(&host, anas(1)).await;
    let settled = host.settle(&acme(), None, id, other.quantities).await;
    assert!(matches!(settled, Err(HostError::UnknownMeter(_))), "{settled:?}");
    let nul = call(&[("user", "a\0b")], &[]);
    let names: Vec<String> = (0..65).map(|number| format!("d{number}")).collect();
    let dimensions = names.iter().map(|name| (name.as_str(), "x"));
    let many = call(&Vec::from_iter(dimensions.chain([("user", "ana")])), &[]);
    let repeated = Call { quantities: vec![anas(1).quantities[0].clone(); 65], ..anas(0) };
    for malformed in [nul, many, repeated] {
        let refused = ask(&host, reserve(malformed)).await;
        assert!(matches!(refused, Err(HostError::Malformed(_))), "{refused:?}");
    }
    let ana = Dimension { name: "user".into(), value: "ana".into() };
    let (by, long) = (Author::Person("ben".into()), ("x".repeat(1_025), None));
    let settings = format!("\"{}\"", "x".repeat(16 * 1_024));
    let large = AgentText { name: None, settings, enabled: true };
    for subject in [Subject::Disabled(ana, Some(long)), Subject::Agent("sdr".into(), Some(large))] {
        let refused = ask(&host, Operation::Set { subject, by: by.clone() }).await;
        assert!(matches!(refused, Err(HostError::Malformed(_))), "{refused:?}");
    }
    for ttl_ms in [0, -1, i64::MAX] {
        let refused = Operation::Reserve { call: anas(1), ttl_ms, mode: Mode::All };
        let refused = ask(&host, refused).await;
        assert!(matches!(refused, Err(HostError::Malformed(_))), "{refused:?}");
    }
    let great: Decimal = "999999999999999".parse().expect("an amount");
    let meter = |name: &str| Quantity { meter: name.parse().expect("a meter"), amount: great };
    let too_much = Call { quantities: vec![meter("llm_tokens"), meter("llm_tokens")], ..anas(0) };
    let refused = ask(&host, reserve(too_much)).await;
    assert!(matches!(refused, Err(HostError::Engine(_))), "{refused:?}");
    assert!(fits(&host, anas(99)).await && !fits(&host, anas(100)).await);
}

/// Rules may have changed since a request was answered; its answer has not.
pub async fn what_is_refused_by_now_is_answered_as_it_was<S: Store>(house: &House<S>) {
    let host = house.host(&month(100).into()).await;
    let nobodys = call(&[("model", "gpt-4o")], &[("llm_tokens", 1)]);
    let keyed = |host: &Host, key: &'static str, call: &Call| {
        let (host, call) = (host.clone(), call.clone());
        async move { host.reserve(&acme(), Some(key), call, MINUTE).await }
    };
    let reserved = keyed(&host, "old", &nobodys).await.expect("an answer");
    let strict: Arc<_> = Setup { required_dimensions: vec!["user".into()], ..month(100) }.into();
    host.serve(&acme(), Arc::clone(&strict)).await.expect("served");
    let missing = HostError::MissingDimension("user".into());
    for host in [host, house.host(&strict).await] {
        assert_eq!(keyed(&host, "old", &nobodys).await, Ok(reserved.clone()));
        assert_eq!(keyed(&host, "new", &nobodys).await, Err(missing.clone()));
        assert_eq!(keyed(&host, "old", &anas(1)).await, Err(HostError::KeyReused("old".into())));
        // At once, where each looks for the key.
        let refused = join_all((0..8).map(|_| keyed(&host, "new", &nobodys))).await;
        assert!(refused.iter().all(|one| *one == Err(missing.clone())), "{refused:?}");
        let nul = call(&[("user", "a\0b")], &[]);
        assert!(matches!(keyed(&host, "nul", &nul).await, Err(HostError::Malformed(_))));
        // Beside others, whom that does no harm.
        let (one, other, third) = tokio::join!(
            keyed(&host, "nul", &nul),
            hold(&host, anas(1)),
            keyed(&host, "new", &nobodys)
        );
        assert!(matches!(one, Err(HostError::Malformed(_))), "{one:?}");
        host.release(&acme(), None, other).await.expect("released");
        assert_eq!(third, Err(missing.clone()));
    }
    // What was refused took no key.
    let host = house.host(&strict).await;
    keyed(&host, "new", &anas(1)).await.expect("an answer").expect("allowed");
}

pub async fn usage_is_rolled_up_once_however_many_hosts_follow_it<S: Store>(house: &House<S>) {
    let setup = month(1_000_000).into();
    let host = house.host(&setup).await;
    let quarter = 900_000;
    house.advance(quarter - house.at() % quarter);
    let began = house.at();
    let of = |amount: u32, latency: u32, used_at| {
        let mut call = anas(amount);
        call = call.asking("latency_ms", latency).expect("a meter");
        Report { call, used_at }
    };
    record(&host, vec![of(10, 40, None), of(20, 70, None)]).await.expect("recorded");
    let wrong = record(&host, vec![of(500, 90_000, None)]).await.expect("recorded");
    house.advance(quarter);
    record(&host, vec![of(1, 5, None), of(4, 45, Some(began))]).await.expect("recorded");
    let reason = "told wrongly".into();
    ask(&host, Operation::Void { usage: wrong[0].usage, reason }).await.expect("undone");
    let tenant = acme();
    let followers = (0..4).map(|_| follow(&*house.store, &tenant));
    for followed in join_all(followers).await {
        followed.expect("followed");
    }
    follow(&*house.store, &acme()).await.expect("followed");
    let sums = async |grouping, values: &[&str], used| {
        let sums = metrics(&*house.store, &acme(), grouping, values, used).await.expect("sums");
        let named = |meter: &str| {
            sums.iter().find(|(own, _)| own.as_str() == meter).map(|(_, amount)| *amount)
        };
        ["llm_tokens", "calls", "latency_ms", "latency_ms.le_50", "latency_ms.more", "cost.usd"]
            .map(|meter| named(meter).unwrap_or_default().to_string())
    };
    let first = ["34", "3", "155", "2", "0", "0.00017"].map(str::to_owned);
    assert_eq!(sums("user", &["ana"], began..began + quarter).await, first);
    assert_eq!(sums("model", &["gpt-4o", ""], began..began + quarter).await, first);
    let all = ["35", "4", "160", "3", "0", "0.000175"].map(str::to_owned);
    assert_eq!(sums("user", &["ana"], began..began + 2 * quarter).await, all);
    assert_eq!(sums("user", &["ben"], began..began + 2 * quarter).await[0], "0");
    let minutes = house.store.rollups(&acme(), "user", None, 60_000, began..began + 1).await;
    assert!(minutes.expect("rows").iter().any(|row| row.meter == "llm_tokens"));
}

/// A tenant's own tokens may tell of such amounts. Its figures are answered nevertheless, and what
/// comes later is followed.
pub async fn sums_that_do_not_fit_are_told_as_the_greatest_amount<S: Store>(house: &House<S>) {
    let host = house.host(&Setup::default().into()).await;
    let told = |amount: &str| {
        let (meter, amount) =
            ("bytes".parse().expect("a meter"), amount.parse().expect("an amount"));
        let call = Call { quantities: vec![Quantity { meter, amount }], ..anas(0) };
        Report { call, used_at: None }
    };
    let sums = async || {
        follow(&*house.store, &acme()).await.expect("followed");
        let sums =
            metrics(&*house.store, &acme(), "user", &["ana"], 0..i64::MAX).await.expect("sums");
        ["bytes", "calls"].map(|meter| sums[&meter.parse::<Meter>().expect("a meter")].to_string())
    };
    let (great, most) = ("900000000000000", Decimal::MAX.to_string());
    record(&host, vec![told(great)]).await.expect("recorded");
    assert_eq!(sums().await, [great, "1"]);
    // Beside what is rolled up already, of one page, and over several quarters.
    record(&host, vec![told(great)]).await.expect("recorded");
    assert_eq!(sums().await, [&*most, "2"]);
    record(&host, vec![told(great), told(great)]).await.expect("recorded");
    assert_eq!(sums().await, [&*most, "4"]);
    house.advance(900_000);
    record(&host, vec![told(great), told("1")]).await.expect("recorded");
    assert_eq!(sums().await, [&*most, "6"]);
}

pub async fn what_names_no_model_is_part_of_the_total<S: Store>(house: &House<S>) {
    let host = house.host(&Setup::default().into()).await;
    let used = [("gpt-4o", "ana", 5), ("", "ana", 3), ("", "", 2)].map(|(model, user, tokens)| {
        let named = [("model", model), ("user", user)];
        let named: Vec<_> = named.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        Report { call: call(&named, &[("llm_tokens", tokens)]), used_at: None }
    });
    record(&host, used.to_vec()).await.expect("recorded");
    follow(&*house.store, &acme()).await.expect("followed");
    let rows = async |grouping| {
        let all = i64::MIN..i64::MAX;
        let rows = house.store.rollups(&acme(), grouping, None, 900_000, all).await.expect("rows");
        let of = |row: &RollUpRow| (row.values.clone(), row.amount.to_string());
        rows.iter().filter(|row| row.meter == "llm_tokens").map(of).collect::<Vec<_>>()
    };
    let row = |values: &str, amount: &str| (values.to_owned(), amount.to_owned());
    assert_eq!(rows("model").await, [row(r#"["",""]"#, "5"), row(r#"["gpt-4o",""]"#, "5")]);
    assert_eq!(rows("user").await, [row(r#"["ana"]"#, "8")]);
}
