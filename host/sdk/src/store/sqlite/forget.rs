//! Old rows leave a few at a time, so that no batch waits for long.

use std::ops::Range;

use sqlx::{AssertSqlSafe, SqlitePool};
use tollgate_policy_core::window::Instant;

use crate::store::rows::first_id_of;
use crate::store::{Past, Tenant};

pub async fn forget(
    pool: &SqlitePool,
    tenant: &Tenant,
    past: Past,
    gone: Range<Instant>,
    limit: u32,
) -> Result<bool, sqlx::Error> {
    let mut more = false;
    for statement in past.deletions("") {
        let deletion = sqlx::query(AssertSqlSafe(statement))
            .bind(tenant.as_str().to_owned())
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
