//! One idempotency key that is asked many times over.

use tollgate_tests::embedded::{Answer, What};
use tollgate_tests::postgres::Cluster;

use crate::crew::{Crew, reserved};
use crate::ground::{Ground, reserve, settle};
use crate::judge::judge;
use crate::sizes::{alone, size};

/// So often is each key asked.
const TIMES: usize = 64;

/// So many keys are asked at once.
const AT_ONCE: usize = 10;

#[test]
fn a_key_asked_64_times_over_four_processes_has_one_effect_and_one_answer() {
    let _alone = alone();
    let keys = size(200, 1_000, 10_000);
    let ground = Ground::postgres(Cluster::shared(), 2, 4 * keys as u64);
    asked_often(Crew::start(ground, 4), keys, false);
}

/// Of the one process half are asked, then it is killed, and its successor is asked the rest.
#[test]
fn a_key_asked_64_times_of_a_host_on_a_file_and_its_successor_has_one_effect_and_one_answer() {
    let _alone = alone();
    let keys = size(200, 1_000, 10_000);
    let directory = tempfile::tempdir().expect("a directory");
    let ground = Ground::sqlite(directory.path(), 2, 4 * keys as u64);
    asked_often(Crew::start(ground, 1), keys, true);
}

/// Half of the keys are of one tenant, for which there is room for all; the other one asks for
/// more than there is.
fn asked_often(mut crew: Crew, keys: usize, replaced: bool) {
    for first in (0..keys).step_by(AT_ONCE) {
        let mut asks = Vec::new();
        for key in first..first + AT_ONCE {
            let tenant = key % 2;
            asks.push((tenant, format!("reserve {key}"), reserve([5, 20][tenant])));
        }
        let answers = often(&mut crew, &asks, replaced && first == 0);
        let mut ends = Vec::new();
        for ((tenant, key, _), answer) in asks.iter().zip(&answers) {
            if let Answer::Reserved { .. } = answer {
                let id = reserved(answer);
                let end = if ends.len() % 2 == 0 { settle(id, 4) } else { What::Release { id } };
                ends.push((*tenant, format!("end of {key}"), end));
            }
        }
        // Every other batch of keys stays open, so that the room is used up.
        if first % (2 * AT_ONCE) == 0 {
            often(&mut crew, &ends, false);
        }
    }
    let ground = crew.ground.clone();
    let found = judge(&ground, &mut crew.journal);
    assert_eq!(found.reserved + found.denied, keys, "{found:?}");
    assert!(found.denied > 0, "{found:?}");
}

/// Asks each so often, of all hosts at once: the one answer to each.
fn often(crew: &mut Crew, asks: &[(usize, String, What)], replaced: bool) -> Vec<Answer> {
    let mut requests = Vec::new();
    for time in 0..TIMES {
        for (tenant, key, what) in asks {
            requests.push((time, crew.request(*tenant, Some(key.clone()), what.clone())));
        }
    }
    let mut answers = Vec::new();
    for part in requests.chunks(requests.len().div_ceil(2).max(1)) {
        answers.extend(crew.ask(part));
        if replaced {
            crew.replace();
        }
    }
    for again in answers.chunks(asks.len().max(1)) {
        assert_eq!(again, &answers[..asks.len()]);
    }
    answers.truncate(asks.len());
    answers
}
