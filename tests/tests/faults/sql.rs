//! Statements of a test's own, beside the hosts.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::ground::{Ground, Place, wait};

pub fn options(ground: &Ground) -> &PgConnectOptions {
    match &ground.place {
        Place::Postgres(options) => options,
        Place::Sqlite(_) => panic!("a test of Postgres"),
    }
}

pub async fn connect(ground: &Ground) -> PgConnection {
    options(ground).connect().await.expect("a connection")
}

/// What one statement counts.
pub fn number(ground: &Ground, statement: &'static str) -> i64 {
    wait(async {
        let mut connection = connect(ground).await;
        let number = sqlx::query_scalar(statement).fetch_one(&mut connection).await;
        connection.close().await.expect("closed");
        number.expect(statement)
    })
}

/// Carries out statements.
pub fn execute(ground: &Ground, statements: &str) {
    wait(async {
        let mut connection = connect(ground).await;
        connection.execute(AssertSqlSafe(statements.to_owned())).await.expect("carried out");
        connection.close().await.expect("closed");
    });
}

/// Waits until a statement counts so many, which it must within half a minute.
pub fn until(ground: &Ground, statement: &'static str, wanted: i64) {
    let counted = async {
        let mut connection = connect(ground).await;
        let mut number: i64 = -1;
        while number != wanted {
            number =
                sqlx::query_scalar(statement).fetch_one(&mut connection).await.expect("a count");
        }
    };
    let in_time = wait(async { tokio::time::timeout(Duration::from_secs(30), counted).await });
    in_time.unwrap_or_else(|_| panic!("not {wanted}: {statement}"));
}

/// Ends all sessions of the database but this one.
pub fn end_sessions(ground: &Ground) -> i64 {
    number(
        ground,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
}

/// Ends all sessions of another database of the same cluster.
pub fn end_sessions_of(ground: &Ground, database: &str) {
    execute(
        ground,
        &format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        ),
    );
}
