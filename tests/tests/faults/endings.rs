//! A reservation that is ended in several ways at once.

use std::time::Duration;

use tollgate_tests::embedded::{Answer, Trouble, What};
use tollgate_tests::postgres::Cluster;

use crate::crew::{Crew, reserved};
use crate::ground::{Ground, reserve_for, settle};
use crate::judge::judge;
use crate::sizes::{alone, size};

/// So many reservations are ended at once.
const AT_ONCE: usize = 50;

/// How long reservations are held, one after the other: some are over before anyone ends them, some
/// while they are ended, some never.
const TTLS_MS: [i64; 7] = [10, 25, 50, 100, 200, 400, 7 * 86_400_000];

/// By then the shortest are over.
const SHORTEST: Duration = Duration::from_millis(11);

#[test]
fn of_all_ends_of_a_reservation_exactly_one_wins() {
    let _alone = alone();
    let reservations = size(2_000, 10_000, 100_000);
    let ground = Ground::postgres(Cluster::shared(), 2, 10 * reservations as u64);
    ended(Crew::start(ground, 4), reservations);
}

#[test]
fn of_all_ends_of_a_reservation_on_a_file_exactly_one_wins() {
    let _alone = alone();
    let reservations = size(2_000, 10_000, 100_000);
    let directory = tempfile::tempdir().expect("a directory");
    let ground = Ground::sqlite(directory.path(), 2, 10 * reservations as u64);
    ended(Crew::start(ground, 1), reservations);
}

fn ended(mut crew: Crew, reservations: usize) {
    let (mut won, mut late) = ([0, 0], 0);
    for round in 0..reservations / AT_ONCE {
        let ttls_ms = TTLS_MS.iter().cycle().take(AT_ONCE);
        let opening: Vec<_> = ttls_ms
            .enumerate()
            .map(|(host, ttl_ms)| (host, crew.request(host % 2, None, reserve_for(10, *ttl_ms))))
            .collect();
        let ids: Vec<_> = crew.ask(&opening).iter().map(reserved).collect();
        // Where all are quick nothing would be over before anyone ends it: time itself is waited for.
        if round % 5 == 0 {
            std::thread::sleep(SHORTEST);
        }
        let mut ends = Vec::new();
        // Of several hosts, and in either order of ways. What expires may be settled all the same,
        // and nothing else.
        for turn in 0..4 {
            for (place, id) in ids.iter().enumerate() {
                let settles = (turn + place / 2) % 2 == 0;
                let what = if settles { settle(*id, 4) } else { What::Release { id: *id } };
                ends.push((place + turn, crew.request(place % 2, None, what)));
            }
        }
        let answers = crew.ask(&ends);
        for (place, id) in ids.iter().enumerate() {
            let mut winners = 0;
            for answer in answers.iter().skip(place).step_by(AT_ONCE) {
                match answer {
                    Answer::Settled { whole, .. } => {
                        won[0] += 1;
                        late += usize::from(whole.contains("\"late\":true"));
                    }
                    Answer::Released => won[1] += 1,
                    Answer::None(Trouble::Ended, _) => continue,
                    other => panic!("{other:?}"),
                }
                winners += 1;
            }
            assert_eq!(winners, 1, "ends of {id}");
        }
    }
    let ground = crew.ground.clone();
    let found = judge(&ground, &mut crew.journal);
    assert_eq!([found.settled, found.released], won, "{found:?}");
    assert!(won.iter().all(|won| *won > 0), "each way wins now and then: {won:?}");
    assert!(late > 0 && late < won[0], "some expire first: {late} of {won:?}");
}
