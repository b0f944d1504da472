//! Running totals in memory: what each stretch of each counter stands at, by the values of its
//! dimensions, and which of them moved.

mod kept;
mod rows;
mod slot;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use tollgate_policy_core::Decimal;
use tollgate_policy_core::calendar::{OutOfRange, TenantCalendar};
use tollgate_policy_core::contract::{Counter, Dimension, Reading, dimension};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::window::{Instant, Window};

use super::amounts::Amounts;
use super::part::Part;
use crate::store::Total;
use kept::{Group, Kept, List};
use slot::{Draft, Key, Slot};

pub use kept::{id_of, name_of, sorted};
pub use rows::Moved;
pub use slot::LEVEL_AT;

/// A stretch of time in which something is told once.
pub struct Period {
    pub opened: Instant,
    /// None: it does not end.
    pub closes: Option<Instant>,
    pub whose: Vec<Dimension>,
}

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
            self.lists.push(List::new(per));
            self.lists.len() - 1
        });
        let Self { lists, slots, index, kept, .. } = self;
        let List { counters, groups, .. } = &mut lists[list];
        let rank = counters.len();
        counters.push(id);
        for (values, group) in groups {
            let more = slot(slots, index, (id, Arc::clone(values)));
            group.slots = group.slots.iter().copied().chain([more]).collect();
        }
        let counter = counter.clone();
        kept.push(Kept { counter, id, list, rank, span: Cell::new(None) });
        kept.len() - 1
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
            Arc::clone(&group(list, slots, index, &values).slots)
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

    /// What a stretch stands at.
    pub fn total(&self, counter: i64, values: &str, opened: Instant) -> Total {
        let slot = self.index.get(&(counter, values.into()));
        slot.map_or_else(Total::default, |slot| self.slots[*slot].at(opened))
    }

    /// What the subscribed counters stand at for a call that asks for so much. `limit` tells the
    /// limit that was set for the slot of a counter, by its place in the subscription.
    pub fn readings(
        &self,
        subscription: &Subscription,
        at: Instant,
        places: &Places,
        asked: &Amounts,
        limit: impl Fn(usize, usize) -> Option<Decimal>,
    ) -> Result<Vec<Reading>, TallyError> {
        let reading = |(place, kept): (usize, &usize)| {
            let (slot, reading) = self.kept[*kept].reading(self, at, places, asked)?;
            Ok(Reading { limit: limit(place, slot), ..reading })
        };
        subscription.0.iter().enumerate().map(reading).collect()
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
        let parts = self.parts(at, places, asked)?;
        self.take(&parts)?;
        Ok(parts)
    }

    /// What a call that asks so much holds, in the stretches that stand open at an instant.
    pub fn parts(
        &self,
        at: Instant,
        places: &Places,
        asked: &Amounts,
    ) -> Result<Vec<Part>, TallyError> {
        let mut parts = Vec::new();
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
            parts.push(Part { slot: kept.slot(places), opened, amount });
        }
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

    /// Holds these very parts. Nothing moves where one total does not fit.
    pub fn take(&mut self, parts: &[Part]) -> Result<(), TallyError> {
        let mut draft = Draft::default();
        for Part { slot, opened, amount } in parts {
            let total = draft.total(self, *slot, *opened);
            total.held = total.held.checked_add(*amount)?;
        }
        self.apply(draft);
        Ok(())
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
                        draft.level(self, slot, at, left);
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
    /// landed elsewhere. What `undoes` a usage takes back what was booked so, by amounts below zero.
    pub fn book(
        &mut self,
        used_at: Instant,
        places: &Places,
        used: &Amounts,
        elsewhere: &[Part],
        undoes: bool,
    ) -> Result<(), TallyError> {
        let mut draft = Draft::default();
        for kept in &self.kept {
            let Some(mut left) = used.get(kept.counter.meter.as_str()) else { continue };
            let slot = kept.slot(places);
            match kept.counter.window {
                Window::Request | Window::InFlight => continue,
                // What was reported wrongly is put right by the next report.
                Window::Level if undoes => continue,
                Window::Level => draft.level(self, slot, used_at, left),
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
    ) -> Option<Period> {
        let place = *subscription.0.get(usize::try_from(counter).ok()?)?;
        let kept = self.kept.get(place)?;
        let (opened, closes) = match kept.counter.window {
            Window::Calendar(_) => {
                let span = kept.span(&self.calendar, at).ok()?;
                (span.opened, span.closes)
            }
            // It opens anew all the time: its own length is period enough.
            Window::Rolling(seconds) => {
                let length_ms = 1_000 * i64::from(seconds.get());
                let opened = at.div_euclid(length_ms).saturating_mul(length_ms);
                (opened, Some(opened.saturating_add(length_ms)))
            }
            Window::Request | Window::Lifetime | Window::InFlight | Window::Level => {
                (Instant::MIN, None)
            }
        };
        let values = self.lists[kept.list].per.iter().map(|name| Dimension {
            name: name.clone(),
            value: dimension(dimensions, name).to_owned(),
        });
        Some(Period { opened, closes, whose: values.collect() })
    }

    fn apply(&mut self, draft: Draft) {
        for (slot, opened, total) in draft.0 {
            if self.slots[slot].set(opened, total, true) {
                self.moved.push((slot, opened));
            }
        }
    }
}

fn slot(slots: &mut Vec<Slot>, index: &mut HashMap<Key, usize>, key: Key) -> usize {
    *index.entry(key).or_insert_with_key(|key| {
        slots.push(Slot::new(key.clone()));
        slots.len() - 1
    })
}

fn group<'a>(
    list: &'a mut List,
    slots: &mut Vec<Slot>,
    index: &mut HashMap<Key, usize>,
    values: &str,
) -> &'a mut Group {
    let List { counters, groups, .. } = list;
    if !groups.contains_key(values) {
        let values: Arc<str> = values.into();
        let place = |id: &i64| slot(slots, index, (*id, Arc::clone(&values)));
        let group =
            Group { slots: counters.iter().map(place).collect(), known: false, is_stored: false };
        groups.insert(Arc::clone(&values), group);
    }
    groups.get_mut(values).expect("it is there")
}
