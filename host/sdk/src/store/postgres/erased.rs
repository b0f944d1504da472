//! Values that are erased, and what takes their place.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use crate::store::erased::{ChangeKey, ChangeRow, Renamed, Rewritten};
use crate::store::rows::BatchKey;
use crate::store::{AuditRow, Tenant};

pub async fn expired(
    pool: &PgPool,
    tenant: &Tenant,
    after: Uuid,
    limit: u32,
) -> Result<Vec<(Uuid, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, body FROM closure WHERE tenant_id = $1 AND id > $2 AND how = 3 \
         ORDER BY id LIMIT $3",
    )
    .bind(tenant.as_str())
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await
}

pub async fn changes(
    pool: &PgPool,
    tenant: &Tenant,
    after: &ChangeKey,
    limit: u32,
) -> Result<Vec<ChangeRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT kind, name, version, at, body FROM change \
         WHERE tenant_id = $1 AND (kind, name, version) > ($2, $3, $4) \
         ORDER BY kind, name, version LIMIT $5",
    )
    .bind(tenant.as_str())
    .bind(after.kind.as_str())
    .bind(after.name.as_str())
    .bind(after.version)
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let row = |row: PgRow| {
        Ok(ChangeRow {
            key: ChangeKey {
                kind: row.try_get(0)?,
                name: row.try_get(1)?,
                version: row.try_get(2)?,
            },
            at: row.try_get(3)?,
            body: row.try_get(4)?,
        })
    };
    rows.into_iter().map(row).collect()
}

/// One list for each column.
macro_rules! columns {
    ($rows:expr, $(|$row:pat_param| $column:expr),* $(,)?) => {
        ($($rows.iter().map(|$row| $column).collect::<Vec<_>>(),)*)
    };
}

pub async fn rename(
    connection: &mut PgConnection,
    tenant: &Tenant,
    renamed: &Renamed,
) -> Result<(), sqlx::Error> {
    let Renamed { latest, counters } = renamed;
    let (pers, olds, news) = columns!(
        latest,
        |(key, _)| key.per.as_str(),
        |(key, _)| key.values.as_str(),
        |(_, new)| new.as_str(),
    );
    sqlx::query(
        "UPDATE latest SET dimension_values = sent.new \
         FROM unnest($2::text[], $3::text[], $4::text[]) AS sent (per, old, new) \
         WHERE latest.tenant_id = $1 AND latest.per = sent.per AND latest.dimension_values = sent.old",
    )
    .bind(tenant.as_str())
    .bind(pers)
    .bind(olds)
    .bind(news)
    .execute(&mut *connection)
    .await?;
    for statement in [
        "UPDATE counter SET dimension_values = sent.new \
         FROM unnest($2::bigint[], $3::text[], $4::text[]) AS sent (counter, old, new) \
         WHERE counter.tenant_id = $1 AND counter.counter = sent.counter AND counter.dimension_values = sent.old",
        "UPDATE carried_counter SET dimension_values = sent.new \
         FROM unnest($2::bigint[], $3::text[], $4::text[]) AS sent (counter, old, new) \
         WHERE carried_counter.tenant_id = $1 AND carried_counter.counter = sent.counter \
             AND carried_counter.dimension_values = sent.old",
    ] {
        let (counter, olds, news) = columns!(
            counters,
            |(counter, ..)| *counter,
            |(_, old, _)| old.as_str(),
            |(.., new)| new.as_str(),
        );
        sqlx::query(statement)
            .bind(tenant.as_str())
            .bind(counter)
            .bind(olds)
            .bind(news)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub async fn rename_rollups(
    pool: &PgPool,
    tenant: &Tenant,
    erasure: &str,
    grouping: &str,
    values: &str,
    new: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH gone AS ( \
             DELETE FROM rollup WHERE tenant_id = $1 AND grouping_name = $2 AND dimension_values = $3 \
             AND EXISTS (SELECT 1 FROM record WHERE tenant_id = $1 AND kind = 'erasure' AND name = $5) \
             RETURNING tenant_id, grouping_name, grain_ms, opened, meter, amount \
         ) \
         INSERT INTO rollup (tenant_id, grouping_name, grain_ms, opened, dimension_values, meter, amount) \
         SELECT tenant_id, grouping_name, grain_ms, opened, $4, meter, amount FROM gone \
         ON CONFLICT (tenant_id, grouping_name, grain_ms, opened, dimension_values, meter) \
             DO UPDATE SET amount = rollup.amount + excluded.amount",
    )
    .bind(tenant.as_str())
    .bind(grouping)
    .bind(values)
    .bind(new)
    .bind(erasure)
    .execute(pool)
    .await?;
    Ok(())
}

/// Each row is the same however often it is written, so that these need not be one.
pub async fn rewrite(
    pool: &PgPool,
    tenant: &Tenant,
    rewritten: &Rewritten,
) -> Result<(), sqlx::Error> {
    let Rewritten { batches, usages, entries, expired, runs, changes, notices, acts } = rewritten;
    let (at, version, stamp, body) = columns!(
        batches,
        |(BatchKey { at, .. }, _)| *at,
        |(key, _)| key.version,
        |(key, _)| key.stamp,
        |(_, body)| body.as_slice(),
    );
    sqlx::query(
        "UPDATE batch SET body = sent.body \
         FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[]) AS sent (at, version, stamp, body) \
         WHERE batch.tenant_id = $1 AND batch.at = sent.at AND batch.version = sent.version \
             AND batch.stamp = sent.stamp",
    )
    .bind(tenant.as_str())
    .bind(at)
    .bind(version)
    .bind(stamp)
    .bind(body)
    .execute(pool)
    .await?;
    let (at, id, body): (Vec<Instant>, Vec<Uuid>, Vec<&[u8]>) =
        columns!(usages, |(at, ..)| *at, |(_, id, _)| *id, |(.., body)| body.as_slice());
    sqlx::query(
        "UPDATE usage SET body = sent.body \
         FROM unnest($2::bigint[], $3::uuid[], $4::bytea[]) AS sent (at, id, body) \
         WHERE usage.tenant_id = $1 AND usage.at = sent.at AND usage.id = sent.id",
    )
    .bind(tenant.as_str())
    .bind(at)
    .bind(id)
    .bind(body)
    .execute(pool)
    .await?;
    let (at, id, body): (Vec<Instant>, Vec<Uuid>, Vec<&[u8]>) =
        columns!(entries, |(at, ..)| *at, |(_, id, _)| *id, |(.., body)| body.as_slice());
    sqlx::query(
        "UPDATE entry SET body = sent.body \
         FROM unnest($2::bigint[], $3::uuid[], $4::bytea[]) AS sent (at, id, body) \
         WHERE entry.tenant_id = $1 AND entry.at = sent.at AND entry.id = sent.id",
    )
    .bind(tenant.as_str())
    .bind(at)
    .bind(id)
    .bind(body)
    .execute(pool)
    .await?;
    let (id, body) = columns!(notices, |(id, _)| *id, |(_, body)| body.as_slice());
    // First what is known to be theirs by the notices.
    sqlx::query(
        "UPDATE delivery SET error = 'erased' \
         WHERE tenant_id = $1 AND notice = ANY ($2::uuid[]) AND error IS NOT NULL",
    )
    .bind(tenant.as_str())
    .bind(&id)
    .execute(pool)
    .await?;
    sqlx::query(
        "UPDATE notice SET body = sent.body FROM unnest($2::uuid[], $3::bytea[]) AS sent (id, body) \
         WHERE notice.tenant_id = $1 AND notice.id = sent.id",
    )
    .bind(tenant.as_str())
    .bind(id)
    .bind(body)
    .execute(pool)
    .await?;
    let (id, body) = columns!(expired, |(id, _)| *id, |(_, body)| body.as_slice());
    sqlx::query(
        "UPDATE closure SET body = sent.body FROM unnest($2::uuid[], $3::bytea[]) AS sent (id, body) \
         WHERE closure.tenant_id = $1 AND closure.id = sent.id AND closure.how = 3",
    )
    .bind(tenant.as_str())
    .bind(id)
    .bind(body)
    .execute(pool)
    .await?;
    let (id, user, body) =
        columns!(runs, |(id, ..)| *id, |(_, user, _)| user.as_str(), |(.., body)| body.as_slice());
    sqlx::query(
        "UPDATE run SET user_value = sent.user_value, body = sent.body \
         FROM unnest($2::uuid[], $3::text[], $4::bytea[]) AS sent (id, user_value, body) \
         WHERE run.tenant_id = $1 AND run.id = sent.id",
    )
    .bind(tenant.as_str())
    .bind(id)
    .bind(user)
    .bind(body)
    .execute(pool)
    .await?;
    let (kind, name, version, new, body) = columns!(
        changes,
        |(key, ..)| key.kind.as_str(),
        |(key, ..)| key.name.as_str(),
        |(key, ..)| key.version,
        |(_, new, _)| new.as_str(),
        |(.., body)| body.as_deref(),
    );
    sqlx::query(
        "UPDATE change SET name = sent.new, body = sent.body \
         FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::bytea[]) \
             AS sent (kind, name, version, new, body) \
         WHERE change.tenant_id = $1 AND change.kind = sent.kind AND change.name = sent.name \
             AND change.version = sent.version",
    )
    .bind(tenant.as_str())
    .bind(kind)
    .bind(name)
    .bind(version)
    .bind(new)
    .bind(body)
    .execute(pool)
    .await?;
    for AuditRow { id, at, subject, before, after, outcome, .. } in acts {
        // What became of an act may have been told meanwhile.
        sqlx::query(
            "UPDATE audit SET subject = $4, before = $5, after = $6, outcome = coalesce($7, outcome) \
             WHERE tenant_id = $1 AND at = $2 AND id = $3",
        )
        .bind(tenant.as_str())
        .bind(at)
        .bind(id)
        .bind(subject)
        .bind(before)
        .bind(after)
        .bind(outcome)
        .execute(pool)
        .await?;
    }
    Ok(())
}
