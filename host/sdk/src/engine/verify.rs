//! Recomputes what a tenant's counters, holds and accounts stand at, from what happened, and tells
//! what differs: nothing must. Most of history is read without a lock, its tail and what it comes
//! to under the head's lock, and no transaction is longer than a page but for that.

use std::collections::BTreeMap;

use serde::Serialize;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::Random;
use super::backfill::holds;
use super::host::HostError;
use super::records::REPAIR;
use super::stands::{Stands, Stretch};
use super::sums::Sums;
use super::tally::LEVEL_AT;
use crate::store::{
    AccountRow, CounterRow, Found, Locked, Need, RecordRow, Store, StoreError, Tenant, Total,
    Write, Written,
};

/// How often it begins anew while history is carried forward beside it.
const ATTEMPTS: usize = 5;

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
    for _ in 0..ATTEMPTS {
        let found = store.read(std::slice::from_ref(&need)).await?.pop();
        let found = found.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
        let mut sums = Sums::begin(store, tenant, &found).await?;
        sums.read_on(store, tenant).await?;
        let mut locked = store.lock(tenant).await?;
        let (found, stands, differences) = match compare(store, &mut locked, sums, &need).await {
            Ok(Some(compared)) => compared,
            begin_anew => {
                locked.release().await;
                begin_anew?;
                continue;
            }
        };
        let Some(random) = repair.filter(|_| !differences.is_empty()) else {
            locked.release().await;
            return Ok(differences);
        };
        return match locked.write(&mend(tenant, &found, stands, &differences, random)).await? {
            Written::Committed => Ok(differences),
            Written::Missed => {
                Err(StoreError::Unavailable("the head moved under its lock".into()).into())
            }
        };
    }
    let words = "its history is being carried forward: verify it a little later";
    Err(StoreError::Unavailable(words.into()).into())
}

/// Reads the rest of history, and what it should come to, as of a locked head; none: some of it was
/// carried forward meanwhile, and may be gone.
async fn compare<S: Store>(
    store: &S,
    locked: &mut S::Locked<'_>,
    mut sums: Sums,
    need: &Need,
) -> Result<Option<(Found, Stands, Vec<Difference>)>, HostError> {
    let tenant = &need.tenant;
    locked.patient().await?;
    let found = locked.read(need).await?;
    if !sums.keeps(&found) {
        // Which counters are kept has changed meanwhile.
        sums = Sums::begin(store, tenant, &found).await?;
    }
    sums.read_on(store, tenant).await?;
    if store.carried_until(tenant).await? != sums.carried {
        return Ok(None);
    }
    for row in holds(store, tenant).await? {
        sums.add_hold(row.id, &row.body)?;
    }
    let stands = Stands::read(store, tenant, &found).await?;
    // The lock was ours all the time.
    locked.read(&Need::head(tenant.clone())).await?;
    let differences = differences(sums, &stands, &found.accounts);
    Ok(Some((found, stands, differences)))
}

fn differences(mut sums: Sums, stands: &Stands, accounts: &[AccountRow]) -> Vec<Difference> {
    let mut pairs: BTreeMap<Stretch, (Total, Total)> = BTreeMap::new();
    for (key, total) in stands.totals() {
        pairs.entry(key).or_default().0 = total;
    }
    for row in sums.take_moved() {
        let key = (row.counter, row.values, row.opened);
        pairs.entry(key).or_default().1 = row.total;
    }
    // Of what is kept no longer, and of what began before it was kept, nothing can be told. When a level
    // was told was not always kept.
    pairs.retain(|(counter, _, opened), (stands, _)| match *opened {
        LEVEL_AT if *stands == Total::default() => false,
        Instant::MIN | LEVEL_AT => sums.since(*counter).is_some(),
        opened => sums.since(*counter).is_some_and(|since| opened >= since),
    });
    let usages = sums.unreadable_usages.into_iter().map(Difference::Usage);
    let mut differences: Vec<Difference> =
        usages.chain(sums.unreadable_holds.into_iter().map(Difference::Hold)).collect();
    for ((counter, values, opened), (stands, should)) in pairs {
        if stands != should {
            differences.push(Difference::Counter { counter, values, opened, stands, should });
        }
    }
    let mut pairs: BTreeMap<(String, String), (Total, Total)> = BTreeMap::new();
    for row in accounts {
        let key = (row.account.clone(), row.currency.clone());
        pairs.entry(key).or_default().0 = Total { used: row.balance, held: row.held };
    }
    for (key, should) in sums.accounts {
        pairs.entry(key).or_default().1 = should;
    }
    for ((account, currency), (stands, should)) in pairs {
        if stands != should {
            differences.push(Difference::Account { account, currency, stands, should });
        }
    }
    differences
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
    write.latest = stands.into_mended();
    let body = serde_json::to_vec(differences).unwrap_or_default();
    write.records.push(RecordRow { kind: REPAIR.into(), name: "last".into(), body: Some(body) });
    write
}
