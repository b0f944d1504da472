//! Hosts of two versions on one database: what one of them keeps the other one reads.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};
use tollgate_host::store::{
    Durability, Owner, PostgresStore, RegistryStore, RevisionRow, Signed, StoreError,
};
use tollgate_tests::postgres::Cluster;

use crate::run;

/// Word for word what a host says that knows nothing of the last change of the tables, about the one
/// that changed. About all others it says what hosts say today.
const KEEP_BEFORE: &str = "INSERT INTO revision (tenant_id, policy, number, digest, settings, signer, at, author, message) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
const READ_BEFORE: &str = "SELECT tenant_id, policy, number, digest, settings, signer, at, author, message FROM revision \
     WHERE tenant_id = $1 AND ($2::text IS NULL OR policy = $2) ORDER BY policy, number";

fn revision(number: i64, signature: Option<&[u8]>) -> RevisionRow {
    RevisionRow {
        owner: Owner::Platform,
        policy: "house".into(),
        number,
        digest: "a digest".into(),
        settings: "{}".into(),
        signer: Some("ops".into()),
        signature: signature.map(<[u8]>::to_vec),
        signed: Signed { at: 5, author: "ana".into(), message: "as agreed".into() },
    }
}

#[test]
fn hosts_of_two_versions_read_what_each_of_them_keeps() {
    run(async {
        let options = Cluster::shared().database().await;
        let store = PostgresStore::connect(options.clone(), 2, Durability::Required).await;
        let store = store.expect("the store");
        let mut before = PgConnection::connect_with(&options).await.expect("a connection");
        let old = revision(1, None);
        let RevisionRow { owner, policy, number, digest, settings, signer, signed, .. } = &old;
        let kept = sqlx::query(KEEP_BEFORE)
            .bind(owner.as_str())
            .bind(policy)
            .bind(number)
            .bind(digest)
            .bind(settings)
            .bind(signer)
            .bind(signed.at)
            .bind(&signed.author)
            .bind(&signed.message)
            .execute(&mut before)
            .await;
        assert_eq!(kept.expect("kept").rows_affected(), 1);
        // Its number is taken, for the new one as well.
        assert_eq!(store.put_revision(&revision(1, Some(b"signed"))).await, Ok(false));
        let new = revision(2, Some(b"signed"));
        assert_eq!(store.put_revision(&new).await, Ok(true));
        assert_eq!(store.revisions(&Owner::Platform, None).await, Ok(vec![old, new]));
        let read = sqlx::query(READ_BEFORE).bind("*").bind("house").fetch_all(&mut before).await;
        let numbers: Vec<i64> = read.expect("rows").iter().map(|row| row.get("number")).collect();
        assert_eq!(numbers, [1, 2]);
    });
}

/// It would not know what it writes to.
#[test]
fn a_host_does_not_start_on_tables_newer_than_itself() {
    run(async {
        let options = Cluster::shared().database().await;
        let connect = || PostgresStore::connect(options.clone(), 2, Durability::Required);
        connect().await.expect("the store");
        let mut later = PgConnection::connect_with(&options).await.expect("a connection");
        later
            .execute(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'of a later version', true, '', 0)",
            )
            .await
            .expect("written");
        let refused = connect().await.expect_err("refused");
        assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
        assert!(refused.to_string().contains("9999"), "{refused}");
    });
}
