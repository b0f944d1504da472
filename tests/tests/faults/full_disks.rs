//! Disks that are full, and have room again.

#![allow(clippy::disallowed_methods, reason = "it measures how soon a host gives up")]

use std::time::{Duration, Instant};

use tollgate_tests::disk::SmallDisk;
use tollgate_tests::embedded::{Answer, Trouble};
use tollgate_tests::postgres::Cluster;

use crate::crew::Crew;
use crate::ground::{Ground, reserve};
use crate::judge::judge;
use crate::sizes::alone;

/// So soon a caller hears that there is no room.
const CLOSED: Duration = Duration::from_millis(1_800);

#[test]
fn a_database_without_room_refuses_in_words_and_serves_once_there_is_some() {
    let _alone = alone();
    let settings = ["min_wal_size=32MB", "max_wal_size=32MB"];
    let cluster = match Cluster::on_a_small_disk(160, &settings) {
        Ok(cluster) => cluster,
        Err(why) => return skipped(&why),
    };
    let ground = Ground::postgres(&cluster, 2, 10_000_000);
    let mut crew = Crew::start(ground.clone(), 1);
    full(&mut crew, cluster.disk().expect("its disk"), "No space left");
    judge(&ground, &mut crew.journal);
}

#[test]
fn a_file_without_room_refuses_in_words_and_serves_once_there_is_some() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let disk = match SmallDisk::mount(directory.path(), 8) {
        Ok(disk) => disk,
        Err(why) => return skipped(&why),
    };
    let ground = Ground::sqlite(directory.path(), 2, 10_000_000);
    let mut crew = Crew::start(Ground { enter: disk.enter(), ..ground.clone() }, 1);
    full(&mut crew, &disk, "full");
    // Where the disk is not, its directory is one like others.
    for file in ["ledger.db", "ledger.db-wal"] {
        let (from, to) = (disk.outside().join(file), directory.path().join(file));
        std::fs::copy(from, to).expect("copied");
    }
    judge(&ground, &mut crew.journal);
}

/// A file that cannot be written is said when it is opened, and not at the first request.
#[test]
fn a_file_that_may_not_be_written_is_refused_when_it_is_opened() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let disk = match SmallDisk::mount(directory.path(), 8) {
        Ok(disk) => disk,
        Err(why) => return skipped(&why),
    };
    let mut ground = Ground::sqlite(directory.path(), 1, 1_000);
    ground.enter = disk.enter();
    Crew::start(ground.clone(), 1).replace();
    disk.remount("ro");
    let (events, _heard) = std::sync::mpsc::channel();
    let refused = ground.start(0, &events).err().expect("refused");
    assert!(refused.contains("readonly") || refused.contains("unable to open"), "{refused}");
    disk.remount("rw");
    let mut crew = Crew::start(ground, 1);
    let answer = crew.ask_one(0, None, reserve(1));
    assert!(matches!(answer, Answer::Reserved { .. }), "{answer:?}");
}

/// Asks until there is no room any more, makes some, and is served at once.
fn full(crew: &mut Crew, disk: &SmallDisk, words: &str) {
    let first: Vec<_> = (0..200).map(|_| (0, crew.request(0, None, reserve(10)))).collect();
    assert!(crew.ask(&first).iter().all(|answer| matches!(answer, Answer::Reserved { .. })));
    disk.fill();
    // There is room yet in the files that there are, but not for ever.
    let (mut refused, mut served) = (0, 0);
    while refused < 20 {
        assert!(served < 5_000, "somebody is refused");
        let key = Some(format!("{}", crew.asked()));
        let from = Instant::now();
        let answer = crew.ask_one(refused % 2, key, reserve(10));
        let took = from.elapsed();
        match answer {
            Answer::Reserved { .. } => served += 1,
            Answer::None(Trouble::Unavailable, said) => {
                assert!(took < CLOSED, "{said} after {took:?}");
                assert!(said.contains(words), "`{said}` does not say `{words}`");
                refused += 1;
            }
            other => panic!("{other:?} after {took:?}"),
        }
    }
    disk.clear();
    for tenant in 0..2 {
        let answer = crew.ask_one(tenant, None, reserve(10));
        assert!(matches!(answer, Answer::Reserved { .. }), "{answer:?}");
    }
}

fn skipped(why: &str) {
    println!("NOT TESTED: this machine lets nobody mount a small disk: {why}");
}
