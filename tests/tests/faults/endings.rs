//! A reservation that is ended in several ways at once.

use tollgate_tests::embedded::{Answer, Trouble, What};
use tollgate_tests::postgres::Cluster;

use crate::crew::{Crew, reserved};
use crate::ground::{Ground, reserve, settle};
use crate::judge::judge;
use crate::sizes::{alone, size};

/// So many reservations are ended at once.
const AT_ONCE: usize = 50;

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
    let mut won = [0, 0];
    for _ in 0..reservations / AT_ONCE {
        let opening: Vec<_> =
            (0..AT_ONCE).map(|host| (host, crew.request(host % 2, None, reserve(10)))).collect();
        let ids: Vec<_> = crew.ask(&opening).iter().map(reserved).collect();
        let mut ends = Vec::new();
        // Of several hosts, and in either order of ways. Where hosts end reservations by themselves
        // once their time is over, that is one way more.
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
                    Answer::Settled { .. } => won[0] += 1,
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
}
