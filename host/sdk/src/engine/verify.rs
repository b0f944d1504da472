//! Recomputes what a tenant's counters, holds and accounts stand at, from what happened, and tells
//! what differs: nothing must. Most of history is read page by page, its tail and what it comes to of
//! one snapshot: nobody who writes waits for that.

use std::collections::BTreeMap;

use serde::Serialize;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::Random;
use super::backfill::holds;
use super::host::HostError;
use super::repair::repair;
use super::stands::{Stands, Stretch};
use super::sums::Sums;
use super::tally::LEVEL_AT;
use crate::store::{AccountRow, HoldRow, Need, Snapshot, Store, StoreError, Tenant, Total};

/// How often it begins anew while counters change, or history is carried forward beside it.
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

impl Difference {
    fn is_unreadable(&self) -> bool {
        matches!(self, Self::Hold(_) | Self::Usage(_))
    }
}

/// What stood as of a snapshot.
struct Seen {
    holds: Vec<HoldRow>,
    stands: Stands,
    accounts: Vec<AccountRow>,
}

/// What differs of a tenant, as of a version. With `repairs` it is put right, and told is what was: as it
/// stood by then, beside what cannot be read. Each account that is put right has an entry of the ledger
/// that says so and moves nothing, and all of it is kept as changes of the record `repair`.
///
/// # Errors
///
/// Where the store fails, or its history or the counters that are kept do not rest for long enough: then a part
/// may have been put right.
pub async fn verify<S: Store>(
    store: &S,
    tenant: &Tenant,
    repairs: Option<&Random>,
) -> Result<Vec<Difference>, HostError> {
    let mut mended = Vec::new();
    for _ in 0..ATTEMPTS {
        let Some((mut sums, differences)) = compare(store, tenant).await? else { continue };
        let Some(random) = repairs else { return Ok(differences) };
        let (mut told, wrong): (Vec<_>, Vec<_>) =
            differences.into_iter().partition(Difference::is_unreadable);
        if repair(store, tenant, &mut sums, &wrong, random, &mut mended).await? {
            told.append(&mut mended);
            return Ok(told);
        }
    }
    let words =
        "its counters change, or its history is being carried forward: verify it a little later";
    Err(StoreError::Unavailable(words.into()).into())
}

/// What history comes to as of a snapshot, and what stands otherwise; none: meanwhile other counters
/// were kept, something was erased, or some of history was carried forward, and may be gone.
async fn compare<S: Store>(
    store: &S,
    tenant: &Tenant,
) -> Result<Option<(Sums, Vec<Difference>)>, HostError> {
    let need = Need { whole: true, ..Need::head(tenant.clone()) };
    let snapshot = store.snapshot().await?;
    let found = snapshot.read(&need).await;
    snapshot.release().await;
    let mut sums = Sums::begin(store, tenant, &found?).await?;
    sums.read_on(store, tenant).await?;
    let snapshot = store.snapshot().await?;
    let seen = see(&snapshot, &need, &mut sums).await;
    snapshot.release().await;
    let Some(Seen { holds, stands, accounts }) = seen? else { return Ok(None) };
    for row in holds {
        sums.add_hold(row.id, &row.body)?;
    }
    let differences = differences(&mut sums, &stands, &accounts);
    Ok(Some((sums, differences)))
}

/// Reads the rest of history, and what must be what it comes to.
async fn see(
    snapshot: &impl Snapshot,
    need: &Need,
    sums: &mut Sums,
) -> Result<Option<Seen>, HostError> {
    let tenant = &need.tenant;
    let found = snapshot.read(need).await?;
    if !sums.keeps(&found) || snapshot.carried_until(tenant).await? != sums.carried {
        return Ok(None);
    }
    sums.read_on(snapshot, tenant).await?;
    let holds = holds(snapshot, tenant).await?;
    let stands = Stands::read(snapshot, tenant, &found).await?;
    Ok(Some(Seen { holds, stands, accounts: found.accounts }))
}

fn differences(sums: &mut Sums, stands: &Stands, accounts: &[AccountRow]) -> Vec<Difference> {
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
        Instant::MIN | LEVEL_AT => sums.kept(*counter).is_some(),
        opened => sums.kept(*counter).is_some_and(|kept| opened >= kept.since),
    });
    let usages = sums.unreadable_usages.iter().copied().map(Difference::Usage);
    let mut differences: Vec<Difference> =
        usages.chain(sums.unreadable_holds.iter().copied().map(Difference::Hold)).collect();
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
    for (key, should) in &sums.accounts {
        pairs.entry(key.clone()).or_default().1 = *should;
    }
    for ((account, currency), (stands, should)) in pairs {
        if stands != should {
            differences.push(Difference::Account { account, currency, stands, should });
        }
    }
    differences
}
