//! Policies change while traffic flows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tollgate_host::engine::{
    Author, Call, Host, HostError, Operation, Outcome, Reserved, Setup, SetupError, Subject,
};
use tollgate_host::store::Store;
use tollgate_policy_core::Decimal;
use tollgate_policy_core::contract::{Dimension, Task};

use crate::house::{House, acme, ask, binding, call, reserve_of};

/// In this set a token costs so many dollars, and so many millions of tokens are the limit: so an
/// answer tells which set priced and which one allowed it.
fn set(number: u32) -> Arc<Setup> {
    let prices = format!(
        r#"{{"prices":{{"name":"own","currency":"USD","models":
        {{"gpt-4o":{{"prices":{{"llm_tokens":"{number}"}}}}}}}}}}"#
    );
    let limits = format!(
        r#"{{"limits":[{{"meter":"llm_tokens","period":"month","limit":{number}000000}},
        {{"meter":"llm_tokens","period":"day","per":["user"],"limit":{number}000000}}]}}"#
    );
    let bindings = vec![binding("pricing", &prices), binding("quota", &limits)];
    Arc::new(Setup { bindings, ..Setup::default() })
}

fn one() -> Call {
    call(&[("user", "ana"), ("model", "gpt-4o")], &[("llm_tokens", 1)])
}

/// By which set a call was judged.
async fn judged(host: &Host) -> (u32, Reserved) {
    let outcome = ask(host, reserve_of(one(), 60_000)).await.expect("an answer");
    let Outcome::Reserved(reserved) = outcome else { panic!("{outcome:?}") };
    let limits = reserved.consulted.iter().flat_map(|own| &own.findings);
    let limits = limits.filter_map(|own| own.limit);
    let quote = reserved.quotes.cost.as_ref().expect("a price");
    let cost = quote.lines[0].cost;
    let set = (1..9).find(|number| Decimal::from(*number) == cost).expect("a set's price");
    let million = Decimal::from(set * 1_000_000);
    assert!(
        limits.clone().count() == 2 && limits.clone().all(|limit| limit == million),
        "{reserved:?}"
    );
    (set, reserved)
}

pub async fn no_call_is_lost_or_judged_by_a_mixture_while_policies_change<S: Store>(
    house: &House<S>,
) {
    let sets = [set(1), set(2)];
    sets.iter().for_each(|set| house.know(set));
    let hosts = [house.host(&sets[0]).await, house.host(&sets[0]).await];
    let over = AtomicBool::new(false);
    let callers = (0..32).map(|caller| {
        let (host, over) = (&hosts[caller % 2], &over);
        async move {
            let mut counts = [0; 3];
            while !over.load(Ordering::Relaxed) {
                let (set, reserved) = judged(host).await;
                counts[set as usize] += 1;
                if caller % 4 == 0 {
                    let settle = Operation::Settle { id: reserved.id, used: one().quantities };
                    ask(host, settle).await.expect("settled");
                } else {
                    ask(host, Operation::Release { id: reserved.id }).await.expect("released");
                }
            }
            counts
        }
    });
    let swaps = async {
        for swap in 1..=50 {
            for host in &hosts {
                host.serve(&acme(), Arc::clone(&sets[swap % 2])).await.expect("swapped");
            }
            // Until something was judged by it on each host.
            for host in &hosts {
                judged(host).await;
            }
        }
        over.store(true, Ordering::Relaxed);
    };
    let (counts, ()) = join(join_all(callers), swaps).await;
    for set in [1, 2] {
        assert!(counts.iter().map(|own| own[set]).sum::<u32>() > 50, "{counts:?}");
    }
}

pub async fn what_is_asked_after_a_swap_is_judged_by_what_was_swapped_in<S: Store>(
    house: &House<S>,
) {
    let sets = [set(1), set(2), set(3)];
    sets.iter().for_each(|set| house.know(set));
    let host = house.host(&sets[0]).await;
    for round in 0..30 {
        // Some is being written and some judged while the swap happens.
        let before = (0..40).map(|_| judged(&host));
        let swapped = async {
            judged(&host).await;
            let next = (round + 1) % 3;
            host.serve(&acme(), Arc::clone(&sets[next])).await.expect("swapped");
            for (set, _) in join_all((0..20).map(|_| judged(&host))).await {
                assert_eq!(set as usize, next + 1);
            }
            assert_eq!(
                host.check(&acme(), one()).await.expect("an answer").standings[0].limit,
                Some(Decimal::from(1_000_000 * (next as u32 + 1)))
            );
        };
        join(join_all(before), swapped).await;
    }
}

pub async fn tasks_are_estimated_by_the_policy_that_is_bound<S: Store>(house: &House<S>) {
    let host = house.host(&set(1)).await;
    let task = || Task { description: "write a report of ten pages".into(), ..Task::default() };
    assert_eq!(host.estimate(&acme(), task()).await, Err(HostError::NoEstimate));
    let bindings = vec![binding("estimate", "{}")];
    let set = Arc::new(Setup { bindings, ..Setup::default() });
    house.know(&set);
    host.serve(&acme(), set).await.expect("swapped");
    let estimated = host.estimate(&acme(), task()).await.expect("an answer").expect("an estimate");
    assert!(estimated.iter().any(|own| own.meter.as_str().starts_with("llm_tokens")));
}

pub async fn books_that_rest_are_closed_and_opened_as_they_were<S: Store>(house: &House<S>) {
    let set = set(1);
    let host = house.builder(&set).sweep(Duration::from_millis(10)).start().await.expect("a host");
    let reserve = async || match ask(&host, reserve_of(one(), 3_600_000)).await {
        Ok(Outcome::Reserved(reserved)) => reserved,
        outcome => panic!("{outcome:?}"),
    };
    let reserved = reserve().await;
    for _ in 0..2 {
        // What is heard of does not rest.
        house.advance(50_000);
        reserve().await;
        assert_eq!(host.books(), 1);
    }
    house.advance(60_001);
    // What was read a moment later rests a moment later.
    while host.books() > 0 {
        house.advance(1);
        tokio::task::yield_now().await;
    }
    let settle = Operation::Settle { id: reserved.id, used: one().quantities };
    let outcome = ask(&host, settle).await;
    assert!(matches!(outcome, Ok(Outcome::Settled(_))), "{outcome:?}");
    assert_eq!(host.books(), 1);
}

/// Books that are closed while something is read for them are not opened with a part of it.
pub async fn what_is_asked_as_books_close_is_judged_by_all_that_is_known<S: Store>(
    house: &House<S>,
) {
    let bare = Arc::new(Setup::default());
    let host = house.builder(&bare).sweep(Duration::from_millis(10)).start().await.expect("a host");
    let ana = Dimension { name: "user".into(), value: "ana".into() };
    let subject = Subject::Disabled(ana, Some(("left".into(), None)));
    let by = Author::Person("ops".into());
    ask(&host, Operation::Set { subject, by }).await.expect("set");
    for round in 0..300 {
        house.advance(61_000);
        // A key is looked for, so that something is read.
        let key = Some(format!("key {round}"));
        let outcome = host.ask(&acme(), key, reserve_of(one(), 60_000)).await.expect("an answer");
        assert!(matches!(outcome, Outcome::Denied(_)), "{round}: {outcome:?}");
    }
}

pub async fn a_tenant_that_is_new_is_served_at_once<S: Store>(house: &House<S>) {
    let host = house.host(&set(1)).await;
    let other = "other".parse().expect("a name");
    let unknown = host.ask(&other, None, reserve_of(one(), 60_000)).await;
    assert_eq!(unknown, Err(HostError::UnknownTenant(other.clone())));
    let two = Setup {
        bindings: vec![binding("pricing", "{}"), binding("pricing", "{}")],
        ..Setup::default()
    };
    let refused = host.serve(&other, two).await;
    let two = SetupError::TwoPrices("pricing".into(), "pricing".into());
    assert_eq!(refused, Err(HostError::Setup(two)));
    assert!(host.ask(&other, None, reserve_of(one(), 60_000)).await.is_err());
    host.serve(&other, set(2)).await.expect("served");
    let outcome = host.ask(&other, None, reserve_of(one(), 60_000)).await;
    assert!(matches!(outcome, Ok(Outcome::Reserved(_))), "{outcome:?}");
}
