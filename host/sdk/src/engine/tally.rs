//! Running totals in memory: what each stretch of each counter stands at, by the values of its
//! dimensions, and which of them moved.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::calendar::{OutOfRange, Span, TenantCalendar};
use tollgate_policy_core::contract::{Counter, Dimension, Reading, dimension};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::window::{Instant, Window};

use crate::store::{CounterRow, Since, Total};

/// A rolling window is kept in so many parts. One that is partly over still counts, so that the
/// total errs on the safe side.
const ROLLING_PARTS: i64 = 60;

/// The totals of one tenant.
#[derive(Debug, Default)]
pub struct Tally {
    kept: Vec<Kept>,
    /// The lists of dimensions that counters stand on, each once.
    pers: Vec<Vec<String>>,
    totals: HashMap<Key, BTreeMap<Instant, Total>>,
    /// From where on the store's rows are known.
    learnt: HashMap<Key, Instant>,
    moved: BTreeSet<(Key, Instant)>,
}

#[derive(Debug)]
struct Kept {
    counter: Counter,
    id: i64,
    /// Its place in `pers`.
    per: usize,
    /// The last one told: a calendar's span holds until it closes.
    span: Cell<Option<Span>>,
}

/// A counter and the values of its dimensions, as a JSON list.
type Key = (i64, Arc<str>);

/// Which of the kept counters a policy's counters are, in its order.
#[derive(Clone, Debug)]
pub struct Subscription(Vec<usize>);

/// A call's values for each list of dimensions.
#[derive(Clone, Debug)]
pub struct Values(Vec<Arc<str>>);

/// What a reservation holds in one stretch of a counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    counter: i64,
    #[serde(serialize_with = "write_text", deserialize_with = "read_text")]
    values: Arc<str>,
    opened: Instant,
    amount: Decimal,
}

/// A total could not be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TallyError {
    /// No calendar reaches there.
    #[error(transparent)]
    Time(#[from] OutOfRange),
    /// The total does not fit.
    #[error("a total does not fit: {0}")]
    Amount(#[from] DecimalError),
}

/// Totals to be, until all of them are known to fit.
#[derive(Default)]
struct Draft(BTreeMap<(Key, Instant), Total>);

impl Tally {
    /// Keeps these counters, each once however many policies ask for it.
    pub fn subscribe(&mut self, counters: &[Counter]) -> Subscription {
        let places = counters.iter().map(|counter| {
            let known = self.kept.iter().position(|kept| {
                let kept = &kept.counter;
                kept.meter == counter.meter
                    && kept.window == counter.window
                    && kept.per == counter.per
            });
            known.unwrap_or_else(|| {
                let per = place_of(&mut self.pers, &counter.per);
                let (id, span) = (id_of(counter), Cell::new(None));
                self.kept.push(Kept { counter: counter.clone(), id, per, span });
                self.kept.len() - 1
            })
        });
        Subscription(places.collect())
    }

    /// The values under which a call is counted; those of dimensions that it lacks are empty.
    pub fn values(&self, dimensions: &[Dimension]) -> Values {
        let list = |per: &Vec<String>| {
            let values: Vec<&str> = per.iter().map(|name| dimension(dimensions, name)).collect();
            serde_json::to_string(&values).unwrap_or_default().into()
        };
        Values(self.pers.iter().map(list).collect())
    }

    /// What the subscribed counters stand at for a call; `asked` tells what it would add to a
    /// meter.
    pub fn readings(
        &self,
        subscription: &Subscription,
        calendar: &TenantCalendar,
        at: Instant,
        values: &Values,
        asked: impl Fn(&str) -> Decimal,
    ) -> Result<Vec<Reading>, TallyError> {
        let reading = |place: &usize| {
            let Kept { counter: Counter { meter, window, .. }, .. } = &self.kept[*place];
            let span = self.kept[*place].span(calendar, at)?;
            let total = self.total(*place, window, span.opened, values)?;
            let Total { used, held } = total;
            let (opened, closes) = (span.opened, span.closes);
            Ok(Reading { used, held, asked: asked(meter.as_str()), limit: None, opened, closes })
        };
        subscription.0.iter().map(reading).collect()
    }

    /// Holds what a call asks, in the stretches that stand open at an instant. Nothing moves where
    /// one total does not fit.
    pub fn hold(
        &mut self,
        calendar: &TenantCalendar,
        at: Instant,
        values: &Values,
        asked: impl Fn(&str) -> Decimal,
    ) -> Result<Vec<Part>, TallyError> {
        let (mut draft, mut parts) = (Draft::default(), Vec::new());
        for (place, kept) in self.kept.iter().enumerate() {
            let amount = asked(kept.counter.meter.as_str());
            if amount.is_zero() || kept.counter.window == Window::Request {
                continue;
            }
            let opened = match kept.counter.window {
                // An open hold counts whatever its age.
                Window::Rolling(_) => Instant::MIN,
                _ => kept.stretch(calendar, at)?,
            };
            let (counter, values) = self.key(place, values);
            let total = draft.total(self, (counter, Arc::clone(&values)), opened);
            total.held = total.held.checked_add(amount)?;
            parts.push(Part { counter, values, opened, amount });
        }
        self.apply(draft);
        Ok(parts)
    }

    /// Gives back what was held.
    pub fn release(&mut self, parts: &[Part]) -> Result<(), TallyError> {
        let mut draft = Draft::default();
        draft.release(self, parts)?;
        self.apply(draft);
        Ok(())
    }

    /// Puts what was used in the place of what was held: it fills the stretches that hold it, the
    /// oldest first, and the rest lands in the one that stands open at an instant.
    pub fn settle(
        &mut self,
        calendar: &TenantCalendar,
        at: Instant,
        values: &Values,
        parts: &[Part],
        used: impl Fn(&str) -> Decimal,
    ) -> Result<(), TallyError> {
        let mut draft = Draft::default();
        draft.release(self, parts)?;
        for (place, kept) in self.kept.iter().enumerate() {
            let mut left = used(kept.counter.meter.as_str());
            let window = kept.counter.window;
            let (counter, values) = self.key(place, values);
            let mut add = |opened, amount: Decimal| -> Result<(), TallyError> {
                let total = draft.total(self, (counter, Arc::clone(&values)), opened);
                total.used = total.used.checked_add(amount)?;
                Ok(())
            };
            match window {
                // Of a request nothing stays, and what is in flight is what is held.
                Window::Request | Window::InFlight => {}
                Window::Level => {
                    draft.total(self, (counter, values), Instant::MIN).used = left;
                }
                Window::Rolling(_) => add(kept.stretch(calendar, at)?, left)?,
                Window::Calendar(_) | Window::Lifetime => {
                    let mut own: Vec<&Part> = parts
                        .iter()
                        .filter(|part| part.counter == counter && part.values == values)
                        .collect();
                    own.sort_by_key(|part| part.opened);
                    for part in own {
                        let filled = left.min(part.amount).at_least_zero();
                        add(part.opened, filled)?;
                        left = left.checked_sub(filled)?;
                    }
                    if !left.is_zero() {
                        add(kept.stretch(calendar, at)?, left)?;
                    }
                }
            }
        }
        self.apply(draft);
        Ok(())
    }

    /// The period that a counter of a policy stands in for a call: when it opened, and whose.
    pub fn period(
        &self,
        subscription: &Subscription,
        counter: u32,
        calendar: &TenantCalendar,
        at: Instant,
        dimensions: &[Dimension],
    ) -> Option<(Instant, Vec<Dimension>)> {
        let place = *subscription.0.get(usize::try_from(counter).ok()?)?;
        let kept = self.kept.get(place)?;
        let counter = &kept.counter;
        // Rolling windows open anew all the time; a part of them is period enough.
        let opened = kept.stretch(calendar, at).ok()?;
        let values = counter.per.iter().map(|name| Dimension {
            name: name.clone(),
            value: dimension(dimensions, name).to_owned(),
        });
        Some((opened, values.collect()))
    }

    /// What must be learnt before a call at an instant can be judged, and before these parts can
    /// be given back.
    pub fn missing(
        &self,
        calendar: &TenantCalendar,
        at: Instant,
        values: &Values,
        parts: &[Part],
    ) -> Result<Vec<Since>, TallyError> {
        let mut wanted: BTreeMap<Key, Instant> = BTreeMap::new();
        for (place, kept) in self.kept.iter().enumerate() {
            let opened = match kept.counter.window {
                Window::Request => continue,
                Window::Calendar(_) => kept.span(calendar, at)?.opened,
                Window::Rolling(seconds) => part_of(kept.span(calendar, at)?.opened, seconds.get()),
                // There is but the one row, which always comes along.
                Window::Lifetime | Window::InFlight | Window::Level => Instant::MAX,
            };
            wanted.insert(self.key(place, values), opened);
        }
        for Part { counter, values, opened, .. } in parts {
            let opened = if *opened == Instant::MIN { Instant::MAX } else { *opened };
            let since = wanted.entry((*counter, Arc::clone(values))).or_insert(opened);
            *since = (*since).min(opened);
        }
        wanted.retain(|key, opened| self.learnt.get(key).is_none_or(|learnt| learnt > opened));
        let since = |((counter, values), opened): (Key, Instant)| Since {
            counter,
            values: values.as_ref().to_owned(),
            opened,
        };
        Ok(wanted.into_iter().map(since).collect())
    }

    /// Takes in what the store has.
    pub fn learn(&mut self, wanted: Vec<Since>, rows: Vec<CounterRow>) {
        for Since { counter, values, opened } in wanted {
            self.learnt.insert((counter, values.into()), opened);
        }
        for CounterRow { counter, values, opened, total } in rows {
            self.totals.entry((counter, values.into())).or_default().insert(opened, total);
        }
    }

    /// The stretches that moved since this was last asked, with what they stand at.
    pub fn take_moved(&mut self) -> Vec<CounterRow> {
        let moved = std::mem::take(&mut self.moved);
        let row = |((counter, values), opened): (Key, Instant)| {
            let key = (counter, values);
            let total = self.totals.get(&key)?.get(&opened).copied()?;
            Some(CounterRow { counter, values: key.1.as_ref().to_owned(), opened, total })
        };
        moved.into_iter().filter_map(row).collect()
    }

    fn key(&self, place: usize, values: &Values) -> Key {
        let Kept { id, per, .. } = self.kept[place];
        (id, Arc::clone(&values.0[per]))
    }

    fn total(
        &self,
        place: usize,
        window: &Window,
        opened: Instant,
        values: &Values,
    ) -> Result<Total, TallyError> {
        let Some(stretches) = self.totals.get(&self.key(place, values)) else {
            return Ok(Total::default());
        };
        let at = |opened| stretches.get(&opened).copied().unwrap_or_default();
        Ok(match window {
            Window::Request => Total::default(),
            Window::Calendar(_) => at(opened),
            Window::Lifetime | Window::InFlight | Window::Level => at(Instant::MIN),
            Window::Rolling(seconds) => {
                let mut total = at(Instant::MIN);
                for (_, part) in stretches.range(part_of(opened, seconds.get())..) {
                    total.used = total.used.checked_add(part.used)?;
                }
                total
            }
        })
    }

    fn apply(&mut self, draft: Draft) {
        for ((key, opened), total) in draft.0 {
            let before = self.totals.entry(key.clone()).or_default().insert(opened, total);
            if before != Some(total) {
                self.moved.insert((key, opened));
            }
        }
    }
}

impl Kept {
    fn span(&self, calendar: &TenantCalendar, at: Instant) -> Result<Span, OutOfRange> {
        if let Window::Calendar(_) = self.counter.window
            && let Some(span) = self.span.get()
            && span.opened <= at
            && span.closes.is_none_or(|closes| at < closes)
        {
            return Ok(span);
        }
        let span = calendar.span(&self.counter.window, at)?;
        self.span.set(Some(span));
        Ok(span)
    }

    /// Where the stretch begins into which something falls that is used at an instant.
    fn stretch(&self, calendar: &TenantCalendar, at: Instant) -> Result<Instant, OutOfRange> {
        Ok(match self.counter.window {
            Window::Calendar(_) => self.span(calendar, at)?.opened,
            Window::Rolling(seconds) => part_of(at, seconds.get()),
            Window::Request | Window::Lifetime | Window::InFlight | Window::Level => Instant::MIN,
        })
    }
}

impl Draft {
    fn total(&mut self, tally: &Tally, key: Key, opened: Instant) -> &mut Total {
        let stands = || {
            let total = tally.totals.get(&key).and_then(|stretches| stretches.get(&opened));
            total.copied().unwrap_or_default()
        };
        let total = stands();
        self.0.entry((key, opened)).or_insert(total)
    }

    fn release(&mut self, tally: &Tally, parts: &[Part]) -> Result<(), TallyError> {
        for Part { counter, values, opened, amount } in parts {
            let total = self.total(tally, (*counter, Arc::clone(values)), *opened);
            total.held = total.held.checked_sub(*amount)?;
        }
        Ok(())
    }
}

fn write_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn read_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Into::into)
}

/// The same in every host: two counters that meet in it would be one in many ages of the world.
fn id_of(counter: &Counter) -> i64 {
    let per = serde_json::to_string(&counter.per).unwrap_or_default();
    let text = format!("{}|{}|{per}", counter.meter.as_str(), counter.window);
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |id, byte| id << 8 | i64::from(*byte))
}

fn place_of(pers: &mut Vec<Vec<String>>, per: &[String]) -> usize {
    pers.iter().position(|known| known == per).unwrap_or_else(|| {
        pers.push(per.to_vec());
        pers.len() - 1
    })
}

/// Where the part of a rolling window begins that holds an instant.
fn part_of(at: Instant, seconds: u32) -> Instant {
    let part_ms = (i64::from(seconds) * 1_000 / ROLLING_PARTS).max(1);
    at.div_euclid(part_ms).saturating_mul(part_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn utc() -> TenantCalendar {
        TenantCalendar::default()
    }

    fn ana(tally: &Tally) -> Values {
        tally.values(&[Dimension { name: "user".into(), value: "ana".into() }])
    }

    /// Used and held, at an instant.
    fn stands(tally: &Tally, subscription: &Subscription, at: Instant) -> (Decimal, Decimal) {
        let readings =
            tally.readings(subscription, &utc(), at, &ana(tally), |_| Decimal::ZERO).unwrap();
        (readings[0].used, readings[0].held)
    }

    fn amount(amount: u32) -> impl Fn(&str) -> Decimal {
        move |_| amount.into()
    }

    #[test]
    fn use_fills_the_window_that_holds_it_and_the_rest_lands_in_the_current_one() {
        let (mut tally, subscription) = tally("calendar:hour");
        let values = ana(&tally);
        let parts = tally.hold(&utc(), 0, &values, amount(10)).unwrap();
        assert_eq!(stands(&tally, &subscription, 0), (0.into(), 10.into()));
        tally.settle(&utc(), HOUR_MS, &values, &parts, amount(14)).unwrap();
        assert_eq!(stands(&tally, &subscription, 0), (10.into(), 0.into()));
        assert_eq!(stands(&tally, &subscription, HOUR_MS), (4.into(), 0.into()));
        let moved = tally.take_moved();
        assert_eq!(moved.len(), 2);
        assert_eq!(moved[0].values, "[\"ana\"]");
        assert!(tally.take_moved().is_empty());
    }

    #[test]
    fn an_open_hold_counts_in_a_rolling_window_whatever_its_age() {
        let (mut tally, subscription) = tally("rolling:3600");
        let values = ana(&tally);
        let parts = tally.hold(&utc(), 0, &values, amount(10)).unwrap();
        assert_eq!(stands(&tally, &subscription, 5 * HOUR_MS), (0.into(), 10.into()));
        // Its use lands when it settles, and leaves an hour and at most a part of one later.
        tally.settle(&utc(), 5 * HOUR_MS, &values, &parts, amount(7)).unwrap();
        assert_eq!(stands(&tally, &subscription, 6 * HOUR_MS - 1), (7.into(), 0.into()));
        assert_eq!(stands(&tally, &subscription, 6 * HOUR_MS), (7.into(), 0.into()));
        assert_eq!(stands(&tally, &subscription, 6 * HOUR_MS + 60_000), (0.into(), 0.into()));
    }

    #[test]
    fn what_is_in_flight_is_what_is_held() {
        let (mut tally, subscription) = tally("in-flight");
        let values = ana(&tally);
        let first = tally.hold(&utc(), 0, &values, amount(1)).unwrap();
        let second = tally.hold(&utc(), 5, &values, amount(1)).unwrap();
        assert_eq!(stands(&tally, &subscription, 9), (0.into(), 2.into()));
        tally.settle(&utc(), 9, &values, &first, amount(1)).unwrap();
        tally.release(&second).unwrap();
        assert_eq!(stands(&tally, &subscription, 9), (0.into(), 0.into()));
    }

    #[test]
    fn nothing_moves_where_a_total_does_not_fit() {
        let (mut tally, _) = tally("lifetime");
        let last: Decimal = "999999999999999".parse().unwrap();
        let values = ana(&tally);
        tally.hold(&utc(), 0, &values, |_| last).unwrap();
        tally.take_moved();
        assert!(matches!(tally.hold(&utc(), 0, &values, |_| last), Err(TallyError::Amount(_))));
        assert!(tally.take_moved().is_empty());
    }
}
