//! Several hosts on one Postgres.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tollgate_host::engine::{Host, Operation, Outcome, Report, Setup, verify};
use tollgate_host::store::{Clock, Need, Store};
use tollgate_policy_core::calendar::TenantCalendar;

use crate::house::{
    House, acme, ask, call, limited, postgres_by_its_own_clock, reserve_of, reserved, setup, tokens,
};
use crate::operations::{DAY_MS, anas, bens};
use crate::{run, shared};

/// Of all that race for the last of a budget exactly as many get it as there is room for.
#[test]
fn four_hosts_never_overrun_a_budget() {
    run(async {
        for (limit, amount) in [(1_000, 7), (250, 250), (999, 1_000), (500, 3)] {
            let (house, setup) = (shared().await, setup(limit));
            let hosts = join_all((0..4).map(|_| house.host(&setup))).await;
            let asks = (0..400).map(|number| reserved(&hosts[number % 4], amount));
            let allowed = join_all(asks).await.into_iter().flatten().count();
            assert_eq!(allowed, (limit / amount) as usize, "{limit} / {amount}");
        }
    });
}

/// As long as one of two hosts does not know yet that a tenant's time zone changed, neither keeps the
/// counters of the other: whoever locks the head fills its own anew before it judges.
#[test]
fn hosts_of_two_calendars_never_overrun_a_budget() {
    run(async {
        let house = shared().await;
        let by = |zone: &str| {
            let calendar =
                TenantCalendar { zone: zone.parse().expect("a zone"), ..Default::default() };
            let limits = r#"[{"meter":"llm_tokens","period":"month","limit":100}]"#;
            Arc::new(Setup { calendar, ..limited(limits) })
        };
        let setups = ["UTC", "Asia/Kolkata"].map(by);
        let hosts = join_all(setups.iter().map(|setup| house.host(setup))).await;
        let mut allowed = 0;
        for _ in 0..20 {
            let asks = (0..20).map(|number| reserved(&hosts[number % 2], 1));
            allowed += join_all(asks).await.into_iter().flatten().count();
        }
        assert_eq!(allowed, 100);
    });
}

/// Hosts that are given the same new policy at the same time fill its counters from history, and only
/// one of them stands.
#[test]
fn counters_that_hosts_fill_at_once_are_filled_once() {
    run(async {
        let house = shared().await;
        let limits = |counters: &str| limited(&format!("[{counters}]")).into();
        let mut counters = r#"{"meter":"llm_tokens","period":"month","limit":1000000}"#.to_owned();
        let host = house.host(&limits(&counters)).await;
        let call = |tokens| {
            let dimensions = [("model", "gpt-4o"), ("user", "ana")];
            call(&dimensions, &[("llm_tokens", tokens), ("llm_tokens.input", tokens)])
        };
        let Outcome::Reserved(held) = ask(&host, reserve_of(call(5), 900_000)).await.expect("held")
        else {
            panic!("not allowed")
        };
        let more = call(2).quantities;
        let extend = Operation::Extend { id: held.id, more, ttl_ms: 900_000 };
        ask(&host, extend).await.expect("extended");
        for per in ["user", "model", "agent", "session", "run", "key"] {
            counters += &format!(
                r#",{{"meter":"llm_tokens","period":"month","limit":1000000,"per":["{per}"]}}"#
            );
            let setup = limits(&counters);
            let hosts = join_all((0..4).map(|_| house.host(&setup))).await;
            let asked = hosts.iter().map(|host| ask(host, reserve_of(call(1), 900_000)));
            for answer in join_all(asked).await {
                answer.expect("an answer");
            }
            let differences = verify(&*house.store, &acme(), None).await;
            assert_eq!(differences, Ok(Vec::new()), "{per}");
        }
        host.release(&acme(), None, held.id).await.expect("released");
        assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    });
}

/// What was used in an earlier window must be read, while what this one stands at is still on its
/// way to the store, or waits for that.
#[test]
fn an_earlier_window_is_learnt_without_forgetting_what_is_under_way() {
    run(async {
        let house = shared().await;
        let limits = r#"[{"meter":"llm_tokens","period":"day","limit":1000000}]"#;
        let setup = limited(limits).into();
        let host = house.host(&setup).await;
        let call = || {
            let dimensions = [("model", "gpt-4o")];
            call(&dimensions, &[("llm_tokens", 1), ("llm_tokens.input", 1)])
        };
        for days in 1..30 {
            let used_at = Some(house.at() - days * 86_400_000);
            let told = Operation::Record { reports: vec![Report { call: call(), used_at }] };
            let before = (0..150).map(|_| reserve_of(call(), 60_000));
            let after = (0..50).map(|_| reserve_of(call(), 60_000));
            let all = before.chain([told]).chain(after).map(|operation| ask(&host, operation));
            for answer in join_all(all).await {
                answer.expect("an answer");
            }
            let differences = verify(&*house.store, &acme(), None).await;
            assert_eq!(differences, Ok(Vec::new()), "{days} days ago");
        }
    });
}

/// A clock that is so far ahead of the store's, which can be set anew.
async fn ahead<S: Store>(house: &House<S>, ms: i64) -> (Arc<AtomicI64>, Clock) {
    let (began, since) = (house.store.now().await.expect("the time"), Instant::now());
    let ahead = Arc::new(AtomicI64::new(ms));
    let set = Arc::clone(&ahead);
    let passed = move || i64::try_from(since.elapsed().as_millis()).expect("a time");
    (set, Arc::new(move || began + passed() + ahead.load(Ordering::Relaxed)))
}

/// Whatever was written since an instant is of the store's time, to the millisecond.
async fn is_of_the_stores_time<S: Store>(house: &House<S>, began: i64) {
    let found = house.store.read(&[Need::head(acme())]).await.expect("found").remove(0);
    assert!((began..=found.now + 1).contains(&found.head.at), "{began} {found:?}");
}

#[test]
fn hosts_whose_clocks_are_days_apart_live_in_the_same_day() {
    run(async {
        let house = postgres_by_its_own_clock().await;
        let limits = r#"[{"meter":"llm_tokens","period":"day","limit":1000}]"#;
        let setup = Arc::new(limited(limits));
        let began = house.store.now().await.expect("the time");
        let mut hosts = Vec::new();
        for ms in [DAY_MS, -DAY_MS] {
            let (_, clock) = ahead(&house, ms).await;
            hosts.push(house.builder_by(&setup, clock).start().await.expect("a host"));
        }
        for number in 0..20 {
            assert!(reserved(&hosts[number % 2], 1).await.is_some());
        }
        for host in &hosts {
            let checked = host.check(&acme(), bens(1)).await.expect("an answer");
            let closes = checked.standings[0].closes.expect("a day");
            let now = house.store.now().await.expect("the time");
            assert!((began..=now + 1).contains(&checked.at), "{checked:?}");
            assert!((checked.at..=checked.at + DAY_MS).contains(&closes), "{checked:?}");
        }
        is_of_the_stores_time(&house, began).await;
        assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    });
}

/// No host could go back behind a head that leapt along.
#[test]
fn a_head_does_not_leap_with_the_clock_of_a_host() {
    run(async {
        let house = postgres_by_its_own_clock().await;
        let limits = r#"[{"meter":"llm_tokens","period":"lifetime","limit":1000}]"#;
        let setup = Arc::new(limited(limits));
        let began = house.store.now().await.expect("the time");
        let (set, clock) = ahead(&house, 0).await;
        // Nothing tells it the time but what it asks for.
        let rarely = Duration::from_secs(3_600);
        let host = house.builder_by(&setup, clock).sweep(rarely).start().await.expect("a host");
        let (_, clock) = ahead(&house, 0).await;
        let other = house.builder_by(&setup, clock).start().await.expect("a host");
        let told = async |host: &Host| {
            let reports = vec![Report { call: anas(1), used_at: None }];
            ask(host, Operation::Record { reports }).await.expect("recorded");
        };
        let mut used = 0;
        for ms in [DAY_MS, 0, -DAY_MS, 40 * DAY_MS] {
            // It knows all that it needs, and that nobody else wrote.
            told(&host).await;
            told(&host).await;
            set.store(ms, Ordering::Relaxed);
            told(&host).await;
            is_of_the_stores_time(&house, began).await;
            let hosts = [&host, &other];
            let asked = join_all((0..40).map(|number| reserved(hosts[number % 2], 1))).await;
            for (number, id) in asked.into_iter().enumerate() {
                let id = id.expect("allowed");
                hosts[number % 2].settle(&acme(), None, id, tokens(1)).await.expect("settled");
            }
            is_of_the_stores_time(&house, began).await;
            used += 43;
            // One that has just begun looks at what stands, and not at what stood a second ago.
            let (_, clock) = ahead(&house, 0).await;
            let fresh = house.builder_by(&setup, clock).start().await.expect("a host");
            let checked = fresh.check(&acme(), anas(1)).await.expect("an answer");
            assert_eq!(checked.standings[0].used, used.into());
            assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
        }
    });
}

/// A host that is asked nothing which it would have to read.
#[test]
fn a_clock_that_fell_behind_is_found_out() {
    run(async {
        let house = postgres_by_its_own_clock().await;
        let setup = Arc::new(Setup::default());
        let (set, clock) = ahead(&house, 0).await;
        let often = Duration::from_millis(10);
        let host = house.builder_by(&setup, clock).sweep(often).start().await.expect("a host");
        reserved(&host, 1).await.expect("allowed");
        set.store(-DAY_MS, Ordering::Relaxed);
        let began = house.store.now().await.expect("the time");
        let mut at = 0;
        while at < began {
            reserved(&host, 1).await.expect("allowed");
            let head = house.store.read(&[Need::head(acme())]).await.expect("found").remove(0).head;
            at = head.at;
        }
    });
}
