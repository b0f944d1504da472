//! History on Postgres, divided by months.

use futures_util::future::join_all;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tollgate_host::store::{Durability, Month, Past, PostgresStore, Store, Write};
use tollgate_tests::postgres::Cluster;

use crate::conformance::{BORN, born, committed, full, usage, write};

const TABLES: [&str; 3] = ["batch", "usage", "entry"];

/// September 2001 and those after it.
fn months(count: usize) -> Vec<Month> {
    let first = Month::of(1_000_000_000_000);
    std::iter::successors(first, |month| Some(month.next())).take(count).collect()
}

async fn connected() -> (PostgresStore, PgConnection) {
    let options = Cluster::shared().database().await;
    let store = PostgresStore::connect(options.clone(), 4, Durability::Required).await;
    let connection = PgConnection::connect_with(&options).await.expect("a connection");
    (store.expect("the store"), connection)
}

async fn count(connection: &mut PgConnection, table: &str) -> i64 {
    let count = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(count).fetch_one(connection).await.expect("a count")
}

async fn list(store: &PostgresStore) -> [Vec<Month>; 2] {
    let months = async |past| store.months(past).await.expect("months");
    [months(Past::Decisions).await, months(Past::Ledger).await]
}

#[test]
fn what_happens_in_a_month_stands_in_its_partition_and_goes_with_it() {
    super::run(async {
        let (store, mut connection) = connected().await;
        let made = months(3);
        // Whoever else does so at the same time.
        let all = join_all((0..4).map(|_| store.make_months(&made))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        store.make_months(&made).await.expect("made");
        assert_eq!(list(&store).await, [made.clone(), made.clone()]);
        let tenant = born(&store, "acme").await;
        let at = made[1].span().start;
        let head = tollgate_host::store::Head { at, ..BORN };
        let first = Write { expected: head, next: head_at(at, 1), ..full(&tenant) };
        committed(&store, first).await;
        for table in TABLES {
            assert_eq!(count(&mut connection, &format!("{table}_2001_10")).await, 1, "{table}");
            assert_eq!(count(&mut connection, &format!("{table}_default")).await, 0, "{table}");
        }
        // Its body is not compressed, as in the whole.
        let external: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_attribute WHERE attname = 'body' AND attstorage = 'e' \
             AND attrelid IN ('batch_2001_10'::regclass, 'usage_2001_10'::regclass, 'entry_2001_10'::regclass)",
        )
        .fetch_one(&mut connection)
        .await
        .expect("a count");
        assert_eq!(external, 3);
        store.drop_month(Past::Ledger, made[1]).await.expect("dropped");
        let left = [made.clone(), vec![made[0], made[2]]];
        assert_eq!(list(&store).await, left);
        assert_eq!(
            (count(&mut connection, "usage").await, count(&mut connection, "batch").await),
            (0, 1)
        );
        store.drop_month(Past::Ledger, made[1]).await.expect("gone before");
        assert_eq!(list(&store).await, left);
    });
}

fn head_at(at: i64, version: i64) -> tollgate_host::store::Head {
    tollgate_host::store::Head { version, stamp: 77, at }
}

#[test]
fn a_month_of_which_rows_stand_elsewhere_is_left_to_them() {
    super::run(async {
        let (store, mut connection) = connected().await;
        let all = months(2);
        let tenant = born(&store, "acme").await;
        let at = all[0].span().end - 1;
        let late =
            Write { usages: vec![usage(1, 1)], next: head_at(at, 1), ..write(&tenant, BORN, 1) };
        committed(&store, late).await;
        store.make_months(&all).await.expect("made as far as can be");
        // No entry was booked; a batch and a usage were.
        let missing: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM unnest(ARRAY['batch', 'usage', 'entry']) AS name \
             WHERE to_regclass(name || '_2001_09') IS NULL ORDER BY name",
        )
        .fetch_all(&mut connection)
        .await
        .expect("names");
        assert_eq!(missing, ["batch", "usage"]);
        assert_eq!((count(&mut connection, "usage").await, list(&store).await[1].len()), (1, 2));
    });
}

/// Somebody writes for longer than a moment: they are not waited for, and hold nobody up.
#[test]
fn what_cannot_be_made_in_a_moment_is_made_another_time() {
    super::run(async {
        let (store, mut connection) = connected().await;
        let made = months(1);
        connection
            .execute("BEGIN; LOCK TABLE usage_default IN ROW EXCLUSIVE MODE")
            .await
            .expect("begun");
        store.make_months(&made).await.expect("the others are made");
        let is_made = "SELECT to_regclass('usage_2001_09') IS NOT NULL";
        let usages: bool =
            sqlx::query_scalar(is_made).fetch_one(&mut connection).await.expect("an answer");
        assert!(!usages);
        let [decisions, ledger] = list(&store).await;
        assert_eq!((decisions, ledger), (made.clone(), made.clone()), "entries have theirs");
        connection.execute("COMMIT").await.expect("ended");
        store.make_months(&made).await.expect("made");
        let usages: bool =
            sqlx::query_scalar(is_made).fetch_one(&mut connection).await.expect("an answer");
        assert!(usages);
        connection.execute("BEGIN; LOCK TABLE usage IN ROW EXCLUSIVE MODE").await.expect("begun");
        store.drop_month(Past::Ledger, made[0]).await.expect("left alone");
        assert_eq!(list(&store).await[1], made);
        connection.execute("COMMIT").await.expect("ended");
        store.drop_month(Past::Ledger, made[0]).await.expect("dropped");
        assert_eq!(list(&store).await[1], []);
    });
}
