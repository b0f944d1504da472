//! Callers that hang up at any point.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tollgate_host::store::{
    Durability, Locked, Need, PostgresStore, RecordRow, RegistryStore, SqliteStore, Store,
    StoreError, Tenant, Write, Written,
};
use tollgate_tests::embedded::{Answer, Embedded, Reply, What, clock_ms};
use tollgate_tests::postgres::Cluster;
use tollgate_tests::run;

use crate::crew::reserved;
use crate::ground::{Ground, cache, request, reserve, settle};
use crate::journal::Journal;
use crate::judge::judge;
use crate::sizes::{alone, size};
use crate::sql;

#[test]
fn a_caller_that_hangs_up_at_any_await_cancels_nothing() {
    let _alone = alone();
    let ground = Ground::postgres(Cluster::shared(), 1, 1_000_000);
    let options = sql::options(&ground).clone();
    let mut journal = Journal::new();
    run(async {
        let store = PostgresStore::connect(options, 4, Durability::Required).await;
        hang_up(store.expect("the store"), &mut journal).await;
    });
    nothing_is_left_in_a_transaction(&ground);
    judge(&ground, &mut journal);
}

#[test]
fn a_caller_that_hangs_up_at_any_await_of_a_host_on_a_file_cancels_nothing() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let ground = Ground::sqlite(directory.path(), 1, 1_000_000);
    let path = directory.path().join("ledger.db");
    let mut journal = Journal::new();
    run(async {
        let store = SqliteStore::open(&path, Durability::Required, Arc::new(clock_ms)).await;
        hang_up(store.expect("the store"), &mut journal).await;
    });
    judge(&ground, &mut journal);
}

/// Each request is dropped after one poll, after two, and so on until it is answered; and asked
/// again under its key.
async fn hang_up<S: Store + RegistryStore>(store: S, journal: &mut Journal) {
    let limit = 1_000_000_u32.into();
    let host = Embedded::start(Arc::new(store), &cache(), 1, limit).await.expect("a host");
    let mut asked = 0;
    let mut ask = async |what: What, polls: usize| {
        asked += 1;
        let request = request(asked, 0, Some(format!("key {asked}")), what);
        journal.intend([&request]);
        let first = polled(host.ask(&request), polls).await;
        let answer = host.ask(&request).await;
        let number = request.number;
        let told = |answer: &Answer| Reply { number, answer: answer.clone() };
        let replies: Vec<Reply> = first.iter().chain([&answer]).map(told).collect();
        journal.acknowledge(&replies);
        (answer, first.is_some())
    };
    for _ in 0..size(5, 50, 100) {
        let mut ids = Vec::new();
        for polls in 1.. {
            let (answer, whole) = ask(reserve(10), polls).await;
            ids.push(reserved(&answer));
            if whole {
                break;
            }
        }
        for polls in 1.. {
            let id = match ids.pop() {
                Some(id) => id,
                None => reserved(&ask(reserve(10), usize::MAX).await.0),
            };
            let (answer, whole) = ask(settle(id, 7), polls).await;
            assert!(matches!(answer, Answer::Settled { .. }), "{answer:?}");
            if whole {
                break;
            }
        }
    }
}

/// Within the store there are many awaits more. What is acknowledged after that stands, whatever
/// state the connection was left in.
#[test]
fn a_write_that_is_dropped_at_any_await_takes_no_later_one_with_it() {
    let _alone = alone();
    let ground = Ground::postgres(Cluster::shared(), 1, 1);
    run(async {
        let options = sql::options(&ground).clone();
        let store = PostgresStore::connect(options, 1, Durability::Required).await;
        let store = store.expect("the store");
        let tenant: Tenant = "t0".parse().expect("a name");
        store.create(std::slice::from_ref(&tenant)).await.expect("created");
        let mut connection = sql::connect(&ground).await;
        for _ in 0..size(5, 50, 100) {
            for locks in [true, false] {
                for polls in 1.. {
                    let write = next(&store, &tenant).await;
                    let whole = polled(dropped(&store, &write, locks), polls).await;
                    if let Some(written) = &whole {
                        assert_eq!(*written, Ok(Written::Committed));
                    }
                    let write = later(&store, &tenant).await;
                    let stands: i64 =
                        sqlx::query_scalar("SELECT version FROM head WHERE tenant_id = 't0'")
                            .fetch_one(&mut connection)
                            .await
                            .expect("the head");
                    assert_eq!(stands, write.next.version, "acknowledged after {polls} polls");
                    if whole.is_some() {
                        break;
                    }
                }
            }
        }
    });
    nothing_is_left_in_a_transaction(&ground);
}

async fn dropped(store: &PostgresStore, write: &Write, locks: bool) -> Result<Written, StoreError> {
    if locks {
        store.lock(&write.tenant).await?.write(write).await
    } else {
        store.write(std::slice::from_ref(write)).await.remove(0)
    }
}

async fn next(store: &PostgresStore, tenant: &Tenant) -> Write {
    let found = store.read(&[Need::head(tenant.clone())]).await.expect("the head").remove(0);
    let stamp = found.head.version + 1;
    // Something that moves the head.
    let (kind, name) = ("agent".into(), "sdr".into());
    let records = vec![RecordRow { kind, name, body: Some(stamp.to_string().into_bytes()) }];
    Write { records, ..Write::new(tenant.clone(), found.head, stamp, found.now) }
}

/// A write that is acknowledged. The dropped one may hold the head until it is let go.
async fn later(store: &PostgresStore, tenant: &Tenant) -> Write {
    loop {
        let write = next(store, tenant).await;
        match store.write(std::slice::from_ref(&write)).await.remove(0) {
            Ok(Written::Committed) => return write,
            other => assert_eq!(other, Ok(Written::Missed)),
        }
    }
}

/// Polls so many times at most.
async fn polled<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// What is let go is so long before the server itself would end it.
fn nothing_is_left_in_a_transaction(ground: &Ground) {
    run(async {
        let mut connection = sql::connect(ground).await;
        let let_go = async {
            loop {
                let left: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM pg_stat_activity \
                     WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
                )
                .fetch_one(&mut connection)
                .await
                .expect("a count");
                if left == 0 {
                    break;
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_millis(500), let_go).await;
        in_time.expect("no connection is left in a transaction");
    });
}
