//! What is carried forward, and what is forgotten.

use tollgate_host::store::{
    AccountRow, Carry, Closure, CounterRow, Head, HoldState, KeyRow, Past, Place, RollUp,
    RollUpRow, Since, Store, Tenant, Total, Write, first_id_of,
};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::Instant;

use crate::conformance::{
    BORN, account, born, closure, committed, find, full, hold, id, key, usage, write,
};

fn used(counter: i64, values: &str, opened: Instant, amount: u32) -> CounterRow {
    let total = Total { used: amount.into(), held: Decimal::ZERO };
    CounterRow { counter, values: values.into(), opened, version: 0, total }
}

fn carry(
    tenant: &Tenant,
    from: Instant,
    until: Instant,
    counters: Vec<CounterRow>,
    accounts: Vec<AccountRow>,
) -> Carry {
    Carry { tenant: tenant.clone(), from, until, counters, accounts }
}

async fn carried<S: Store>(
    store: &S,
    tenant: &Tenant,
) -> (Instant, Vec<CounterRow>, Vec<AccountRow>) {
    let mut after = Since { counter: i64::MIN, values: String::new(), opened: Instant::MIN };
    let mut all: Vec<CounterRow> = Vec::new();
    loop {
        let page = store.carried_counters(tenant, &after, 2).await.expect("a page");
        let Some(CounterRow { counter, values, opened, .. }) = page.last() else { break };
        after = Since { counter: *counter, values: values.clone(), opened: *opened };
        all.extend(page);
    }
    let until = store.carried_until(tenant).await.expect("an instant");
    (until, all, store.carried_accounts(tenant).await.expect("accounts"))
}

pub async fn history_is_carried_forward_once_from_where_it_was_carried_to<S: Store>(store: &S) {
    let (tenant, other) = (born(store, "acme").await, born(store, "zen").await);
    let never = (Instant::MIN, Vec::new(), Vec::new());
    assert_eq!(carried(store, &tenant).await, never);
    let counters =
        vec![used(1, "[\"a\"]", 0, 6), used(1, "[]", Instant::MIN, 5), used(2, "", 7, 8)];
    let accounts = vec![account("-3", "0")];
    let first = carry(&tenant, Instant::MIN, 100, counters.clone(), accounts.clone());
    // Nobody carried to there yet.
    let gap = Carry { from: 50, ..first.clone() };
    assert_eq!(store.carry(&gap).await, Ok(false));
    assert_eq!(carried(store, &tenant).await, never);
    let both = futures_util::future::join(store.carry(&first), store.carry(&first)).await;
    let both = [both.0.expect("an answer"), both.1.expect("an answer")];
    assert_eq!(both.iter().filter(|carried| **carried).count(), 1, "{both:?}");
    assert_eq!(carried(store, &tenant).await, (100, counters.clone(), accounts));
    let more = vec![used(1, "[\"a\"]", 0, 9), used(3, "", 7, 1)];
    let second = carry(&tenant, 100, 200, more.clone(), vec![account("-4", "0")]);
    assert_eq!(store.carry(&second).await, Ok(true));
    assert_eq!(store.carry(&second).await, Ok(false));
    let all = vec![more[0].clone(), counters[1].clone(), counters[2].clone(), more[1].clone()];
    assert_eq!(carried(store, &tenant).await, (200, all, vec![account("-4", "0")]));
    assert_eq!(carried(store, &other).await, never);
}

/// A batch with a row of each kind at 10, one at 20, and a decision alone at 30; of two tenants.
async fn two_tenants<S: Store>(store: &S) -> [Tenant; 2] {
    let tenants = [born(store, "acme").await, born(store, "zen").await];
    for tenant in &tenants {
        let head = committed(store, full(tenant)).await;
        let next = Write {
            usages: vec![usage(20, 5), usage(20, 6)],
            keys: vec![KeyRow { key: "another".into(), ..key("") }],
            ..write(tenant, head, 1)
        };
        let head = committed(store, next).await;
        committed(store, Write { denied: vec![id(9)], ..write(tenant, head, 2) }).await;
    }
    tenants
}

/// Keys, usages and entries that are left.
async fn left<S: Store>(store: &S, tenant: &Tenant) -> (usize, usize, usize) {
    let usages = store.usages(tenant, Place::before(Instant::MIN), 9).await.expect("usages");
    let entries = store.entries(tenant, Place::before(Instant::MIN), 9).await.expect("entries");
    let keys = find(store, tenant, "[]", &[]).await.keys;
    (keys.len(), usages.len(), entries.len())
}

pub async fn what_is_forgotten_is_of_its_tenant_its_kind_and_its_time<S: Store>(store: &S) {
    let [tenant, other] = two_tenants(store).await;
    let forget = async |past, from, until, limit| {
        store.forget(&tenant, past, from..until, limit).await.expect("forgotten")
    };
    assert_eq!(left(store, &tenant).await, (1, 3, 1));
    assert!(!forget(Past::Keys, Instant::MIN, 10, 9).await);
    assert!(!forget(Past::Ledger, 11, 20, 9).await);
    assert_eq!(left(store, &tenant).await, (1, 3, 1));
    assert!(!forget(Past::Keys, Instant::MIN, 11, 9).await);
    assert_eq!(left(store, &tenant).await, (0, 3, 1));
    // A few at a time.
    assert!(forget(Past::Ledger, Instant::MIN, 21, 1).await);
    assert_eq!(left(store, &tenant).await, (0, 2, 0));
    assert!(forget(Past::Ledger, Instant::MIN, 21, 2).await);
    assert!(!forget(Past::Ledger, Instant::MIN, 21, 2).await);
    assert_eq!(left(store, &tenant).await, (0, 0, 0));
    assert_eq!(left(store, &other).await, (1, 3, 1));
    // Three batches.
    assert!(forget(Past::Decisions, Instant::MIN, 30, 2).await);
    assert!(!forget(Past::Decisions, Instant::MIN, 30, 2).await);
    assert!(forget(Past::Decisions, Instant::MIN, 31, 1).await, "the one of 30 was there");
    assert!(!forget(Past::Decisions, Instant::MIN, 99, 1).await);
    // What stands is none of it.
    let found = find(store, &tenant, "[\"ana\"]", &[1, 2, 3]).await;
    assert_eq!((found.head.version, found.counters.len(), found.holds.len()), (2, 2, 3));
    assert_eq!((found.accounts.len(), found.records.len()), (1, 1));
}

pub async fn a_reservation_is_forgotten_by_when_it_ended<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let began = |at| first_id_of(at).as_u128() + 1;
    let close = |number, head: Head, stamp| Write {
        closures: vec![closure(number, Closure::Expired, false)],
        ..write(&tenant, head, stamp)
    };
    let first = Write { new_holds: vec![hold(began(5))], ..close(began(3), BORN, 1) };
    let head = committed(store, first).await;
    let head = committed(store, close(began(4), head, 2)).await;
    let settled = Write {
        closures: vec![closure(began(3), Closure::Settled, false)],
        ..write(&tenant, head, 3)
    };
    committed(store, settled).await;
    let left = async || find(store, &tenant, "[]", &[began(3), began(4), began(5)]).await.holds;
    assert_eq!(left().await.len(), 3);
    // One ended at 30, after all, and one is open.
    assert_eq!(store.forget(&tenant, Past::Closures, Instant::MIN..20, 9).await, Ok(false));
    assert_eq!(left().await.len(), 3);
    assert_eq!(store.forget(&tenant, Past::Closures, Instant::MIN..30, 9).await, Ok(false));
    let states = left().await;
    assert!(matches!(&states[..], [HoldState::Open(_), HoldState::Closed { id, .. }]
        | [HoldState::Closed { id, .. }, HoldState::Open(_)] if id.as_u128() == began(3)));
    assert_eq!(store.forget(&tenant, Past::Closures, Instant::MIN..31, 9).await, Ok(false));
    assert_eq!(left().await, [HoldState::Open(hold(began(5)))]);
}

pub async fn minutes_are_forgotten_and_quarters_stay<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let row = |grouping: &str, grain_ms, opened| RollUpRow {
        grain_ms,
        opened,
        grouping: grouping.into(),
        values: "[\"ana\"]".into(),
        meter: "calls".into(),
        amount: Decimal::ONE,
    };
    let rows = vec![
        row("user", 60_000, 0),
        row("user", 60_000, 60_000),
        row("user", 900_000, 0),
        row("agent", 60_000, 0),
    ];
    let to = Place { at: 1, version: 1, ordinal: 0 };
    let rollup = RollUp { tenant: tenant.clone(), from: None, to, rows };
    assert_eq!(store.roll_up(&rollup).await, Ok(true));
    let minutes = Past::RollUps { grouping: "user", grain_ms: 60_000 };
    assert_eq!(store.forget(&tenant, minutes, Instant::MIN..60_000, 9).await, Ok(false));
    let left = async |grouping, grain_ms| {
        let rows = store.rollups(&tenant, grouping, None, grain_ms, 0..i64::MAX).await;
        rows.expect("rows").iter().map(|row| row.opened).collect::<Vec<_>>()
    };
    assert_eq!(left("user", 60_000).await, [60_000]);
    assert_eq!(left("user", 900_000).await, [0]);
    assert_eq!(left("agent", 60_000).await, [0]);
}
