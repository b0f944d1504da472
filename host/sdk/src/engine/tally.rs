//! Running totals in memory: what each counter stands at, by the values of its dimensions.

use std::collections::{BTreeMap, HashMap};

use tollgate_policy_core::Decimal;
use tollgate_policy_core::calendar::{OutOfRange, Span, TenantCalendar};
use tollgate_policy_core::contract::{Counter, Dimension, Reading, dimension};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::window::{Instant, Window};

/// A rolling window is kept in so many parts. One that is partly over still counts, so that the
/// total errs on the safe side.
const ROLLING_PARTS: i64 = 60;

/// The totals of one tenant.
#[derive(Debug, Default)]
pub struct Tally {
    kept: Vec<Kept>,
}

/// Which of the kept counters a policy's counters are, in its order.
#[derive(Clone, Debug)]
pub struct Subscription(Vec<usize>);

#[derive(Debug)]
struct Kept {
    counter: Counter,
    totals: HashMap<Vec<String>, Total>,
}

#[derive(Debug)]
struct Total {
    span: Span,
    used: Decimal,
    held: Decimal,
    /// Of rolling windows: what was used, by the part of time it fell into.
    parts: BTreeMap<i64, Decimal>,
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

/// How a total moves.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// An amount is held.
    Hold(Decimal),
    /// What was held is given back.
    Release(Decimal),
    /// What was held is given back, and this much was used.
    Settle {
        /// What was held.
        held: Decimal,
        /// What was used.
        used: Decimal,
    },
}

impl Tally {
    /// Keeps these counters, each once however many policies ask for it.
    pub fn subscribe(&mut self, counters: &[Counter]) -> Subscription {
        let indices = counters.iter().map(|counter| {
            let known = self.kept.iter().position(|kept| {
                let kept = &kept.counter;
                kept.meter == counter.meter
                    && kept.window == counter.window
                    && kept.per == counter.per
            });
            known.unwrap_or_else(|| {
                self.kept.push(Kept { counter: counter.clone(), totals: HashMap::new() });
                self.kept.len() - 1
            })
        });
        Subscription(indices.collect())
    }

    /// What the subscribed counters stand at for a call; `asked` tells what it would add to a
    /// meter.
    pub fn readings(
        &mut self,
        subscription: &Subscription,
        calendar: &TenantCalendar,
        at: Instant,
        dimensions: &[Dimension],
        asked: impl Fn(&str) -> Decimal,
    ) -> Result<Vec<Reading>, TallyError> {
        subscription
            .0
            .iter()
            .map(|index| {
                let kept = &mut self.kept[*index];
                let asked = asked(kept.counter.meter.as_str());
                let total = kept.total(calendar, at, dimensions)?;
                Ok(Reading {
                    used: total.used,
                    held: total.held,
                    asked,
                    limit: None,
                    opened: total.span.opened,
                    closes: total.span.closes,
                })
            })
            .collect()
    }

    /// Moves every counter by what a call asks of its meter. Nothing moves where one of them
    /// does not fit.
    pub fn apply(
        &mut self,
        calendar: &TenantCalendar,
        at: Instant,
        dimensions: &[Dimension],
        change: impl Fn(&str) -> Change,
    ) -> Result<(), TallyError> {
        let mut moved = Vec::with_capacity(self.kept.len());
        for kept in &mut self.kept {
            let change = change(kept.counter.meter.as_str());
            moved.push(kept.total(calendar, at, dimensions)?.after(change)?);
        }
        for (kept, (used, held, added)) in self.kept.iter_mut().zip(moved) {
            let window = kept.counter.window;
            let total = kept.total(calendar, at, dimensions)?;
            total.held = held;
            match window {
                // Of a request nothing stays, and what is in flight is what is held.
                Window::Request | Window::InFlight => {}
                Window::Level => total.used = added,
                Window::Rolling(seconds) => {
                    total.used = used;
                    let part = total.parts.entry(part_of(at, seconds.get())).or_default();
                    *part = part.checked_add(added)?;
                }
                Window::Calendar(_) | Window::Lifetime => total.used = used,
            }
        }
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
        let index = *subscription.0.get(usize::try_from(counter).ok()?)?;
        let counter = &self.kept.get(index)?.counter;
        let opened = match counter.window {
            // Rolling windows open anew all the time; a part of them is period enough.
            Window::Rolling(seconds) => part_of(at, seconds.get()),
            window => calendar.span(&window, at).ok()?.opened,
        };
        let values = counter.per.iter().map(|name| Dimension {
            name: name.clone(),
            value: dimension(dimensions, name).to_owned(),
        });
        Some((opened, values.collect()))
    }
}

impl Kept {
    /// The total for these dimension values in the window that holds `at`.
    fn total(
        &mut self,
        calendar: &TenantCalendar,
        at: Instant,
        dimensions: &[Dimension],
    ) -> Result<&mut Total, TallyError> {
        let key: Vec<String> =
            self.counter.per.iter().map(|name| dimension(dimensions, name).to_owned()).collect();
        let window = self.counter.window;
        let total = match self.totals.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(Total {
                span: calendar.span(&window, at)?,
                used: Decimal::ZERO,
                held: Decimal::ZERO,
                parts: BTreeMap::new(),
            }),
        };
        match window {
            Window::Rolling(seconds) => {
                total.span = calendar.span(&window, at)?;
                let first = part_of(total.span.opened, seconds.get());
                while let Some(entry) = total.parts.first_entry().filter(|part| *part.key() < first)
                {
                    total.used = total.used.checked_sub(entry.remove())?;
                }
            }
            Window::Request => total.span = calendar.span(&window, at)?,
            Window::Calendar(_) if total.span.closes.is_some_and(|closes| at >= closes) => {
                total.span = calendar.span(&window, at)?;
                total.used = Decimal::ZERO;
            }
            _ => {}
        }
        Ok(total)
    }
}

impl Total {
    /// Used, held, and what is added to the used.
    fn after(&self, change: Change) -> Result<(Decimal, Decimal, Decimal), DecimalError> {
        let (held, added) = match change {
            Change::Hold(amount) => (self.held.checked_add(amount)?, Decimal::ZERO),
            Change::Release(amount) => (self.held.checked_sub(amount)?, Decimal::ZERO),
            Change::Settle { held, used } => (self.held.checked_sub(held)?, used),
        };
        Ok((self.used.checked_add(added)?, held, added))
    }
}

fn part_of(at: Instant, seconds: u32) -> i64 {
    at.div_euclid((i64::from(seconds) * 1_000 / ROLLING_PARTS).max(1))
}
