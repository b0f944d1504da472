//! Several hosts on one Postgres.

use futures_util::future::join_all;

use crate::house::{reserved, setup};
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
