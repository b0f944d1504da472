//! Hosts of two versions on one database: what one of them keeps the other one reads.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use tollgate_host::store::{AccessStore, Durability, PostgresStore, RotationRow, TokenRow};
use tollgate_tests::postgres::Cluster;

use crate::run;

/// Word for word what a host says that knows nothing of the last change of the tables, about the one
/// that changed. About all others it says what hosts say today.
const KEEP_BEFORE: &str = "INSERT INTO token (tenant_id, id, digest, role, name, at, author, expires_at, revoked_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
const READ_BEFORE: &str = "SELECT tenant_id, id, digest, role, name, at, author, expires_at, revoked_at FROM token \
     WHERE id = $1";
const REVOKE_BEFORE: &str = "UPDATE token SET revoked_at = $3 \
     WHERE id = $1 AND ($2::text IS NULL OR tenant_id = $2) AND revoked_at IS NULL";

#[test]
fn hosts_of_two_versions_read_what_each_of_them_keeps() {
    run(async {
        let options = Cluster::shared().database().await;
        let store = PostgresStore::connect(options.clone(), 2, Durability::Required).await;
        let store = store.expect("the store");
        let mut before = PgConnection::connect_with(&options).await.expect("a connection");
        let old = TokenRow {
            id: "t1".into(),
            digest: [7; 32],
            tenant: None,
            role: "operator".into(),
            name: "nightly".into(),
            created_at: 5,
            created_by: "ana".into(),
            expires_at: Some(50),
            revoked_at: None,
            older: None,
        };
        let kept = sqlx::query(KEEP_BEFORE)
            .bind(old.owner().as_str())
            .bind(&old.id)
            .bind(old.digest.as_slice())
            .bind(&old.role)
            .bind(&old.name)
            .bind(old.created_at)
            .bind(&old.created_by)
            .bind(old.expires_at)
            .bind(old.revoked_at)
            .execute(&mut before)
            .await;
        assert_eq!(kept.expect("kept").rows_affected(), 1);
        assert_eq!(store.token("t1").await, Ok(Some(old)));
        let rotation =
            RotationRow { digest: [8; 32], at: 10, expires_at: Some(55), older_until: 20 };
        assert_eq!(store.rotate_token(None, "t1", &rotation).await, Ok(true));
        // The one before knows the new secret, and the older one no longer.
        let read = sqlx::query(READ_BEFORE).bind("t1").fetch_one(&mut before).await;
        let digest: Vec<u8> = read.expect("a row").get("digest");
        assert_eq!(digest, [8; 32]);
        let revoked = sqlx::query(REVOKE_BEFORE).bind("t1").bind(None::<String>).bind(11_i64);
        assert_eq!(revoked.execute(&mut before).await.expect("revoked").rows_affected(), 1);
        let token = store.token("t1").await.expect("an answer").expect("a token");
        assert_eq!(token.revoked_at, Some(11));
    });
}
