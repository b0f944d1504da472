//! Commits that happen, and whose answers are lost.

use tollgate_tests::postgres::Cluster;

use crate::ground::{Ground, Place};
use crate::judge::judge;
use crate::proxy::Proxy;
use crate::sizes::{alone, size};
use crate::sql;
use crate::storm::Storm;

#[test]
fn a_commit_whose_answer_is_lost_is_found_out_and_happens_once() {
    let _alone = alone();
    let cuts = size(500, 2_000, 10_000);
    let ground = Ground::postgres(Cluster::shared(), 3, 20 * cuts as u64);
    let options = sql::options(&ground).clone();
    let proxy = Proxy::before(&options);
    let place = Place::Postgres(options.socket(proxy.path()));
    // Two hosts on each tenant, so that heads are locked and there are transactions to commit.
    let mut storm = Storm::begin(Ground { place, ..ground.clone() }, 2, 40);
    proxy.cut_one_in(3);
    while proxy.cut() < cuts {
        storm.go_on(1);
    }
    proxy.cut_one_in(0);
    storm.end();
    let found = judge(&ground, &mut storm.journal);
    assert!(found.settled > 0 && found.released > 0, "{found:?}");
    assert_eq!(storm.unanswered, 0, "the store finds out, and its callers need not");
}
