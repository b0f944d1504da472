//! History divided by months: made ahead of time, and dropped whole. Writers wait behind whoever
//! waits here for a lock, so that is for a moment only, and what could not be done is done at
//! another time. Of what was not made in time the rows stand in the default partition.

use std::ops::Range;

use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Postgres, Transaction};
use tollgate_policy_core::window::Instant;

use super::in_time;
use crate::store::past::Table;
use crate::store::rows::first_id_of;
use crate::store::{Month, Past, Tenant};

/// For how long writers may be kept waiting.
const SHORTLY: &str = "SET LOCAL lock_timeout = '200ms'; SET LOCAL statement_timeout = '1s'";

/// A lock of this application's, which is `tollgate` in bytes: one host at a time makes and drops.
const TURN: i64 = 0x746f_6c6c_6761_7465;

/// Where the rows of the months stand that were not made in time.
const DEFAULT: &str = "_default";

pub async fn make(pool: &PgPool, months: &[Month]) -> Result<(), sqlx::Error> {
    let tables = || Past::DIVIDED.into_iter().flat_map(Past::tables);
    let all = tables().flat_map(|table| months.iter().map(move |month| (table, *month)));
    let all: Vec<(&Table, Month)> = all.collect();
    let names: Vec<String> = all.iter().map(|(table, month)| name(table, *month)).collect();
    let missing = sqlx::query_scalar(
        "SELECT place FROM unnest($1::text[]) WITH ORDINALITY AS sent (name, place) \
         WHERE to_regclass(name) IS NULL",
    )
    .bind(names)
    .fetch_all(pool);
    let missing: Vec<i64> = in_time(missing).await?;
    for place in missing.into_iter().filter_map(|place| usize::try_from(place - 1).ok()) {
        let (table, month) = all[place];
        another_time(in_time(make_one(pool, table, month)).await)?;
    }
    Ok(())
}

async fn make_one(pool: &PgPool, table: &Table, month: Month) -> Result<(), sqlx::Error> {
    let mut transaction = turn(pool).await?;
    let made = attach(&mut transaction, table, month).await;
    end(transaction, made).await
}

/// It is made by itself and only then becomes a part of its table, which asks for no lock that
/// writers would wait for, but on the default partition.
async fn attach(
    connection: &mut PgConnection,
    table: &Table,
    month: Month,
) -> Result<(), sqlx::Error> {
    let (Range { start, end }, part, table) = (month.span(), name(table, month), table.name);
    // What stands there already is not moved.
    let late =
        format!("SELECT EXISTS (SELECT FROM {table}{DEFAULT} WHERE at >= {start} AND at < {end})");
    if sqlx::query_scalar(AssertSqlSafe(late)).fetch_one(&mut *connection).await? {
        return Ok(());
    }
    let statements = format!(
        "CREATE TABLE {part} (LIKE {table} INCLUDING ALL); \
         ALTER TABLE {table} ATTACH PARTITION {part} FOR VALUES FROM ({start}) TO ({end})"
    );
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await.map(|_| ())
}

pub async fn list(pool: &PgPool, past: Past) -> Result<Vec<Month>, sqlx::Error> {
    let mut months = Vec::new();
    for table in past.tables() {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
             WHERE inhparent = to_regclass($1)",
        )
        .bind(table.name)
        .fetch_all(pool)
        .await?;
        let month = |part: &String| -> Option<Month> {
            part.strip_prefix(table.name)?.strip_prefix('_')?.parse().ok()
        };
        months.extend(names.iter().filter_map(month));
    }
    months.sort_unstable();
    months.dedup();
    Ok(months)
}

pub async fn drop(pool: &PgPool, past: Past, month: Month) -> Result<(), sqlx::Error> {
    for table in past.tables() {
        another_time(in_time(drop_one(pool, table, month)).await)?;
    }
    Ok(())
}

async fn drop_one(pool: &PgPool, table: &Table, month: Month) -> Result<(), sqlx::Error> {
    let mut transaction = turn(pool).await?;
    let (part, table) = (name(table, month), table.name);
    let statements = format!("ALTER TABLE {table} DETACH PARTITION {part}; DROP TABLE {part}");
    let dropped = transaction.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await;
    end(transaction, dropped.map(|_| ())).await
}

/// Rows of the default partition, or of what is not divided.
pub async fn forget(
    pool: &PgPool,
    tenant: &Tenant,
    past: Past,
    gone: Range<Instant>,
    limit: u32,
) -> Result<bool, sqlx::Error> {
    let mut more = false;
    for statement in past.deletions(DEFAULT) {
        let deletion = sqlx::query(AssertSqlSafe(statement))
            .bind(tenant.as_str())
            .bind(gone.start)
            .bind(gone.end)
            .bind(i64::from(limit));
        let deletion = match past {
            Past::Closures | Past::Notices => deletion.bind(first_id_of(gone.end)),
            Past::RollUps { grouping, grain_ms } => deletion.bind(grouping).bind(grain_ms),
            Past::Decisions | Past::Ledger | Past::Keys => deletion,
        };
        more |= deletion.execute(pool).await?.rows_affected() >= u64::from(limit);
    }
    Ok(more)
}

/// A transaction that waits for a moment only, also for its turn.
async fn turn(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    transaction.execute(SHORTLY).await?;
    let turn = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(TURN);
    turn.execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Ends it now, whatever came of it: one that is dropped ends somewhat later, and keeps its turn
/// for as long.
async fn end(
    transaction: Transaction<'static, Postgres>,
    done: Result<(), sqlx::Error>,
) -> Result<(), sqlx::Error> {
    match done {
        Ok(()) => transaction.commit().await,
        Err(error) => {
            transaction.rollback().await?;
            Err(error)
        }
    }
}

/// What the database does not allow just now is left for another time.
fn another_time(done: Result<(), sqlx::Error>) -> Result<(), sqlx::Error> {
    match done {
        Err(sqlx::Error::Database(_)) => Ok(()),
        done => done,
    }
}

fn name(table: &Table, month: Month) -> String {
    format!("{}_{month}", table.name)
}
