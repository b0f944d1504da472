//! What Postgres does with the statements that decide, once it has stopped looking at their values.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use tollgate_host::store::{
    AuditRow, BatchKey, ChangeKey, Durability, LatestKey, Need, Owner, Pages, Past, Place,
    PostgresStore, Rewritten, RollUp, RollUpRow, RunQuery, Since, Store, Write, Written,
};
use tollgate_tests::postgres::Cluster;

use crate::apart;
use crate::conformance::{born, full, id, usage};

const WRITE: &str = include_str!("../../../host/sdk/src/store/postgres/write.sql");
const READ: &str = include_str!("../../../host/sdk/src/store/postgres/read.sql");
const OVERDUE: &str = include_str!("../../../host/sdk/src/store/postgres/overdue.sql");
const ROLL_UP: &str = include_str!("../../../host/sdk/src/store/postgres/roll_up.sql");
const CARRY: &str = include_str!("../../../host/sdk/src/store/postgres/carry.sql");

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

/// How a statement is carried out whatever its parameters are, in words or as JSON.
async fn plan(connection: &mut PgConnection, statement: &str, form: &str) -> String {
    let prepare = AssertSqlSafe(format!("PREPARE deciding AS {statement}"));
    sqlx::raw_sql(prepare).execute(&mut *connection).await.expect(statement);
    let named = |number: &usize| statement.contains(&format!("${number}"));
    let nulls = vec!["NULL"; (1..).take_while(named).count()].join(", ");
    let list = if nulls.is_empty() { nulls } else { format!("({nulls})") };
    let explain = AssertSqlSafe(format!("EXPLAIN (FORMAT {form}) EXECUTE deciding {list}"));
    let rows = sqlx::raw_sql(explain).fetch_all(&mut *connection).await.expect("a plan");
    connection.execute("DEALLOCATE deciding").await.expect("forgotten");
    let line = |row: &PgRow| row.try_get_unchecked::<String, _>(0).expect("a line");
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The scans of tables in a plan that reach more than a tenant's part of an index, in words.
fn astray(plan: &Json) -> Vec<String> {
    let is = |name: &str| plan[name].as_str().unwrap_or_default();
    let (kind, table) = (is("Node Type"), is("Relation Name"));
    let below = plan["Plans"].as_array().into_iter().flatten();
    let condition = match kind {
        // What it looks for stands with the index that it looks into.
        "Bitmap Heap Scan" => plan["Plans"][0]["Index Cond"].as_str(),
        _ => plan["Index Cond"].as_str(),
    };
    // An act is one row by its instant and its identifier, whosever it is.
    let is_one = |condition: &str| table == "audit" && condition.contains("AND (id = ");
    let is_kept =
        condition.is_some_and(|condition| condition.contains("tenant_id = ") || is_one(condition));
    let is_astray = kind.ends_with("Scan") && !table.is_empty() && !is_kept;
    let own = is_astray.then(|| format!("{kind} of {table}, {}", condition.unwrap_or("all of it")));
    own.into_iter().chain(below.flat_map(astray)).collect()
}

async fn goes_astray(connection: &mut PgConnection, statement: &str) -> Vec<String> {
    let plan: Json =
        serde_json::from_str(&plan(connection, statement, "JSON").await).expect("JSON");
    astray(&plan[0]["Plan"])
}

#[test]
fn what_goes_astray_is_seen() {
    super::run(async {
        let mut connection = filled().await;
        let all = "SELECT count(*) FROM counter WHERE used > 5";
        assert_eq!(goes_astray(&mut connection, all).await.len(), 1);
        as_host(&mut connection).await;
        for statement in [
            // An index is read from end to end where nothing else is left.
            all,
            "SELECT count(*) FROM hold WHERE expires_at < $1::bigint",
            "SELECT head.version FROM head JOIN hold USING (tenant_id) WHERE hold.id = $1::uuid",
            "WITH gone AS (DELETE FROM record WHERE kind = $1::text RETURNING 1) SELECT count(*) FROM gone",
        ] {
            assert!(!goes_astray(&mut connection, statement).await.is_empty(), "{statement}");
        }
        let own = "SELECT count(*) FROM hold WHERE tenant_id = $1::text AND body <> ''";
        assert_eq!(goes_astray(&mut connection, own).await, Vec::<String>::new());
    });
}

#[test]
fn statements_that_decide_reach_what_they_touch_by_its_tenant() {
    super::run(async {
        let mut connection = filled().await;
        as_host(&mut connection).await;
        for statement in [WRITE, READ, OVERDUE, ROLL_UP, CARRY] {
            let astray = goes_astray(&mut connection, statement).await;
            assert!(astray.is_empty(), "{astray:#?}\n{statement}");
        }
    });
}

/// What a host sends, whichever file it stands in: also what looks under a lock for a write whose
/// answer was lost, and for a usage.
#[test]
fn whatever_a_host_asks_of_a_tenant_reaches_it_by_the_tenant() {
    super::run(async {
        let (cluster, log) = Cluster::logged(&[]);
        let options = cluster.database().await;
        let store = PostgresStore::connect(options.clone(), 2, Durability::Required).await;
        let store = store.expect("the store");
        let mut connection = PgConnection::connect_with(&options).await.expect("a connection");
        log.told(&mut connection).await;
        do_everything(&store).await;
        let statements: BTreeSet<String> =
            log.told(&mut connection).await.iter().filter_map(|told| prepared(told)).collect();
        for (what, part) in [
            ("the write", "FOR NO KEY UPDATE OF head SKIP LOCKED"),
            ("the lock", "SELECT 1 FROM head WHERE tenant_id = $1 FOR NO KEY UPDATE"),
            ("whether a write stands", "SELECT 1 FROM batch"),
            ("a usage", "FROM usage WHERE tenant_id = $1 AND at = $2 AND id = $3"),
            ("roll-ups", "INSERT INTO rolled_up"),
            ("what is carried", "INSERT INTO carried "),
            ("what is forgotten", "DELETE FROM"),
        ] {
            let is_it = |statement: &String| statement.contains(part);
            assert!(statements.iter().any(is_it), "{what} was not asked for: {statements:#?}");
        }
        sqlx::raw_sql(FILL).execute(&mut connection).await.expect("filled");
        as_host(&mut connection).await;
        let mut ways = 0;
        for statement in statements.iter().filter(|statement| is_of_a_tenant(statement)) {
            let astray = goes_astray(&mut connection, statement).await;
            assert!(astray.is_empty(), "{astray:#?}\n{statement}");
            ways += 1;
        }
        assert!(ways > 25, "{ways} of {statements:#?}");
    });
}

/// The statement with parameters that was carried out, as it was sent.
fn prepared(told: &str) -> Option<String> {
    let statement = told.strip_prefix("LOG:  execute ")?.split_once(": ")?.1;
    let end = statement.find("\nDETAIL:").unwrap_or(statement.len());
    Some(statement[..end].trim().to_owned())
}

/// Those are not that ask which tenants there are, and what there is of months.
fn is_of_a_tenant(statement: &str) -> bool {
    statement.contains("$1")
        && !statement.contains(" pg_")
        && !statement.contains("INSERT INTO head")
        && !statement.contains("_sqlx_migrations")
}

/// What a store can be asked of tenants.
async fn do_everything(store: &PostgresStore) {
    let mut tenants = Vec::new();
    for name in apart::TENANTS {
        tenants.push(born(store, name).await);
    }
    let writes: Vec<Write> = tenants.iter().map(full).collect();
    assert_eq!(store.write(&writes).await, vec![Ok(Written::Committed); 3]);
    let tenant = &tenants[0];
    let place = Place { at: 10, version: 1, ordinal: 0 };
    let need = Need { usages: vec![usage(10, 3).id], ..Need::head(tenant.clone()) };
    assert_eq!(store.read(&[need]).await.expect("found")[0].usages.len(), 1);
    let rows = vec![RollUpRow {
        grain_ms: 60_000,
        opened: 0,
        grouping: "user".into(),
        values: "[\"ana\"]".into(),
        meter: "calls".into(),
        amount: 1_u32.into(),
    }];
    let (tenant_id, from) = (tenant.clone(), None);
    let rollup = RollUp { tenant: tenant_id, from, to: place, rows };
    assert_eq!(store.roll_up(&rollup).await, Ok(true));
    assert_eq!(store.rolled_up(tenant).await, Ok(Some(place)));
    store.rollups(tenant, "user", Some("[\"ana\"]"), 60_000, 0..99).await.expect("roll-ups");
    apart::do_all(store, &tenants, &[writes[0].leaves(); 3]).await;
    let first = Since { counter: i64::MIN, values: String::new(), opened: i64::MIN };
    let keys = LatestKey { per: String::new(), values: String::new() };
    store.batches(tenant, BatchKey::before(0), 9).await.expect("batches");
    store.entries(tenant, Place::before(0), 9).await.expect("entries");
    store.holds(tenant, uuid::Uuid::nil(), 9).await.expect("holds");
    store.latest(tenant, &keys, 9).await.expect("totals");
    store.counters(tenant, &first, 9).await.expect("totals");
    store.carried_until(tenant).await.expect("an instant");
    store.carried_counters(tenant, &first, 9).await.expect("totals");
    store.carried_accounts(tenant).await.expect("accounts");
    store.expired(tenant, uuid::Uuid::nil(), 9).await.expect("closures");
    let began = ChangeKey { kind: String::new(), name: String::new(), version: 0 };
    store.changes(tenant, &began, 9).await.expect("changes");
    store.context(tenant, "none").await.expect("an answer");
    for query in [
        RunQuery::first(9),
        RunQuery { user: Some("ana".into()), ..RunQuery::first(9) },
        RunQuery { is_active: true, ..RunQuery::first(9) },
    ] {
        store.runs(tenant, &query).await.expect("runs");
    }
    let rollups = |grain_ms| Past::RollUps { grouping: "user", grain_ms };
    for past in [Past::Decisions, Past::Keys, Past::Closures, Past::Notices, rollups(60_000)] {
        store.forget(tenant, past, 0..9, 9).await.expect("forgotten");
    }
    let body = || b"anew".to_vec();
    let rewritten = Rewritten {
        batches: vec![(BatchKey { at: 10, version: 1, stamp: 77 }, body())],
        usages: vec![(10, usage(10, 3).id, body())],
        entries: vec![(10, id(4), body())],
        expired: vec![(id(3), body())],
        runs: vec![(id(9), "ana".into(), body())],
        changes: vec![(began.clone(), "new".into(), Some(body()))],
        notices: vec![(id(9), body())],
        acts: vec![AuditRow {
            id: id(9),
            owner: Owner::Tenant(tenant.clone()),
            at: 10,
            who: "ana".into(),
            act: "dimension.disable".into(),
            subject: "user=x".into(),
            before: None,
            after: None,
            outcome: None,
        }],
    };
    store.rewrite(tenant, &rewritten).await.expect("rewritten");
    store.rename_rollups(tenant, "none", "user", "[\"ana\"]", "[\"x\"]").await.expect("renamed");
}

/// Each second, of each tenant, whatever it holds: nothing that is not due is looked at.
#[test]
fn what_is_due_is_found_by_when_it_is() {
    super::run(async {
        let mut connection = filled().await;
        as_host(&mut connection).await;
        let plan = plan(&mut connection, OVERDUE, "TEXT").await;
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
