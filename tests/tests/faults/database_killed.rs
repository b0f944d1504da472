//! A database that is killed, shut down and cut off under its hosts.

use std::time::Duration;

use tollgate_tests::postgres::Cluster;

use crate::ground::Ground;
use crate::judge::judge;
use crate::sizes::{alone, size};
use crate::sql;
use crate::storm::Storm;

/// Hosts serve in that time once Postgres does.
const SERVING: Duration = Duration::from_secs(10);

#[test]
fn a_database_that_is_killed_keeps_what_was_answered() {
    let _alone = alone();
    let (times, between) = (size(10, 40, 300), size(1_000, 2_000, 3_000));
    let cluster = Cluster::start(&[]);
    let ground = Ground::postgres(&cluster, 3, (times * between) as u64);
    let mut storm = Storm::begin(ground.clone(), 2, 40);
    for time in 0..times {
        let before = storm.draw(between as u64) as usize;
        storm.go_on(before);
        match time % 4 {
            0 => {
                cluster.kill();
                cluster.restart();
            }
            1 => {
                cluster.stop_at_once();
                cluster.restart();
            }
            // One of its processes: it starts all of them anew by itself.
            2 => cluster.kill_process(sql::number(
                &ground,
                "SELECT CAST(max(pid) AS bigint) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )),
            _ => {
                let ended = sql::end_sessions(&ground);
                assert!(ended > 0, "hosts are connected");
            }
        }
        let serving = storm.next_answer();
        assert!(serving <= SERVING, "serving again after {serving:?}");
        storm.go_on(between - before);
    }
    storm.end();
    let found = judge(&ground, &mut storm.journal);
    assert!(found.settled > 0 && found.released > 0, "{found:?}");
}
