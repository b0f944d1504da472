//! What Postgres does with the statements that decide, once it has stopped looking at their values.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tollgate_host::store::{Durability, PostgresStore};
use tollgate_tests::postgres::Cluster;

const WRITE: &str = include_str!("../../../host/sdk/src/store/postgres/write.sql");
const READ: &str = include_str!("../../../host/sdk/src/store/postgres/read.sql");
const OVERDUE: &str = include_str!("../../../host/sdk/src/store/postgres/overdue.sql");

/// Enough that a plan is made for tables with something in them.
const FILL: &str = "
    INSERT INTO head SELECT 'tenant-' || n, 1, 1, 1 FROM generate_series(1, 10000) AS n;
    INSERT INTO counter SELECT 'tenant-' || n % 10000, n, '[]', 0, 1, 1, 1 FROM generate_series(1, 60000) AS n;
    INSERT INTO latest SELECT 'tenant-' || n, '[\"user\"]', '[]', 1, '[[1,0,1,1]]' FROM generate_series(1, 10000) AS n;
    INSERT INTO hold SELECT 'tenant-' || n % 10000, gen_random_uuid(), n, '' FROM generate_series(1, 20000) AS n;
    INSERT INTO closure SELECT 'tenant-' || n % 10000, gen_random_uuid(), n, 1, n, '' FROM generate_series(1, 20000) AS n;
    INSERT INTO idempotency SELECT 'tenant-' || n % 10000, 'reserve', n, '', '', 1 FROM generate_series(1, 20000) AS n;
    INSERT INTO record SELECT 'tenant-' || n % 10000, 'agent', n, '' FROM generate_series(1, 20000) AS n;
    INSERT INTO account SELECT 'tenant-' || n, 'cost', 'USD', 1, 1 FROM generate_series(1, 10000) AS n;
    INSERT INTO run SELECT 'tenant-' || n % 10000, gen_random_uuid(), 'ana', n, NULL, '' FROM generate_series(1, 20000) AS n;
    INSERT INTO usage SELECT 'tenant-' || n % 10000, n, gen_random_uuid(), n, 1, NULL, 1, false, false, '' FROM generate_series(1, 20000) AS n;
    INSERT INTO notice SELECT 'tenant-' || n % 10000, gen_random_uuid(), n, 'info', '' FROM generate_series(1, 20000) AS n;
    INSERT INTO change SELECT 'tenant-' || n % 10000, 'agent', 'sdr', n, n, '' FROM generate_series(1, 20000) AS n;
    ANALYZE;
    SET plan_cache_mode = force_generic_plan;";

/// To a database with something in its tables.
async fn filled() -> PgConnection {
    let options = Cluster::shared().database().await;
    let store = PostgresStore::connect(options.clone(), 1, Durability::Required).await;
    store.expect("the store");
    let mut connection = PgConnection::connect_with(&options).await.expect("a connection");
    sqlx::raw_sql(FILL).execute(&mut connection).await.expect("filled");
    connection
}

/// As a host asks.
async fn as_host(connection: &mut PgConnection) {
    sqlx::raw_sql(PostgresStore::SESSION).execute(connection).await.expect("set");
}

async fn plan(connection: &mut PgConnection, statement: &str, parameters: usize) -> Vec<String> {
    let prepare = AssertSqlSafe(format!("PREPARE deciding AS {statement}"));
    sqlx::raw_sql(prepare).execute(&mut *connection).await.expect("prepared");
    let nulls = vec!["NULL"; parameters].join(", ");
    let list = if parameters == 0 { String::new() } else { format!("({nulls})") };
    let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE deciding {list}"));
    let plan = sqlx::query_scalar(explain).fetch_all(&mut *connection).await.expect("a plan");
    connection.execute("DEALLOCATE deciding").await.expect("forgotten");
    plan
}

fn scanned(plan: &[String]) -> Vec<&String> {
    plan.iter().filter(|line| line.contains("Seq Scan on")).collect()
}

#[test]
fn statements_that_decide_scan_no_table() {
    super::run(async {
        let mut connection = filled().await;
        // What a scan looks like.
        let all = plan(&mut connection, "SELECT count(*) FROM counter WHERE used > 5", 0).await;
        assert!(!scanned(&all).is_empty(), "{}", all.join("\n"));
        as_host(&mut connection).await;
        for (statement, parameters) in [(WRITE, 78), (READ, 16), (OVERDUE, 2)] {
            let plan = plan(&mut connection, statement, parameters).await;
            assert!(scanned(&plan).is_empty(), "{}", plan.join("\n"));
        }
    });
}

/// Each second, of each tenant, whatever it holds: nothing that is not due is looked at.
#[test]
fn what_is_due_is_found_by_when_it_is() {
    super::run(async {
        let mut connection = filled().await;
        as_host(&mut connection).await;
        let plan = plan(&mut connection, OVERDUE, 2).await.join("\n");
        let found = plan.lines().any(|line| {
            line.contains("Index Cond: ((tenant_id = asked.tenant_id) AND (expires_at <=")
        });
        assert!(found && !plan.contains("Filter:"), "{plan}");
    });
}

#[test]
fn text_is_ordered_by_its_bytes_whatever_the_locale_of_the_database() {
    super::run(async {
        let options = Cluster::shared().database().await;
        let store = PostgresStore::connect(options.clone(), 1, Durability::Required).await;
        store.expect("the store");
        let mut connection = PgConnection::connect_with(&options).await.expect("a connection");
        let others: Vec<String> = sqlx::query_scalar(
            "SELECT attrelid::regclass || '.' || attname FROM pg_attribute \
             JOIN pg_class ON pg_class.oid = attrelid JOIN pg_collation ON pg_collation.oid = attcollation \
             WHERE relnamespace = 'public'::regnamespace AND relname <> '_sqlx_migrations' \
                 AND attnum > 0 AND collname <> 'C'",
        )
        .fetch_all(&mut connection)
        .await
        .expect("columns");
        assert!(others.is_empty(), "{others:?}");
    });
}

/// Whatever a caller left behind on a connection: the next one starts outside of any transaction.
#[test]
fn a_connection_that_was_left_in_a_transaction_is_cleaned_before_it_serves() {
    super::run(async {
        let options = Cluster::shared().database().await;
        let store = PostgresStore::connect(options.clone(), 1, Durability::Required).await;
        let store = store.expect("the store");
        // The one connection, handed back in the middle of a transaction.
        store.leave_in_transaction().await;
        let tenant = "acme".parse().expect("a name");
        tollgate_host::store::Store::create(&store, std::slice::from_ref(&tenant))
            .await
            .expect("created");
        let mut other = PgConnection::connect_with(&options).await.expect("a connection");
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM head")
            .fetch_one(&mut other)
            .await
            .expect("rows");
        assert_eq!(count, 1, "what was acknowledged stands");
    });
}
