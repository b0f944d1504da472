//! Running totals in memory: what each stretch of each counter stands at, by the values of its
//! dimensions, and which of them moved.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::calendar::{OutOfRange, Span, TenantCalendar};
use tollgate_policy_core::contract::{Counter, Dimension, Reading, dimension};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::window::{Calendar, Instant, Window};

use super::amounts::Amounts;
use super::part::Part;
use crate::store::{CounterRow, Since, Total};

/// A rolling window is kept in so many parts. One that is partly over still counts, so that the
/// total errs on the safe side.
const ROLLING_PARTS: i64 = 60;

/// The totals of one tenant.
#[derive(Debug, Default)]
pub struct Tally {
    calendar: TenantCalendar,
    kept: Vec<Kept>,
    /// The lists of dimensions that counters stand on.
    lists: Vec<List>,
    slots: Vec<Slot>,
    index: HashMap<Key, usize>,
    moved: Vec<(usize, Instant)>,
}

#[derive(Debug)]
struct Kept {
    counter: Counter,
    id: i64,
    /// Its place in `lists`, and its place among the counters of that list.
    list: usize,
    rank: usize,
    /// The last one told: a calendar's span holds until it closes.
    span: Cell<Option<Span>>,
}

/// A list of dimensions, in the order of their names.
#[derive(Debug)]
struct List {
    per: Vec<String>,
    counters: Vec<i64>,
    /// The slots of these counters, by values.
    slots: HashMap<Arc<str>, Arc<[usize]>>,
}

/// A counter and the values of its dimensions, as a JSON list.
type Key = (i64, Arc<str>);

/// All that is known of a counter for certain values.
#[derive(Debug)]
struct Slot {
    key: Key,
    /// From where on the store's rows are known; none: none are.
    learnt: Option<Instant>,
    /// In the order of time.
    stretches: Vec<Stretch>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    opened: Instant,
    total: Total,
    moved: bool,
}

/// Which of the kept counters a policy's counters are, in its order.
#[derive(Clone, Debug)]
pub struct Subscription(Vec<usize>);

/// Where a call is counted: for each list of dimensions the slots of its counters.
#[derive(Clone, Debug)]
pub struct Places(Vec<Arc<[usize]>>);

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
struct Draft(Vec<(usize, Instant, Total)>);

impl Tally {
    /// With nothing kept yet.
    pub fn new(calendar: TenantCalendar) -> Self {
        Self { calendar, ..Self::default() }
    }

    /// Keeps these counters, each once however many policies ask for it.
    pub fn subscribe<'a>(
        &mut self,
        counters: impl IntoIterator<Item = &'a Counter>,
    ) -> Subscription {
        let places = counters.into_iter().map(|counter| self.keep(counter)).collect();
        Subscription(places)
    }

    fn keep(&mut self, counter: &Counter) -> usize {
        let id = id_of(counter, &self.calendar);
        if let Some(known) = self.kept.iter().position(|kept| kept.id == id) {
            return known;
        }
        let per = sorted(&counter.per);
        let list = self.lists.iter().position(|list| list.per == per).unwrap_or_else(|| {
            self.lists.push(List { per, counters: Vec::new(), slots: HashMap::new() });
            self.lists.len() - 1
        });
        let rank = self.lists[list].counters.len();
        self.lists[list].counters.push(id);
        self.lists[list].slots.clear();
        let counter = counter.clone();
        self.kept.push(Kept { counter, id, list, rank, span: Cell::new(None) });
        self.kept.len() - 1
    }

    /// Those that are kept.
    pub fn counters(&self) -> impl Iterator<Item = (i64, &Counter)> {
        self.kept.iter().map(|kept| (kept.id, &kept.counter))
    }

    /// How many totals are in memory.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Where a call is counted. Under the empty value where it lacks a dimension.
    pub fn places(&mut self, dimensions: &[Dimension]) -> Places {
        let Self { lists, slots, index, .. } = self;
        let place = |list: &mut List| {
            let values: Vec<&str> =
                list.per.iter().map(|name| dimension(dimensions, name)).collect();
            let values = serde_json::to_string(&values).unwrap_or_default();
            if let Some(known) = list.slots.get(values.as_str()) {
                return Arc::clone(known);
            }
            let values: Arc<str> = values.into();
            let slot = |id: &i64| slot(slots, index, (*id, Arc::clone(&values)));
            let found: Arc<[usize]> = list.counters.iter().map(slot).collect();
            list.slots.insert(values, Arc::clone(&found));
            found
        };
        Places(lists.iter_mut().map(place).collect())
    }

    /// The slot of a counter for these values, whether it is kept or was once.
    pub fn slot(&mut self, counter: i64, values: &str) -> usize {
        slot(&mut self.slots, &mut self.index, (counter, values.into()))
    }

    /// What a slot is of.
    pub fn key(&self, slot: usize) -> (i64, &Arc<str>) {
        let (counter, values) = &self.slots[slot].key;
        (*counter, values)
    }

    /// What the subscribed counters stand at for a call that asks for so much. `limit` tells the
    /// limit that was set for a slot.
    pub fn readings(
        &self,
        subscription: &Subscription,
        at: Instant,
        places: &Places,
        asked: &Amounts,
        limit: impl Fn(usize) -> Option<Decimal>,
    ) -> Result<Vec<Reading>, TallyError> {
        let reading = |place: &usize| {
            let (slot, reading) = self.kept[*place].reading(self, at, places, asked)?;
            Ok(Reading { limit: limit(slot), ..reading })
        };
        subscription.0.iter().map(reading).collect()
    }

    /// What every kept counter stands at for a call that asks for so much, with the counter and
    /// its slot.
    pub fn standing<'a>(
        &'a self,
        at: Instant,
        places: &'a Places,
        asked: &'a Amounts,
    ) -> impl Iterator<Item = Result<(usize, &'a Counter, Reading), TallyError>> + 'a {
        self.kept.iter().map(move |kept| {
            let (slot, reading) = kept.reading(self, at, places, asked)?;
            Ok((slot, &kept.counter, reading))
        })
    }

    /// Holds what a call asks, in the stretches that stand open at an instant. Nothing moves where
    /// one total does not fit.
    pub fn hold(
        &mut self,
        at: Instant,
        places: &Places,
        asked: &Amounts,
    ) -> Result<Vec<Part>, TallyError> {
        let (mut draft, mut parts) = (Draft::default(), Vec::new());
        for kept in &self.kept {
            let amount = asked.of(kept.counter.meter.as_str());
            if amount.is_zero() || kept.counter.window == Window::Request {
                continue;
            }
            let opened = match kept.counter.window {
                // An open hold counts whatever its age.
                Window::Rolling(_) => Instant::MIN,
                _ => kept.stretch(&self.calendar, at)?,
            };
            let part = Part { slot: kept.slot(places), opened, amount };
            let total = draft.total(self, part.slot, opened);
            total.held = total.held.checked_add(amount)?;
            parts.push(part);
        }
        self.apply(draft);
        Ok(parts)
    }

    /// By which its windows open and close.
    pub fn calendar(&self) -> &TenantCalendar {
        &self.calendar
    }

    /// Whether it keeps this counter.
    pub fn keeps(&self, counter: i64) -> bool {
        self.kept.iter().any(|kept| kept.id == counter)
    }

    /// Holds these very parts.
    pub fn take(&mut self, parts: &[Part]) -> Result<(), TallyError> {
        let parts: Vec<Part> = parts.iter().map(Part::negated).collect();
        self.release(&parts)
    }

    /// Gives back what was held.
    pub fn release(&mut self, parts: &[Part]) -> Result<(), TallyError> {
        let mut draft = Draft::default();
        draft.release(self, parts)?;
        self.apply(draft);
        Ok(())
    }

    /// Puts what was used in the place of what was held: it fills the stretches that hold it, the
    /// oldest first, and the rest lands in the one that stands open at an instant. Returned are the
    /// parts that landed elsewhere than in that one.
    pub fn settle(
        &mut self,
        at: Instant,
        places: &Places,
        parts: &[Part],
        used: &Amounts,
    ) -> Result<Vec<Part>, TallyError> {
        let (mut draft, mut elsewhere) = (Draft::default(), Vec::new());
        draft.release(self, parts)?;
        for kept in &self.kept {
            let mut left = used.of(kept.counter.meter.as_str());
            let slot = kept.slot(places);
            match kept.counter.window {
                // Of a request nothing stays, and what is in flight is what is held.
                Window::Request | Window::InFlight => continue,
                // What was not reported stays.
                Window::Level => {
                    if used.get(kept.counter.meter.as_str()).is_some() {
                        draft.total(self, slot, Instant::MIN).used = left;
                    }
                }
                Window::Rolling(_) => {
                    draft.add(self, slot, kept.stretch(&self.calendar, at)?, left)?
                }
                Window::Calendar(_) | Window::Lifetime => {
                    let current = kept.stretch(&self.calendar, at)?;
                    let mut own: Vec<&Part> =
                        parts.iter().filter(|part| part.slot == slot).collect();
                    own.sort_by_key(|part| part.opened);
                    for part in own {
                        let amount = left.min(part.amount).at_least_zero();
                        draft.add(self, slot, part.opened, amount)?;
                        left = left.checked_sub(amount)?;
                        if part.opened != current && !amount.is_zero() {
                            elsewhere.push(Part { slot, opened: part.opened, amount });
                        }
                    }
                    if !left.is_zero() {
                        draft.add(self, slot, current, left)?;
                    }
                }
            }
        }
        self.apply(draft);
        Ok(elsewhere)
    }

    /// Books what was used at an instant, in the stretches that hold it, but for the parts that
    /// landed elsewhere. With amounts below zero it takes back what was booked so.
    pub fn book(
        &mut self,
        used_at: Instant,
        places: &Places,
        used: &Amounts,
        elsewhere: &[Part],
    ) -> Result<(), TallyError> {
        let mut draft = Draft::default();
        for kept in &self.kept {
            let Some(mut left) = used.get(kept.counter.meter.as_str()) else { continue };
            let slot = kept.slot(places);
            match kept.counter.window {
                Window::Request | Window::InFlight => continue,
                // What was reported wrongly is put right by the next report.
                Window::Level if left.is_negative() => continue,
                Window::Level => draft.total(self, slot, Instant::MIN).used = left,
                Window::Rolling(_) | Window::Calendar(_) | Window::Lifetime => {
                    for part in elsewhere.iter().filter(|part| part.slot == slot) {
                        draft.add(self, slot, part.opened, part.amount)?;
                        left = left.checked_sub(part.amount)?;
                    }
                    draft.add(self, slot, kept.stretch(&self.calendar, used_at)?, left)?;
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
        at: Instant,
        dimensions: &[Dimension],
    ) -> Option<(Instant, Vec<Dimension>)> {
        let place = *subscription.0.get(usize::try_from(counter).ok()?)?;
        let kept = self.kept.get(place)?;
        // Rolling windows open anew all the time; a part of them is period enough.
        let opened = kept.stretch(&self.calendar, at).ok()?;
        let values = self.lists[kept.list].per.iter().map(|name| Dimension {
            name: name.clone(),
            value: dimension(dimensions, name).to_owned(),
        });
        Some((opened, values.collect()))
    }

    /// What must be learnt before a call at an instant can be judged, and before these parts can
    /// be given back.
    pub fn missing(
        &self,
        at: Instant,
        places: &Places,
        parts: &[Part],
        wanted: &mut BTreeMap<usize, Instant>,
    ) -> Result<(), TallyError> {
        let mut want = |slot: usize, opened: Instant| {
            if self.slots[slot].learnt.is_none_or(|learnt| learnt > opened) {
                let since = wanted.entry(slot).or_insert(opened);
                *since = (*since).min(opened);
            }
        };
        for kept in &self.kept {
            let opened = match kept.counter.window {
                Window::Request => continue,
                Window::Calendar(_) => kept.span(&self.calendar, at)?.opened,
                Window::Rolling(seconds) => {
                    part_of(kept.span(&self.calendar, at)?.opened, seconds.get())
                }
                // There is but the one row, which always comes along.
                Window::Lifetime | Window::InFlight | Window::Level => Instant::MAX,
            };
            want(kept.slot(places), opened);
        }
        for Part { slot, opened, .. } in parts {
            want(*slot, if *opened == Instant::MIN { Instant::MAX } else { *opened });
        }
        Ok(())
    }

    /// A wanted slot as the store is asked for it.
    pub fn since(&self, slot: usize, opened: Instant) -> Since {
        let (counter, values) = &self.slots[slot].key;
        Since { counter: *counter, values: values.as_ref().to_owned(), opened }
    }

    /// Takes in what the store has of what is not known yet: what is known may have moved since, on
    /// its way to the store.
    pub fn learn(&mut self, wanted: Vec<Since>, rows: Vec<CounterRow>) {
        for CounterRow { counter, values, opened, total } in rows {
            let slot = self.slot(counter, &values);
            let slot = &mut self.slots[slot];
            let known = |learnt| opened == Instant::MIN || opened >= learnt;
            if !slot.learnt.is_some_and(known) {
                slot.set(opened, total, false);
            }
        }
        for Since { counter, values, opened } in wanted {
            let slot = self.slot(counter, &values);
            self.slots[slot].learnt = Some(opened);
        }
    }

    /// Takes in totals that the store does not have yet.
    pub fn adopt(&mut self, rows: Vec<CounterRow>) {
        for CounterRow { counter, values, opened, total } in rows {
            let slot = self.slot(counter, &values);
            self.slots[slot].learnt = Some(Instant::MIN);
            if self.slots[slot].set(opened, total, true) {
                self.moved.push((slot, opened));
            }
        }
    }

    /// The stretches that moved since this was last asked, with what they stand at.
    pub fn take_moved(&mut self) -> Vec<CounterRow> {
        let mut moved = std::mem::take(&mut self.moved);
        moved.sort_unstable();
        let row = |(slot, opened): (usize, Instant)| {
            let Slot { key: (counter, values), stretches, .. } = &mut self.slots[slot];
            let stretch = stretches.iter_mut().find(|stretch| stretch.opened == opened)?;
            stretch.moved = false;
            let (counter, values) = (*counter, values.as_ref().to_owned());
            Some(CounterRow { counter, values, opened, total: stretch.total })
        };
        moved.into_iter().filter_map(row).collect()
    }

    fn apply(&mut self, draft: Draft) {
        for (slot, opened, total) in draft.0 {
            if self.slots[slot].set(opened, total, true) {
                self.moved.push((slot, opened));
            }
        }
    }
}

impl Kept {
    fn reading(
        &self,
        tally: &Tally,
        at: Instant,
        places: &Places,
        asked: &Amounts,
    ) -> Result<(usize, Reading), TallyError> {
        let Span { opened, closes } = self.span(&tally.calendar, at)?;
        let slot = self.slot(places);
        let Total { used, held } = tally.slots[slot].total(&self.counter.window, opened)?;
        let asked = asked.of(self.counter.meter.as_str());
        Ok((slot, Reading { used, held, asked, limit: None, opened, closes }))
    }

    fn slot(&self, places: &Places) -> usize {
        places.0[self.list][self.rank]
    }

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

impl Slot {
    fn at(&self, opened: Instant) -> Total {
        let place = self.stretches.binary_search_by_key(&opened, |stretch| stretch.opened);
        place.map_or_else(|_| Total::default(), |place| self.stretches[place].total)
    }

    /// Whether this is the first time that it moves since it was last told.
    fn set(&mut self, opened: Instant, total: Total, moves: bool) -> bool {
        match self.stretches.binary_search_by_key(&opened, |stretch| stretch.opened) {
            Ok(place) => {
                let stretch = &mut self.stretches[place];
                let first = moves && !stretch.moved && stretch.total != total;
                stretch.total = total;
                stretch.moved |= first;
                first
            }
            Err(place) => {
                self.stretches.insert(place, Stretch { opened, total, moved: moves });
                moves
            }
        }
    }

    fn total(&self, window: &Window, opened: Instant) -> Result<Total, TallyError> {
        Ok(match window {
            Window::Request => Total::default(),
            Window::Calendar(_) => self.at(opened),
            Window::Lifetime | Window::InFlight | Window::Level => self.at(Instant::MIN),
            Window::Rolling(seconds) => {
                let mut total = self.at(Instant::MIN);
                let from = part_of(opened, seconds.get());
                let first = self.stretches.partition_point(|stretch| stretch.opened < from);
                for stretch in &self.stretches[first..] {
                    total.used = total.used.checked_add(stretch.total.used)?;
                }
                total
            }
        })
    }
}

impl Draft {
    fn total(&mut self, tally: &Tally, slot: usize, opened: Instant) -> &mut Total {
        let known = self.0.iter().position(|(own, at, _)| *own == slot && *at == opened);
        let place = known.unwrap_or_else(|| {
            self.0.push((slot, opened, tally.slots[slot].at(opened)));
            self.0.len() - 1
        });
        &mut self.0[place].2
    }

    fn add(
        &mut self,
        tally: &Tally,
        slot: usize,
        opened: Instant,
        amount: Decimal,
    ) -> Result<(), TallyError> {
        let total = self.total(tally, slot, opened);
        total.used = total.used.checked_add(amount)?;
        Ok(())
    }

    fn release(&mut self, tally: &Tally, parts: &[Part]) -> Result<(), TallyError> {
        for Part { slot, opened, amount } in parts {
            let total = self.total(tally, *slot, *opened);
            total.held = total.held.checked_sub(*amount)?;
        }
        Ok(())
    }
}

fn slot(slots: &mut Vec<Slot>, index: &mut HashMap<Key, usize>, key: Key) -> usize {
    *index.entry(key).or_insert_with_key(|key| {
        slots.push(Slot { key: key.clone(), learnt: None, stretches: Vec::new() });
        slots.len() - 1
    })
}

fn sorted(per: &[String]) -> Vec<String> {
    let mut per = per.to_vec();
    per.sort();
    per.dedup();
    per
}

/// The same in every host: two counters that meet in it would be one in many ages of the world. By
/// another calendar it is another counter, since its windows are others.
pub fn id_of(counter: &Counter, calendar: &TenantCalendar) -> i64 {
    let per = serde_json::to_string(&sorted(&counter.per)).unwrap_or_default();
    let by = match counter.window {
        Window::Calendar(Calendar { utc: false, .. }) => {
            format!("{} {:?}", calendar.zone.name(), calendar.first_day_of_week)
        }
        _ => String::new(),
    };
    let text = format!("{}|{}|{per}|{by}", counter.meter.as_str(), counter.window);
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |id, byte| id << 8 | i64::from(*byte))
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

    fn ana(tally: &mut Tally) -> Places {
        tally.places(&[Dimension { name: "user".into(), value: "ana".into() }])
    }

    /// Used and held, at an instant.
    fn stands(tally: &mut Tally, subscription: &Subscription, at: Instant) -> (Decimal, Decimal) {
        let (places, nothing) = (ana(tally), Amounts::default());
        let readings = tally.readings(subscription, at, &places, &nothing, |_| None).unwrap();
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
        let moved = tally.take_moved();
        assert_eq!(moved.len(), 2);
        assert_eq!(moved[0].values, "[\"ana\"]");
        assert!(tally.take_moved().is_empty());
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
        assert!(tally.take_moved().is_empty());
    }
}
