//! What is known of one counter for certain values: its stretches, and totals to be.

use std::sync::Arc;

use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::{Instant, Window};

use super::kept::part_of;
use super::{Part, Tally, TallyError};
use crate::store::Total;

/// A counter and the values of its dimensions, as a JSON list.
pub type Key = (i64, Arc<str>);

/// The stretch of a level that tells when it was last told: the total is that instant, in the least
/// units of an amount, into which all instants fit.
pub const LEVEL_AT: Instant = Instant::MIN + 1;

/// All that is known of a counter for certain values.
#[derive(Debug)]
pub struct Slot {
    pub key: Key,
    /// From where on the store's rows are known; none: none are.
    pub learnt: Option<Instant>,
    /// Which of its stretches the store has in the row of the latest ones.
    pub kept_as_latest: Option<Instant>,
    /// In the order of time.
    pub stretches: Vec<Stretch>,
}

#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    pub opened: Instant,
    pub total: Total,
    pub moved: bool,
}

/// Totals to be, until all of them are known to fit.
#[derive(Default)]
pub struct Draft(pub Vec<(usize, Instant, Total)>);

impl Slot {
    pub fn new(key: Key) -> Self {
        Self { key, learnt: None, kept_as_latest: None, stretches: Vec::new() }
    }

    pub fn at(&self, opened: Instant) -> Total {
        let place = self.stretches.binary_search_by_key(&opened, |stretch| stretch.opened);
        place.map_or_else(|_| Total::default(), |place| self.stretches[place].total)
    }

    pub fn stretch_mut(&mut self, opened: Instant) -> Option<&mut Stretch> {
        let place = self.stretches.binary_search_by_key(&opened, |stretch| stretch.opened).ok()?;
        self.stretches.get_mut(place)
    }

    /// Takes in what the store has, if it is not known.
    pub fn learn(&mut self, opened: Instant, total: Total) {
        let known = |learnt| opened == Instant::MIN || opened >= learnt;
        if !self.learnt.is_some_and(known) {
            self.set(opened, total, false);
        }
    }

    /// Whether this is the first time that it moves since it was last told.
    pub fn set(&mut self, opened: Instant, total: Total, moves: bool) -> bool {
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

    pub fn total(&self, window: &Window, opened: Instant) -> Result<Total, TallyError> {
        Ok(match window {
            Window::Request => Total::default(),
            Window::Calendar(_) => self.at(opened),
            Window::Lifetime | Window::InFlight | Window::Level => self.at(Instant::MIN),
            Window::Rolling(seconds) => {
                let mut total = self.at(Instant::MIN);
                let from = part_of(opened, *seconds);
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
    pub fn total(&mut self, tally: &Tally, slot: usize, opened: Instant) -> &mut Total {
        let known = self.0.iter().position(|(own, at, _)| *own == slot && *at == opened);
        let place = known.unwrap_or_else(|| {
            self.0.push((slot, opened, tally.slots[slot].at(opened)));
            self.0.len() - 1
        });
        &mut self.0[place].2
    }

    pub fn add(
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

    /// A level is what was told of it last, and not what is told late.
    pub fn level(&mut self, tally: &Tally, slot: usize, at: Instant, level: Decimal) {
        let at = Decimal::from_units(at.into()).unwrap_or_default();
        let told = self.total(tally, slot, LEVEL_AT);
        if at >= told.used {
            told.used = at;
            self.total(tally, slot, Instant::MIN).used = level;
        }
    }

    pub fn release(&mut self, tally: &Tally, parts: &[Part]) -> Result<(), TallyError> {
        for Part { slot, opened, amount } in parts {
            let total = self.total(tally, *slot, *opened);
            total.held = total.held.checked_sub(*amount)?;
        }
        Ok(())
    }
}
