//! Tables that are made while something else happens.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use tollgate_tests::embedded::Answer;
use tollgate_tests::postgres::Cluster;

use crate::crew::Crew;
use crate::ground::{Ground, reserve};
use crate::judge::judge;
use crate::sizes::{alone, size};
use crate::sql;
use crate::storm::Storm;

/// Half way through the tables there is an index. Who makes it waits for a lock that is the
/// test's.
const HALF_WAY: &str = "
    CREATE FUNCTION half_way() RETURNS event_trigger LANGUAGE plpgsql SET lock_timeout = 0
        AS 'BEGIN PERFORM pg_advisory_lock(7); PERFORM pg_advisory_unlock(7); END';
    CREATE EVENT TRIGGER half_way ON ddl_command_end WHEN TAG IN ('CREATE INDEX')
        EXECUTE FUNCTION half_way()";

const WAITING: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE datname = current_database() AND wait_event = 'advisory'";

const OUR_TABLES: &str = "SELECT count(*) FROM pg_tables \
    WHERE schemaname = 'public' AND tablename NOT LIKE '\\_%'";

#[test]
fn hosts_that_start_at_once_on_an_empty_database_make_its_tables_once() {
    let _alone = alone();
    let ground = Ground::postgres(Cluster::shared(), 1, 1_000);
    let mut crew = Crew::start(ground.clone(), 4);
    serves(&mut crew);
    let made = sql::number(&ground, "SELECT count(*) FROM _sqlx_migrations WHERE success");
    // They start again, and find it done.
    crew.replace();
    serves(&mut crew);
    let again = sql::number(&ground, "SELECT count(*) FROM _sqlx_migrations");
    assert_eq!(made, again);
}

#[test]
fn tables_half_made_when_the_server_ends_the_session_are_made_by_the_next_host() {
    let _alone = alone();
    let ground = Ground::postgres(Cluster::shared(), 1, 1_000);
    let holder = Holder::take(&ground);
    let (events, _heard) = channel();
    let first = ground.launch(0, &events).expect("a process");
    sql::until(&ground, WAITING, 1);
    sql::execute(
        &ground,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event = 'advisory'",
    );
    let words = first.ready().err().expect("a host that cannot start");
    assert!(words.contains("terminat"), "{words}");
    assert_eq!(sql::number(&ground, OUR_TABLES), 0);
    holder.let_go();
    serves(&mut Crew::start(ground, 1));
}

/// The session it leaves behind is in the middle of its statement, and keeps everybody out until
/// that is over.
#[test]
fn tables_half_made_when_a_host_is_killed_are_made_by_the_next_host() {
    let _alone = alone();
    let ground = Ground::postgres(Cluster::shared(), 1, 1_000);
    let holder = Holder::take(&ground);
    let (events, _heard) = channel();
    let mut first = ground.launch(0, &events).expect("a process");
    sql::until(&ground, WAITING, 1);
    first.process.kill();
    let second = ground.launch(1, &events).expect("a process");
    sql::until(&ground, WAITING, 2);
    assert_eq!(sql::number(&ground, OUR_TABLES), 0);
    holder.let_go();
    second.ready().expect("a host");
    serves(&mut Crew::start(ground, 1));
}

/// However long that takes.
#[test]
fn a_host_waits_while_another_one_makes_the_tables() {
    let _alone = alone();
    let ground = Ground::postgres(Cluster::shared(), 1, 1_000);
    let holder = Holder::take(&ground);
    let (events, _heard) = channel();
    let first = ground.launch(0, &events).expect("a process");
    sql::until(&ground, WAITING, 1);
    let second = ground.launch(1, &events).expect("a process");
    sql::until(&ground, WAITING, 2);
    // Longer than sessions wait for each other's locks later on.
    let early = second.word.recv_timeout(Duration::from_millis(2_500));
    assert_eq!(early, Err(RecvTimeoutError::Timeout), "it waits");
    holder.let_go();
    for host in [first, second] {
        host.ready().expect("a host");
    }
    serves(&mut Crew::start(ground, 1));
}

/// The last change of the tables taken back, as a host of the version before has made them. What it
/// says of the ledger is word for word what hosts say today: the change is of tokens.
const VERSION_BEFORE: &str = "ALTER TABLE token DROP COLUMN rotated_at, DROP COLUMN older_digest, DROP COLUMN older_until; \
    DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)";

const IS_CHANGED: &str = "SELECT count(*) FROM information_schema.columns \
    WHERE table_name = 'token' AND column_name = 'older_digest'";

/// The new one changes the tables while the other one writes to them.
#[test]
fn a_host_of_the_version_before_serves_beside_a_new_one() {
    let _alone = alone();
    let answers = size(2_000, 20_000, 100_000);
    let ground = Ground::postgres(Cluster::shared(), 3, answers as u64);
    let mut storm = Storm::begin(ground.clone(), 1, 20);
    sql::execute(&ground, VERSION_BEFORE);
    storm.go_on(answers / 4);
    assert_eq!(sql::number(&ground, IS_CHANGED), 0);
    let new = storm.start();
    assert_eq!(sql::number(&ground, IS_CHANGED), 1);
    storm.go_on(answers * 3 / 4);
    assert!(storm.answered_by(0) > answers / 4 && storm.answered_by(new) > answers / 8);
    storm.end();
    let found = judge(&ground, &mut storm.journal);
    assert!(found.denied > 0 && found.settled > 0 && found.released > 0, "{found:?}");
}

fn serves(crew: &mut Crew) {
    let answer = crew.ask_one(0, None, reserve(1));
    assert!(matches!(answer, Answer::Reserved { .. }), "{answer:?}");
}

/// Holds whoever makes tables half way.
struct Holder {
    runtime: tokio::runtime::Runtime,
    connection: sqlx::PgConnection,
}

impl Holder {
    fn take(ground: &Ground) -> Self {
        sql::execute(ground, HALF_WAY);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let connection = runtime.block_on(async {
            let mut connection = sql::connect(ground).await;
            let lock = sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut connection);
            lock.await.expect("the lock");
            connection
        });
        Self { runtime, connection }
    }

    fn let_go(mut self) {
        let unlock = sqlx::query("SELECT pg_advisory_unlock(7)").execute(&mut self.connection);
        self.runtime.block_on(unlock).expect("let go");
    }
}
