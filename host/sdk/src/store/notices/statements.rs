//! The statements, which both databases understand.

/// Keeps notices on a database: rows of this type, reads and writes on these pools, errors told by this.
/// What others took is passed over as this says, and pairs are read from JSON as that does.
macro_rules! notice_store {
    ($store:ty, $row:ty, $readers:ident, $writer:ident, $told:path, $skip:literal, $pairs:literal) => {
        use sqlx::Row as _;
        use tollgate_policy_core::window::Instant;
        use uuid::Uuid;

        use $crate::store::{
            ChannelRow, DeliveryRow, DeliveryState, KeptNotice, NoticeStore, Owner, Portion,
            StoreError, Tenant,
        };

        const NOTICES: &str = "SELECT tenant_id, id, at, severity, body, over_at, acknowledged_at, \
             acknowledged_by FROM notice";
        const DELIVERIES: &str = "tenant_id, notice, channel_of, channel, state, attempts, due_at, error";

        impl NoticeStore for $store {
            async fn notices(
                &self,
                tenant: &Tenant,
                before: Option<Uuid>,
                open: bool,
                limit: u32,
            ) -> Result<Vec<KeptNotice>, StoreError> {
                let open = if open { "AND over_at IS NULL AND acknowledged_at IS NULL" } else { "" };
                let page = format!(
                    "{NOTICES} WHERE tenant_id = $1 AND id < $2 {open} ORDER BY id DESC LIMIT $3"
                );
                let page = sqlx::query(sqlx::AssertSqlSafe(page))
                    .bind(tenant.as_str().to_owned())
                    .bind(before.unwrap_or(Uuid::max()))
                    .bind(i64::from(limit));
                let rows = $told(page.fetch_all(&self.$readers)).await?;
                read(rows.iter().map(notice))
            }

            async fn notices_after(
                &self,
                tenant: &Tenant,
                after: Uuid,
                limit: u32,
            ) -> Result<Vec<KeptNotice>, StoreError> {
                let page =
                    format!("{NOTICES} WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3");
                let page = sqlx::query(sqlx::AssertSqlSafe(page))
                    .bind(tenant.as_str().to_owned())
                    .bind(after)
                    .bind(i64::from(limit));
                let rows = $told(page.fetch_all(&self.$readers)).await?;
                read(rows.iter().map(notice))
            }

            async fn notice(
                &self,
                tenant: &Tenant,
                id: Uuid,
            ) -> Result<Option<KeptNotice>, StoreError> {
                let one = format!("{NOTICES} WHERE tenant_id = $1 AND id = $2");
                let one = sqlx::query(sqlx::AssertSqlSafe(one))
                    .bind(tenant.as_str().to_owned())
                    .bind(id);
                let rows = $told(one.fetch_all(&self.$readers)).await?;
                Ok(read(rows.iter().map(notice))?.pop())
            }

            async fn acknowledge(
                &self,
                tenant: &Tenant,
                id: Uuid,
                who: &str,
                at: Instant,
            ) -> Result<bool, StoreError> {
                let done = sqlx::query(
                    "UPDATE notice SET acknowledged_at = $3, acknowledged_by = $4 \
                     WHERE tenant_id = $1 AND id = $2 AND acknowledged_at IS NULL",
                )
                .bind(tenant.as_str().to_owned())
                .bind(id)
                .bind(at)
                .bind(who.to_owned());
                Ok($told(done.execute(&self.$writer)).await?.rows_affected() == 1)
            }

            async fn put_channel(&self, channel: &ChannelRow) -> Result<(), StoreError> {
                let done = sqlx::query(
                    "INSERT INTO channel (tenant_id, name, body) VALUES ($1, $2, $3) \
                     ON CONFLICT (tenant_id, name) DO UPDATE SET body = excluded.body",
                )
                .bind(channel.owner.as_str().to_owned())
                .bind(channel.name.clone())
                .bind(channel.body.clone());
                $told(done.execute(&self.$writer)).await.map(drop)
            }

            async fn remove_channel(&self, owner: &Owner, name: &str) -> Result<bool, StoreError> {
                let done = sqlx::query("DELETE FROM channel WHERE tenant_id = $1 AND name = $2")
                    .bind(owner.as_str().to_owned())
                    .bind(name.to_owned());
                Ok($told(done.execute(&self.$writer)).await?.rows_affected() == 1)
            }

            async fn channels(&self, owner: &Owner) -> Result<Vec<ChannelRow>, StoreError> {
                let all = sqlx::query(
                    "SELECT tenant_id, name, body FROM channel WHERE tenant_id = $1 ORDER BY name",
                )
                .bind(owner.as_str().to_owned());
                let rows = $told(all.fetch_all(&self.$readers)).await?;
                read(rows.iter().map(|row| {
                    Ok(ChannelRow {
                        owner: owner_of(row.try_get("tenant_id")?)?,
                        name: row.try_get("name")?,
                        body: row.try_get("body")?,
                    })
                }))
            }

            async fn new_notices(&self, limit: u32) -> Result<Vec<KeptNotice>, StoreError> {
                let some = format!("{NOTICES} WHERE is_new ORDER BY tenant_id, id LIMIT $1");
                let some = sqlx::query(sqlx::AssertSqlSafe(some)).bind(i64::from(limit));
                let rows = $told(some.fetch_all(&self.$readers)).await?;
                read(rows.iter().map(notice))
            }

            async fn hand_over(
                &self,
                tenant: &Tenant,
                notice: Uuid,
                deliveries: &[DeliveryRow],
            ) -> Result<(), StoreError> {
                let handed = async {
                    let mut transaction = self.$writer.begin().await?;
                    // Who comes second finds it handed over, and waits for who came first.
                    let first = sqlx::query(
                        "UPDATE notice SET is_new = false WHERE tenant_id = $1 AND id = $2 AND is_new",
                    )
                    .bind(tenant.as_str().to_owned())
                    .bind(notice)
                    .execute(&mut *transaction)
                    .await?;
                    let deliveries = if first.rows_affected() == 1 { deliveries } else { &[] };
                    for delivery in deliveries {
                        sqlx::query(
                            "INSERT INTO delivery (tenant_id, notice, at, channel_of, channel, state, \
                             attempts, due_at, error) \
                             SELECT tenant_id, id, at, $3, $4, $5, $6, $7, $8 FROM notice \
                             WHERE tenant_id = $1 AND id = $2",
                        )
                        .bind(tenant.as_str().to_owned())
                        .bind(notice)
                        .bind(delivery.channel_of.as_str().to_owned())
                        .bind(delivery.channel.clone())
                        .bind(delivery.state.code())
                        .bind(delivery.attempts)
                        .bind(delivery.due_at)
                        .bind(delivery.error.clone())
                        .execute(&mut *transaction)
                        .await?;
                    }
                    transaction.commit().await
                };
                $told(handed).await
            }

            async fn take_due(
                &self,
                now: Instant,
                until: Instant,
                busy: &[(Owner, String)],
                portion: Portion,
            ) -> Result<Vec<DeliveryRow>, StoreError> {
                let busy: Vec<(&str, &String)> =
                    busy.iter().map(|(owner, name)| (owner.as_str(), name)).collect();
                let taken = format!(
                    "WITH busy (channel_of, channel) AS ({}), ranked AS ( \
                         SELECT tenant_id, notice, channel_of, channel, due_at, row_number() OVER ( \
                             PARTITION BY channel_of, channel \
                             ORDER BY due_at, attempts DESC, notice) AS place, \
                             min(due_at) OVER (PARTITION BY channel_of, channel) AS first_due_at \
                         FROM delivery WHERE state = 1 AND due_at <= $1 \
                             AND (channel_of, channel) NOT IN (SELECT channel_of, channel FROM busy) \
                     ), placed AS ( \
                         SELECT *, dense_rank() OVER ( \
                             PARTITION BY channel_of ORDER BY first_due_at, channel) + ( \
                             SELECT count(*) FROM busy WHERE busy.channel_of = ranked.channel_of \
                         ) AS way FROM ranked WHERE place <= $4 \
                     ), due AS ( \
                         SELECT tenant_id, notice, channel_of, channel FROM delivery \
                         WHERE state = 1 AND due_at <= $1 \
                             AND (tenant_id, notice, channel_of, channel) IN ( \
                                 SELECT tenant_id, notice, channel_of, channel FROM placed \
                                 WHERE way <= $6 ORDER BY place, due_at LIMIT $3) {} \
                     ) \
                     UPDATE delivery SET due_at = $2, attempts = attempts + 1 \
                     WHERE (tenant_id, notice, channel_of, channel) IN ( \
                         SELECT tenant_id, notice, channel_of, channel FROM due) \
                     RETURNING {DELIVERIES}",
                    $pairs, $skip
                );
                let taken = sqlx::query(sqlx::AssertSqlSafe(taken))
                    .bind(now)
                    .bind(until)
                    .bind(i64::from(portion.in_all))
                    .bind(i64::from(portion.of_channel))
                    .bind(serde_json::to_string(&busy).unwrap_or_default())
                    .bind(i64::from(portion.channels_of_owner));
                let rows = $told(taken.fetch_all(&self.$writer)).await?;
                read(rows.iter().map(delivery))
            }

            async fn tried(
                &self,
                attempt: i32,
                delivery: &DeliveryRow,
            ) -> Result<bool, StoreError> {
                let done = sqlx::query(
                    "UPDATE delivery SET state = $5, due_at = $6, error = $7, attempts = $9 \
                     WHERE tenant_id = $1 AND notice = $2 AND channel_of = $3 AND channel = $4 \
                         AND state = 1 AND attempts = $8",
                )
                .bind(delivery.tenant.as_str().to_owned())
                .bind(delivery.notice)
                .bind(delivery.channel_of.as_str().to_owned())
                .bind(delivery.channel.clone())
                .bind(delivery.state.code())
                .bind(delivery.due_at)
                .bind(delivery.error.clone())
                .bind(attempt)
                .bind(delivery.attempts);
                Ok($told(done.execute(&self.$writer)).await?.rows_affected() == 1)
            }

            async fn put_off(
                &self,
                channel_of: &Owner,
                channel: &str,
                now: Instant,
                until: Instant,
            ) -> Result<(), StoreError> {
                let done = sqlx::query(
                    "UPDATE delivery SET due_at = $4 WHERE channel_of = $1 AND channel = $2 \
                         AND state = 1 AND due_at <= $3",
                )
                .bind(channel_of.as_str().to_owned())
                .bind(channel.to_owned())
                .bind(now)
                .bind(until);
                $told(done.execute(&self.$writer)).await.map(drop)
            }

            async fn give_up(
                &self,
                channel_of: &Owner,
                channel: &str,
                now: Instant,
                raised_before: Instant,
                words: &str,
            ) -> Result<u64, StoreError> {
                let done = sqlx::query(
                    "UPDATE delivery SET state = 3, error = $5 WHERE channel_of = $1 AND channel = $2 \
                         AND state = 1 AND due_at <= $3 AND at < $4",
                )
                .bind(channel_of.as_str().to_owned())
                .bind(channel.to_owned())
                .bind(now)
                .bind(raised_before)
                .bind(words.to_owned());
                Ok($told(done.execute(&self.$writer)).await?.rows_affected())
            }

            async fn deliveries(
                &self,
                tenant: &Tenant,
                before: Option<Uuid>,
                given_up: bool,
                limit: u32,
            ) -> Result<Vec<DeliveryRow>, StoreError> {
                let which = if given_up { "AND state = 3" } else { "" };
                let page = format!(
                    "SELECT {DELIVERIES} FROM delivery WHERE tenant_id = $1 AND notice IN ( \
                         SELECT DISTINCT notice FROM delivery WHERE tenant_id = $1 AND notice < $2 {which} \
                         ORDER BY notice DESC LIMIT $3) {which} \
                     ORDER BY notice DESC, channel_of, channel"
                );
                let page = sqlx::query(sqlx::AssertSqlSafe(page))
                    .bind(tenant.as_str().to_owned())
                    .bind(before.unwrap_or(Uuid::max()))
                    .bind(i64::from(limit));
                let rows = $told(page.fetch_all(&self.$readers)).await?;
                read(rows.iter().map(delivery))
            }

            async fn replay(
                &self,
                tenant: &Tenant,
                notice: Option<Uuid>,
                channel_of: Option<&Owner>,
                now: Instant,
            ) -> Result<u64, StoreError> {
                let done = sqlx::query(
                    "UPDATE delivery SET state = 1, attempts = 0, due_at = $2, at = $2 \
                     WHERE tenant_id = $1 AND state = 3 AND notice >= $3 AND notice <= $4 \
                         AND channel_of = coalesce($5, channel_of)",
                )
                .bind(tenant.as_str().to_owned())
                .bind(now)
                .bind(notice.unwrap_or(Uuid::nil()))
                .bind(notice.unwrap_or(Uuid::max()))
                .bind(channel_of.map(|owner| owner.as_str().to_owned()));
                Ok($told(done.execute(&self.$writer)).await?.rows_affected())
            }

            async fn take_duty(
                &self,
                tenant: &Tenant,
                name: &str,
                now: Instant,
                until: Instant,
            ) -> Result<Option<Instant>, StoreError> {
                let taken = sqlx::query_scalar(
                    "INSERT INTO duty (tenant_id, name, done_at, taken_until) VALUES ($1, $2, $5, $4) \
                     ON CONFLICT (tenant_id, name) DO UPDATE SET taken_until = excluded.taken_until \
                     WHERE duty.taken_until <= $3 RETURNING done_at",
                )
                .bind(tenant.as_str().to_owned())
                .bind(name.to_owned())
                .bind(now)
                .bind(until)
                .bind(Instant::MIN);
                $told(taken.fetch_optional(&self.$writer)).await
            }

            async fn did_duty(
                &self,
                tenant: &Tenant,
                name: &str,
                taken_until: Instant,
                done_at: Instant,
            ) -> Result<(), StoreError> {
                let done = sqlx::query(
                    "UPDATE duty SET done_at = $3, taken_until = $3 \
                     WHERE tenant_id = $1 AND name = $2 AND taken_until = $4",
                )
                .bind(tenant.as_str().to_owned())
                .bind(name.to_owned())
                .bind(done_at)
                .bind(taken_until);
                $told(done.execute(&self.$writer)).await.map(drop)
            }
        }

        fn notice(row: &$row) -> Result<KeptNotice, sqlx::Error> {
            let at: Option<Instant> = row.try_get("acknowledged_at")?;
            let by: Option<String> = row.try_get("acknowledged_by")?;
            Ok(KeptNotice {
                tenant: tenant_of(row.try_get("tenant_id")?)?,
                id: row.try_get("id")?,
                at: row.try_get("at")?,
                severity: row.try_get("severity")?,
                body: row.try_get("body")?,
                over_at: row.try_get("over_at")?,
                acknowledged: at.zip(by),
            })
        }

        fn delivery(row: &$row) -> Result<DeliveryRow, sqlx::Error> {
            let state: i16 = row.try_get("state")?;
            let unknown = || sqlx::Error::Decode(format!("no state is {state}").into());
            Ok(DeliveryRow {
                tenant: tenant_of(row.try_get("tenant_id")?)?,
                notice: row.try_get("notice")?,
                channel_of: owner_of(row.try_get("channel_of")?)?,
                channel: row.try_get("channel")?,
                state: DeliveryState::read(state).ok_or_else(unknown)?,
                attempts: row.try_get("attempts")?,
                due_at: row.try_get("due_at")?,
                error: row.try_get("error")?,
            })
        }

        fn tenant_of(name: &str) -> Result<Tenant, sqlx::Error> {
            name.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
        }

        fn owner_of(name: &str) -> Result<Owner, sqlx::Error> {
            let unknown = || sqlx::Error::Decode(format!("no owner is `{name}`").into());
            Owner::read(name).ok_or_else(unknown)
        }

        fn read<T>(
            rows: impl Iterator<Item = Result<T, sqlx::Error>>,
        ) -> Result<Vec<T>, StoreError> {
            rows.collect::<Result<_, _>>().map_err(|error| StoreError::Unavailable(error.to_string()))
        }
    };
}

pub(in crate::store) use notice_store;
