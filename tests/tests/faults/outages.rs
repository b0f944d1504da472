//! Stores that cannot do what they are asked just now: hosts say so soon, leave nothing half done,
//! and serve again once the store does.

#![allow(clippy::disallowed_methods, reason = "it measures how soon a host gives up")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate_host::store::{Durability, PostgresStore, Store};
use tollgate_tests::embedded::{Answer, Embedded, Trouble, What};
use tollgate_tests::postgres::Cluster;
use tollgate_tests::run;

use crate::crew::{Crew, reserved};
use crate::ground::{Ground, Place, cache, request, reserve, settle, wait};
use crate::judge::judge;
use crate::sizes::alone;
use crate::sql;

/// Nobody waits longer for the news that there is none. A second of it is the pool's.
const CLOSED: Duration = Duration::from_millis(1_800);

/// Whatever an outage is, what is asked in it is refused soon and in words, and stands not at all;
/// before and after it there is service.
fn closed(mut crew: Crew, begin: impl FnOnce(), words: &str, end: impl FnOnce()) {
    // The first tenant's books are open, the second one's are not.
    let open: Vec<_> = (0..4).map(|_| reserved(&crew.ask_one(0, None, reserve(10)))).collect();
    begin();
    let what = [reserve(10), settle(open[0], 4), What::Release { id: open[1] }];
    for (place, what) in what.iter().enumerate() {
        for tenant in if place == 0 { 0..2 } else { 0..1 } {
            let from = Instant::now();
            let answer = crew.ask_one(tenant, Some(format!("in the dark {place}")), what.clone());
            let took = from.elapsed();
            assert!(took < CLOSED, "{answer:?} after {took:?}");
            let Answer::None(Trouble::Unavailable, said) = answer else { panic!("{answer:?}") };
            assert!(said.contains(words), "`{said}` does not say `{words}`");
        }
    }
    end();
    // The same again, and it stands once.
    reserved(&crew.ask_one(0, Some("in the dark 0".into()), reserve(10)));
    for (place, what) in what.into_iter().enumerate().skip(1) {
        let answer = crew.ask_one(0, Some(format!("in the dark {place}")), what);
        assert!(!matches!(answer, Answer::None(..)), "{answer:?}");
    }
    reserved(&crew.ask_one(1, None, reserve(10)));
    let ground = crew.ground.clone();
    let found = judge(&ground, &mut crew.journal);
    assert_eq!((found.reserved, found.settled, found.released), (6, 1, 1));
}

#[test]
fn a_database_that_is_down_closes_its_hosts_until_it_is_up() {
    let _alone = alone();
    let cluster = Cluster::start(&[]);
    let crew = Crew::start(Ground::postgres(&cluster, 2, 1_000), 1);
    closed(crew, || cluster.stop_at_once(), "", || cluster.restart());
}

/// It does not hang up: for all that a host knows the answer is on its way.
#[test]
fn a_database_that_falls_silent_keeps_no_caller_for_ever() {
    let _alone = alone();
    let cluster = Cluster::start(&[]);
    let ground = Ground::postgres(&cluster, 2, 1_000);
    let mut crew = Crew::start(ground.clone(), 1);
    for tenant in 0..2 {
        reserved(&crew.ask_one(tenant, None, reserve(10)));
    }
    cluster.freeze();
    let asks: Vec<_> = (0..8)
        .map(|number| (0, crew.request(number % 2, Some(format!("{number}")), reserve(10))))
        .collect();
    // The crew itself waits for half a minute.
    for answer in crew.ask(&asks) {
        let refused = matches!(answer, Answer::None(Trouble::Lost | Trouble::Unavailable, _));
        assert!(refused, "{answer:?}");
    }
    cluster.thaw();
    for answer in crew.ask(&asks) {
        reserved(&answer);
    }
    let found = judge(&ground, &mut crew.journal);
    assert_eq!(found.reserved, 10);
}

#[test]
fn a_database_that_only_reads_closes_its_hosts_until_it_writes() {
    let _alone = alone();
    let ground = Ground::postgres(Cluster::shared(), 2, 1_000);
    let database = sql::options(&ground).get_database().expect("a database").to_owned();
    // Sessions learn of it when they begin.
    let set = |what: &str| {
        let alter = format!("ALTER DATABASE {database} {what} default_transaction_read_only");
        let value = if what == "SET" { " = on" } else { "" };
        sql::execute(&ground, &format!("BEGIN READ WRITE; {alter}{value}; COMMIT"));
        sql::end_sessions(&ground);
    };
    let crew = Crew::start(ground.clone(), 1);
    closed(crew, || set("SET"), "read-only", || set("RESET"));
}

#[test]
fn a_database_that_takes_no_more_connections_closes_its_hosts_until_it_does() {
    let _alone = alone();
    let cluster = Cluster::start(&[]);
    let ground = Ground::postgres(&cluster, 2, 1_000);
    let crew = Crew::start(ground.clone(), 1);
    let database = sql::options(&ground).get_database().expect("a database").to_owned();
    // From another database, since nobody may connect to that one.
    let mut other = ground.clone();
    other.place = Place::Postgres(Box::new(wait(cluster.database())));
    let allow = |allowed: bool| {
        sql::execute(&other, &format!("ALTER DATABASE {database} ALLOW_CONNECTIONS {allowed}"));
    };
    let begin = || {
        allow(false);
        sql::end_sessions_of(&other, &database);
    };
    closed(crew, begin, "not currently accepting connections", || allow(true));
}

/// Others have taken all there are.
#[test]
fn a_host_without_a_free_connection_says_so_and_serves_once_there_is_one() {
    let _alone = alone();
    let ground = Ground::postgres(Cluster::shared(), 3, 1_000);
    run(async {
        let options = sql::options(&ground).clone();
        let store = PostgresStore::connect(options, 2, Durability::Required).await;
        let store = Arc::new(store.expect("the store"));
        let host = Embedded::start(Arc::clone(&store), &cache(), 3, 1_000_u32.into()).await;
        let host = host.expect("a host");
        let ask = async |number, tenant| {
            let from = Instant::now();
            (host.ask(&request(number, tenant, None, reserve(10))).await, from.elapsed())
        };
        reserved(&ask(1, 0).await.0);
        let taken = [store.lock(&"t2".parse().expect("a name")).await.expect("locked"), {
            store.lock(&"t1".parse().expect("a name")).await.expect("locked")
        }];
        // One of open books, one of none.
        for tenant in [0, 1] {
            let (answer, took) = ask(2, tenant).await;
            assert!(took < CLOSED, "{answer:?} after {took:?}");
            let Answer::None(Trouble::Unavailable, words) = &answer else { panic!("{answer:?}") };
            assert!(words.contains("connection"), "{words}");
        }
        drop(taken);
        for tenant in 0..3 {
            reserved(&ask(3, tenant).await.0);
        }
    });
    assert_eq!(sql::number(&ground, "SELECT sum(cardinality(allowed))::bigint FROM batch"), 4);
}

/// The other process writes to the file, for as long as it likes.
#[test]
fn a_file_that_another_process_holds_closes_its_host_until_it_lets_go() {
    use sqlx::{ConnectOptions, Connection, Executor};
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let ground = Ground::sqlite(directory.path(), 2, 1_000);
    let Place::Sqlite(file) = &ground.place else { panic!("a file") };
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let crew = Crew::start(ground.clone(), 1);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut other = runtime.block_on(options.connect()).expect("a connection");
    let other = std::sync::Mutex::new(&mut other);
    let run = |statement: &'static str| {
        let mut other = other.lock().expect("the connection");
        runtime.block_on(other.execute(statement)).expect(statement);
    };
    closed(crew, || run("BEGIN IMMEDIATE"), "locked", || run("ROLLBACK"));
    let other = other.into_inner().expect("the connection");
    runtime.block_on(async { other.ping().await }).expect("still there");
}
