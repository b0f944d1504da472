//! Puts right what `verify` found, under the head's lock. By how much something is wrong stays the same
//! however it moves, so that what was found a while ago is put right as it stands by then.

use tollgate_policy_core::Decimal;
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::window::{Instant, Window};

use super::Random;
use super::body::{self, EntryBody};
use super::book::id_at;
use super::host::HostError;
use super::records::REPAIR;
use super::stands::Stands;
use super::sums::Sums;
use super::tally::name_of;
use super::verify::Difference;
use crate::store::{
    AccountRow, EntryRow, Found, LatestKey, Locked, Need, RecordRow, Since, Store, StoreError,
    Tenant, Total, Write, Written,
};

/// So many differences are put right while a head is locked.
const MENDED_MAX: usize = 1_000;

/// Puts right what differs, and adds it to what was put `right`. False: other counters are kept by now, or
/// something was erased, and the rest must be found anew.
pub async fn repair<S: Store>(
    store: &S,
    tenant: &Tenant,
    sums: &mut Sums,
    differences: &[Difference],
    random: &Random,
    right: &mut Vec<Difference>,
) -> Result<bool, HostError> {
    for some in differences.chunks(MENDED_MAX) {
        let mut locked = store.lock(tenant).await?;
        let mended = match mend(store, &mut locked, tenant, sums, some, random).await {
            Ok(Some(mended)) if !mended.told.is_empty() => mended,
            other => {
                locked.release().await;
                match other? {
                    Some(_) => continue,
                    None => return Ok(false),
                }
            }
        };
        match locked.write(&mended.write).await? {
            Written::Committed => right.extend(mended.told),
            Written::Missed => {
                return Err(StoreError::Unavailable("the head moved under its lock".into()).into());
            }
        }
    }
    Ok(true)
}

/// What puts differences right, and which.
struct Mended {
    write: Write,
    told: Vec<Difference>,
}

async fn mend<S: Store>(
    store: &S,
    locked: &mut S::Locked<'_>,
    tenant: &Tenant,
    sums: &mut Sums,
    differences: &[Difference],
    random: &Random,
) -> Result<Option<Mended>, HostError> {
    let found = locked.read(&need(tenant, sums, differences)).await?;
    if !sums.keeps(&found) {
        return Ok(None);
    }
    let of_level = |own: &Difference| matches!(own, Difference::Counter { counter, .. } if is_level(sums, *counter));
    if differences.iter().any(of_level) {
        // It is what was reported last, which may have been since.
        locked.patient().await?;
        sums.read_on(store, tenant).await?;
    }
    Mended::of(tenant, found, sums, differences, random).map(Some)
}

/// The rows in which these stand.
fn need(tenant: &Tenant, sums: &Sums, differences: &[Difference]) -> Need {
    let mut need = Need { whole: true, ..Need::head(tenant.clone()) };
    for difference in differences {
        let Difference::Counter { counter, values, opened, .. } = difference else { continue };
        let Some(kept) = sums.kept(*counter) else { continue };
        need.latest.push(LatestKey { per: name_of(&kept.counter.per), values: values.clone() });
        // What has no beginning comes along, and need not bring all others.
        let opened = if *opened == Instant::MIN { Instant::MAX } else { *opened };
        let brings =
            |own: &Since| own.counter == *counter && own.values == *values && own.opened <= opened;
        if !need.counters.last().is_some_and(brings) {
            need.counters.push(Since { counter: *counter, values: values.clone(), opened });
        }
    }
    need.latest.sort();
    need.latest.dedup();
    need
}

fn is_level(sums: &Sums, counter: i64) -> bool {
    sums.kept(counter).is_some_and(|kept| kept.counter.window == Window::Level)
}

impl Mended {
    fn of(
        tenant: &Tenant,
        mut found: Found,
        sums: &Sums,
        differences: &[Difference],
        random: &Random,
    ) -> Result<Self, HostError> {
        let at = found.now.max(found.head.at);
        let write = Write::new(tenant.clone(), found.head, (random() >> 64) as i64, at);
        let mut mended = Self { write, told: Vec::new() };
        let mut counters = Stands::found(&mut found);
        for difference in differences {
            match difference.clone() {
                Difference::Counter { counter, values, opened, stands: stood, should } => {
                    let total = counters.mend(counter, &values, opened);
                    let stands = *total;
                    let mut should = drifted(stands, stood, should)?;
                    if is_level(sums, counter) {
                        should.used = sums.total(counter, &values, opened).used;
                    }
                    *total = should;
                    let told = Difference::Counter { counter, values, opened, stands, should };
                    mended.told.extend((stands != should).then_some(told));
                }
                Difference::Account { account, currency, stands: stood, should } => {
                    let of_it =
                        |own: &&AccountRow| (&own.account, &own.currency) == (&account, &currency);
                    let known = found.accounts.iter().find(of_it);
                    let total = |own: &AccountRow| Total { used: own.balance, held: own.held };
                    let stands = known.map_or_else(Total::default, total);
                    let should = drifted(stands, stood, should)?;
                    let write = &mut mended.write;
                    let rows =
                        if known.is_some() { &mut write.accounts } else { &mut write.new_accounts };
                    rows.push(AccountRow {
                        account: account.clone(),
                        currency: currency.clone(),
                        balance: should.used,
                        held: should.held,
                    });
                    mended.enter(&account, &currency, stands, should, random);
                    mended.told.push(Difference::Account { account, currency, stands, should });
                }
                Difference::Hold(_) | Difference::Usage(_) => {}
            }
        }
        (mended.write.latest, mended.write.counters) = counters.into_mended();
        let body = Some(serde_json::to_vec(&mended.told).unwrap_or_default());
        mended.write.records.push(RecordRow { kind: REPAIR.into(), name: "last".into(), body });
        Ok(mended)
    }

    /// An entry that says what an account stood at. The sum of entries is what it comes to, so that it
    /// moves nothing.
    fn enter(
        &mut self,
        account: &str,
        currency: &str,
        stood: Total,
        comes_to: Total,
        random: &Random,
    ) {
        let reason = format!(
            "repair: stood at {} with {} held, comes to {} with {}",
            stood.used, stood.held, comes_to.used, comes_to.held
        );
        let place = u16::try_from(self.write.entries.len()).unwrap_or(u16::MAX);
        self.write.entries.push(EntryRow {
            id: id_at(self.write.next.at, place, random),
            usage: None,
            account: account.to_owned(),
            kind: "adjustment".into(),
            amount: Decimal::ZERO,
            currency: currency.to_owned(),
            body: body::write(&EntryBody { quote: None, reason }),
        });
    }
}

/// What a total comes to that is wrong by as much as it was.
fn drifted(stands: Total, stood: Total, should: Total) -> Result<Total, DecimalError> {
    let right =
        |stands: Decimal, stood, should: Decimal| stands.checked_add(should.checked_sub(stood)?);
    Ok(Total {
        used: right(stands.used, stood.used, should.used)?,
        held: right(stands.held, stood.held, should.held)?,
    })
}
