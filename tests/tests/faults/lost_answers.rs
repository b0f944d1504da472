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
    let proxy = Proxy::before(sql::options(&ground));
    lost(&ground, &proxy, cuts, 3);
}

/// More of them than a host has connections.
#[test]
fn a_commit_whose_answer_never_comes_is_found_out_and_happens_once() {
    let _alone = alone();
    let silences = size(10, 30, 200);
    let ground = Ground::postgres(Cluster::shared(), 3, 2_000 * silences as u64);
    let proxy = Proxy::before(sql::options(&ground));
    proxy.keep_connections();
    lost(&ground, &proxy, silences, 2);
}

/// Its lock is gone with its connection, and another host is first.
#[test]
fn a_commit_that_never_arrives_is_made_anew() {
    let _alone = alone();
    let cuts = size(100, 500, 2_000);
    let ground = Ground::postgres(Cluster::shared(), 3, 20 * cuts as u64);
    let proxy = Proxy::before(sql::options(&ground));
    proxy.cut_before();
    lost(&ground, &proxy, cuts, 2);
}

fn lost(ground: &Ground, proxy: &Proxy, times: usize, one_in: usize) {
    let place = Place::Postgres(Box::new(sql::options(ground).clone().socket(proxy.path())));
    // Two hosts on each tenant, so that heads are locked and there are transactions to commit.
    let mut storm = Storm::begin(Ground { place, ..ground.clone() }, 2, 40);
    proxy.cut_one_in(one_in);
    while proxy.cut() < times {
        storm.go_on(1);
    }
    proxy.cut_one_in(0);
    storm.end();
    let found = judge(ground, &mut storm.journal);
    assert!(found.settled > 0 && found.released > 0, "{found:?}");
    // What a slow disk holds up may be refused, and then it never happened: the judge has seen to that.
    assert_eq!(storm.lost, 0, "the store finds out, and its callers need not");
}
