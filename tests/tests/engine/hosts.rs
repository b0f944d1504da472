//! Several hosts on one Postgres.

use futures_util::future::join_all;
use tollgate_host::engine::{Operation, Report, verify};

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
