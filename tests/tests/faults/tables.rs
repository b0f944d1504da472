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
    /// Tenant, version, reservation, whether it was allowed.
    pub decisions: Vec<(String, i64, Uuid, bool)>,
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
    ($pool:expr, $decisions:literal, $latest:literal) => {{
        let pool = $pool.await.expect("the store's tables");
        macro_rules! rows {
            ($statement:literal) => {
                sqlx::query_as($statement).fetch_all(&pool).await.expect($statement)
            };
        }
        let tables = Tables {
            heads: rows!("SELECT tenant_id, version FROM head"),
            batches: rows!("SELECT tenant_id, version FROM batch ORDER BY tenant_id, version"),
            decisions: rows!($decisions).into_iter().map(decision).collect(),
            usages: rows!(
                "SELECT tenant_id, version, CAST(ordinal AS bigint), reservation FROM usage \
                 ORDER BY tenant_id, version, ordinal"
            ),
            entries: rows!(
                "SELECT entry.tenant_id, entry.version, CAST(entry.ordinal AS bigint), \
                 usage.reservation, CAST(entry.amount AS text) FROM entry JOIN usage \
                 ON usage.tenant_id = entry.tenant_id AND usage.at = entry.at AND usage.id = entry.usage_id \
                 ORDER BY entry.tenant_id, entry.version, entry.ordinal"
            ),
            holds: rows!("SELECT tenant_id, id FROM hold"),
            closures: rows!(
                "SELECT tenant_id, version, id, CAST(how AS bigint) FROM closure \
                 ORDER BY tenant_id, version"
            ),
            keys: rows!("SELECT tenant_id, operation, key FROM idempotency"),
            counters: rows!($latest),
        };
        // A stretch stands once: none was filled from history.
        let apart: Vec<(String, String, String)> =
            rows!("SELECT tenant_id, CAST(used AS text), CAST(held AS text) FROM counter");
        let tables = Tables { counters: [tables.counters, apart].concat(), ..tables };
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
                    read!(
                        pool.connect_with((**options).clone()),
                        "SELECT tenant_id, version, unnest(allowed)::text, true FROM batch UNION ALL \
                         SELECT tenant_id, version, unnest(denied)::text, false FROM batch",
                        "SELECT tenant_id, total->>2, total->>3 FROM latest, json_array_elements(totals) AS total"
                    )
                }
                Place::Sqlite(file) => {
                    let options = SqliteConnectOptions::new().filename(file);
                    let pool = SqlitePoolOptions::new().max_connections(1);
                    read!(
                        pool.connect_with(options),
                        "SELECT tenant_id, version, value, true FROM batch, json_each(allowed) UNION ALL \
                         SELECT tenant_id, version, value, false FROM batch, json_each(denied)",
                        "SELECT tenant_id, CAST(value->>2 AS text), CAST(value->>3 AS text) \
                         FROM latest, json_each(totals)"
                    )
                }
            }
        })
    }
}

fn decision(row: (String, i64, String, bool)) -> (String, i64, Uuid, bool) {
    let (tenant, version, id, allowed) = row;
    (tenant, version, id.parse().expect("a reservation"), allowed)
}

/// An amount in the smallest units there are.
pub fn units(text: &str) -> i128 {
    text.parse::<Decimal>().expect("an amount").units()
}
