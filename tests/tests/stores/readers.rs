//! Roles of Postgres that only read.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tollgate_host::store::{Durability, PostgresStore};
use tollgate_tests::postgres::Cluster;

const FILL: &str = "
    INSERT INTO account VALUES ('acme', 'cost', 'USD', 1, 0), ('rival', 'cost', 'USD', 2, 0);
    INSERT INTO entry SELECT tenant, 1, gen_random_uuid(), 1, 1, NULL, 'cost', 'credit', 1, 'USD', ''
        FROM unnest(ARRAY['acme', 'rival']) AS tenant;
    INSERT INTO token VALUES ('acme', 'id', '', 'read', 'ana', 1, 'ana', NULL, NULL);";

async fn reader(options: &PgConnectOptions) -> PgConnection {
    let engine = PostgresStore::connect(options.clone(), 1, Durability::Required).await;
    engine.expect("the store");
    let mut owner = options.connect().await.expect("a connection");
    sqlx::raw_sql(FILL).execute(&mut owner).await.expect("filled");
    // Roles are of the cluster, which other tests share.
    let role = format!("reads_{}", options.get_database().expect("a database"));
    let made = format!("CREATE ROLE {role} LOGIN; SELECT tollgate_reader('{role}', 'acme')");
    sqlx::raw_sql(AssertSqlSafe(made)).execute(&mut owner).await.expect("a role");
    owner.close().await.expect("closed");
    options.clone().username(&role).connect().await.expect("a connection")
}

async fn tenants(reader: &mut PgConnection, table: &str) -> Vec<String> {
    let statement = AssertSqlSafe(format!("SELECT DISTINCT tenant_id FROM {table}"));
    sqlx::query_scalar(statement).fetch_all(reader).await.expect("rows")
}

#[test]
fn a_role_that_reads_sees_its_own_tenant_only() {
    super::run(async {
        let mut reader = reader(&Cluster::shared().database().await).await;
        for table in ["account", "entry"] {
            assert_eq!(tenants(&mut reader, table).await, ["acme"], "{table}");
        }
        // It can say that it is somebody else, and gains nothing.
        reader.execute("SET tollgate.tenant = 'rival'").await.expect("set");
        assert_eq!(tenants(&mut reader, "account").await, ["acme"]);
    });
}

#[test]
fn a_role_that_reads_writes_nothing_and_sees_no_token() {
    super::run(async {
        let mut reader = reader(&Cluster::shared().database().await).await;
        for statement in [
            "UPDATE account SET balance = 100",
            "DELETE FROM entry",
            "INSERT INTO reader VALUES ('rival', session_user)",
            "SELECT * FROM token",
            "SELECT * FROM reader",
            "SELECT * FROM idempotency",
            "SELECT * FROM entry_default",
            "SELECT tollgate_reader(session_user, 'rival')",
        ] {
            let refused = reader.execute(statement).await.expect_err(statement).to_string();
            assert!(refused.contains("permission denied"), "{statement}: {refused}");
        }
        assert_eq!(tenants(&mut reader, "account").await, ["acme"]);
    });
}
