//! The connections that write, on Postgres.

use futures_util::future::join_all;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnection;
use tollgate_host::store::{Durability, Head, PostgresStore, Tenant, Write};
use tollgate_tests::postgres::Cluster;

use crate::conformance::{BORN, born, committed, hold, write};
use crate::run;

const CONNECTIONS: u32 = 4;

async fn store() -> (PostgresStore, PgConnection) {
    let options = Cluster::shared().database().await;
    let store = PostgresStore::connect(options.clone(), CONNECTIONS, Durability::Required).await;
    let own = options.connect().await.expect("a connection");
    (store.expect("the store"), own)
}

/// One that moves the head.
fn batch(tenant: &Tenant, expected: Head, stamp: i64) -> Write {
    let new_holds = vec![hold(u128::try_from(stamp).expect("above zero"))];
    Write { new_holds, ..write(tenant, expected, stamp) }
}

/// The sessions whose last statement wrote batches.
async fn that_wrote(own: &mut PgConnection) -> Vec<i32> {
    sqlx::query_scalar(
        "SELECT pid FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE '-- Writes batches%'",
    )
    .fetch_all(own)
    .await
    .expect("sessions")
}

#[test]
fn the_connection_that_wrote_last_writes_next_and_nothing_else() {
    run(async {
        let (store, mut own) = store().await;
        let tenant = born(&store, "acme").await;
        let mut head = committed(&store, batch(&tenant, BORN, 1)).await;
        let first = that_wrote(&mut own).await;
        assert_eq!(first.len(), 1);
        for stamp in 2..20 {
            head = committed(&store, batch(&tenant, head, stamp)).await;
        }
        assert_eq!(that_wrote(&mut own).await, first);
    });
}

#[test]
fn what_a_connection_that_is_gone_cannot_write_is_written_on_another() {
    run(async {
        let (store, mut own) = store().await;
        let tenant = born(&store, "acme").await;
        let head = committed(&store, batch(&tenant, BORN, 1)).await;
        let gone = that_wrote(&mut own).await;
        sqlx::query("SELECT pg_terminate_backend(pid, 10000) FROM unnest($1) AS pid")
            .bind(&gone)
            .execute(&mut own)
            .await
            .expect("ended");
        let head = committed(&store, batch(&tenant, head, 2)).await;
        committed(&store, batch(&tenant, head, 3)).await;
        assert!(!that_wrote(&mut own).await.is_empty());
        let versions: Vec<i64> = sqlx::query_scalar("SELECT version FROM batch ORDER BY version")
            .fetch_all(&mut own)
            .await
            .expect("batches");
        assert_eq!(versions, [1, 2, 3]);
    });
}

#[test]
fn however_many_write_there_are_no_more_connections_than_were_allowed() {
    run(async {
        let (store, mut own) = store().await;
        let names = (0..16).map(|number| format!("tenant-{number}"));
        let write_some = async |name: String| {
            let tenant = born(&store, &name).await;
            let mut head = BORN;
            for stamp in 1..10 {
                head = committed(&store, batch(&tenant, head, stamp)).await;
            }
        };
        join_all(names.map(write_some)).await;
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND backend_type = 'client backend' \
                 AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut own)
        .await
        .expect("a count");
        assert!((1..=i64::from(CONNECTIONS)).contains(&open), "{open}");
    });
}
