//! Hosts that race for the last of one budget.

use tollgate_tests::embedded::Answer;
use tollgate_tests::postgres::Cluster;

use crate::crew::Crew;
use crate::ground::{Ground, reserve};
use crate::judge::judge;
use crate::sizes::{alone, size};

/// Exactly as many get it as there is room for.
#[test]
fn four_processes_share_one_budget_exactly() {
    let _alone = alone();
    let tries = size(2_000, 20_000, 200_000);
    let all = tries as u64;
    // Much room, none, room for one, and a remainder that is too small.
    for (limit, amount) in [(1_000, 7), (all, 1), (999, 1_000), (250, 250), (500, 3)] {
        let ground = Ground::postgres(Cluster::shared(), 1, limit);
        let mut crew = Crew::start(ground.clone(), 4);
        let mut allowed = 0;
        for _ in 0..tries / 500 {
            let requests: Vec<_> =
                (0..500).map(|host| (host, crew.request(0, None, reserve(amount)))).collect();
            allowed += count(&crew.ask(&requests));
        }
        assert_eq!(allowed, limit / amount, "{limit} / {amount}");
        let found = judge(&ground, &mut crew.journal);
        assert_eq!(found.reserved as u64, limit / amount);
    }
}

/// And where a single unit is left, one.
#[test]
fn the_last_unit_of_a_budget_goes_to_one_of_four_processes() {
    let _alone = alone();
    let tenants = size(50, 500, 5_000);
    let ground = Ground::postgres(Cluster::shared(), tenants, 40);
    let mut crew = Crew::start(ground.clone(), 4);
    for tenant in 0..tenants {
        // 39 in units of one, since the judge wants each tenant to ask for one amount.
        let first: Vec<_> =
            (0..39).map(|host| (host, crew.request(tenant, None, reserve(1)))).collect();
        assert_eq!(count(&crew.ask(&first)), 39);
        let rest: Vec<_> =
            (0..40).map(|host| (host, crew.request(tenant, None, reserve(1)))).collect();
        assert_eq!(count(&crew.ask(&rest)), 1, "tenant {tenant}");
    }
    judge(&ground, &mut crew.journal);
}

/// How many go ahead, where all are answered.
fn count(answers: &[Answer]) -> u64 {
    let allowed = answers.iter().filter(|answer| match answer {
        Answer::Reserved { .. } => true,
        Answer::Denied { .. } => false,
        other => panic!("{other:?}"),
    });
    allowed.count() as u64
}
