//! What the statements that decide do to others that are under way, on Postgres.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};
use tollgate_host::store::{
    Durability, Head, Locked, Need, PostgresStore, Since, Store, StoreError, Tenant, Write, Written,
};
use tollgate_tests::postgres::{Cluster, Log};

use crate::conformance::{BORN, born, committed, full, hold, write};
use crate::run;

/// More than are taken in one go anywhere.
const MANY: usize = 120;

/// As slow as locks may be on a machine that has much else to do.
const DEADLINE: Duration = Duration::from_secs(20);

async fn store(options: &PgConnectOptions) -> PostgresStore {
    PostgresStore::connect(options.clone(), 4, Durability::Required).await.expect("the store")
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options).await.expect("a connection")
}

/// Their names are in their order.
async fn many(store: &PostgresStore) -> Vec<Tenant> {
    let name = |number| format!("tenant-{number:03}").parse().expect("a name");
    let tenants: Vec<Tenant> = (0..MANY).map(name).collect();
    store.create(&tenants).await.expect("created");
    tenants
}

/// What a host says, and what its pool adds to that.
async fn said(log: &Log, connection: &mut PgConnection) -> Vec<String> {
    let mut told = log.told(connection).await;
    told.retain(|told| !told.contains("ROLLBACK") && !told.contains("SQLx ping"));
    told
}

#[test]
fn heads_and_readings_are_read_in_one_statement() {
    run(async {
        let (cluster, log) = Cluster::logged(&[]);
        let options = cluster.database().await;
        let store = store(&options).await;
        let mut connection = connect(&options).await;
        let mut needs = Vec::new();
        for name in ["acme", "rival", "zen"] {
            let tenant = born(&store, name).await;
            let batch = full(&tenant);
            let counters = vec![Since { counter: 1, values: "[\"ana\"]".into(), opened: 0 }];
            let latest = batch.new_latest.iter().map(|row| row.key.clone()).collect();
            let holds = batch.new_holds.iter().map(|row| row.id).collect();
            let keys = vec![("reserve".into(), "a key".into())];
            let (due, whole) = (Some(99), true);
            committed(&store, batch).await;
            let need = Need { counters, latest, holds, keys, due, whole, ..Need::head(tenant) };
            needs.push(need);
        }
        said(&log, &mut connection).await;
        let found = store.read(&needs).await.expect("found");
        let statements = said(&log, &mut connection).await;
        assert_eq!(statements.len(), 1, "{statements:#?}");
        assert!(found.iter().all(|found| found.head.version == 1
            && found.counters.len() == 2
            && found.latest.len() == 1
            && found.holds.len() == 2
            && found.keys.len() == 1
            && found.due.len() == 2
            && found.records.len() == 1
            && found.accounts.len() == 1));
    });
}

/// Who reads and who holds everything keep each other waiting for nothing.
#[test]
fn who_reads_takes_no_lock() {
    run(async {
        let options = Cluster::shared().database().await;
        let store = store(&options).await;
        let tenant = born(&store, "acme").await;
        let head = committed(&store, full(&tenant)).await;
        let mut other = connect(&options).await;
        // Besides this only plain reading is possible.
        other
            .execute(
                "BEGIN; LOCK TABLE head, latest, counter, account, hold, closure, idempotency, record, usage \
                 IN EXCLUSIVE MODE; SELECT 1 FROM head FOR UPDATE",
            )
            .await
            .expect("locked");
        let usages = full(&tenant).usages.iter().map(|row| row.id).collect();
        let need = Need { usages, whole: true, ..Need::head(tenant.clone()) };
        let found = store.read(&[need]).await.expect("nobody is waited for").remove(0);
        assert_eq!((found.head, found.usages.len()), (head, 1));
        other.execute("COMMIT").await.expect("let go");
    });
}

#[test]
fn heads_are_taken_in_the_order_of_their_keys() {
    run(async {
        let options = Cluster::shared().database().await;
        let store = store(&options).await;
        let tenants = many(&store).await;
        let backwards: Vec<Write> =
            tenants.iter().rev().map(|tenant| write(tenant, BORN, 1)).map(opening).collect();
        let written = store.write(&backwards).await;
        assert_eq!(written, vec![Ok(Written::Committed); MANY]);
        // What is written follows one by one from what is taken.
        let taken: Vec<String> = sqlx::query_scalar("SELECT tenant_id FROM batch ORDER BY ctid")
            .fetch_all(&mut connect(&options).await)
            .await
            .expect("batches");
        assert!(
            taken.iter().map(String::as_str).eq(tenants.iter().map(Tenant::as_str)),
            "{taken:?}"
        );
    });
}

fn opening(write: Write) -> Write {
    Write { new_holds: vec![hold(write.next.stamp.unsigned_abs().into())], ..write }
}

/// Each in an order of its own, over and over, on what it knows of their heads.
async fn write_all(store: &PostgresStore, tenants: Vec<Tenant>, stamps: i64) -> usize {
    let mut heads = vec![BORN; tenants.len()];
    let mut committed = 0;
    for round in 0..25 {
        let one = |(tenant, head): (&Tenant, &Head)| opening(write(tenant, *head, stamps + round));
        let writes: Vec<Write> = tenants.iter().zip(&heads).map(one).collect();
        for written in store.write(&writes).await {
            match written {
                Ok(Written::Committed) => committed += 1,
                Ok(Written::Missed) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let needs: Vec<Need> = tenants.iter().cloned().map(Need::head).collect();
        let found = store.read(&needs).await.expect("found");
        heads = found.iter().map(|found| found.head).collect();
    }
    committed
}

#[test]
fn stores_that_write_the_same_tenants_in_opposite_orders_never_deadlock() {
    run(async {
        let (cluster, log) = Cluster::logged(&["deadlock_timeout=10ms"]);
        let options = cluster.database().await;
        let (one, other) = (store(&options).await, store(&options).await);
        let mut connection = connect(&options).await;
        let tenants = many(&one).await;
        let backwards = tenants.iter().rev().cloned().collect();
        let (first, second) =
            join(write_all(&one, tenants, 1_000), write_all(&other, backwards, 2_000)).await;
        let versions: i64 = sqlx::query_scalar("SELECT sum(version)::bigint FROM head")
            .fetch_one(&mut connection)
            .await
            .expect("a sum");
        assert_eq!(usize::try_from(versions), Ok(first + second));
        // A statement that failed is tried again tenant by tenant, which nobody would notice.
        let told = log.told(&mut connection).await;
        let failed: Vec<&String> = told.iter().filter(|told| told.contains("\nERROR:")).collect();
        assert!(failed.is_empty(), "{} failed, the first: {}", failed.len(), failed[0]);
    });
}

#[test]
fn a_head_that_is_locked_is_a_miss_of_its_tenant_alone() {
    run(async {
        let options = Cluster::shared().database().await;
        let (one, other) = (store(&options).await, store(&options).await);
        let tenants = many(&one).await;
        let (locked, read) = (MANY / 2, MANY / 3);
        let holder = other.lock(&tenants[locked]).await.expect("locked");
        // Who only keeps a key from going away is in nobody's way.
        let mut reader = connect(&options).await;
        reader.execute("BEGIN").await.expect("begun");
        sqlx::query("SELECT 1 FROM head WHERE tenant_id = $1 FOR KEY SHARE")
            .bind(tenants[read].as_str())
            .execute(&mut reader)
            .await
            .expect("shared");
        let writes: Vec<Write> =
            tenants.iter().map(|tenant| opening(write(tenant, BORN, 1))).collect();
        let written = one.write(&writes).await;
        let missed: BTreeSet<usize> =
            (0..MANY).filter(|place| written[*place] == Ok(Written::Missed)).collect();
        assert_eq!(missed, BTreeSet::from([locked]));
        assert!(written.iter().all(Result::is_ok), "{written:?}");
        holder.release().await;
        let again = one.write(&writes[locked..=locked]).await;
        assert_eq!(again, [Ok(Written::Committed)]);
    });
}

/// Who waits gives up after a second, and says that nothing was written.
#[test]
fn a_lock_is_not_waited_for_for_long() {
    run(async {
        let options = Cluster::shared().database().await;
        let store = store(&options).await;
        let tenant = born(&store, "acme").await;
        let mut holder = connect(&options).await;
        holder.execute("BEGIN; SELECT 1 FROM head FOR UPDATE").await.expect("locked");
        let waited = tokio::time::timeout(DEADLINE, store.lock(&tenant)).await;
        let refused = waited.expect("an end").err().expect("nothing was locked");
        let words = refused.to_string();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        assert!(words.contains("lock timeout"), "{words}");
    });
}

/// However its host came to forget it.
#[test]
fn a_lock_that_is_forgotten_ends_by_itself() {
    run(async {
        let options = Cluster::shared().database().await;
        let store = store(&options).await;
        let tenant = born(&store, "acme").await;
        let forgotten = store.lock(&tenant).await.expect("locked");
        let mut next = connect(&options).await;
        let lock = next.execute("SELECT 1 FROM head FOR UPDATE");
        tokio::time::timeout(DEADLINE, lock).await.expect("in time").expect("locked");
        drop(forgotten);
    });
}
