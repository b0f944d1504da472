//! What every store must do, on each of them.

mod access;
mod apart;
mod conformance;
mod keeping;
mod lists;
mod months;
mod notices;
mod plans;
mod readers;
mod registry;
mod snapshots;
mod statements;
mod versions;
mod writers;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::{Connection, PgConnection, SqliteConnection};
use tollgate_host::store::{
    Durability, Head, PostgresStore, RecordRow, SqliteStore, Store, Write, Written,
};
use tollgate_tests::run;

/// Runs each test on both stores.
macro_rules! on_both {
    ($($module:ident: $($test:ident),* $(,)?;)*) => {
        mod postgres {
            $($(#[test]
            fn $test() {
                super::run(async {
                    super::$module::$test(&super::postgres_store().await).await;
                });
            })*)*
        }

        mod sqlite {
            $($(#[test]
            fn $test() {
                super::run(async {
                    let directory = tempfile::tempdir().expect("a directory");
                    super::$module::$test(&super::sqlite_store(directory.path()).await).await;
                });
            })*)*
        }
    };
}

on_both! {
    access:
    a_token_is_kept_once_and_found_by_its_identifier,
    a_token_is_revoked_once_and_by_no_other_tenant,
    a_token_is_given_another_secret_as_long_as_it_counts,
    tokens_are_listed_in_the_order_in_which_they_were_made,
    acts_are_read_from_the_last_one_back_page_by_page,
    an_act_is_kept_as_it_was_told,
    what_became_of_an_act_is_told_once;

    notices:
    a_notice_is_kept_until_it_is_over_or_seen,
    a_notice_is_handed_over_once_however_many_do,
    a_delivery_is_tried_by_one_at_a_time,
    no_channel_holds_up_another,
    an_owner_with_many_channels_has_a_few_of_them_at_a_time,
    what_is_replayed_is_as_old_as_that,
    what_goes_over_a_busy_channel_is_not_taken,
    what_is_due_of_a_channel_is_given_up_by_its_age,
    channels_are_their_owners_and_replaced_by_name,
    a_duty_is_one_hosts_until_it_is_done_or_its_time_is_over;

    registry:
    a_component_is_kept_once_for_each_owner,
    a_revision_never_changes,
    of_two_that_bind_at_once_one_is_told,
    what_is_bound_is_found_in_the_order_in_which_it_was;

    conformance:
    a_batch_is_found_as_it_was_written,
    a_batch_of_another_version_or_stamp_writes_nothing,
    a_second_write_of_a_counter_replaces_the_first,
    decisions_alone_leave_the_head_where_it_stands,
    what_is_new_and_what_is_known_are_not_taken_for_each_other,
    what_expired_may_still_be_settled_and_nothing_else,
    what_ends_is_no_longer_open_and_ends_once,
    a_key_is_answered_once,
    a_record_is_replaced_and_removed,
    one_that_is_refused_harms_no_other,
    one_that_answers_again_harms_no_other,
    one_that_missed_harms_no_other,
    a_tenant_that_is_not_there_is_named,
    a_locked_head_is_written_or_let_go,
    many_writers_lose_nothing,
    many_lockers_lose_nothing,
    what_is_read_is_of_one_head,
    the_least_and_the_greatest_are_kept;

    lists:
    what_is_due_is_found_in_the_order_of_its_time,
    history_is_read_in_order_page_by_page,
    lists_hold_what_was_written_and_no_other_tenants;

    snapshots:
    a_snapshot_sees_nothing_that_is_written_after_it_began,
    a_snapshot_that_is_dropped_leaves_no_connection_in_it;

    keeping:
    history_is_carried_forward_once_from_where_it_was_carried_to,
    what_is_forgotten_is_of_its_tenant_its_kind_and_its_time,
    a_reservation_is_forgotten_by_when_it_ended,
    minutes_are_forgotten_and_quarters_stay;
}

async fn postgres_store() -> PostgresStore {
    let options = tollgate_tests::postgres::Cluster::shared().database().await;
    PostgresStore::connect(options, 8, Durability::Required).await.expect("the store")
}

async fn sqlite_store(directory: &std::path::Path) -> SqliteStore {
    let now = AtomicI64::new(1_000);
    let clock = Arc::new(move || now.fetch_add(1, Ordering::Relaxed));
    SqliteStore::open(&directory.join("ledger.db"), Durability::Required, clock)
        .await
        .expect("the store")
}

#[test]
fn a_postgres_that_could_lose_what_it_acknowledged_is_refused() {
    run(async {
        let settings = ["fsync=off", "synchronous_commit=off"];
        let cluster = tollgate_tests::postgres::Cluster::start(&settings);
        let options = cluster.database().await;
        let refused = PostgresStore::connect(options.clone(), 2, Durability::Required).await;
        let words = refused.expect_err("refused").to_string();
        assert!(words.contains("`fsync`, `synchronous_commit` off"), "{words}");
        assert!(PostgresStore::connect(options, 2, Durability::Waived).await.is_ok());
    });
}

#[test]
fn tables_are_brought_up_to_date_once_however_many_hosts_start() {
    run(async {
        let options = tollgate_tests::postgres::Cluster::shared().database().await;
        let connect = || PostgresStore::connect(options.clone(), 2, Durability::Required);
        let all = futures_util::future::join_all([connect(), connect(), connect()]).await;
        for store in all.into_iter().chain([connect().await]) {
            store.expect("a store");
        }
    });
}

/// Of a migration that this host does not know.
const LATER: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
    VALUES (1000, 'later', true, '', 0)";

/// Hosts are replaced one by one, and one of the older ones may have to start anew meanwhile.
#[test]
fn an_older_host_starts_on_tables_that_a_newer_one_brought_up_to_date() {
    run(async {
        let options = tollgate_tests::postgres::Cluster::shared().database().await;
        let connect = || PostgresStore::connect(options.clone(), 2, Durability::Required);
        connect().await.expect("a store");
        let mut tables = PgConnection::connect_with(&options).await.expect("a connection");
        sqlx::query(LATER).execute(&mut tables).await.expect("a later migration");
        let older = connect().await.expect("a store");
        conformance::a_batch_is_found_as_it_was_written(&older).await;
    });
    run(async {
        let directory = tempfile::tempdir().expect("a directory");
        drop(sqlite_store(directory.path()).await);
        let file = format!("sqlite://{}", directory.path().join("ledger.db").display());
        let mut tables = SqliteConnection::connect(&file).await.expect("a connection");
        sqlx::query(LATER).execute(&mut tables).await.expect("a later migration");
        tables.close().await.expect("closed");
        let older = sqlite_store(directory.path()).await;
        conformance::a_batch_is_found_as_it_was_written(&older).await;
    });
}

/// By the database's clock; by a clock of its own a store takes what it is given.
#[test]
fn no_head_is_moved_to_an_instant_that_is_yet_to_come() {
    run(async {
        let store = postgres_store().await;
        let simulated = store.clone().with_clock(Arc::new(|| 0));
        let tenant = conformance::born(&store, "acme").await;
        let write = |expected: Head, at| {
            let (kind, name, body) = ("agent".into(), "sdr".into(), Some(Vec::new()));
            let records = vec![RecordRow { kind, name, body }];
            Write { records, ..Write::new(tenant.clone(), expected, 7, at) }
        };
        let now = store.now().await.expect("the time");
        let to_come = write(conformance::BORN, now + 60_000);
        assert_eq!(store.write(&[to_come]).await, [Ok(Written::Missed)]);
        let head = conformance::committed(&store, write(conformance::BORN, now)).await;
        let to_come = write(head, now + 60_000);
        let missed = store.write(std::slice::from_ref(&to_come)).await;
        assert_eq!(missed, [Ok(Written::Missed)]);
        let head = conformance::committed(&simulated, to_come).await;
        // From there it goes on, as a database does whose clock was put back.
        let head = conformance::committed(&store, write(head, head.at)).await;
        let further = write(head, head.at + 1);
        assert_eq!(store.write(&[further]).await, [Ok(Written::Missed)]);
    });
}
