//! A store as of one instant.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tollgate_host::store::{
    Closure, CounterRow, EntryRow, HoldRow, LatestKey, LatestRow, Need, Pages, Place, Since,
    Snapshot, Store, StoreError, Tenant, UsageRow, Write,
};
use uuid::Uuid;

use super::conformance::{BORN, account, born, closure, committed, full, hold, id, usage, write};

/// All that there are pages of.
#[derive(Debug, PartialEq)]
struct Seen {
    usages: Vec<(Place, UsageRow)>,
    holds: Vec<HoldRow>,
    entries: Vec<(Place, EntryRow)>,
    latest: Vec<LatestRow>,
    counters: Vec<CounterRow>,
}

async fn see(pages: &impl Pages, tenant: &Tenant) -> Result<Seen, StoreError> {
    let first = Since { counter: i64::MIN, values: String::new(), opened: i64::MIN };
    let first_latest = LatestKey { per: String::new(), values: String::new() };
    Ok(Seen {
        usages: pages.usages(tenant, Place::before(i64::MIN), 99).await?,
        holds: pages.holds(tenant, Uuid::nil(), 99).await?,
        entries: pages.entries(tenant, Place::before(i64::MIN), 99).await?,
        latest: pages.latest(tenant, &first_latest, 99).await?,
        counters: pages.counters(tenant, &first, 99).await?,
    })
}

pub async fn a_snapshot_sees_nothing_that_is_written_after_it_began<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let first = full(&tenant);
    let head = committed(store, first.clone()).await;
    let stood = see(store, &tenant).await.expect("rows");
    let snapshot = store.snapshot().await.expect("a snapshot");
    let mut counters = first.counters;
    counters[0].opened += 1;
    let more = Write {
        counters,
        latest: vec![LatestRow { totals: Vec::new(), ..first.new_latest[0].clone() }],
        accounts: vec![account("8", "9")],
        closures: vec![closure(1, Closure::Released, true)],
        new_holds: vec![hold(6)],
        usages: vec![usage(20, 7)],
        entries: vec![EntryRow { id: id(8), ..first.entries[0].clone() }],
        ..write(&tenant, head, 78)
    };
    // It holds up nobody.
    let next = committed(store, more).await;
    assert_eq!(see(&snapshot, &tenant).await.as_ref(), Ok(&stood));
    let need = Need { whole: true, holds: vec![id(1)], ..Need::head(tenant.clone()) };
    let found = snapshot.read(&need).await.expect("found");
    assert_eq!((found.head, found.holds.len()), (head, 1));
    assert_eq!(found.accounts, first.new_accounts);
    snapshot.release().await;
    let snapshot = store.snapshot().await.expect("a snapshot");
    assert_eq!(snapshot.read(&need).await.expect("found").head, next);
    let stands = see(&snapshot, &tenant).await.expect("rows");
    assert_eq!(stands.usages.len(), stood.usages.len() + 1);
    assert_eq!(stands.entries.len(), stood.entries.len() + 1);
    assert_eq!(stands.counters.len(), stood.counters.len() + 1);
    assert!(stands.holds != stood.holds && stands.latest != stood.latest);
    let nobody = Need::head("nobody".parse().expect("a name"));
    let unknown = StoreError::UnknownTenant(nobody.tenant.clone());
    assert_eq!(snapshot.read(&nobody).await, Err(unknown));
}

/// Neither what reads on it later sees what stood, nor is what is written on it lost.
pub async fn a_snapshot_that_is_dropped_leaves_no_connection_in_it<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let mut head = BORN;
    for number in 1..=20_u32 {
        drop(store.snapshot().await.expect("a snapshot"));
        {
            // Whoever takes it goes away, mostly before it is taken.
            let mut taking = pin!(store.snapshot());
            poll_fn(|context| Poll::Ready(taking.as_mut().poll(context).is_ready())).await;
        }
        let stamp = i64::from(number);
        let usages = vec![usage(10, number.into())];
        head = committed(store, Write { usages, ..write(&tenant, head, stamp) }).await;
        let seen = store.usages(&tenant, Place::before(i64::MIN), 99).await.expect("usages");
        assert_eq!(seen.len(), number as usize);
        let snapshot = store.snapshot().await.expect("a snapshot");
        let need = Need::head(tenant.clone());
        assert_eq!(snapshot.read(&need).await.expect("found").head, head);
        snapshot.release().await;
    }
}
