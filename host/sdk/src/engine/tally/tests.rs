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
    tally.book(HOUR_MS, &places, &back, &elsewhere, true).unwrap();
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

/// What is told late is no news, and what is undone is put right by what is told next.
#[test]
fn a_level_is_what_was_last_told_of_it() {
    let (mut tally, subscription) = tally("level");
    let places = ana(&mut tally);
    let level = |tally: &mut Tally| stands(tally, &subscription, 0).0;
    for (used_at, told, undoes, stands) in [
        (5, 9, false, 9),
        (100, 7, false, 7),
        (99, 3, false, 7),
        (100, 0, false, 0),
        (101, 6, false, 6),
        (100, 0, true, 6),
        (101, 4, false, 4),
    ] {
        tally.book(used_at, &places, &tokens(told), &[], undoes).unwrap();
        assert_eq!(level(&mut tally), stands.into(), "{told} at {used_at}");
    }
    let held = tally.hold(200, &places, &tokens(1)).unwrap();
    tally.settle(200, &places, &held, &tokens(8)).unwrap();
    tally.book(199, &places, &tokens(2), &[], false).unwrap();
    assert_eq!(stands(&mut tally, &subscription, 0), (8.into(), 0.into()));
    // Whoever reads the level reads when it was told.
    let (mut other, subscription) = self::tally("level");
    let places = ana(&mut other);
    let rows = tally.take_moved().counters;
    let mut wanted = BTreeMap::new();
    other.missing(0, &places, &[], &mut wanted).unwrap();
    let since: Vec<Since> = wanted.iter().map(|(slot, at)| other.since(*slot, *at)).collect();
    assert!(rows.iter().all(|row| row.opened == Instant::MIN || row.opened >= since[0].opened));
    other.learn(since, &[], Vec::new(), rows);
    other.book(199, &places, &tokens(2), &[], false).unwrap();
    assert_eq!(stands(&mut other, &subscription, 0), (8.into(), 0.into()));
}

#[test]
fn what_was_used_earlier_lands_where_it_was_used() {
    let (mut tally, subscription) = tally("calendar:hour");
    let places = ana(&mut tally);
    tally.book(HOUR_MS - 1, &places, &tokens(3), &[], false).unwrap();
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
    tally.book(5, &places, &tokens(3), &[], false).unwrap();
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
    tally.book(HOUR_MS, &places, &tokens(2), &[], false).unwrap();
    let Moved { latest, counters, .. } = tally.take_moved();
    assert_eq!(of(&latest[0]), [(i64::MIN, total(5)), (HOUR_MS, total(2))]);
    assert_eq!(
        counters.iter().map(|row| (row.opened, row.total)).collect::<Vec<_>>(),
        [(0, total(3))]
    );
    // What was used before lands where it was used, and in what has no beginning.
    tally.book(5, &places, &tokens(1), &[], false).unwrap();
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
    tally.book(HOUR_MS, &places, &tokens(2), &[], false).unwrap();
    let counters = tally.take_moved().counters;
    assert_eq!((counters[0].opened, counters[0].total), (0, total(7)));
}

#[test]
fn a_rolling_window_is_told_of_once_in_its_length() {
    let (mut tally, subscription) = tally("rolling:60");
    let ana = [Dimension { name: "user".into(), value: "ana".into() }];
    for (at, opened) in [(0, 0), (59_999, 0), (60_000, 60_000), (-1, -60_000)] {
        let period = tally.period(&subscription, 0, at, &ana).expect("a period");
        assert_eq!((period.opened, period.closes), (opened, Some(opened + 60_000)), "at {at}");
        assert_eq!(period.whose, ana);
    }
    assert!(tally.period(&subscription, 1, 0, &ana).is_none());
    let lifetime = Counter {
        meter: "llm_tokens".parse().unwrap(),
        window: "lifetime".parse().unwrap(),
        per: Vec::new(),
        limit: None,
    };
    let subscription = tally.subscribe(&[lifetime]);
    let period = tally.period(&subscription, 0, 5, &ana).expect("a period");
    assert_eq!((period.opened, period.closes, period.whose), (Instant::MIN, None, Vec::new()));
}

#[test]
fn a_rolling_window_moves_by_a_sixtieth_of_its_length() {
    let seconds = |seconds: u32| match format!("rolling:{seconds}").parse() {
        Ok(Window::Rolling(seconds)) => seconds,
        other => panic!("{other:?}"),
    };
    for (at, begins) in [(0, 0), (59_999, 0), (60_000, 60_000), (-1, -60_000)] {
        assert_eq!(kept::part_of(at, seconds(3_600)), begins, "at {at}");
    }
    assert_eq!(kept::part_of(1_000, seconds(1)), 992);
}

/// The store knows counters by it: another one would begin at nothing.
#[test]
fn the_name_of_a_counter_never_changes() {
    let counter = |window: &str| Counter {
        meter: "cost.usd".parse().unwrap(),
        window: window.parse().unwrap(),
        per: vec!["user".into(), "agent".into(), "user".into()],
        limit: Some(5.into()),
    };
    let calendar = TenantCalendar::default();
    assert_eq!(id_of(&counter("lifetime"), &calendar), -8_175_558_633_101_951_997);
    assert_eq!(id_of(&counter("calendar:month"), &calendar), 8_879_565_495_011_027_584);
}

#[test]
fn nothing_is_held_of_what_is_not_asked_or_of_a_single_request() {
    let (mut tally, _) = tally("lifetime");
    let request = Counter {
        meter: "llm_tokens".parse().unwrap(),
        window: "request".parse().unwrap(),
        per: Vec::new(),
        limit: None,
    };
    let calls = Counter { meter: "calls".parse().unwrap(), ..request.clone() };
    let calls = Counter { window: "lifetime".parse().unwrap(), ..calls };
    tally.subscribe(&[request, calls]);
    let places = ana(&mut tally);
    let parts = tally.parts(0, &places, &tokens(3)).unwrap();
    assert_eq!(parts, [Part { slot: 0, opened: Instant::MIN, amount: 3.into() }]);
    assert_eq!(tally.len(), 3);
}

/// What is known may have moved on its way to the store.
#[test]
fn what_is_known_is_not_learnt_again() {
    let mut slot = Slot::new((1, "[]".into()));
    let total = |used: u32| Total { used: used.into(), held: Decimal::ZERO };
    slot.learn(100, total(1));
    slot.learn(100, total(2));
    assert_eq!(slot.at(100), total(2), "nothing was known yet");
    slot.learnt = Some(100);
    for (opened, stands) in [(100, total(2)), (101, Total::default()), (99, total(9))] {
        slot.learn(opened, total(9));
        assert_eq!(slot.at(opened), stands, "at {opened}");
    }
    slot.learn(Instant::MIN, total(9));
    assert_eq!(slot.at(Instant::MIN), Total::default());
}

#[test]
fn a_stretch_is_told_once_and_only_where_it_moved() {
    let mut slot = Slot::new((1, "[]".into()));
    let total = |used: u32| Total { used: used.into(), held: Decimal::ZERO };
    assert!(!slot.set(0, total(1), false), "learnt");
    assert!(!slot.set(0, total(1), true), "the same");
    assert!(slot.set(0, total(2), true), "moved");
    assert!(!slot.set(0, total(3), true), "moved before");
    assert!(!slot.set(0, total(4), false), "learnt");
    assert!(slot.set(1, total(1), true), "new");
    assert!(!slot.set(2, total(1), false), "learnt");
}

#[test]
fn what_is_known_is_not_asked_for_again() {
    let (mut tally, _) = tally("calendar:hour");
    let places = ana(&mut tally);
    let wanted = |tally: &Tally, at: Instant, parts: &[Instant]| {
        let part = |opened: &Instant| Part { slot: 0, opened: *opened, amount: Decimal::ONE };
        let parts: Vec<Part> = parts.iter().map(part).collect();
        let mut wanted = BTreeMap::new();
        tally.missing(at, &places, &parts, &mut wanted).unwrap();
        wanted.into_values().collect::<Vec<_>>()
    };
    assert_eq!(wanted(&tally, HOUR_MS + 5, &[]), [HOUR_MS]);
    assert_eq!(wanted(&tally, HOUR_MS + 5, &[0]), [0], "the earliest of them");
    assert_eq!(wanted(&tally, HOUR_MS + 5, &[2 * HOUR_MS]), [HOUR_MS]);
    // The one row of what has no beginning comes along with whatever is asked for.
    assert_eq!(wanted(&tally, HOUR_MS + 5, &[Instant::MIN]), [HOUR_MS]);
    tally.slots[0].learnt = Some(HOUR_MS);
    assert_eq!(wanted(&tally, HOUR_MS + 5, &[HOUR_MS, Instant::MIN]), [0; 0]);
    assert_eq!(wanted(&tally, HOUR_MS + 5, &[0]), [0]);
}
