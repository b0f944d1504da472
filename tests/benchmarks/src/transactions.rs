//! The rows of the store written by hand, each request in a transaction of its own; nothing is judged.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool};
use tollgate_host::store::{Durability, PostgresStore, Store, Tenant};
use uuid::Uuid;

use crate::random;

/// So many are under way at a time.
pub const TRANSACTIONS: usize = 16;

/// What is reserved and settled by a transaction for each.
#[derive(Clone)]
pub struct Transactions {
    pool: PgPool,
    counters: i64,
}

impl Transactions {
    /// On so many counters. The tables are those of the store.
    pub async fn connect(options: &PgConnectOptions, tenants: &[Tenant], counters: i64) -> Self {
        let connections = TRANSACTIONS as u32;
        let store = PostgresStore::connect(options.clone(), connections, Durability::Required);
        store.await.unwrap().create(tenants).await.unwrap();
        let pool = PgPoolOptions::new().max_connections(connections);
        Self { pool: pool.connect_with(options.clone()).await.unwrap(), counters }
    }

    /// Reserves, and tells by which identifier.
    pub async fn reserve(&self, tenant: &str) -> Uuid {
        let mut transaction = self.pool.begin().await.unwrap();
        let version = lock(&mut transaction, tenant).await;
        let (id, body) = (Uuid::from_u128(random()), vec![7_u8; 600]);
        sqlx::query(
            "INSERT INTO batch (tenant_id, at, version, stamp, allowed, denied, body) \
             VALUES ($1, $2, $2, 0, ARRAY[$3], '{}', $4)",
        )
        .bind(tenant)
        .bind(version)
        .bind(id)
        .bind(&body)
        .execute(&mut *transaction)
        .await
        .unwrap();
        sqlx::query("INSERT INTO hold (tenant_id, id, expires_at, body) VALUES ($1, $2, $3, $4)")
            .bind(tenant)
            .bind(id)
            .bind(version)
            .bind(&body)
            .execute(&mut *transaction)
            .await
            .unwrap();
        self.move_on(&mut transaction, tenant, version).await;
        transaction.commit().await.unwrap();
        id
    }

    /// Settles what is reserved: it is held no longer, and its usage is booked.
    pub async fn settle(&self, tenant: &str, reservation: Uuid) {
        let mut transaction = self.pool.begin().await.unwrap();
        let version = lock(&mut transaction, tenant).await;
        let ended = sqlx::query("DELETE FROM hold WHERE tenant_id = $1 AND id = $2")
            .bind(tenant)
            .bind(reservation)
            .execute(&mut *transaction)
            .await
            .unwrap();
        assert_eq!(ended.rows_affected(), 1, "it is held");
        sqlx::query(
            "INSERT INTO usage (tenant_id, at, id, version, ordinal, reservation, used_at, late, \
             overshoot, body) VALUES ($1, $2, $3, $2, 0, $4, $2, false, false, $5)",
        )
        .bind(tenant)
        .bind(version)
        .bind(Uuid::from_u128(random()))
        .bind(reservation)
        .bind(vec![7_u8; 200])
        .execute(&mut *transaction)
        .await
        .unwrap();
        self.move_on(&mut transaction, tenant, version).await;
        transaction.commit().await.unwrap();
    }

    /// Writes what the counters stand at, and the next version.
    async fn move_on(&self, connection: &mut PgConnection, tenant: &str, version: i64) {
        let total = |counter: i64| format!("[{},1764547200000,0,{version}]", counter << 56);
        let totals: Vec<String> = (0..self.counters).map(total).collect();
        let totals = format!("[{}]", totals.join(","));
        sqlx::query(
            "INSERT INTO latest (tenant_id, per, dimension_values, version, totals) \
             VALUES ($1, '[\"user\"]', '[\"ana\"]', $2, $3::json) \
             ON CONFLICT (tenant_id, per, dimension_values) DO UPDATE SET totals = excluded.totals",
        )
        .bind(tenant)
        .bind(version)
        .bind(&totals)
        .execute(&mut *connection)
        .await
        .unwrap();
        sqlx::query("UPDATE head SET version = version + 1 WHERE tenant_id = $1")
            .bind(tenant)
            .execute(&mut *connection)
            .await
            .unwrap();
    }
}

/// Locks the tenant's head and reads what its counters stand at; tells its version.
async fn lock(connection: &mut PgConnection, tenant: &str) -> i64 {
    let version: i64 =
        sqlx::query_scalar("SELECT version FROM head WHERE tenant_id = $1 FOR UPDATE")
            .bind(tenant)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
    let _totals: Option<String> = sqlx::query_scalar(
        "SELECT totals::text FROM latest WHERE tenant_id = $1 \
         AND per = '[\"user\"]' AND dimension_values = '[\"ana\"]'",
    )
    .bind(tenant)
    .fetch_optional(&mut *connection)
    .await
    .unwrap();
    version
}
