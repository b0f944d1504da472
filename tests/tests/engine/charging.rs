//! What a tenant charges, beside what the platform charges the tenant.

use std::sync::Arc;

use tollgate_host::engine::{
    Binding, ByTariff, Candidate, Entry, EntryKind, Event, Expiring, Host, HostError, Layer, Mode,
    Operation, Outcome, Recorded, Rejudged, Reserved, Setup, SetupError, Tariff, context_of,
    decisions,
};
use tollgate_host::store::{BatchKey, Owner, Store};
use tollgate_policy_core::contract::{Quantity, Quote};
use tollgate_policy_core::{Currency, Decimal, Money};
use uuid::Uuid;

use crate::house::{House, acme, ask, binding, call, reserve_of};

const TTL_MS: i64 = 60_000;

/// Twice what a call costs.
const TWICE: &str = r#"{"prices":"cost","factor":"2"}"#;

/// Input tokens alone, for three dollars each.
const INPUT_ALONE: &str = r#"{"prices":{"name":"own","currency":"USD","models":{
    "gpt-4o":{"prices":{"llm_tokens.input":"3"}}}}}"#;

fn tenants(component: &str, settings: &str) -> Binding {
    Binding { layer: Layer::Tenant, ..binding(component, settings) }
}

fn monthly(meter: &str, limit: &str) -> String {
    format!(r#"{{"limits":[{{"meter":"{meter}","period":"month","limit":{limit}}}]}}"#)
}

fn set_of(bindings: Vec<Binding>) -> Arc<Setup> {
    Arc::new(Setup { bindings, ..Setup::default() })
}

/// What the seed list charges for tokens in is 5 dollars a million; the tenant charges twice that.
fn twice() -> Vec<Binding> {
    vec![binding("pricing", "{}"), tenants("pricing", TWICE)]
}

fn usd(amount: &str) -> Money {
    Money::new(amount.parse().expect("an amount"), Currency::USD)
}

fn both(cost: &str, price: &str) -> ByTariff<Money> {
    ByTariff { cost: Some(usd(cost)), price: Some(usd(price)) }
}

fn total(quote: &Option<Quote>) -> Option<Decimal> {
    let add = |sum: Decimal, cost| sum.checked_add(cost).expect("it fits");
    let sum = |quote: &Quote| quote.lines.iter().map(|line| line.cost).fold(Decimal::ZERO, add);
    quote.as_ref().map(sum)
}

async fn tokens(host: &Host, amount: u32) -> Result<Reserved, String> {
    let call = call(&[("model", "gpt-4o")], &[("llm_tokens.input", amount)]);
    match ask(host, reserve_of(call, TTL_MS)).await.expect("an answer") {
        Outcome::Reserved(reserved) => Ok(reserved),
        Outcome::Denied(denied) => Err(denied.denial.code),
        outcome => panic!("{outcome:?}"),
    }
}

async fn settle(host: &Host, id: Uuid, meter: &str, amount: u32) -> Recorded {
    let meter = meter.parse().expect("a meter");
    let used = vec![Quantity { meter, amount: amount.into() }];
    match ask(host, Operation::Settle { id, used }).await.expect("settled") {
        Outcome::Settled(recorded) => recorded,
        outcome => panic!("{outcome:?}"),
    }
}

/// By account: the balance, and what is held.
async fn accounts(host: &Host) -> Vec<(String, Money, Money)> {
    let accounts = host.accounts(&acme()).await.expect("accounts").into_iter();
    accounts.map(|own| (own.name, own.balance, own.held)).collect()
}

fn stand(cost: (&str, &str), price: (&str, &str)) -> Vec<(String, Money, Money)> {
    let of = |name: &str, (balance, held)| (name.to_owned(), usd(balance), usd(held));
    vec![of("cost", cost), of("price", price)]
}

pub async fn a_price_stands_beside_the_cost_in_an_account_of_its_own<S: Store>(house: &House<S>) {
    let mut bindings = twice();
    bindings.push(binding("quota", &monthly("cost.usd", "1")));
    bindings.push(tenants("quota", &monthly("price.usd", "1")));
    let set = set_of(bindings);
    let host = house.host(&set).await;
    let reserved = tokens(&host, 60_000).await.expect("allowed");
    assert_eq!(total(&reserved.quotes.cost), Some(usd("0.3").amount));
    assert_eq!(total(&reserved.quotes.price), Some(usd("0.6").amount));
    assert_eq!(accounts(&host).await, stand(("0", "0.3"), ("0", "0.6")));
    // 0.60 of it would be within what it may cost, and 1.20 is beyond what it may be charged for.
    assert_eq!(tokens(&host, 60_000).await.err().as_deref(), Some("quota_exceeded"));

    let recorded = settle(&host, reserved.id, "llm_tokens.input", 40_000).await;
    assert_eq!(recorded.charged, both("0.2", "0.4"));
    assert_eq!(accounts(&host).await, stand(("-0.2", "0"), ("-0.4", "0")));
    assert!(tokens(&host, 60_000).await.is_ok(), "0.4 and 0.6 fit");

    let reason = "told wrongly".into();
    let void = Operation::Void { usage: recorded.usage, reason };
    assert!(matches!(ask(&host, void).await, Ok(Outcome::Voided { .. })));
    let (account, kind) = (Tariff::Price, EntryKind::Credit);
    let entry = Entry { account, kind, money: usd("7"), reason: "paid".into() };
    let booked = ask(&host, Operation::Book { entry }).await.expect("booked");
    assert!(matches!(booked, Outcome::Booked { balance, .. } if balance == usd("7")));
    // The next host reads the same.
    for host in [&host, &house.host(&set).await] {
        assert_eq!(accounts(host).await, stand(("0", "0.3"), ("7", "0.6")));
    }
    house.advance(TTL_MS);
    tokens(&host, 1).await.expect("allowed");
    let held = stand(("0", "0.000005"), ("7", "0.00001"));
    assert_eq!(accounts(&host).await, held, "what was held is given back");
}

pub async fn what_hangs_up_is_charged_by_both<S: Store>(house: &House<S>) {
    let expiring = Expiring::Charge;
    let set = Arc::new(Setup { bindings: twice(), expiring, ..Setup::default() });
    let host = house.host(&set).await;
    let reserved = tokens(&host, 60_000).await.expect("allowed");
    let more = call(&[], &[("llm_tokens.input", 20_000)]).quantities;
    let extend = Operation::Extend { id: reserved.id, more, ttl_ms: TTL_MS };
    let Ok(Outcome::Extended { quotes, .. }) = ask(&host, extend).await else {
        panic!("it may be extended");
    };
    assert_eq!((total(&quotes.cost), total(&quotes.price)), {
        (Some(usd("0.1").amount), Some(usd("0.2").amount))
    });
    assert_eq!(accounts(&host).await, stand(("0", "0.4"), ("0", "0.8")));
    house.advance(TTL_MS);
    ask(&host, Operation::Expire).await.expect("done");
    assert_eq!(accounts(&host).await, stand(("-0.4", "0"), ("-0.8", "0")));
    let recorded = settle(&host, reserved.id, "llm_tokens.input", 1_000).await;
    assert!(recorded.late);
    assert_eq!(accounts(&host).await, stand(("-0.005", "0"), ("-0.01", "0")));
}

/// A tenant that could keep a settlement from being booked would owe nothing.
pub async fn a_price_that_is_lacking_denies_a_call_and_no_settlement<S: Store>(house: &House<S>) {
    let host =
        house.host(&set_of(vec![binding("pricing", "{}"), tenants("pricing", INPUT_ALONE)])).await;
    let out = call(&[("model", "gpt-4o")], &[("llm_tokens.output", 10)]);
    let Ok(Outcome::Denied(denied)) = ask(&host, reserve_of(out, TTL_MS)).await else {
        panic!("what has no price is denied");
    };
    assert_eq!(denied.denial.code, "meter_unpriced");
    let reserved = tokens(&host, 10).await.expect("allowed");
    assert_eq!(total(&reserved.quotes.price), Some(Decimal::from(30)));
    let recorded = settle(&host, reserved.id, "llm_tokens.output", 1_000).await;
    assert_eq!(recorded.charged, ByTariff { cost: Some(usd("0.015")), price: None });
    let lacks =
        |event: &Event| matches!(event, Event::Unpriced { policy, .. } if policy == "pricing");
    assert!(recorded.events.iter().any(lacks), "{:?}", recorded.events);
    assert_eq!(accounts(&host).await, stand(("-0.015", "0"), ("0", "0")));

    // The platform's own may: what it cannot price, it cannot book.
    let host = house.host(&set_of(vec![binding("pricing", INPUT_ALONE)])).await;
    let reserved = tokens(&host, 10).await.expect("allowed");
    let meter = "llm_tokens.output".parse().expect("a meter");
    let used = vec![Quantity { meter, amount: 1.into() }];
    assert!(ask(&host, Operation::Settle { id: reserved.id, used }).await.is_err());
}

/// A tenant that could make an account overflow would owe nothing any more.
pub async fn a_price_that_does_not_fit_holds_up_nothing<S: Store>(house: &House<S>) {
    let dear = r#"{"prices":{"name":"dear","currency":"USD","models":{"gpt-4o":{"prices":{
        "llm_tokens.input":"900000000000","llm_tokens.output":"900000000000"}}}}}"#;
    let bindings = vec![binding("pricing", "{}"), tenants("pricing", dear)];
    let set = Arc::new(Setup { bindings, expiring: Expiring::Charge, ..Setup::default() });
    let host = house.host(&set).await;
    let lacks = |recorded: &Recorded| {
        recorded.events.iter().any(|event| matches!(event, Event::Unpriced { .. }))
    };
    // The account takes one of these, and not a second.
    let price = usd("810000000000000");
    for fits in [true, false] {
        let id = tokens(&host, 1).await.expect("allowed").id;
        let recorded = settle(&host, id, "llm_tokens.input", 900).await;
        let expected = ByTariff { cost: Some(usd("0.0045")), price: fits.then_some(price) };
        assert_eq!((recorded.charged, lacks(&recorded)), (expected, !fits));
    }
    // A sum that is no amount is an answer that is none.
    let id = tokens(&host, 1).await.expect("allowed").id;
    let of = |meter: &str| Quantity { meter: meter.parse().expect("a meter"), amount: 900.into() };
    let used = ["llm_tokens.input", "llm_tokens.output"].map(of).to_vec();
    let Ok(Outcome::Settled(recorded)) = ask(&host, Operation::Settle { id, used }).await else {
        panic!("it is settled");
    };
    assert!(lacks(&recorded) && recorded.charged.cost == Some(usd("0.018")), "{recorded:?}");
    // What is charged as its time is over does not fit either, and everything goes on.
    tokens(&host, 900).await.expect("allowed");
    house.advance(TTL_MS);
    tokens(&host, 1).await.expect("allowed");
    let held = stand(("-0.0315", "0.000005"), ("-810000000000000", "900000000000"));
    assert_eq!(accounts(&host).await, held);
}

pub async fn what_expires_is_charged_as_it_was_held<S: Store>(house: &House<S>) {
    let set = |bindings: Vec<Binding>, expiring| {
        Arc::new(Setup { bindings, expiring, ..Setup::default() })
    };
    let before = set(vec![binding("pricing", "{}")], Expiring::GiveBack);
    let after = set(twice(), Expiring::Charge);
    let host = house.host(&before).await;
    let id = tokens(&host, 60_000).await.expect("allowed").id;
    house.know(&after);
    host.serve(&acme(), after).await.expect("served");
    let more = call(&[], &[("llm_tokens.input", 20_000)]).quantities;
    ask(&host, Operation::Extend { id, more, ttl_ms: TTL_MS }).await.expect("extended");
    assert_eq!(accounts(&host).await, stand(("0", "0.4"), ("0", "0.2")));
    house.advance(TTL_MS);
    ask(&host, Operation::Expire).await.expect("done");
    assert_eq!(accounts(&host).await, stand(("-0.4", "0"), ("-0.2", "0")));
}

pub async fn what_can_be_had_is_the_least_of_all_limits_and_no_less<S: Store>(house: &House<S>) {
    let mut bindings = twice();
    bindings.push(binding("quota", &monthly("cost.usd", "0.15")));
    bindings.push(tenants("quota", &monthly("price.usd", "0.3")));
    let host = house.host(&set_of(bindings)).await;
    let call = call(&[("model", "gpt-4o")], &[("llm_tokens.input", 60_000)]);
    let reserve = Operation::Reserve { call, ttl_ms: TTL_MS, mode: Mode::BestEffort };
    let Ok(Outcome::Reserved(reserved)) = ask(&host, reserve).await else { panic!("granted") };
    assert_eq!(reserved.granted[0].amount, Decimal::from(30_000));
}

pub async fn who_may_not_price_is_refused<S: Store>(house: &House<S>) {
    house.host(&set_of(twice())).await;
    let mut more = twice();
    more.push(Binding { name: "more".into(), ..tenants("pricing", TWICE) });
    let untold = || SetupError::CostUntold("pricing".into());
    for (bindings, error) in [
        (more, SetupError::TwoPrices("pricing".into(), "more".into())),
        (vec![tenants("pricing", TWICE)], untold()),
        (vec![binding("pricing", TWICE)], untold()),
    ] {
        let start = house.builder(&set_of(bindings)).start().await;
        assert_eq!(start.err(), Some(HostError::Setup(error)));
    }
}

pub async fn a_price_follows_the_cost_that_a_candidate_tells<S: Store>(house: &House<S>) {
    let mut bindings = twice();
    bindings.push(tenants("quota", &monthly("price.usd", "1")));
    let set = set_of(bindings);
    let host = house.host(&set).await;
    tokens(&host, 60_000).await.expect("allowed");
    let batches = house.store.batches(&acme(), BatchKey::before(i64::MIN), 99).await;
    let batch = batches.expect("batches").into_iter().find(|batch| !batch.allowed.is_empty());
    let batch = batch.expect("a decision");
    assert_eq!(context_of(&batch), Some(set.context_name()));
    let decision = decisions(&batch, &set).expect("decisions").remove(0);
    let judged = |owner: Owner, settings: &str| {
        let policy = binding("pricing", settings).policy;
        let candidate = Candidate { name: "pricing".into(), owner: Some(owner), policy };
        decision.judge_with(&set, &candidate).expect("judged")
    };
    // Twice as dear: its price is 1.2 then, and the limit 1.
    let dearer = r#"{"prices":{"name":"dear","currency":"USD","models":{
        "gpt-4o":{"units":1000000,"prices":{"llm_tokens.input":"10"}}}}}"#;
    let Rejudged { before, after, charged_before, charged_after } = judged(Owner::Platform, dearer);
    assert_eq!((before.code(), after.code()), ("allowed", "quota_exceeded"));
    assert_eq!((charged_before, charged_after), (both("0.3", "0.6"), both("0.6", "1.2")));
    // What is not told what a call costs, as the platform's own is not, does not price it.
    let rejudged = judged(Owner::Platform, TWICE);
    assert_eq!(rejudged.after.code(), "cost_unknown");
    assert_eq!(rejudged.charged_after, ByTariff { cost: None, price: None });
    // The tenant's own leaves the cost alone.
    let owner = Owner::Tenant(acme());
    let rejudged = judged(owner, r#"{"prices":"cost","factor":"3"}"#);
    assert_eq!(rejudged.after.code(), "allowed");
    assert_eq!(rejudged.charged_after, both("0.3", "0.9"));
}
