//! What stands in the tables, as plain statements find it. Bodies are the engine's own and are not
//! read.

use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tollgate_policy_core::Decimal;
use uuid::Uuid;

use crate::ground::{Ground, Place, wait};

/// Something that happened: tenant, version, ordinal, reservation.
pub type Happened = (String, i64, i64, Uuid);

/// All rows of all tenants.
#[derive(Debug)]
pub struct Tables {
    /// Tenant, version.
    pub heads: Vec<(String, i64)>,
    pub batches: Vec<(String, i64)>,
    /// And whether it was allowed.
    pub decisions: Vec<(String, i64, i64, Uuid, bool)>,
    pub usages: Vec<Happened>,
    /// And the amount.
    pub entries: Vec<(String, i64, i64, Uuid, String)>,
    /// Tenant, reservation.
    pub holds: Vec<(String, Uuid)>,
    /// Tenant, version, reservation, how.
    pub closures: Vec<(String, i64, Uuid, i64)>,
    /// Tenant, operation, key.
    pub keys: Vec<(String, String, String)>,
    /// Tenant, used, held.
    pub counters: Vec<(String, String, String)>,
}

macro_rules! read {
    ($pool:expr) => {{
        let pool = $pool.await.expect("the store's tables");
        macro_rules! rows {
            ($statement:literal) => {
                sqlx::query_as($statement).fetch_all(&pool).await.expect($statement)
            };
        }
        let tables = Tables {
            heads: rows!("SELECT tenant_id, version FROM head"),
            batches: rows!("SELECT tenant_id, version FROM batch ORDER BY tenant_id, version"),
            decisions: rows!(
                "SELECT tenant_id, version, CAST(ordinal AS bigint), id, allowed FROM decision \
                 ORDER BY tenant_id, version, ordinal"
            ),
            usages: rows!(
                "SELECT tenant_id, version, CAST(ordinal AS bigint), reservation FROM usage \
                 ORDER BY tenant_id, version, ordinal"
            ),
            entries: rows!(
                "SELECT entry.tenant_id, entry.version, CAST(entry.ordinal AS bigint), \
                 usage.reservation, CAST(entry.amount AS text) FROM entry JOIN usage \
                 ON usage.tenant_id = entry.tenant_id AND usage.id = entry.usage_id \
                 ORDER BY entry.tenant_id, entry.version, entry.ordinal"
            ),
            holds: rows!("SELECT tenant_id, id FROM hold"),
            closures: rows!(
                "SELECT tenant_id, version, id, CAST(how AS bigint) FROM closure \
                 ORDER BY tenant_id, version"
            ),
            keys: rows!("SELECT tenant_id, operation, key FROM idempotency"),
            counters: rows!(
                "SELECT tenant_id, CAST(used AS text), CAST(held AS text) FROM counter"
            ),
        };
        pool.close().await;
        tables
    }};
}

impl Tables {
    pub fn read(ground: &Ground) -> Self {
        wait(async {
            match &ground.place {
                Place::Postgres(options) => {
                    let pool = PgPoolOptions::new().max_connections(1);
                    read!(pool.connect_with((**options).clone()))
                }
                Place::Sqlite(file) => {
                    let options = SqliteConnectOptions::new().filename(file);
                    let pool = SqlitePoolOptions::new().max_connections(1);
                    read!(pool.connect_with(options))
                }
            }
        })
    }
}

/// An amount in the smallest units there are.
pub fn units(text: &str) -> i128 {
    text.parse::<Decimal>().expect("an amount").units()
}
