use std::collections::BTreeMap;

use super::*;
use crate::store::{CounterRow, LatestKey, LatestRow, Since, Total};

const HOUR_MS: i64 = 3_600_000;

fn tally(window: &str) -> (Tally, Subscription) {
    let mut tally = Tally::default();
    let counter = Counter {
        meter: "llm_tokens".parse().unwrap(),
        window: window.parse().unwrap(),
        per: vec!["user".into()],
        limit: None,
    };
    let subscription = tally.subscribe(&[counter]);
    (tally, subscription)
}

fn ana(tally: &mut Tally) -> Places {
    tally.places(&[Dimension { name: "user".into(), value: "ana".into() }])
}

/// Used and held, at an instant.
fn stands(tally: &mut Tally, subscription: &Subscription, at: Instant) -> (Decimal, Decimal) {
    let (places, nothing) = (ana(tally), Amounts::default());
    let readings = tally.readings(subscription, at, &places, &nothing, |_, _| None).unwrap();
    (readings[0].used, readings[0].held)
}

fn tokens(amount: impl Into<Decimal>) -> Amounts {
    let mut amounts = Amounts::default();
    amounts.add(&"llm_tokens".parse().unwrap(), amount.into()).unwrap();
    amounts
}

#[test]
fn use_fills_the_window_that_holds_it_and_the_rest_lands_in_the_current_one() {
    let (mut tally, subscription) = tally("calendar:hour");
    let places = ana(&mut tally);
    let parts = tally.hold(0, &places, &tokens(10)).unwrap();
    assert_eq!(stands(&mut tally, &subscription, 0), (0.into(), 10.into()));
    let elsewhere = tally.settle(HOUR_MS, &places, &parts, &tokens(14)).unwrap();
    assert_eq!(elsewhere, parts);
    assert_eq!(stands(&mut tally, &subscription, 0), (10.into(), 0.into()));
    assert_eq!(stands(&mut tally, &subscription, HOUR_MS), (4.into(), 0.into()));
    let moved = tally.take_moved().counters;
    assert_eq!(moved.len(), 2);
    assert_eq!(moved[0].values, "[\"ana\"]");
    assert!(tally.take_moved().counters.is_empty());
    // What was booked so is taken back so.
    let back = tokens(Decimal::from(14).negated());
    let elsewhere: Vec<Part> = elsewhere.iter().map(Part::negated).collect();
    tally.book(HOUR_MS, &places, &back, &elsewhere).unwrap();
    assert_eq!(stands(&mut tally, &subscription, 0), (0.into(), 0.into()));
    assert_eq!(stands(&mut tally, &subscription, HOUR_MS), (0.into(), 0.into()));
}

#[test]
fn an_open_hold_counts_in_a_rolling_window_whatever_its_age() {
    let (mut tally, subscription) = tally("rolling:3600");
    let places = ana(&mut tally);
    let parts = tally.hold(0, &places, &tokens(10)).unwrap();
    assert_eq!(stands(&mut tally, &subscription, 5 * HOUR_MS), (0.into(), 10.into()));
    // Its use lands when it settles, and leaves an hour and at most a part of one later.
    tally.settle(5 * HOUR_MS, &places, &parts, &tokens(7)).unwrap();
    assert_eq!(stands(&mut tally, &subscription, 6 * HOUR_MS - 1), (7.into(), 0.into()));
    assert_eq!(stands(&mut tally, &subscription, 6 * HOUR_MS), (7.into(), 0.into()));
    assert_eq!(stands(&mut tally, &subscription, 6 * HOUR_MS + 60_000), (0.into(), 0.into()));
}

#[test]
fn what_is_in_flight_is_what_is_held() {
    let (mut tally, subscription) = tally("in-flight");
    let places = ana(&mut tally);
    let first = tally.hold(0, &places, &tokens(1)).unwrap();
    let second = tally.hold(5, &places, &tokens(1)).unwrap();
    assert_eq!(stands(&mut tally, &subscription, 9), (0.into(), 2.into()));
    tally.settle(9, &places, &first, &tokens(1)).unwrap();
    tally.release(&second).unwrap();
    assert_eq!(stands(&mut tally, &subscription, 9), (0.into(), 0.into()));
}

#[test]
fn what_was_used_earlier_lands_where_it_was_used() {
    let (mut tally, subscription) = tally("calendar:hour");
    let places = ana(&mut tally);
    tally.book(HOUR_MS - 1, &places, &tokens(3), &[]).unwrap();
    assert_eq!(stands(&mut tally, &subscription, 0), (3.into(), 0.into()));
    assert_eq!(stands(&mut tally, &subscription, HOUR_MS), (0.into(), 0.into()));
}

#[test]
fn nothing_moves_where_a_total_does_not_fit() {
    let (mut tally, _) = tally("lifetime");
    let last: Decimal = "999999999999999".parse().unwrap();
    let places = ana(&mut tally);
    tally.hold(0, &places, &tokens(last)).unwrap();
    tally.take_moved();
    let refused = tally.hold(0, &places, &tokens(last));
    assert!(matches!(refused, Err(TallyError::Amount(_))));
    assert!(tally.take_moved().counters.is_empty());
}

/// What a host must know before it writes the row of the latest stretches, and what then leaves it.
#[test]
fn the_latest_stretches_stand_together_and_what_gives_way_stands_alone() {
    let (mut tally, _) = tally("calendar:hour");
    let lifetime = Counter {
        meter: "llm_tokens".parse().unwrap(),
        window: "lifetime".parse().unwrap(),
        per: vec!["user".into()],
        limit: None,
    };
    tally.subscribe(&[lifetime]);
    let places = ana(&mut tally);
    let mut wanted = BTreeMap::new();
    tally.missing(0, &places, &[], &mut wanted).unwrap();
    let key = LatestKey { per: "[\"user\"]".into(), values: "[\"ana\"]".into() };
    for slot in wanted.keys() {
        assert_eq!(tally.unknown_latest(*slot), Some(key.clone()));
    }
    let since = wanted.iter().map(|(slot, opened)| tally.since(*slot, *opened)).collect();
    tally.learn(since, std::slice::from_ref(&key), Vec::new(), Vec::new());
    assert_eq!(tally.unknown_latest(0), None);
    tally.book(5, &places, &tokens(3), &[]).unwrap();
    let Moved { new_latest: latest, counters, .. } = tally.take_moved();
    assert!(counters.is_empty());
    let total = |used: u32| Total { used: used.into(), held: Decimal::ZERO };
    let of = |row: &LatestRow| {
        let mut totals: Vec<_> = row.totals.iter().map(|(_, at, total)| (*at, *total)).collect();
        totals.sort_by_key(|(at, _)| *at);
        totals
    };
    assert_eq!(of(&latest[0]), [(i64::MIN, total(3)), (0, total(3))]);
    // The next hour takes the place of this one.
    tally.book(HOUR_MS, &places, &tokens(2), &[]).unwrap();
    let Moved { latest, counters, .. } = tally.take_moved();
    assert_eq!(of(&latest[0]), [(i64::MIN, total(5)), (HOUR_MS, total(2))]);
    assert_eq!(
        counters.iter().map(|row| (row.opened, row.total)).collect::<Vec<_>>(),
        [(0, total(3))]
    );
    // What was used before lands where it was used, and in what has no beginning.
    tally.book(5, &places, &tokens(1), &[]).unwrap();
    let Moved { latest, counters, .. } = tally.take_moved();
    assert_eq!(of(&latest[0]), [(i64::MIN, total(6)), (HOUR_MS, total(2))]);
    assert_eq!(
        counters.iter().map(|row| (row.opened, row.total)).collect::<Vec<_>>(),
        [(0, total(4))]
    );
}

/// A counter that was filled from history and has moved since stands in both: the row of the latest
/// is the newer one, also where an earlier time is asked for later on.
#[test]
fn of_a_stretch_that_stands_twice_the_latest_counts() {
    let (mut tally, subscription) = tally("calendar:hour");
    let places = ana(&mut tally);
    let (id, _) = tally.counters().next().unwrap();
    let key = LatestKey { per: "[\"user\"]".into(), values: "[\"ana\"]".into() };
    let total = |used: u32| Total { used: used.into(), held: Decimal::ZERO };
    let since = |opened| vec![Since { counter: id, values: key.values.clone(), opened }];
    let stale = CounterRow {
        counter: id,
        values: key.values.clone(),
        opened: 0,
        version: 1,
        total: total(1),
    };
    let latest = LatestRow { key: key.clone(), version: 2, totals: vec![(id, 0, total(7))] };
    tally.learn(since(HOUR_MS), std::slice::from_ref(&key), vec![latest], Vec::new());
    tally.learn(since(0), &[], Vec::new(), vec![stale]);
    assert_eq!(stands(&mut tally, &subscription, 0), (7.into(), 0.into()));
    // It leaves the row with what it stands at.
    tally.book(HOUR_MS, &places, &tokens(2), &[]).unwrap();
    let counters = tally.take_moved().counters;
    assert_eq!((counters[0].opened, counters[0].total), (0, total(7)));
}
