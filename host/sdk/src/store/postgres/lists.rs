//! Lists, page by page, and no transaction longer than one of them.

use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, PgPool, Row};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::found::{amount, totals};
use crate::store::rows::{
    BatchKey, BatchRow, CounterRow, EntryRow, HoldRow, LatestKey, LatestRow, Place, RunRow, Since,
    Total, UsageRow,
};
use crate::store::runs::ACTIVE;
use crate::store::{RunQuery, Tenant};

const OVERDUE: &str = include_str!("overdue.sql");

pub async fn batches(
    pool: &PgPool,
    tenant: &Tenant,
    after: BatchKey,
    limit: u32,
) -> Result<Vec<BatchRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT at, version, stamp, allowed, denied, body FROM batch \
         WHERE tenant_id = $1 AND at >= $2 AND (at, version, stamp) > ($2, $3, $4) \
         ORDER BY at, version, stamp LIMIT $5",
    )
    .bind(tenant.as_str())
    .bind(after.at)
    .bind(after.version)
    .bind(after.stamp)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let row = |row: PgRow| {
        Ok(BatchRow {
            key: BatchKey { at: row.try_get(0)?, version: row.try_get(1)?, stamp: row.try_get(2)? },
            allowed: row.try_get(3)?,
            denied: row.try_get(4)?,
            body: row.try_get(5)?,
        })
    };
    rows.into_iter().map(row).collect()
}

pub async fn usages(
    executor: impl PgExecutor<'_>,
    tenant: &Tenant,
    after: Place,
    limit: u32,
) -> Result<Vec<(Place, UsageRow)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT at, version, ordinal, id, reservation, used_at, late, overshoot, body FROM usage \
         WHERE tenant_id = $1 AND at >= $2 AND (at, version, ordinal) > ($2, $3, $4) \
         ORDER BY at, version, ordinal LIMIT $5",
    )
    .bind(tenant.as_str())
    .bind(after.at)
    .bind(after.version)
    .bind(after.ordinal)
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await?;
    let row = |row: PgRow| {
        let place =
            Place { at: row.try_get(0)?, version: row.try_get(1)?, ordinal: row.try_get(2)? };
        let usage = UsageRow {
            id: row.try_get(3)?,
            reservation: row.try_get(4)?,
            used_at: row.try_get(5)?,
            late: row.try_get(6)?,
            overshoot: row.try_get(7)?,
            body: row.try_get(8)?,
        };
        Ok((place, usage))
    };
    rows.into_iter().map(row).collect()
}

pub async fn holds(
    executor: impl PgExecutor<'_>,
    tenant: &Tenant,
    after: Uuid,
    limit: u32,
) -> Result<Vec<HoldRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, expires_at, body FROM hold WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3",
    )
    .bind(tenant.as_str())
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await?;
    let row = |row: PgRow| {
        Ok(HoldRow { id: row.try_get(0)?, expires_at: row.try_get(1)?, body: row.try_get(2)? })
    };
    rows.into_iter().map(row).collect()
}

pub async fn runs(
    pool: &PgPool,
    tenant: &Tenant,
    query: &RunQuery,
) -> Result<Vec<RunRow>, sqlx::Error> {
    let (ids, began) = query.bounds();
    let rows = sqlx::query(query.sql())
        .bind(tenant.as_str())
        .bind(query.user.as_deref())
        .bind(ids.start)
        .bind(ids.end)
        .bind(began.start)
        .bind(began.end)
        .bind(i64::from(query.limit))
        .fetch_all(pool)
        .await?;
    let row = |row: PgRow| {
        Ok(RunRow {
            id: row.try_get(0)?,
            user: row.try_get(1)?,
            started_at: row.try_get(2)?,
            ended_at: row.try_get(3)?,
            body: row.try_get(4)?,
        })
    };
    rows.into_iter().map(row).collect()
}

pub async fn active_runs(
    pool: &PgPool,
    tenant: &Tenant,
    user: Option<&str>,
) -> Result<u64, sqlx::Error> {
    let active = sqlx::query_scalar(ACTIVE).bind(tenant.as_str()).bind(user);
    let count: i64 = active.fetch_one(pool).await?;
    Ok(count.unsigned_abs())
}

pub async fn overdue(
    pool: &PgPool,
    tenants: &[Tenant],
    now: Option<Instant>,
) -> Result<Vec<Tenant>, sqlx::Error> {
    let names: Vec<&str> = tenants.iter().map(Tenant::as_str).collect();
    let places: Vec<i64> =
        sqlx::query_scalar(OVERDUE).bind(names).bind(now).fetch_all(pool).await?;
    let tenant = |place: i64| tenants.get(usize::try_from(place - 1).ok()?).cloned();
    Ok(places.into_iter().filter_map(tenant).collect())
}

pub async fn entries(
    executor: impl PgExecutor<'_>,
    tenant: &Tenant,
    after: Place,
    limit: u32,
) -> Result<Vec<(Place, EntryRow)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT at, version, ordinal, id, usage_id, account, kind, amount, currency, body FROM entry \
         WHERE tenant_id = $1 AND at >= $2 AND (at, version, ordinal) > ($2, $3, $4) \
         ORDER BY at, version, ordinal LIMIT $5",
    )
    .bind(tenant.as_str())
    .bind(after.at)
    .bind(after.version)
    .bind(after.ordinal)
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await?;
    let row = |row: PgRow| {
        let place =
            Place { at: row.try_get(0)?, version: row.try_get(1)?, ordinal: row.try_get(2)? };
        let entry = EntryRow {
            id: row.try_get(3)?,
            usage: row.try_get(4)?,
            account: row.try_get(5)?,
            kind: row.try_get(6)?,
            amount: amount(&row, "amount")?,
            currency: row.try_get(8)?,
            body: row.try_get(9)?,
        };
        Ok((place, entry))
    };
    rows.into_iter().map(row).collect()
}

pub async fn counters(
    executor: impl PgExecutor<'_>,
    tenant: &Tenant,
    after: &Since,
    limit: u32,
) -> Result<Vec<CounterRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT counter, dimension_values, opened, version, used, held FROM counter \
         WHERE tenant_id = $1 AND (counter, dimension_values, opened) > ($2, $3, $4) \
         ORDER BY counter, dimension_values, opened LIMIT $5",
    )
    .bind(tenant.as_str())
    .bind(after.counter)
    .bind(after.values.as_str())
    .bind(after.opened)
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await?;
    let row = |row: PgRow| {
        Ok(CounterRow {
            counter: row.try_get(0)?,
            values: row.try_get(1)?,
            opened: row.try_get(2)?,
            version: row.try_get(3)?,
            total: Total { used: amount(&row, "used")?, held: amount(&row, "held")? },
        })
    };
    rows.into_iter().map(row).collect()
}

pub async fn latest(
    executor: impl PgExecutor<'_>,
    tenant: &Tenant,
    after: &LatestKey,
    limit: u32,
) -> Result<Vec<LatestRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT per, dimension_values, version, totals::text FROM latest \
         WHERE tenant_id = $1 AND (per, dimension_values) > ($2, $3) \
         ORDER BY per, dimension_values LIMIT $4",
    )
    .bind(tenant.as_str())
    .bind(after.per.as_str())
    .bind(after.values.as_str())
    .bind(i64::from(limit))
    .fetch_all(executor)
    .await?;
    let row = |row: PgRow| {
        Ok(LatestRow {
            key: LatestKey { per: row.try_get(0)?, values: row.try_get(1)? },
            version: row.try_get(2)?,
            totals: totals(row.try_get(3)?)?,
        })
    };
    rows.into_iter().map(row).collect()
}

pub async fn tenants(pool: &PgPool) -> Result<Vec<Tenant>, sqlx::Error> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT tenant_id FROM head ORDER BY tenant_id").fetch_all(pool).await?;
    let tenant = |name: String| name.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)));
    names.into_iter().map(tenant).collect::<Result<_, sqlx::Error>>()
}

pub async fn now(pool: &PgPool) -> Result<Instant, sqlx::Error> {
    sqlx::query_scalar("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        .fetch_one(pool)
        .await
}
