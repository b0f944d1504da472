//! The outbox: notices are handed to channels, and tried until they are delivered. Any number of
//! servers may be at it; nobody who asks for a decision waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono_tz::Tz;
use futures_util::StreamExt;
use futures_util::stream;
use tollgate_host::engine::{Host, NoticeRecord, Random};
use tollgate_host::store::{ChannelRow, DeliveryRow, DeliveryState, KeptNotice, Owner};
use tollgate_policy_core::window::Instant;

use super::channel::{Channel, Severity};
use super::message::{Notice, digest};
use super::{Failure, Message, Outgoing};
use crate::stores::Stores;

/// So many are taken at a time.
const PAGE: u32 = 64;

/// So many are tried at a time.
const AT_ONCE: usize = 16;

/// Who takes a delivery has so long for it: longer than all that is taken at a time may take.
const TAKEN_MS: i64 = 120_000;

/// After so many seconds it is tried again, until there is no more: about a day.
const AGAIN_SECONDS: [i64; 11] =
    [5, 30, 120, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 28_800];

/// Delivers notices.
pub struct Outbox<S> {
    pub store: Arc<S>,
    pub host: Host,
    pub outgoing: Arc<Outgoing>,
    pub random: Random,
}

/// Channels by whose they are, as they were found in a round.
#[derive(Default)]
struct Channels(BTreeMap<Owner, BTreeMap<String, Option<Channel>>>);

impl<S: Stores> Outbox<S> {
    /// Delivers for as long as it is not dropped.
    pub async fn run(self, every: Duration) {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "notices wait: the outbox could not be read");
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Hands over what is new, and tries what is due.
    pub async fn round(&self) -> Result<()> {
        let mut channels = Channels::default();
        loop {
            let new = self.store.new_notices(PAGE).await?;
            for notice in &new {
                self.hand_over(notice, &mut channels).await?;
            }
            if new.len() < PAGE as usize {
                break;
            }
        }
        loop {
            let now = self.store.now().await?;
            let due = self.store.take_due(now, now.saturating_add(TAKEN_MS), PAGE).await?;
            let is_last = due.len() < PAGE as usize;
            self.deliver(due, &mut channels, now).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn hand_over(&self, notice: &KeptNotice, channels: &mut Channels) -> Result<()> {
        let KeptNotice { tenant, id, at, severity, .. } = notice;
        let zone = self.host.setup(tenant).map_or(Tz::UTC, |setup| setup.calendar.zone);
        let mut deliveries = Vec::new();
        for owner in [Owner::Platform, Owner::Tenant(tenant.clone())] {
            for (name, channel) in channels.of(&*self.store, &owner).await? {
                let due = match channel {
                    Some(channel) => channel.due_at(Severity::read(severity), *at, zone),
                    // Whoever mends it finds what it missed among what was given up.
                    None => Some(*at),
                };
                deliveries.extend(due.map(|due_at| DeliveryRow {
                    tenant: tenant.clone(),
                    notice: *id,
                    channel_of: owner.clone(),
                    channel: name.clone(),
                    state: DeliveryState::Waits,
                    attempts: 0,
                    due_at,
                    error: None,
                }));
            }
        }
        Ok(self.store.hand_over(tenant, *id, &deliveries).await?)
    }

    async fn deliver(
        &self,
        due: Vec<DeliveryRow>,
        channels: &mut Channels,
        now: Instant,
    ) -> Result<()> {
        let mut parcels: Vec<(Vec<DeliveryRow>, Channel, Message)> = Vec::new();
        let mut gathered: BTreeMap<(Owner, String), (Channel, Vec<DeliveryRow>, Vec<Notice>)> =
            BTreeMap::new();
        for row in due {
            let all = channels.of(&*self.store, &row.channel_of).await?;
            let Some(channel) = all.get(&row.channel) else {
                self.gave_up(row, "the channel is gone").await?;
                continue;
            };
            let Some(channel) = channel.clone() else {
                self.gave_up(row, "the channel's settings cannot be read").await?;
                continue;
            };
            let kept = self.store.notice(&row.tenant, row.notice).await?;
            let Some(notice) = kept.and_then(NoticeRecord::of) else {
                self.gave_up(row, "the notice is gone").await?;
                continue;
            };
            let notice = Notice::of(&row.tenant, notice);
            if channel.gathers() && notice.severity < Severity::Critical {
                let key = (row.channel_of.clone(), row.channel.clone());
                let all = gathered.entry(key).or_insert((channel, Vec::new(), Vec::new()));
                all.1.push(row);
                all.2.push(notice);
            } else {
                let message = notice.message(&row.channel_of);
                parcels.push((vec![row], channel, message));
            }
        }
        for ((owner, _), (channel, rows, notices)) in gathered {
            parcels.push((rows, channel, digest(&notices, &owner, now)));
        }
        let tries = parcels.into_iter().map(async |(rows, channel, message)| {
            let outcome = self.outgoing.send(&channel.to, &message, now).await;
            (rows, outcome)
        });
        let mut tried = stream::iter(tries).buffer_unordered(AT_ONCE);
        while let Some((rows, outcome)) = tried.next().await {
            for row in rows {
                self.tried(row, &outcome, now).await?;
            }
        }
        Ok(())
    }

    async fn tried(
        &self,
        mut row: DeliveryRow,
        outcome: &Result<(), Failure>,
        now: Instant,
    ) -> Result<()> {
        match outcome {
            Ok(()) => (row.state, row.error) = (DeliveryState::Delivered, None),
            Err(Failure::Final(words)) => return self.gave_up(row, words).await,
            Err(Failure::Later { words, after_seconds }) => {
                let tries = usize::try_from(row.attempts - 1).unwrap_or_default();
                let Some(again) = AGAIN_SECONDS.get(tries) else {
                    return self.gave_up(row, words).await;
                };
                let told = after_seconds.and_then(|told| i64::try_from(told).ok());
                let again_ms = again.max(&told.unwrap_or_default()) * 1_000;
                // Those that failed together are not tried together.
                let spread = i64::try_from((self.random)() % 1_000).unwrap_or_default();
                row.due_at = now.saturating_add(again_ms + again_ms * spread / 10_000);
                row.error = Some(words.clone());
            }
        }
        self.store.tried(&row).await?;
        Ok(())
    }

    async fn gave_up(&self, row: DeliveryRow, words: &str) -> Result<()> {
        let DeliveryRow { tenant, notice, channel, .. } = &row;
        tracing::warn!(%tenant, %notice, channel, words, "a notice is not delivered");
        let row =
            DeliveryRow { state: DeliveryState::GivenUp, error: Some(words.to_owned()), ..row };
        self.store.tried(&row).await?;
        Ok(())
    }
}

impl Channels {
    /// An owner's channels; none: its settings were written by a later version.
    async fn of<S: Stores>(
        &mut self,
        store: &S,
        owner: &Owner,
    ) -> Result<&BTreeMap<String, Option<Channel>>> {
        if !self.0.contains_key(owner) {
            let rows = store.channels(owner).await?;
            let channel = |ChannelRow { name, body, .. }| (name, serde_json::from_str(&body).ok());
            self.0.insert(owner.clone(), rows.into_iter().map(channel).collect());
        }
        Ok(self.0.entry(owner.clone()).or_default())
    }
}
