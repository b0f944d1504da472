//! Carries forward what a tenant's usages and entries come to, so that they may go: a stretch of
//! time after the other, each once however many hosts try. What is recomputed begins with what was
//! carried.

use tollgate_policy_core::window::Instant;

use super::Random;
use super::host::HostError;
use super::records::Records;
use super::sums::{PAGE, Sums};
use crate::store::{
    AccountRow, Carry, Found, Locked, Need, Place, Store, StoreError, Tenant, Total, Write, Written,
};

/// So many usages are carried at a time, or some more that were booked at the same instant: within
/// a page there is mostly another instant after them.
const STEP: usize = 900;

/// Carries forward what was booked before an instant, as far as roll-ups have followed. Returned is
/// up to where nothing needs the rows any more.
pub async fn carry<S: Store>(
    store: &S,
    tenant: &Tenant,
    before: Instant,
    random: &Random,
) -> Result<Instant, HostError> {
    let carried = store.carried_until(tenant).await?;
    if carried >= before {
        return Ok(carried);
    }
    let Some(found) = announce(store, tenant, before, random).await? else { return Ok(before) };
    let before = before.min(announced(&found).carried());
    let mut sums = Sums::begin(store, tenant, &found).await?;
    sums.take_moved();
    let rolled_up = store.rolled_up(tenant).await?;
    while sums.carried < before {
        let from = sums.carried;
        let until = read_some(&mut sums, store, tenant, before).await?;
        let is_followed = sums.used_to == Place::before(from) || Some(sums.used_to) <= rolled_up;
        if !(is_followed && sums.unreadable_usages.is_empty()) {
            return Ok(from);
        }
        let account = |((account, currency), total): (&(String, String), &Total)| {
            let (account, currency) = (account.clone(), currency.clone());
            AccountRow { account, currency, balance: total.used, held: total.held }
        };
        let (counters, accounts) = (sums.take_moved(), sums.accounts.iter().map(account).collect());
        let carry = Carry { tenant: tenant.clone(), from, until, counters, accounts };
        if !store.carry(&carry).await? {
            // Another host is at it.
            return Ok(store.carried_until(tenant).await?);
        }
        sums.carry_to(until);
    }
    Ok(sums.carried)
}

/// Says among the tenant's records what is about to be carried. From then on no batch is of an
/// earlier instant, and no counter that is new is filled from an earlier one, so that carrying
/// needs no lock. None: nothing ever happened.
async fn announce<S: Store>(
    store: &S,
    tenant: &Tenant,
    before: Instant,
    random: &Random,
) -> Result<Option<Found>, HostError> {
    let need = Need { whole: true, ..Need::head(tenant.clone()) };
    let found = store.read(std::slice::from_ref(&need)).await?.pop();
    let found = found.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
    if found.head.version == 0 {
        return Ok(None);
    }
    if announced(&found).carried() >= before {
        return Ok(Some(found));
    }
    let mut locked = store.lock(tenant).await?;
    let mut found = match locked.read(&need).await {
        Ok(found) => found,
        Err(error) => {
            locked.release().await;
            return Err(error.into());
        }
    };
    let mut records = announced(&found);
    if records.carried() >= before {
        locked.release().await;
        return Ok(Some(found));
    }
    let at = found.now.max(found.head.at);
    records.carry(before.min(at));
    let mut write = Write::new(tenant.clone(), found.head, (random() >> 64) as i64, at);
    write.records = records.take_changed();
    found.records.extend(write.records.iter().cloned());
    match locked.write(&write).await? {
        Written::Committed => Ok(Some(found)),
        Written::Missed => {
            Err(StoreError::Unavailable("the head moved under its lock".into()).into())
        }
    }
}

fn announced(found: &Found) -> Records {
    let mut records = Records::default();
    records.load(&found.records);
    records
}

/// Adds up what was booked before an instant, a step of it: up to where it is whole.
async fn read_some<S: Store>(
    sums: &mut Sums,
    store: &S,
    tenant: &Tenant,
    before: Instant,
) -> Result<Instant, HostError> {
    let until = read_usages(sums, store, tenant, before).await?;
    loop {
        let page = store.entries(tenant, sums.entered_to, PAGE).await?;
        if page.is_empty() {
            return Ok(until);
        }
        for (place, row) in page {
            if place.at >= until {
                return Ok(until);
            }
            sums.add_entry(place, row)?;
        }
    }
}

async fn read_usages<S: Store>(
    sums: &mut Sums,
    store: &S,
    tenant: &Tenant,
    before: Instant,
) -> Result<Instant, HostError> {
    let mut count = 0;
    loop {
        let page = store.usages(tenant, sums.used_to, PAGE).await?;
        if page.is_empty() {
            return Ok(before);
        }
        for (place, row) in page {
            if place.at >= before {
                return Ok(before);
            }
            // All of an instant, or nothing of it.
            if count >= STEP && place.at > sums.used_to.at {
                return Ok(place.at);
            }
            sums.add_usage(place, &row)?;
            count += 1;
        }
    }
}
