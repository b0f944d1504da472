//! Counters that are new to a tenant are filled from what it used before they judge: most of it
//! without a lock, its tail and the open reservations under the head's lock.

use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::contract::Counter;
use tollgate_policy_core::window::{Instant, Window};
use uuid::Uuid;

use super::body::{self, KeptUsage};
use super::erasure::Erasures;
use super::host::HostError;
use super::records::Records;
use super::sums::LONG_PAGE;
use super::tally::{Tally, TallyError, id_of};
use crate::store::{HoldRow, Pages, Place, Store, Tenant};

/// So many rows are read at a time.
const PAGE: u32 = 1_000;

/// Totals of new counters, as far as history was read.
pub struct History {
    pub counters: Vec<Counter>,
    /// From where on it is read.
    pub since: Instant,
    pub tally: Tally,
    /// What was being erased when it was begun.
    pub erasures: Erasures,
    read_to: Place,
}

impl History {
    /// Nothing is read yet.
    pub fn of(
        counters: Vec<Counter>,
        calendar: TenantCalendar,
        at: Instant,
        records: &Records,
    ) -> Result<Self, HostError> {
        let begins = |counter: &Counter| match counter.window {
            Window::Request | Window::InFlight => Ok(at),
            Window::Calendar(_) | Window::Rolling(_) => {
                calendar.span(&counter.window, at).map(|span| span.opened)
            }
            Window::Lifetime | Window::Level => Ok(Instant::MIN),
        };
        let begins = counters.iter().map(begins).collect::<Result<Vec<_>, _>>();
        let begins = begins.map_err(TallyError::from)?;
        let since = begins.into_iter().min().unwrap_or(at).max(records.carried());
        let mut tally = Tally::new(calendar);
        tally.subscribe(&counters);
        let (erasures, read_to) = (records.erased_so_far().clone(), Place::before(since));
        Ok(Self { counters, since, tally, erasures, read_to })
    }

    /// Whether this counter is among those that it fills.
    pub fn fills(&self, counter: &Counter) -> bool {
        self.tally.keeps(id_of(counter, self.tally.calendar()))
    }

    /// Whether it still is history: none of it was carried forward or erased meanwhile, and no other
    /// host filled these counters.
    pub fn holds(&self, records: &Records) -> bool {
        let calendar = self.tally.calendar();
        let is_kept = |own: &Counter| records.counters().contains_key(&id_of(own, calendar));
        self.since >= records.carried()
            && self.erasures == *records.erased_so_far()
            && !self.counters.iter().any(is_kept)
    }

    /// Reads on, to where there is no more.
    pub async fn read_on<S: Store>(&mut self, store: &S, tenant: &Tenant) -> Result<(), HostError> {
        loop {
            let page = store.usages(tenant, self.read_to, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            self.read_to = *last;
            for (_, row) in page {
                let Some(mut used) = body::read::<KeptUsage>(&row.body) else { continue };
                for erasure in &self.erasures.under_way {
                    erasure.dimensions(&mut used.dimensions);
                }
                let places = self.tally.places(&used.dimensions);
                let undoes = used.voids.is_some();
                self.tally.book(row.used_at, &places, &used.used, &[], undoes)?;
            }
        }
    }
}

/// All open reservations: to be read by who holds the head's lock, or of a snapshot.
pub async fn holds<P: Pages>(pages: &P, tenant: &Tenant) -> Result<Vec<HoldRow>, HostError> {
    let mut all: Vec<HoldRow> = Vec::new();
    loop {
        let after = all.last().map_or(Uuid::nil(), |row| row.id);
        let page = pages.holds(tenant, after, LONG_PAGE).await?;
        let is_last = page.len() < LONG_PAGE as usize;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}
