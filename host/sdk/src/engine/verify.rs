//! Recomputes what a tenant's counters, holds and accounts stand at, from what happened, and tells
//! what differs: nothing must. Most of history is read without a lock, its tail and what it comes
//! to under the head's lock, and no transaction is longer than a page but for that.

use std::collections::BTreeMap;

use serde::Serialize;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::Random;
use super::backfill::holds;
use super::body::{self, HoldBody, KeptUsage};
use super::host::HostError;
use super::records::Records;
use super::tally::{Tally, id_of};
use crate::store::{
    AccountRow, CounterRow, Found, LatestKey, LatestRow, Locked, Need, Place, RecordRow, Since,
    Store, StoreError, Tenant, Total, Write, Written,
};

/// So many rows are read at a time.
const PAGE: u32 = 1_000;

/// Something that stands otherwise than what happened comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// A stretch of a counter.
    Counter {
        /// Which counter: a digest of its definition.
        counter: i64,
        /// The values of its dimensions, as a JSON list.
        values: String,
        /// When the stretch begins.
        opened: Instant,
        /// What it stands at.
        stands: Total,
        /// What it should.
        should: Total,
    },
    /// An account of the ledger, its balance where a counter has what is settled.
    Account {
        /// Its name.
        account: String,
        /// Its currency.
        currency: String,
        /// The balance and what is held against it.
        stands: Total,
        /// What they should be.
        should: Total,
    },
    /// A reservation whose body cannot be read.
    Hold(Uuid),
    /// A usage whose body cannot be read.
    Usage(Uuid),
}

/// What differs of a tenant, as of a version. With `repair` it is put right, and what was found is
/// kept as a change of the record `repair`.
pub async fn verify<S: Store>(
    store: &S,
    tenant: &Tenant,
    repair: Option<&Random>,
) -> Result<Vec<Difference>, HostError> {
    let need = Need { whole: true, ..Need::head(tenant.clone()) };
    let found = store.read(std::slice::from_ref(&need)).await?.pop();
    let found = found.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
    let mut sums = Sums::of(&found);
    sums.read_on(store, tenant).await?;
    let mut locked = store.lock(tenant).await?;
    let (found, stands, differences) = match compare(store, &mut locked, sums, &need).await {
        Ok(compared) => compared,
        Err(error) => {
            locked.release().await;
            return Err(error);
        }
    };
    let Some(random) = repair.filter(|_| !differences.is_empty()) else {
        locked.release().await;
        return Ok(differences);
    };
    match locked.write(&mend(tenant, &found, stands, &differences, random)).await? {
        Written::Committed => Ok(differences),
        Written::Missed => {
            Err(StoreError::Unavailable("the head moved under its lock".into()).into())
        }
    }
}

/// Reads the rest of history, and what it should come to, as of a locked head.
async fn compare<S: Store>(
    store: &S,
    locked: &mut S::Locked<'_>,
    mut sums: Sums,
    need: &Need,
) -> Result<(Found, Stands, Vec<Difference>), HostError> {
    let tenant = &need.tenant;
    let found = locked.read(need).await?;
    if !sums.keeps(&found) {
        // Which counters are kept has changed meanwhile.
        sums = Sums::of(&found);
    }
    sums.read_on(store, tenant).await?;
    for row in holds(store, tenant).await? {
        sums.hold(row.id, &row.body)?;
    }
    let stands = Stands::read(store, tenant, &found).await?;
    let differences = sums.differences(&stands, &found.accounts)?;
    Ok((found, stands, differences))
}

/// A stretch of a counter, for certain values.
type Stretch = (i64, String, Instant);

/// The version of a row that is put right, which is yet to be written.
const MENDED: i64 = -1;

/// What stands of the counters that are kept.
struct Stands {
    latest: Vec<LatestRow>,
    apart: Vec<CounterRow>,
}

impl Stands {
    async fn read<S: Store>(store: &S, tenant: &Tenant, found: &Found) -> Result<Self, HostError> {
        let mut records = Records::default();
        records.load(&found.records);
        let (mut latest, mut apart) = (Vec::new(), Vec::new());
        let mut after = Since { counter: i64::MIN, values: String::new(), opened: Instant::MIN };
        loop {
            let page = store.counters(tenant, &after, PAGE).await?;
            let Some(CounterRow { counter, values, opened, .. }) = page.last() else { break };
            after = Since { counter: *counter, values: values.clone(), opened: *opened };
            apart.extend(page.into_iter().filter(|row| records.counts(row.counter, row.version)));
        }
        let mut after = LatestKey { per: String::new(), values: String::new() };
        loop {
            let page = store.latest(tenant, &after, PAGE).await?;
            let Some(LatestRow { key, .. }) = page.last() else { break };
            after = key.clone();
            for LatestRow { key, version, mut totals } in page {
                totals.retain(|(counter, ..)| records.counts(*counter, version));
                latest.push(LatestRow { key, version, totals });
            }
        }
        Ok(Self { latest, apart })
    }

    /// Puts one of the latest stretches right; false: it is not among them.
    fn set(&mut self, counter: i64, values: &str, opened: Instant, should: Total) -> bool {
        for row in self.latest.iter_mut().filter(|row| row.key.values == values) {
            let own = |own: &&mut (i64, Instant, Total)| (own.0, own.1) == (counter, opened);
            if let Some((.., total)) = row.totals.iter_mut().find(own) {
                *total = should;
                row.version = MENDED;
                return true;
            }
        }
        false
    }

    /// A stretch that stands in both was filled from history and has moved since.
    fn totals(&self) -> BTreeMap<Stretch, Total> {
        let apart = self.apart.iter().map(|row| {
            let CounterRow { counter, values, opened, total, .. } = row;
            ((*counter, values.clone(), *opened), *total)
        });
        let latest = self.latest.iter().flat_map(|LatestRow { key, totals, .. }| {
            let total =
                |&(counter, opened, total): &_| ((counter, key.values.clone(), opened), total);
            totals.iter().map(total)
        });
        apart.chain(latest).collect()
    }
}

/// What happened, added up.
struct Sums {
    /// The counters that are kept, those of each calendar apart, and from when on they are whole.
    tallies: Vec<Tally>,
    since: BTreeMap<i64, Instant>,
    accounts: BTreeMap<(String, String), Total>,
    used_to: Place,
    entered_to: Place,
    unreadable: Vec<Difference>,
}

impl Sums {
    fn of(found: &Found) -> Self {
        let mut records = Records::default();
        records.load(&found.records);
        let mut tallies: Vec<Tally> = Vec::new();
        for kept in records.counters().values() {
            let calendar = kept.calendar();
            let own = tallies.iter_mut().find(|tally| *tally.calendar() == calendar);
            match own {
                Some(tally) => drop(tally.subscribe([&kept.counter])),
                None => {
                    let mut tally = Tally::new(calendar);
                    tally.subscribe([&kept.counter]);
                    tallies.push(tally);
                }
            }
        }
        let since: BTreeMap<i64, Instant> = records
            .counters()
            .values()
            .map(|kept| (id_of(&kept.counter, &kept.calendar()), kept.since))
            .collect();
        Self {
            tallies,
            since,
            accounts: BTreeMap::new(),
            used_to: Place::before(Instant::MIN),
            entered_to: Place::before(Instant::MIN),
            unreadable: Vec::new(),
        }
    }

    fn keeps(&self, found: &Found) -> bool {
        Self::of(found).since == self.since
    }

    async fn read_on<S: Store>(&mut self, store: &S, tenant: &Tenant) -> Result<(), HostError> {
        loop {
            let page = store.usages(tenant, self.used_to, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            self.used_to = *last;
            for (_, row) in page {
                let Some(used) = body::read::<KeptUsage>(&row.body) else {
                    self.unreadable.push(Difference::Usage(row.id));
                    continue;
                };
                for tally in &mut self.tallies {
                    let places = tally.places(&used.dimensions);
                    let elsewhere = used.elsewhere.placed(tally);
                    tally.book(row.used_at, &places, &used.used, &elsewhere)?;
                }
            }
        }
        loop {
            let page = store.entries(tenant, self.entered_to, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            self.entered_to = *last;
            for (_, row) in page {
                let account = self.accounts.entry((row.account, row.currency)).or_default();
                account.used = account.used.checked_add(row.amount)?;
            }
        }
    }

    fn hold(&mut self, id: Uuid, body: &[u8]) -> Result<(), HostError> {
        let Some(hold) = body::read::<HoldBody>(body) else {
            self.unreadable.push(Difference::Hold(id));
            return Ok(());
        };
        for tally in &mut self.tallies {
            let parts = hold.parts(id, tally);
            // Of counters of another calendar, or that are kept no longer, this tally knows nothing.
            let own: Vec<_> =
                parts.into_iter().filter(|part| tally.keeps(tally.key(part.slot).0)).collect();
            tally.take(&own)?;
        }
        if let Some(cost) = hold.cost {
            let name = (super::accounts::COST.to_owned(), cost.currency.code().to_owned());
            let account = self.accounts.entry(name).or_default();
            account.held = account.held.checked_add(cost.amount)?;
        }
        Ok(())
    }

    fn differences(
        mut self,
        stands: &Stands,
        accounts: &[AccountRow],
    ) -> Result<Vec<Difference>, HostError> {
        let mut pairs: BTreeMap<Stretch, (Total, Total)> = BTreeMap::new();
        for (key, total) in stands.totals() {
            pairs.entry(key).or_default().0 = total;
        }
        for row in self.tallies.iter_mut().flat_map(|tally| tally.take_moved().counters) {
            let key = (row.counter, row.values, row.opened);
            pairs.entry(key).or_default().1 = row.total;
        }
        // Of what is kept no longer, and of what began before it was kept, nothing can be told.
        pairs.retain(|(counter, _, opened), _| {
            self.since.get(counter).is_some_and(|since| *opened == Instant::MIN || opened >= since)
        });
        let mut differences = self.unreadable;
        for ((counter, values, opened), (stands, should)) in pairs {
            if stands != should {
                let row = Difference::Counter { counter, values, opened, stands, should };
                differences.push(row);
            }
        }
        let mut pairs: BTreeMap<(String, String), (Total, Total)> = BTreeMap::new();
        for row in accounts {
            let key = (row.account.clone(), row.currency.clone());
            pairs.entry(key).or_default().0 = Total { used: row.balance, held: row.held };
        }
        for (key, should) in self.accounts {
            pairs.entry(key).or_default().1 = should;
        }
        for ((account, currency), (stands, should)) in pairs {
            if stands != should {
                differences.push(Difference::Account { account, currency, stands, should });
            }
        }
        Ok(differences)
    }
}

/// What puts differences right, and tells of it.
fn mend(
    tenant: &Tenant,
    found: &Found,
    mut stands: Stands,
    differences: &[Difference],
    random: &Random,
) -> Write {
    let at = found.now.max(found.head.at);
    let mut write = Write::new(tenant.clone(), found.head, (random() >> 64) as i64, at);
    for difference in differences {
        match difference.clone() {
            Difference::Counter { counter, values, opened, should, .. } => {
                if !stands.set(counter, &values, opened, should) {
                    let row = CounterRow { counter, values, opened, version: 0, total: should };
                    write.counters.push(row);
                }
            }
            Difference::Account { account, currency, should, .. } => {
                let of_it =
                    |own: &AccountRow| (&own.account, &own.currency) == (&account, &currency);
                let is_new = !found.accounts.iter().any(of_it);
                let rows = if is_new { &mut write.new_accounts } else { &mut write.accounts };
                let (balance, held) = (should.used, should.held);
                rows.push(AccountRow { account, currency, balance, held });
            }
            Difference::Hold(_) | Difference::Usage(_) => {}
        }
    }
    write.latest = stands.latest.into_iter().filter(|row| row.version == MENDED).collect();
    let body = serde_json::to_vec(differences).unwrap_or_default();
    write.records.push(RecordRow { kind: "repair".into(), name: "last".into(), body: Some(body) });
    write
}
