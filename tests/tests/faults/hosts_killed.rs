//! Hosts that are killed at random points.

#![allow(clippy::disallowed_methods, reason = "it measures how soon a host serves again")]

use std::time::{Duration, Instant};

use tollgate_tests::postgres::Cluster;

use crate::ground::Ground;
use crate::judge::judge;
use crate::sizes::{alone, size};
use crate::storm::Storm;

/// A host that starts again serves in that time.
const SERVING: Duration = Duration::from_secs(5);

#[test]
fn hosts_that_are_killed_lose_nothing_and_double_nothing() {
    let _alone = alone();
    let answers = size(20_000, 100_000, 1_000_000);
    let kills = size(10, 40, 300);
    let ground = Ground::postgres(Cluster::shared(), 3, limit(answers));
    killed(ground, 2, answers, kills);
}

#[test]
fn a_host_on_a_file_that_is_killed_loses_nothing_and_doubles_nothing() {
    let _alone = alone();
    let answers = size(20_000, 100_000, 1_000_000);
    let kills = size(10, 40, 300);
    let directory = tempfile::tempdir().expect("a directory");
    killed(Ground::sqlite(directory.path(), 3, limit(answers)), 1, answers, kills);
}

/// Room for about two thirds of what is asked for, so that in the end calls are denied.
fn limit(answers: usize) -> u64 {
    answers as u64
}

fn killed(ground: Ground, hosts: usize, answers: usize, kills: usize) {
    let mut storm = Storm::begin(ground.clone(), hosts, 40);
    let between = answers / kills;
    for _ in 0..kills {
        // Anywhere, so as not to meet the same point of a batch each time.
        let before = storm.draw(between as u64) as usize;
        storm.go_on(before);
        let host = storm.any_host();
        storm.kill(host);
        let from = Instant::now();
        let host = storm.start();
        let serving = storm.first_answer_of(host, from);
        assert!(serving <= SERVING, "serving again after {serving:?}");
        storm.go_on(between - before);
    }
    storm.end();
    let found = judge(&ground, &mut storm.journal);
    println!("{found:?}");
    assert!(found.denied > 0 && found.settled > 0 && found.released > 0, "{found:?}");
}
