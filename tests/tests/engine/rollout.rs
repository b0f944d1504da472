//! Candidates stand beside what is enforced.

use std::collections::BTreeSet;
use std::sync::Arc;

use tollgate_host::engine::{
    Binding, BindingMode, Canary, DecisionRecord, Event, Host, HostError, Operation, Outcome,
    Reserved, ReviewRecord, Setup, SetupError, context_of, decisions, reviews,
};
use tollgate_host::store::{BatchKey, BatchRow, Store};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::Decision;

use crate::house::{House, acme, ask, binding, call, reserve_of};

fn tokens_a_month(limit: u32) -> String {
    format!(r#"{{"limits":[{{"meter":"llm_tokens","period":"month","limit":{limit}}}]}}"#)
}

/// A token costs so many dollars.
fn price(cost: u32) -> String {
    format!(
        r#"{{"prices":{{"name":"own","currency":"USD","models":{{"gpt-4o":{{"prices":{{"llm_tokens":"{cost}"}}}}}}}}}}"#
    )
}

fn shadow(component: &str, settings: &str) -> Binding {
    Binding { mode: BindingMode::Shadow, ..binding(component, settings) }
}

fn canary(component: &str, settings: &str, percent: u8) -> Binding {
    let percent = percent.try_into().expect("a share");
    let mode = BindingMode::Canary(Canary { percent, by: "user".into() });
    Binding { mode, ..binding(component, settings) }
}

fn set_of(bindings: Vec<Binding>) -> Arc<Setup> {
    Arc::new(Setup { bindings, ..Setup::default() })
}

/// Whether a user's tokens are allowed; what is, is given back.
async fn asked(host: &Host, user: &str, tokens: u32) -> Result<Reserved, String> {
    let call = call(&[("user", user), ("model", "gpt-4o")], &[("llm_tokens", tokens)]);
    match ask(host, reserve_of(call, 60_000)).await.expect("an answer") {
        Outcome::Reserved(reserved) => {
            host.release(&acme(), None, reserved.id).await.expect("released");
            Ok(reserved)
        }
        Outcome::Denied(denied) => Err(denied.denial.code),
        outcome => panic!("{outcome:?}"),
    }
}

async fn batches<S: Store>(house: &House<S>) -> Vec<BatchRow> {
    house.store.batches(&acme(), BatchKey::before(i64::MIN), 9_999).await.expect("batches")
}

async fn decided<S: Store>(house: &House<S>) -> Vec<DecisionRecord> {
    let of = |batch: BatchRow| {
        let setup = house.setup_of(&context_of(&batch).expect("a context"));
        decisions(&batch, &setup).expect("decisions")
    };
    batches(house).await.into_iter().flat_map(of).collect()
}

async fn reviewed<S: Store>(house: &House<S>) -> Vec<ReviewRecord> {
    batches(house).await.iter().flat_map(|batch| reviews(batch).expect("reviews")).collect()
}

pub async fn a_shadow_decides_nothing_and_what_it_says_is_kept<S: Store>(house: &House<S>) {
    let set = set_of(vec![
        binding("pricing", &price(1)),
        shadow("pricing", &price(5)),
        binding("quota", &tokens_a_month(100)),
        shadow("quota", &tokens_a_month(50)),
    ]);
    let host = house.host(&set).await;
    let reserved = asked(&host, "ana", 60).await.expect("allowed");
    let quote = reserved.quotes.cost.expect("a price");
    assert_eq!(quote.lines[0].cost, Decimal::from(60));
    let consulted: Vec<_> = reserved.consulted.iter().map(|own| own.policy.as_str()).collect();
    assert_eq!(consulted, ["pricing", "quota"]);
    assert_eq!(reserved.consulted[1].findings[0].limit, Some(100.into()));
    assert_eq!(asked(&host, "ana", 101).await, Err("quota_exceeded".into()));
    let call = call(&[("user", "ana"), ("model", "gpt-4o")], &[("llm_tokens", 60)]);
    let checked = host.check(&acme(), call).await.expect("an answer");
    assert!(checked.denial.is_none() && checked.standings.len() == 1, "{checked:?}");

    let decided = decided(house).await;
    let words = |decision: &DecisionRecord| -> Vec<(bool, bool)> {
        let word = |verdict: &Decision| matches!(verdict, Decision::Allow);
        let judged = decision.judged.iter();
        judged.map(|own| (own.decides, word(&own.outcome.as_ref().unwrap().decision))).collect()
    };
    let said: Vec<_> = decided.iter().map(words).collect();
    assert_eq!(said, [[(true, true), (false, false)], [(true, false), (false, false)]]);
    let quote = decided[0].priced[1].quote().expect("beside");
    assert!(!decided[0].priced[1].decides);
    assert_eq!(quote.lines[0].cost, Decimal::from(300));
}

pub async fn a_canary_decides_for_the_same_ones_on_every_host<S: Store>(house: &House<S>) {
    let set = |percent| {
        set_of(vec![
            binding("pricing", &price(1)),
            canary("pricing", &price(5), percent),
            binding("quota", &tokens_a_month(100)),
            canary("quota", &tokens_a_month(50), percent),
        ])
    };
    let mut before = (BTreeSet::new(), BTreeSet::new());
    for percent in [0, 30, 60, 100] {
        let set = set(percent);
        let hosts = [house.host(&set).await, house.host(&set).await];
        let (mut denied, mut dear) = (BTreeSet::new(), BTreeSet::new());
        for number in 0..16 {
            let user = format!("user-{number}");
            let mut said = Vec::new();
            for host in &hosts {
                let allowed = asked(host, &user, 60).await;
                let price =
                    asked(host, &user, 1).await.expect("allowed").quotes.cost.expect("a price");
                said.push((allowed.is_err(), price.lines[0].cost == Decimal::from(5)));
            }
            assert_eq!(said[0], said[1], "{user}");
            denied.extend(said[0].0.then(|| user.clone()));
            dear.extend(said[0].1.then_some(user));
        }
        let share = |taken: &BTreeSet<String>| (taken.len() * 100 / 16).abs_diff(percent.into());
        assert!(share(&denied) <= 25 && share(&dear) <= 25, "{percent}: {denied:?} {dear:?}");
        assert!(denied.is_superset(&before.0) && dear.is_superset(&before.1));
        before = (denied, dear);
    }
    assert_eq!((before.0.len(), before.1.len()), (16, 16));
    // Who it takes is asked of both, and both words are kept.
    assert!(decided(house).await.iter().all(|own| own.judged.len() == 2));
}

pub async fn what_alerting_candidates_would_have_done_is_kept<S: Store>(house: &House<S>) {
    let limit = |dollars: u32| {
        format!(r#"{{"cost_limits":{{"monthly_limit":{dollars},"auto_disable":true}}}}"#)
    };
    let set = set_of(vec![
        binding("pricing", &price(1)),
        binding("alerts", &limit(1_000)),
        shadow("alerts", &limit(5)),
    ]);
    let host = house.host(&set).await;
    for _ in 0..2 {
        let dimensions = [("agent", "sdr"), ("model", "gpt-4o")];
        let call = call(&dimensions, &[("llm_tokens", 10)]);
        let outcome = ask(&host, reserve_of(call.clone(), 60_000)).await.expect("an answer");
        let Outcome::Reserved(Reserved { id, .. }) = outcome else { panic!("{outcome:?}") };
        let settle = Operation::Settle { id, used: call.quantities };
        let Ok(Outcome::Settled(recorded)) = ask(&host, settle).await else { panic!("settled") };
        let disabled = |event: &Event| matches!(event, Event::Disabled { .. });
        assert!(!recorded.events.iter().any(disabled), "{recorded:?}");
    }
    let reviewed = reviewed(house).await;
    assert_eq!(reviewed.len(), 2);
    for ReviewRecord { dimensions, said } in reviewed {
        assert_eq!(dimensions[0].value, "sdr");
        let would = |place: usize| said[place].said.as_ref().expect("an answer").len();
        let places: Vec<_> = said.iter().map(|own| (own.binding, own.decides)).collect();
        assert_eq!(places, [(1, true), (2, false)]);
        assert!(would(0) == 0 && would(1) > 0, "{said:?}");
    }
}

pub async fn a_candidates_counters_are_filled_before_it_is_asked<S: Store>(house: &House<S>) {
    let before =
        set_of(vec![binding("pricing", &price(1)), binding("quota", &tokens_a_month(100))]);
    let host = house.host(&before).await;
    let spent = call(&[("user", "ana"), ("model", "gpt-4o")], &[("llm_tokens", 30)]);
    let outcome = ask(&host, reserve_of(spent.clone(), 60_000)).await.expect("an answer");
    let Outcome::Reserved(Reserved { id, .. }) = outcome else { panic!("{outcome:?}") };
    ask(&host, Operation::Settle { id, used: spent.quantities }).await.expect("settled");
    let by_user = r#"{"limits":[{"meter":"llm_tokens","period":"day","per":["user"],"limit":40}]}"#;
    let after = set_of(vec![
        binding("pricing", &price(1)),
        binding("quota", &tokens_a_month(100)),
        shadow("quota", by_user),
    ]);
    house.know(&after);
    host.serve(&acme(), after).await.expect("served");
    asked(&host, "ana", 20).await.expect("allowed");
    let last = decided(house).await.pop().expect("a decision");
    let reading = last.judged[1].readings[0];
    assert_eq!((reading.used, reading.asked), (30.into(), 20.into()));
}

pub async fn candidates_that_cannot_stand_there_are_refused<S: Store>(house: &House<S>) {
    let host = house.host(&set_of(vec![binding("quota", &tokens_a_month(100))])).await;
    let quota = |limit| shadow("quota", &tokens_a_month(limit));
    let name = || "quota".to_owned();
    for (bindings, error) in [
        (vec![shadow("pricing", &price(1))], SetupError::PricesAlone("pricing".into())),
        (vec![quota(1), quota(2)], SetupError::TwoCandidates(name())),
        (
            vec![binding("quota", "{}"), quota(1), canary("quota", "{}", 5)],
            SetupError::TwoCandidates(name()),
        ),
        (
            vec![binding("quota", "{}"), quota(1), binding("quota", "{}")],
            SetupError::TwoCandidates(name()),
        ),
    ] {
        let refused = host.serve(&acme(), set_of(bindings)).await;
        assert_eq!(refused, Err(HostError::Setup(error)));
    }
    // For whom it decides, nobody would do what it cannot.
    let both = Binding { name: "quota".into(), ..binding("alerts", "{}") };
    let lacks = Binding { name: "quota".into(), ..canary("alerts", "{}", 5) };
    let refused = host.serve(&acme(), set_of(vec![quota(1), both])).await;
    assert_eq!(refused, Ok(()));
    let refused = host.serve(&acme(), set_of(vec![binding("quota", "{}"), lacks])).await;
    let error = SetupError::Lacks { candidate: name(), ability: "quota".into() };
    assert_eq!(refused, Err(HostError::Setup(error)));
    // A candidate alone is compared with a policy that allows all.
    let alone = set_of(vec![quota(5)]);
    house.know(&alone);
    host.serve(&acme(), alone).await.expect("served");
    asked(&host, "ana", 60).await.expect("allowed");
}
