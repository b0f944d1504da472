//! Several hosts on one Postgres.

use std::sync::Arc;

use futures_util::future::join_all;
use tollgate_host::engine::{Operation, Outcome, Report, Setup, verify};
use tollgate_policy_core::calendar::TenantCalendar;

use crate::house::{acme, ask, call, limited, reserve_of, reserved, setup};
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
