//! The counters that are kept, and the lists of dimensions that they stand on.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tollgate_policy_core::calendar::{OutOfRange, Span, TenantCalendar};
use tollgate_policy_core::contract::{Counter, Reading};
use tollgate_policy_core::window::{Calendar, Instant, RollingSeconds, Window};

use super::slot::{Slot, Stretch};
use super::{Amounts, Places, Tally, TallyError};
use crate::store::Total;

/// A rolling window is kept in so many parts. One that is partly over still counts, so that the
/// total errs on the safe side.
const ROLLING_PARTS: i64 = 60;

#[derive(Debug)]
pub struct Kept {
    pub counter: Counter,
    pub id: i64,
    /// Its place in `lists`, and its place among the counters of that list.
    pub list: usize,
    pub rank: usize,
    /// The last one told: a calendar's span holds until it closes.
    pub span: Cell<Option<Span>>,
}

/// A list of dimensions, in the order of their names.
#[derive(Debug)]
pub struct List {
    pub per: Vec<String>,
    /// What the store knows it by.
    pub name: String,
    pub counters: Vec<i64>,
    /// Their places, by values.
    pub groups: HashMap<Arc<str>, Group>,
}

/// The slots of a list's counters for the same values.
#[derive(Debug)]
pub struct Group {
    pub slots: Arc<[usize]>,
    /// Whether it is known what the store has in its row of the latest ones.
    pub known: bool,
    /// Whether it has one.
    pub is_stored: bool,
}

impl List {
    pub fn new(per: Vec<String>) -> Self {
        let name = name_of(&per);
        Self { per, name, counters: Vec::new(), groups: HashMap::new() }
    }
}

impl Kept {
    pub fn reading(
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

    pub fn slot(&self, places: &Places) -> usize {
        places.0[self.list][self.rank]
    }

    pub fn span(&self, calendar: &TenantCalendar, at: Instant) -> Result<Span, OutOfRange> {
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

    /// The stretch of a slot that the store has beside those of other counters: the last one, but of
    /// a rolling window, which has many that count, the one that is held, and of a level itself.
    pub fn latest<'a>(&self, slot: &'a Slot) -> Option<&'a Stretch> {
        match self.counter.window {
            Window::Rolling(_) | Window::Level => {
                slot.stretches.first().filter(|own| own.opened == Instant::MIN)
            }
            _ => slot.stretches.last(),
        }
    }

    /// Where the stretch begins into which something falls that is used at an instant.
    pub fn stretch(&self, calendar: &TenantCalendar, at: Instant) -> Result<Instant, OutOfRange> {
        Ok(match self.counter.window {
            Window::Calendar(_) => self.span(calendar, at)?.opened,
            Window::Rolling(seconds) => part_of(at, seconds),
            Window::Request | Window::Lifetime | Window::InFlight | Window::Level => Instant::MIN,
        })
    }
}

pub fn sorted(per: &[String]) -> Vec<String> {
    let mut per = per.to_vec();
    per.sort();
    per.dedup();
    per
}

/// What the store knows a list of dimensions by.
pub fn name_of(per: &[String]) -> String {
    serde_json::to_string(&sorted(per)).unwrap_or_default()
}

/// The same in every host: two counters that meet in it would be one in many ages of the world. By
/// another calendar it is another counter, since its windows are others.
pub fn id_of(counter: &Counter, calendar: &TenantCalendar) -> i64 {
    let per = name_of(&counter.per);
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
pub fn part_of(at: Instant, seconds: RollingSeconds) -> Instant {
    let part_ms = i64::from(seconds.get()) * 1_000 / ROLLING_PARTS;
    at.div_euclid(part_ms).saturating_mul(part_ms)
}
