//! What every store must do.

use tollgate_host::store::{
    AccountRow, BatchKey, BatchRow, Closure, ClosureRow, CounterRow, EntryRow, Found, Head,
    HoldRow, HoldState, KeyRow, LatestKey, LatestRow, Locked, Need, RecordRow, RunRow, Since,
    Store, StoreError, Tenant, Total, UsageRow, Write, Written, first_id_of,
};
use tollgate_policy_core::Decimal;
use uuid::Uuid;

pub const BORN: Head = Head { version: 0, stamp: 0, at: 0 };

fn tenant(name: &str) -> Tenant {
    name.parse().expect("a name")
}

pub async fn born<S: Store>(store: &S, name: &str) -> Tenant {
    let tenant = tenant(name);
    store.create(std::slice::from_ref(&tenant)).await.expect("created");
    tenant
}

pub fn write(tenant: &Tenant, expected: Head, stamp: i64) -> Write {
    Write::new(tenant.clone(), expected, stamp, expected.at + 10)
}

pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn counter(values: &str, opened: i64, used: u32, held: u32) -> CounterRow {
    let total = Total { used: used.into(), held: held.into() };
    CounterRow { counter: 1, values: values.into(), opened, version: 1, total }
}

fn latest(used: &str) -> LatestRow {
    let total = Total { used: used.parse().expect("an amount"), held: Decimal::ONE };
    LatestRow { key: latest_key(), version: 1, totals: vec![(1, i64::MIN, total), (-2, 7, total)] }
}

fn latest_key() -> LatestKey {
    LatestKey { per: "[\"user\"]".into(), values: "[\"ana\"]".into() }
}

pub fn hold(number: u128) -> HoldRow {
    HoldRow { id: id(number), expires_at: 99, body: b"held\0".to_vec() }
}

pub fn closure(number: u128, how: Closure, held: bool) -> ClosureRow {
    ClosureRow { id: id(number), how, held, body: b"ended".to_vec() }
}

pub fn key(name: &str) -> KeyRow {
    KeyRow {
        operation: "reserve".into(),
        key: name.into(),
        hash: [7; 32],
        answer: b"\0answer\xff".to_vec(),
    }
}

fn record(name: &str, body: Option<&str>) -> RecordRow {
    let body = body.map(|body| body.as_bytes().to_vec());
    RecordRow { kind: "agent".into(), name: name.into(), body }
}

pub fn account(balance: &str, held: &str) -> AccountRow {
    let amount = |text: &str| text.parse().expect("an amount");
    let (account, currency) = ("cost".into(), "USD".into());
    AccountRow { account, currency, balance: amount(balance), held: amount(held) }
}

/// Its identifier begins with when it began.
pub fn run(user: &str, started_at: i64, ended_at: Option<i64>) -> RunRow {
    RunRow {
        id: first_id_of(started_at),
        user: user.into(),
        started_at,
        ended_at,
        body: b"run".to_vec(),
    }
}

/// Its identifier begins with when it was booked.
pub fn usage(at: u128, number: u128) -> UsageRow {
    let (id, body) = (Uuid::from_u128(at << 80 | number), b"what".to_vec());
    let reservation = Some(Uuid::from_u128(number));
    UsageRow { id, reservation, used_at: 5, late: true, overshoot: false, body }
}

/// All that a tenant has of counter 1 under these values, of these holds and keys.
pub async fn find<S: Store>(store: &S, tenant: &Tenant, values: &str, holds: &[u128]) -> Found {
    let need = Need {
        counters: vec![Since { counter: 1, values: values.into(), opened: 0 }],
        latest: vec![LatestKey { values: values.into(), ..latest_key() }],
        holds: holds.iter().map(|number| id(*number)).collect(),
        keys: vec![("reserve".into(), "a key".into())],
        whole: true,
        ..Need::head(tenant.clone())
    };
    store.read(&[need]).await.expect("found").remove(0)
}

async fn written<S: Store>(store: &S, write: Write) -> Result<Written, StoreError> {
    store.write(&[write]).await.remove(0)
}

pub async fn committed<S: Store>(store: &S, write: Write) -> Head {
    let next = write.leaves();
    assert_eq!(written(store, write).await, Ok(Written::Committed));
    next
}

/// A batch with a row of each kind.
pub fn full(tenant: &Tenant) -> Write {
    Write {
        counters: vec![counter("[\"ana\"]", 100, 3, 4), counter("[\"ana\"]", i64::MIN, 0, 5)],
        new_latest: vec![latest("0.000000000001")],
        new_holds: vec![hold(1), hold(2)],
        closures: vec![closure(3, Closure::Settled, false)],
        new_accounts: vec![account("-0.000000000001", "7")],
        runs: vec![run("ana", 40, None)],
        keys: vec![key("a key")],
        records: vec![record("sdr", Some("{}"))],
        allowed: vec![id(1), id(2)],
        denied: vec![id(5)],
        body: b"why".to_vec(),
        usages: vec![usage(10, 3)],
        entries: vec![EntryRow {
            id: id(4),
            usage: None,
            account: "cost".into(),
            kind: "charge".into(),
            amount: "12.000000000001".parse().expect("an amount"),
            currency: "USD".into(),
            body: b"lines".to_vec(),
        }],
        ..write(tenant, BORN, 77)
    }
}

pub async fn a_batch_is_found_as_it_was_written<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let head = committed(store, full(&tenant)).await;
    assert_eq!(head, Head { version: 1, stamp: 77, at: 10 });
    let mut found = find(store, &tenant, "[\"ana\"]", &[1, 3, 9]).await;
    found.counters.sort_by_key(|row| row.opened);
    assert_eq!(found.head, head);
    assert!(found.now > 0);
    assert_eq!(
        found.counters,
        [counter("[\"ana\"]", i64::MIN, 0, 5), counter("[\"ana\"]", 100, 3, 4)]
    );
    assert_eq!(found.latest, [latest("0.000000000001")]);
    let ended = HoldState::Closed { id: id(3), how: Closure::Settled, body: b"ended".to_vec() };
    assert_eq!(found.holds, [HoldState::Open(hold(1)), ended]);
    assert_eq!(found.keys, [key("a key")]);
    assert_eq!(found.records, [record("sdr", Some("{}"))]);
    assert_eq!(found.accounts, [account("-0.000000000001", "7")]);
    assert_eq!(found.next_expiry, Some(99));
    let key = BatchKey { at: 10, version: 1, stamp: 77 };
    let (allowed, denied) = (vec![id(1), id(2)], vec![id(5)]);
    let batch = BatchRow { key, allowed, denied, body: b"why".to_vec() };
    assert_eq!(store.batches(&tenant, BatchKey::before(10), 9).await, Ok(vec![batch]));
    assert_eq!(store.batches(&tenant, key, 9).await, Ok(Vec::new()));
    // Of an earlier stretch, of other values and of another tenant nothing is told.
    let later = Need {
        counters: vec![
            Since { counter: 1, values: "[\"ana\"]".into(), opened: 101 },
            Since { counter: 1, values: "[\"ben\"]".into(), opened: 0 },
            Since { counter: 2, values: "[\"ana\"]".into(), opened: 0 },
        ],
        ..Need::head(tenant.clone())
    };
    let found = store.read(&[later]).await.expect("found").remove(0);
    assert_eq!(found.counters, [counter("[\"ana\"]", i64::MIN, 0, 5)]);
    let other = born(store, "zen").await;
    let found = find(store, &other, "[\"ana\"]", &[1, 3]).await;
    assert_eq!((found.counters.len(), found.holds.len(), found.keys.len()), (0, 0, 0));
    assert_eq!((found.head, found.records.len(), found.latest.len()), (BORN, 0, 0));
}

pub async fn a_batch_of_another_version_or_stamp_writes_nothing<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    for expected in [Head { version: 1, ..BORN }, Head { stamp: 1, ..BORN }] {
        let write = Write { expected, ..full(&tenant) };
        assert_eq!(written(store, write).await, Ok(Written::Missed));
        let found = find(store, &tenant, "[\"ana\"]", &[1, 2, 3]).await;
        assert_eq!(found.head, BORN);
        assert_eq!((found.counters.len(), found.holds.len(), found.keys.len()), (0, 0, 0));
    }
    // The same batch twice: the second finds the head moved.
    committed(store, full(&tenant)).await;
    assert_eq!(written(store, full(&tenant)).await, Ok(Written::Missed));
}

pub async fn decisions_alone_leave_the_head_where_it_stands<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let head = committed(store, full(&tenant)).await;
    let denial = |number, stamp| Write {
        denied: vec![id(number)],
        keys: vec![key(&format!("key {number}"))],
        ..write(&tenant, head, stamp)
    };
    // Of several hosts, one after the other, without a miss.
    assert_eq!(committed(store, denial(7, 1)).await, head);
    assert_eq!(committed(store, denial(8, 2)).await, head);
    assert_eq!(find(store, &tenant, "[]", &[]).await.head, head);
    let gone = Head { version: 0, ..head };
    let missed = Write { expected: gone, ..denial(9, 3) };
    assert_eq!(written(store, missed).await, Ok(Written::Missed));
}

pub async fn what_expired_may_still_be_settled_and_nothing_else<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let close = |how, head, stamp| Write {
        closures: vec![closure(1, how, false)],
        ..write(&tenant, head, stamp)
    };
    let head = committed(store, close(Closure::Expired, BORN, 1)).await;
    for how in [Closure::Released, Closure::Expired, Closure::Voided] {
        let refused = written(store, close(how, head, 2)).await;
        assert!(
            matches!(refused, Err(StoreError::Refused(_) | StoreError::Unavailable(_))),
            "{refused:?}"
        );
    }
    let head = committed(store, close(Closure::Settled, head, 3)).await;
    let again = written(store, close(Closure::Settled, head, 4)).await;
    assert!(again.is_err(), "{again:?}");
    let found = find(store, &tenant, "[]", &[1]).await.holds;
    assert!(matches!(found[0], HoldState::Closed { how: Closure::Settled, .. }));
}

pub async fn a_second_write_of_a_counter_replaces_the_first<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let first = Write { counters: vec![counter("[]", 100, 3, 4)], ..write(&tenant, BORN, 1) };
    let head = committed(store, first).await;
    let second = Write { counters: vec![counter("[]", 100, 8, 0)], ..write(&tenant, head, 2) };
    let head = committed(store, second).await;
    let row = CounterRow { version: 2, ..counter("[]", 100, 8, 0) };
    assert_eq!(find(store, &tenant, "[]", &[]).await.counters, [row]);
    let new = Write { new_latest: vec![latest("3")], ..write(&tenant, head, 3) };
    let head = committed(store, new).await;
    let moved = Write { latest: vec![latest("-4.5")], ..write(&tenant, head, 4) };
    let head = committed(store, moved).await;
    let row = LatestRow { version: head.version, ..latest("-4.5") };
    assert_eq!(find(store, &tenant, "[\"ana\"]", &[]).await.latest, std::slice::from_ref(&row));
    // Page by page.
    let beginning = LatestKey { per: String::new(), values: String::new() };
    assert_eq!(store.latest(&tenant, &beginning, 9).await, Ok(vec![row]));
    assert_eq!(store.latest(&tenant, &latest_key(), 9).await, Ok(vec![]));
}

pub async fn what_is_new_and_what_is_known_are_not_taken_for_each_other<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let beside = || vec![counter("[]", 100, 1, 1)];
    let new: [fn(Write) -> Write; 3] = [
        |write| Write { new_latest: vec![latest("1")], ..write },
        |write| Write { new_accounts: vec![account("1", "0")], ..write },
        |write| Write { new_holds: vec![hold(1)], ..write },
    ];
    let known: [fn(Write) -> Write; 3] = [
        |write| Write { latest: vec![latest("1")], ..write },
        |write| Write { accounts: vec![account("1", "0")], ..write },
        |write| Write { holds: vec![hold(1)], ..write },
    ];
    let mut head = BORN;
    for (new, known) in new.into_iter().zip(known) {
        let batch = |head, stamp| Write { counters: beside(), ..write(&tenant, head, stamp) };
        let refused = written(store, known(batch(head, 1))).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
        assert_eq!(find(store, &tenant, "[]", &[]).await.head, head);
        head = committed(store, new(batch(head, 2))).await;
        let refused = written(store, new(batch(head, 3))).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
        head = committed(store, known(batch(head, 4))).await;
    }
}

pub async fn what_ends_is_no_longer_open_and_ends_once<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let opened = Write { new_holds: vec![hold(1)], ..write(&tenant, BORN, 1) };
    let head = committed(store, opened).await;
    let end = |how, held, head, stamp| Write {
        closures: vec![closure(1, how, held)],
        counters: vec![counter("[]", 100, 1, 1)],
        ..write(&tenant, head, stamp)
    };
    let head = committed(store, end(Closure::Released, true, head, 2)).await;
    // Neither of these, and nothing that stands beside it in the batch.
    for held in [true, false] {
        let again = written(store, end(Closure::Settled, held, head, 3)).await;
        assert!(
            matches!(again, Err(StoreError::Refused(_) | StoreError::Unavailable(_))),
            "{again:?}"
        );
        let found = find(store, &tenant, "[]", &[1]).await;
        let ended =
            HoldState::Closed { id: id(1), how: Closure::Released, body: b"ended".to_vec() };
        assert_eq!((found.head, found.holds), (head, vec![ended]));
    }
}

pub async fn a_key_is_answered_once<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let answer = |head, stamp, answer: &str| Write {
        keys: vec![KeyRow { answer: answer.into(), ..key("a key") }],
        ..write(&tenant, head, stamp)
    };
    let head = committed(store, answer(BORN, 1, "first")).await;
    let again = written(store, answer(head, 2, "second")).await;
    assert!(matches!(again, Ok(Written::Missed)), "{again:?}");
    let found = find(store, &tenant, "[]", &[]).await;
    assert_eq!((found.head, found.keys[0].answer.as_slice()), (head, &b"first"[..]));
    // Another operation's, and another tenant's, is another key.
    let mut settle = answer(head, 2, "second");
    settle.keys[0].operation = "settle".into();
    committed(store, settle).await;
    let other = born(store, "zen").await;
    committed(store, Write { keys: vec![key("a key")], ..write(&other, BORN, 1) }).await;
}

pub async fn a_record_is_replaced_and_removed<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let mut head = BORN;
    for (stamp, body, left) in [
        (1, Some("{}"), 1),
        (2, Some("{\"a\":1}"), 1),
        (3, None, 0),
        (4, None, 0),
        (5, Some(""), 1),
    ] {
        let records = vec![record("sdr", body)];
        head = committed(store, Write { records, ..write(&tenant, head, stamp) }).await;
        let found = find(store, &tenant, "[]", &[]).await.records;
        assert_eq!(found.len(), left);
        assert!(found.iter().all(|found| *found == record("sdr", body)));
    }
}

/// Of many tenants one opens a reservation that is open.
pub async fn one_that_is_refused_harms_no_other<S: Store>(store: &S) {
    let mut writes = Vec::new();
    for number in 0..20 {
        let tenant = born(store, &format!("tenant-{number}")).await;
        let mut head = BORN;
        if number == 7 {
            let first = Write { new_holds: vec![hold(1)], ..write(&tenant, BORN, 1) };
            head = committed(store, first).await;
        }
        let counters = vec![counter("[]", 100, number, 0)];
        writes.push(Write { new_holds: vec![hold(1)], counters, ..write(&tenant, head, 2) });
    }
    let results = store.write(&writes).await;
    for (number, (result, write)) in (0..).zip(results.iter().zip(&writes)) {
        let found = find(store, &write.tenant, "[]", &[]).await;
        if number == 7 {
            assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
            assert_eq!((found.head.version, found.counters.len()), (1, 0));
        } else {
            assert_eq!(*result, Ok(Written::Committed));
            assert_eq!(found.counters, [counter("[]", 100, number, 0)]);
        }
    }
}

/// Of many tenants one answers a key that it answered before.
pub async fn one_that_answers_again_harms_no_other<S: Store>(store: &S) {
    let mut writes = Vec::new();
    for number in 0..20 {
        let tenant = born(store, &format!("tenant-{number}")).await;
        let mut head = BORN;
        if number == 7 {
            let first = Write { keys: vec![key("a key")], ..write(&tenant, BORN, 1) };
            head = committed(store, first).await;
        }
        let counters = vec![counter("[]", 100, number, 0)];
        writes.push(Write { keys: vec![key("a key")], counters, ..write(&tenant, head, 2) });
    }
    let results = store.write(&writes).await;
    for (number, (result, write)) in (0..).zip(results.iter().zip(&writes)) {
        let expected = if number == 7 { Written::Missed } else { Written::Committed };
        assert_eq!(*result, Ok(expected));
        let found = find(store, &write.tenant, "[]", &[]).await;
        let counters = if number == 7 { vec![] } else { write.counters.clone() };
        assert_eq!(found.counters, counters);
    }
}

pub async fn one_that_missed_harms_no_other<S: Store>(store: &S) {
    let mut writes = Vec::new();
    for number in 0..20 {
        let tenant = born(store, &format!("tenant-{number}")).await;
        let expected = Head { stamp: i64::from(number == 7), ..BORN };
        let counters = vec![counter("[]", 100, number, 0)];
        writes.push(Write { counters, new_holds: vec![hold(1)], ..write(&tenant, expected, 2) });
    }
    let results = store.write(&writes).await;
    for (number, (result, write)) in (0..).zip(results.iter().zip(&writes)) {
        let found = find(store, &write.tenant, "[]", &[1]).await;
        let (expected, rows) =
            if number == 7 { (Written::Missed, 0) } else { (Written::Committed, 1) };
        assert_eq!(*result, Ok(expected), "{number}");
        assert_eq!((found.counters.len(), found.holds.len()), (rows, rows), "{number}");
    }
}

pub async fn a_tenant_that_is_not_there_is_named<S: Store>(store: &S) {
    let there = born(store, "acme").await;
    let absent = tenant("nobody");
    let needs = [Need::head(there), Need::head(absent.clone())];
    assert_eq!(store.read(&needs).await, Err(StoreError::UnknownTenant(absent.clone())));
    let locked = store.lock(&absent).await.err();
    assert_eq!(locked, Some(StoreError::UnknownTenant(absent.clone())));
    assert_eq!(written(store, full(&absent)).await, Ok(Written::Missed));
    // Creating one that is there changes nothing.
    let there = born(store, "acme").await;
    committed(store, full(&there)).await;
    store.create(std::slice::from_ref(&there)).await.expect("found");
    assert_eq!(find(store, &there, "[]", &[]).await.head.version, 1);
}

pub async fn a_locked_head_is_written_or_let_go<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    drop(store.lock(&tenant).await.expect("locked"));
    let mut locked = store.lock(&tenant).await.expect("locked again");
    assert_eq!(locked.read(&Need::head(tenant.clone())).await.expect("found").head, BORN);
    assert_eq!(locked.write(&full(&tenant)).await, Ok(Written::Committed));
    let locked = store.lock(&tenant).await.expect("locked once more");
    assert_eq!(locked.write(&full(&tenant)).await, Ok(Written::Missed));
    assert_eq!(find(store, &tenant, "[]", &[]).await.head.version, 1);
}

/// What the counter of a tenant stands at, and its head.
fn tally(found: &Found) -> Decimal {
    found.counters.first().map_or(Decimal::ZERO, |row| row.total.used)
}

fn one_more(tenant: &Tenant, found: &Found, stamp: i64) -> Write {
    let used = tally(found).checked_add(Decimal::ONE).expect("a sum");
    let total = Total { used, held: Decimal::ZERO };
    let row = CounterRow { counter: 1, values: "[]".into(), opened: 100, version: 0, total };
    Write { counters: vec![row], ..write(tenant, found.head, stamp) }
}

const WRITERS: i64 = 8;
const TURNS: i64 = 20;

pub async fn many_writers_lose_nothing<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let writer = async |number: i64| {
        for turn in 0..TURNS {
            loop {
                let found = find(store, &tenant, "[]", &[]).await;
                let more = one_more(&tenant, &found, number * TURNS + turn + 1);
                match written(store, more).await.expect("an answer") {
                    Written::Committed => break,
                    Written::Missed => {}
                }
            }
        }
    };
    let writers = (0..WRITERS).map(writer);
    futures_util::future::join_all(writers).await;
    let found = find(store, &tenant, "[]", &[]).await;
    assert_eq!(found.head.version, WRITERS * TURNS);
    assert_eq!(tally(&found), Decimal::try_from((WRITERS * TURNS) as u64).expect("a number"));
}

pub async fn many_lockers_lose_nothing<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let locker = async |number: i64| {
        for turn in 0..TURNS {
            let mut locked = store.lock(&tenant).await.expect("locked");
            let need = Need {
                counters: vec![Since { counter: 1, values: "[]".into(), opened: 0 }],
                ..Need::head(tenant.clone())
            };
            let found = locked.read(&need).await.expect("found");
            let more = one_more(&tenant, &found, number * TURNS + turn + 1);
            assert_eq!(locked.write(&more).await, Ok(Written::Committed));
        }
    };
    let lockers = (0..4).map(locker);
    futures_util::future::join_all(lockers).await;
    let found = find(store, &tenant, "[]", &[]).await;
    assert_eq!(tally(&found), Decimal::try_from((4 * TURNS) as u64).expect("a number"));
}

/// Whoever writes meanwhile: the head is not older, and not newer, than what is read with it.
pub async fn what_is_read_is_of_one_head<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let first = Write {
        new_latest: vec![latest("1")],
        new_accounts: vec![account("1", "0")],
        counters: vec![counter("[\"ana\"]", 100, 1, 0)],
        ..write(&tenant, BORN, 1)
    };
    let mut head = committed(store, first).await;
    let writer = async {
        for number in 2..=200_u32 {
            let batch = Write {
                latest: vec![latest(&number.to_string())],
                accounts: vec![account(&number.to_string(), "0")],
                counters: vec![counter("[\"ana\"]", 100, number, 0)],
                ..write(&tenant, head, number.into())
            };
            head = committed(store, batch).await;
        }
    };
    let reader = async {
        loop {
            let found = find(store, &tenant, "[\"ana\"]", &[]).await;
            let version = found.head.version;
            let number: Decimal =
                u64::try_from(version).expect("a version").try_into().expect("it");
            assert_eq!(found.latest[0].totals[0].2.used, number);
            assert_eq!(
                (found.counters[0].total.used, found.counters[0].version),
                (number, version)
            );
            assert_eq!((found.accounts[0].balance, found.head.stamp), (number, version));
            if version == 200 {
                break;
            }
        }
    };
    futures_util::future::join(writer, reader).await;
}

pub async fn the_least_and_the_greatest_are_kept<S: Store>(store: &S) {
    let tenant = born(store, "acme").await;
    let greatest: Decimal = "999999999999999.999999999999".parse().expect("an amount");
    let least: Decimal = "0.000000000001".parse().expect("an amount");
    let row = |opened, used: Decimal, held: Decimal| CounterRow {
        counter: 1,
        values: "[\"\u{1f4b8} \\\"quoted\\\"\"]".into(),
        opened,
        version: 1,
        total: Total { used, held },
    };
    let rows = vec![
        row(i64::MIN, greatest, greatest.negated()),
        row(0, least, least.negated()),
        row(i64::MAX, Decimal::ZERO, Decimal::ONE),
    ];
    committed(store, Write { counters: rows.clone(), ..write(&tenant, BORN, i64::MIN) }).await;
    let mut found = find(store, &tenant, &rows[0].values, &[]).await;
    found.counters.sort_by_key(|row| row.opened);
    assert_eq!((found.head.stamp, found.counters), (i64::MIN, rows));
}
