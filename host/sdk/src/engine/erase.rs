//! Erases a value of a dimension, mostly a person's, from all that is kept of a tenant: a pseudonym
//! takes its place. Sums stay what they are, and decisions are judged again to the same end.
//!
//! First, under the head's lock, the counters are told of the pseudonym, and it is written down what
//! is being erased: from then on nothing new names the value, and whoever reads history reads the
//! pseudonym. Then history is written anew, page by page, without a lock. What stood still in
//! between goes on the next time.

use std::collections::BTreeSet;

use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::Random;
use super::backfill::holds;
use super::body::{self, EntryBody, HoldBody, KeptUsage, RunBody};
use super::carry::carry;
use super::decided;
use super::erasure::Erasure;
use super::host::HostError;
use super::notices::NoticeBody;
use super::origin::Allowed;
use super::records::{AGENT, Agent, REPAIR, Records};
use super::rollup::{GRAINS_MS, GROUPINGS, follow};
use super::sums::PAGE;
use crate::store::{
    BatchKey, ChangeKey, CounterRow, Found, LatestKey, Locked, Need, Owner, Place, RecordRow,
    Renamed, Rewritten, RunQuery, Since, Store, StoreError, Tenant, Write, Written,
};

/// How often it begins anew while history is carried forward beside it.
const ATTEMPTS: usize = 5;

/// Erases a value of a dimension from a tenant's records, and tells the pseudonym that took its
/// place. What is asked under the value afterwards begins with nothing used. Answers that are kept
/// under idempotency keys go by their own retention.
pub async fn erase<S: Store>(
    store: &S,
    tenant: &Tenant,
    dimension: &Dimension,
    random: &Random,
) -> Result<String, HostError> {
    let erasure = begin(store, tenant, dimension, random).await?;
    finish(store, tenant, &erasure, random).await?;
    Ok(erasure.pseudonym)
}

/// Goes on with what was begun to be erased, and stood still.
pub async fn finish_erasures<S: Store>(
    store: &S,
    tenant: &Tenant,
    random: &Random,
) -> Result<(), HostError> {
    for erasure in records(&head(store, tenant).await?).erasures() {
        finish(store, tenant, erasure, random).await?;
    }
    Ok(())
}

async fn head<S: Store>(store: &S, tenant: &Tenant) -> Result<Found, HostError> {
    let need = whole(tenant);
    let found = store.read(std::slice::from_ref(&need)).await?.pop();
    Ok(found.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?)
}

fn whole(tenant: &Tenant) -> Need {
    Need { whole: true, ..Need::head(tenant.clone()) }
}

fn records(found: &Found) -> Records {
    let mut records = Records::default();
    records.load(&found.records);
    records
}

async fn begin<S: Store>(
    store: &S,
    tenant: &Tenant,
    dimension: &Dimension,
    random: &Random,
) -> Result<Erasure, HostError> {
    let names = names(store, tenant, dimension).await?;
    for _ in 0..ATTEMPTS {
        // Nobody carries the value forward once this is done.
        let announced = records(&head(store, tenant).await?).carried();
        if announced > store.carried_until(tenant).await? {
            follow(store, tenant).await?;
            carry(store, tenant, announced, random).await?;
        }
        let mut locked = store.lock(tenant).await?;
        let prepared = match prepare(store, &mut locked, tenant, dimension, &names, random).await {
            Ok(Prepared::New(prepared)) => *prepared,
            other => {
                locked.release().await;
                match other? {
                    Prepared::Carried => continue,
                    Prepared::Begun(erasure) => return Ok(erasure),
                    Prepared::New(_) => return Err(HostError::Stopped),
                }
            }
        };
        let (erasure, renamed, write) = prepared;
        return match locked.rename(&renamed, &write).await? {
            Written::Committed => Ok(erasure),
            Written::Missed => {
                Err(StoreError::Unavailable("the head moved under its lock".into()).into())
            }
        };
    }
    let words = "its history is being carried forward: erase a little later";
    Err(StoreError::Unavailable(words.into()).into())
}

/// What people called an agent at any time.
async fn names<S: Store>(
    store: &S,
    tenant: &Tenant,
    Dimension { name, value }: &Dimension,
) -> Result<BTreeSet<String>, HostError> {
    let (mut names, mut after) = (BTreeSet::new(), ChangeKey::default());
    if name != AGENT {
        return Ok(names);
    }
    loop {
        let page = store.changes(tenant, &after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(names) };
        after = last.key.clone();
        let of_it = page.iter().filter(|row| row.key.kind == AGENT && row.key.name == *value);
        let agents =
            of_it.filter_map(|row| serde_json::from_slice::<Agent>(row.body.as_ref()?).ok());
        names.extend(agents.filter_map(|agent| agent.name));
    }
}

/// How an erasure begins.
enum Prepared {
    /// History is being carried forward: it must wait.
    Carried,
    /// It did before.
    Begun(Erasure),
    /// With this.
    New(Box<(Erasure, Renamed, Write)>),
}

async fn prepare<S: Store>(
    store: &S,
    locked: &mut S::Locked<'_>,
    tenant: &Tenant,
    dimension: &Dimension,
    names: &BTreeSet<String>,
    random: &Random,
) -> Result<Prepared, HostError> {
    locked.patient().await?;
    let found = locked.read(&whole(tenant)).await?;
    let mut records = records(&found);
    if let Some(erasure) = records.erasures().iter().find(|own| own.dimension == *dimension) {
        return Ok(Prepared::Begun(erasure.clone()));
    }
    if let Some(other) = records.erasures().first() {
        // Two that rewrite the same rows would undo each other's.
        return Err(HostError::Erasing(other.dimension.name.clone()));
    }
    if records.carried() > store.carried_until(tenant).await? {
        return Ok(Prepared::Carried);
    }
    let pseudonym = format!("erased-{:016x}", random() >> 64);
    let mut names = names.clone();
    if dimension.name == AGENT {
        names.extend(records.agent(&dimension.value).and_then(|agent| agent.name.clone()));
    }
    let erasure = Erasure { dimension: dimension.clone(), pseudonym, names };
    let mut open = 0;
    for row in holds(store, tenant).await? {
        let hold: HoldBody = body::read(&row.body)
            .ok_or_else(|| HostError::Unreadable(format!("reservation {}", row.id)))?;
        open += usize::from(erasure.is_named(&hold.call.dimensions));
    }
    if open > 0 {
        return Err(HostError::StillOpen(open));
    }
    let renamed = renamed(store, tenant, &erasure, &records).await?;
    let at = found.now.max(found.head.at);
    let mut write = Write::new(tenant.clone(), found.head, (random() >> 64) as i64, at);
    records.erase(&erasure);
    write.turned = records.notices.take_turned();
    write.records = records.take_changed();
    for row in &found.records {
        if let Some((name, body)) = erasure.record(&row.kind, &row.name, row.body.as_deref())
            && row.kind == REPAIR
        {
            write.records.push(RecordRow { kind: row.kind.clone(), name, body });
        }
    }
    Ok(Prepared::New(Box::new((erasure, renamed, write))))
}

/// The counters that stand for the value.
async fn renamed<S: Store>(
    store: &S,
    tenant: &Tenant,
    erasure: &Erasure,
    records: &Records,
) -> Result<Renamed, HostError> {
    let mut renamed = Renamed::default();
    let mut after = LatestKey { per: String::new(), values: String::new() };
    loop {
        let page = store.latest(tenant, &after, PAGE).await?;
        let Some(row) = page.last() else { break };
        after = row.key.clone();
        for row in page {
            let per: Vec<String> = serde_json::from_str(&row.key.per).unwrap_or_default();
            let new = erasure.values(Some(&per), &row.key.values);
            renamed.latest.extend(new.map(|new| (row.key, new)));
        }
    }
    let first = || Since { counter: i64::MIN, values: String::new(), opened: Instant::MIN };
    let mut take = |page: Vec<CounterRow>| {
        for CounterRow { counter, values, .. } in page {
            let new = erasure.of_counter(records.counters(), counter, &values);
            let known = renamed
                .counters
                .last()
                .is_some_and(|last| (last.0, last.1.as_str()) == (counter, values.as_str()));
            renamed.counters.extend(new.filter(|_| !known).map(|new| (counter, values, new)));
        }
    };
    let mut after = first();
    loop {
        let page = store.counters(tenant, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = since(last);
        take(page);
    }
    let mut after = first();
    loop {
        let page = store.carried_counters(tenant, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = since(last);
        take(page);
    }
    renamed.counters.sort();
    renamed.counters.dedup();
    Ok(renamed)
}

fn since(CounterRow { counter, values, opened, .. }: &CounterRow) -> Since {
    Since { counter: *counter, values: values.clone(), opened: *opened }
}

/// Whether it is still to be finished. Asked after a page is read and before it is written: what came
/// later under the value is somebody else's.
async fn stands<S: Store>(
    store: &S,
    tenant: &Tenant,
    erasure: &Erasure,
) -> Result<bool, HostError> {
    Ok(records(&head(store, tenant).await?).erasures().contains(erasure))
}

/// Writes history anew, and forgets what was erased. Any number of hosts may be at it.
async fn finish<S: Store>(
    store: &S,
    tenant: &Tenant,
    erasure: &Erasure,
    random: &Random,
) -> Result<(), HostError> {
    batches(store, tenant, erasure).await?;
    // What is rolled up is never looked at again, so that nothing is added under the value.
    follow(store, tenant).await?;
    rollups(store, tenant, erasure).await?;
    let known = records(&head(store, tenant).await?);
    usages(store, tenant, erasure, &known).await?;
    entries(store, tenant, erasure).await?;
    expired(store, tenant, erasure, &known).await?;
    runs(store, tenant, erasure).await?;
    changes(store, tenant, erasure).await?;
    notices(store, tenant, erasure).await?;
    acts(store, tenant, erasure).await?;
    let mut locked = store.lock(tenant).await?;
    let found = match locked.read(&whole(tenant)).await {
        Ok(found) => found,
        Err(error) => {
            locked.release().await;
            return Err(error.into());
        }
    };
    let mut records = records(&found);
    if !records.erasures().contains(erasure) {
        locked.release().await;
        return Ok(());
    }
    records.erased(erasure);
    let at = found.now.max(found.head.at);
    let mut write = Write::new(tenant.clone(), found.head, (random() >> 64) as i64, at);
    write.records = records.take_changed();
    match locked.write(&write).await? {
        Written::Committed => Ok(()),
        Written::Missed => {
            Err(StoreError::Unavailable("the head moved under its lock".into()).into())
        }
    }
}

async fn write<S: Store>(
    store: &S,
    tenant: &Tenant,
    erasure: &Erasure,
    rewritten: &Rewritten,
) -> Result<(), HostError> {
    if !rewritten.is_empty() && stands(store, tenant, erasure).await? {
        store.rewrite(tenant, rewritten).await?;
    }
    Ok(())
}

async fn batches<S: Store>(store: &S, tenant: &Tenant, erasure: &Erasure) -> Result<(), HostError> {
    let mut after = BatchKey { at: Instant::MIN, version: i64::MIN, stamp: i64::MIN };
    loop {
        let page = store.batches(tenant, after, BATCHES).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.key;
        let mut rewritten = Rewritten::default();
        for batch in page.iter().filter(|batch| !batch.body.is_empty()) {
            let erased = decided::erase(&batch.body, erasure).ok_or_else(|| {
                HostError::Unreadable(format!("batch {} of {}", batch.key.version, batch.key.at))
            })?;
            rewritten.batches.extend(erased.map(|body| (batch.key, body)));
        }
        write(store, tenant, erasure, &rewritten).await?;
    }
}

/// So many batches are read at a time.
const BATCHES: u32 = 64;

async fn rollups<S: Store>(store: &S, tenant: &Tenant, erasure: &Erasure) -> Result<(), HostError> {
    let Dimension { name, value } = &erasure.dimension;
    for (grouping, names) in GROUPINGS {
        let per: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        if !per.contains(name) {
            continue;
        }
        let mut all = vec![serde_json::to_string(&[value]).unwrap_or_default()];
        if per.len() > 1 {
            for grain_ms in GRAINS_MS {
                let ever = Instant::MIN..Instant::MAX;
                let rows = store.rollups(tenant, grouping, None, grain_ms, ever).await?;
                all.extend(rows.into_iter().map(|row| row.values));
            }
            all.sort();
            all.dedup();
        }
        for values in all {
            if let Some(new) = erasure.values(Some(&per), &values) {
                let name = &erasure.pseudonym;
                store.rename_rollups(tenant, name, grouping, &values, &new).await?;
            }
        }
    }
    Ok(())
}

async fn usages<S: Store>(
    store: &S,
    tenant: &Tenant,
    erasure: &Erasure,
    known: &Records,
) -> Result<(), HostError> {
    let mut after = Place::before(Instant::MIN);
    loop {
        let page = store.usages(tenant, after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        let mut rewritten = Rewritten::default();
        for (place, row) in page {
            let mut used: KeptUsage = body::read(&row.body)
                .ok_or_else(|| HostError::Unreadable(format!("usage {}", row.id)))?;
            if erasure.usage(&mut used, known.counters()) {
                rewritten.usages.push((place.at, row.id, body::write(&used)));
            }
        }
        write(store, tenant, erasure, &rewritten).await?;
    }
}

async fn entries<S: Store>(store: &S, tenant: &Tenant, erasure: &Erasure) -> Result<(), HostError> {
    let mut after = Place::before(Instant::MIN);
    loop {
        let page = store.entries(tenant, after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        let mut rewritten = Rewritten::default();
        for (place, row) in page {
            let (mut entry, origin) = body::read_with::<EntryBody, _>(&row.body)
                .ok_or_else(|| HostError::Unreadable(format!("entry {}", row.id)))?;
            entry.quote.iter_mut().for_each(|quote| erasure.facts(&mut quote.facts));
            let body = entry.written(&origin);
            if body != row.body {
                rewritten.entries.push((place.at, row.id, body));
            }
        }
        write(store, tenant, erasure, &rewritten).await?;
    }
}

async fn expired<S: Store>(
    store: &S,
    tenant: &Tenant,
    erasure: &Erasure,
    known: &Records,
) -> Result<(), HostError> {
    let mut after = Uuid::nil();
    loop {
        let page = store.expired(tenant, after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        let mut rewritten = Rewritten::default();
        for (id, bytes) in page {
            let (mut expired, allowed) = body::read_with::<_, Allowed>(&bytes)
                .ok_or_else(|| HostError::Unreadable(format!("reservation {id}")))?;
            if erasure.expired(&mut expired, known.counters()) {
                let mut bytes = body::write(&expired);
                body::append(&mut bytes, &allowed);
                rewritten.expired.push((id, bytes));
            }
        }
        write(store, tenant, erasure, &rewritten).await?;
    }
}

async fn runs<S: Store>(store: &S, tenant: &Tenant, erasure: &Erasure) -> Result<(), HostError> {
    let Dimension { name, value } = &erasure.dimension;
    let is_user = name == "user";
    let mut query = RunQuery { user: is_user.then(|| value.clone()), ..RunQuery::first(PAGE) };
    loop {
        let page = store.runs(tenant, &query).await?;
        let Some(last) = page.last() else { return Ok(()) };
        query.after = last.id;
        let mut rewritten = Rewritten::default();
        for row in page {
            let mut run: RunBody = body::read(&row.body)
                .ok_or_else(|| HostError::Unreadable(format!("run {}", row.id)))?;
            if erasure.dimensions(&mut run.dimensions) {
                let user = if is_user { erasure.pseudonym.clone() } else { row.user };
                rewritten.runs.push((row.id, user, body::write(&run)));
            }
        }
        write(store, tenant, erasure, &rewritten).await?;
    }
}

async fn changes<S: Store>(store: &S, tenant: &Tenant, erasure: &Erasure) -> Result<(), HostError> {
    let mut after = ChangeKey::default();
    loop {
        let page = store.changes(tenant, &after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.key.clone();
        let mut rewritten = Rewritten::default();
        for row in page {
            let new = erasure.record(&row.key.kind, &row.key.name, row.body.as_deref());
            rewritten.changes.extend(new.map(|(name, body)| (row.key, name, body)));
        }
        write(store, tenant, erasure, &rewritten).await?;
    }
}

async fn notices<S: Store>(store: &S, tenant: &Tenant, erasure: &Erasure) -> Result<(), HostError> {
    let mut after = Uuid::nil();
    loop {
        let page = store.notices_after(tenant, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        let mut rewritten = Rewritten::default();
        for kept in page {
            let mut notice: NoticeBody = serde_json::from_slice(&kept.body)
                .map_err(|_| HostError::Unreadable(format!("notice {}", kept.id)))?;
            if erasure.notice(&mut notice) {
                let body = serde_json::to_vec(&notice).unwrap_or_default();
                rewritten.notices.push((kept.id, body));
            }
        }
        write(store, tenant, erasure, &rewritten).await?;
    }
}

async fn acts<S: Store>(store: &S, tenant: &Tenant, erasure: &Erasure) -> Result<(), HostError> {
    let (owner, mut before) = (Owner::Tenant(tenant.clone()), None);
    loop {
        let page = store.audits(Some(&owner), before, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        before = Some((last.at, last.id));
        let mut rewritten = Rewritten::default();
        for mut act in page {
            if erasure.act(&mut act) {
                rewritten.acts.push(act);
            }
        }
        write(store, tenant, erasure, &rewritten).await?;
    }
}
