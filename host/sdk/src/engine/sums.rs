//! What happened, added up: what was carried forward of it, and what came after.

use std::collections::BTreeMap;

use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::body::{self, HoldBody};
use super::host::HostError;
use super::records::{KeptCounter, Records};
use super::tally::Tally;
use crate::store::{
    AccountRow, CounterRow, EntryRow, Found, Pages, Place, Since, Tenant, Total, UsageRow,
};

/// So many rows are read at a time.
pub const PAGE: u32 = 1_000;

/// And so many where somebody waits for all of them, or they must be read before others are written.
pub const LONG_PAGE: u32 = 10_000;

/// What a tenant's history comes to, by the counters that it keeps.
pub struct Sums {
    groups: Vec<Group>,
    records: Records,
    /// By name and currency, the balance where a counter has what is settled.
    pub accounts: BTreeMap<(String, String), Total>,
    /// Up to where history was carried forward.
    pub carried: Instant,
    pub used_to: Place,
    pub entered_to: Place,
    /// Whose bodies cannot be read.
    pub unreadable_usages: Vec<Uuid>,
    pub unreadable_holds: Vec<Uuid>,
}

/// Counters of one calendar that are kept from one instant on.
struct Group {
    since: Instant,
    tally: Tally,
}

impl Sums {
    /// What was carried forward, by the counters that are kept as of a head.
    pub async fn begin<P: Pages>(
        pages: &P,
        tenant: &Tenant,
        found: &Found,
    ) -> Result<Self, HostError> {
        let carried = pages.carried_until(tenant).await?;
        let mut sums = Self::of(found, carried);
        let mut after = Since { counter: i64::MIN, values: String::new(), opened: Instant::MIN };
        loop {
            let page = pages.carried_counters(tenant, &after, LONG_PAGE).await?;
            let Some(CounterRow { counter, values, opened, .. }) = page.last() else { break };
            after = Since { counter: *counter, values: values.clone(), opened: *opened };
            for Group { tally, .. } in &mut sums.groups {
                let own = page.iter().filter(|row| tally.keeps(row.counter)).cloned();
                tally.adopt(own.collect());
            }
        }
        for AccountRow { account, currency, balance, .. } in pages.carried_accounts(tenant).await? {
            sums.accounts.entry((account, currency)).or_default().used = balance;
        }
        Ok(sums)
    }

    fn of(found: &Found, carried: Instant) -> Self {
        let mut records = Records::default();
        records.load(&found.records);
        let mut groups: Vec<Group> = Vec::new();
        for kept in records.counters().values() {
            let (calendar, since) = (kept.calendar(), kept.since);
            let own = groups
                .iter_mut()
                .find(|group| group.since == since && *group.tally.calendar() == calendar);
            match own {
                Some(group) => drop(group.tally.subscribe([&kept.counter])),
                None => {
                    let mut tally = Tally::new(calendar);
                    tally.subscribe([&kept.counter]);
                    groups.push(Group { since, tally });
                }
            }
        }
        Self {
            records,
            groups,
            accounts: BTreeMap::new(),
            carried,
            used_to: Place::before(carried),
            entered_to: Place::before(carried),
            unreadable_usages: Vec::new(),
            unreadable_holds: Vec::new(),
        }
    }

    /// Whether these are the counters that are kept as of a head, and what was erased by then.
    pub fn keeps(&self, found: &Found) -> bool {
        let mut records = Records::default();
        records.load(&found.records);
        let since = |records: &Records| -> Vec<(i64, Instant)> {
            records.counters().iter().map(|(id, kept)| (*id, kept.since)).collect()
        };
        since(&records) == since(&self.records)
            && records.erased_so_far() == self.records.erased_so_far()
    }

    /// A counter that is kept.
    pub fn kept(&self, counter: i64) -> Option<&KeptCounter> {
        self.records.counters().get(&counter)
    }

    /// What a counter that is kept comes to so far, in a stretch of it.
    pub fn total(&self, counter: i64, values: &str, opened: Instant) -> Total {
        let group = self.groups.iter().find(|group| group.tally.keeps(counter));
        group.map_or_else(Total::default, |group| group.tally.total(counter, values, opened))
    }

    /// What is added up so far is carried forward.
    pub fn carry_to(&mut self, until: Instant) {
        self.carried = until;
        self.used_to = self.used_to.max(Place::before(until));
        self.entered_to = self.entered_to.max(Place::before(until));
    }

    /// Reads on, to where there was no more a moment ago: of a tenant that never rests there is no end.
    /// Who holds the head's lock, or reads of a snapshot, reads all there is.
    pub async fn read_on<P: Pages>(&mut self, pages: &P, tenant: &Tenant) -> Result<(), HostError> {
        loop {
            let page = pages.usages(tenant, self.used_to, LONG_PAGE).await?;
            page.iter().try_for_each(|(place, row)| self.add_usage(*place, row))?;
            if page.len() < LONG_PAGE as usize {
                break;
            }
        }
        loop {
            let page = pages.entries(tenant, self.entered_to, LONG_PAGE).await?;
            let is_last = page.len() < LONG_PAGE as usize;
            page.into_iter().try_for_each(|(place, row)| self.add_entry(place, row))?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// A counter knows nothing of what was booked before it was kept.
    pub fn add_usage(&mut self, place: Place, row: &UsageRow) -> Result<(), HostError> {
        self.used_to = place;
        let Some(used) = self.records.usage(&row.body) else {
            self.unreadable_usages.push(row.id);
            return Ok(());
        };
        for Group { tally, .. } in self.groups.iter_mut().filter(|group| group.since <= place.at) {
            let places = tally.places(&used.dimensions);
            let elsewhere = used.elsewhere.placed(tally);
            tally.book(row.used_at, &places, &used.used, &elsewhere, used.voids.is_some())?;
        }
        Ok(())
    }

    pub fn add_entry(&mut self, place: Place, row: EntryRow) -> Result<(), HostError> {
        self.entered_to = place;
        let account = self.accounts.entry((row.account, row.currency)).or_default();
        account.used = account.used.checked_add(row.amount)?;
        Ok(())
    }

    /// Adds what a reservation holds.
    pub fn add_hold(&mut self, id: Uuid, body: &[u8]) -> Result<(), HostError> {
        let Some(hold) = body::read::<HoldBody>(body) else {
            self.unreadable_holds.push(id);
            return Ok(());
        };
        for Group { tally, .. } in &mut self.groups {
            let parts = hold.parts(id, tally);
            // Of counters of another calendar, or that are kept no longer, this tally knows nothing.
            let own: Vec<_> =
                parts.into_iter().filter(|part| tally.keeps(tally.key(part.slot).0)).collect();
            tally.take(&own)?;
        }
        for (tariff, money) in hold.charges.iter() {
            let name = (tariff.name().to_owned(), money.currency.code().to_owned());
            let account = self.accounts.entry(name).or_default();
            account.held = account.held.checked_add(money.amount)?;
        }
        Ok(())
    }

    /// The stretches that moved since this was last asked; at first all.
    pub fn take_moved(&mut self) -> Vec<CounterRow> {
        self.groups.iter_mut().flat_map(|group| group.tally.take_moved().counters).collect()
    }
}
