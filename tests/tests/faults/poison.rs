//! One request that nobody can serve, among those of many tenants in one batch.

use tollgate_tests::embedded::{Answer, Request, Trouble, What};
use tollgate_tests::postgres::Cluster;

use crate::crew::Crew;
use crate::ground::{Ground, reserve};
use crate::sizes::alone;
use crate::sql;

const TENANTS: usize = 256;

/// The tenant that asks for what cannot be done.
const POISONED: usize = 7;

/// The largest amount there is.
const MOST: &str = "999999999999999.999999999999";

fn of_agent(agent: &str, amount: &str) -> What {
    let amount = amount.parse().expect("an amount");
    What::Reserve { agent: agent.into(), amount, ttl_ms: 7 * 86_400_000 }
}

#[test]
fn one_poisoned_request_among_those_of_256_tenants_harms_no_other() {
    let _alone = alone();
    let ground = Ground::postgres(Cluster::shared(), TENANTS, u64::from(u32::MAX));
    harms_no_other(Crew::start(ground.clone(), 1));
    let none = "SELECT count(*) FROM head WHERE tenant_id <> 't7' AND version <> \
        (SELECT count(*) FROM batch WHERE batch.tenant_id = head.tenant_id)";
    assert_eq!(sql::number(&ground, none), 0);
    let decided = "SELECT sum(cardinality(allowed) + cardinality(denied))::bigint FROM batch WHERE tenant_id = 't8'";
    let decided = sql::number(&ground, decided);
    let asked = 1 + poisons().len() as i64;
    assert_eq!(decided, asked);
}

#[test]
fn one_poisoned_request_among_those_of_256_tenants_in_a_file_harms_no_other() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    harms_no_other(Crew::start(Ground::sqlite(directory.path(), TENANTS, u64::from(u32::MAX)), 1));
}

/// Key, what, and where it may not be answered, the trouble that it is.
fn poisons() -> Vec<(Option<String>, What, &'static [Trouble])> {
    let yesterday = || Some("yesterday".to_owned());
    let refused: &[Trouble] = &[Trouble::Refused, Trouble::Other];
    let long: String = (0..20_000_u32).map(digit).collect();
    vec![
        (yesterday(), reserve(11), &[Trouble::KeyReused]),
        (Some("a\0key".into()), reserve(10), refused),
        (Some(long.clone()), reserve(10), refused),
        (None, of_agent("a\0name", "10"), refused),
        (None, of_agent(&long, "10"), refused),
        (None, of_agent("sdr", MOST), refused),
        (None, of_agent("sdr", "-1"), refused),
    ]
}

/// Of a text that does not get shorter by compressing it.
fn digit(place: u32) -> char {
    let mixed = place.wrapping_mul(2_654_435_761).rotate_left(13).wrapping_mul(2_246_822_519);
    char::from_digit((mixed >> 16) % 36, 36).expect("a digit")
}

fn harms_no_other(mut crew: Crew) {
    let healthy = |crew: &mut Crew, number: usize| -> Vec<(usize, Request)> {
        let key = |tenant| {
            Some(if number == 0 { "yesterday".into() } else { format!("{tenant} {number}") })
        };
        (0..TENANTS).map(|tenant| (0, crew.request(tenant, key(tenant), reserve(10)))).collect()
    };
    let first = healthy(&mut crew, 0);
    assert!(crew.ask(&first).iter().all(|answer| matches!(answer, Answer::Reserved { .. })));
    let mut harmed = Vec::new();
    for (number, (key, what, troubles)) in poisons().into_iter().enumerate() {
        let mut requests = healthy(&mut crew, number + 1);
        requests[POISONED].1.key = key;
        requests[POISONED].1.what = what;
        for (tenant, answer) in crew.ask(&requests).into_iter().enumerate() {
            let passes = match &answer {
                Answer::Reserved { .. } => true,
                // What is too much may be denied.
                Answer::Denied { .. } => tenant == POISONED,
                Answer::None(trouble, _) => tenant == POISONED && troubles.contains(trouble),
                _ => false,
            };
            if !passes {
                harmed.push(format!("poison {number}, tenant {tenant}: {answer:?}"));
            }
        }
    }
    assert!(
        harmed.is_empty(),
        "{} harmed, first {:#?}",
        harmed.len(),
        &harmed[..harmed.len().min(5)]
    );
}
