//! The outbox: notices are handed to channels, and tried until they are delivered. Any number of
//! servers may be at it; nobody who asks for a decision waits for it, and no receiver holds up another.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono_tz::Tz;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tollgate_host::engine::{Host, NoticeRecord, Random};
use tollgate_host::store::{ChannelRow, DeliveryRow, DeliveryState, KeptNotice, Owner, Portion};
use tollgate_policy_core::messages::Language;
use tollgate_policy_core::window::Instant;

use super::channel::{Channel, Severity};
use super::message::{Notice, digest};
use super::{Failure, Message, Outgoing};
use crate::stores::Stores;

/// So many are taken at a time, and so many of each channel; a digest is of as many at the most.
const PAGE: u32 = 256;
const OF_CHANNEL: u32 = 64;

/// So many pages of what is new are handed over in a row.
const PAGES: usize = 8;

/// A channel is at it for so long; what is left then is taken again.
const PATIENCE_MS: i64 = 60_000;

/// So many channels are at it at a time: a slow receiver keeps only those waiting who go the same way.
const CHANNELS: usize = 256;

/// So many of them one owner's: slow receivers hold up nobody else's notices.
const CHANNELS_OF_OWNER: u32 = 4;

/// Who takes a delivery has so long for it: longer than its channel is at it.
const TAKEN_MS: i64 = 300_000;

/// After so many seconds it is tried again, until there is no more: about a day.
const AGAIN_SECONDS: [i64; 11] =
    [5, 30, 120, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 28_800];

/// As one is given up, all that was raised so long ago and goes the same way is.
const RAISED_MS: i64 = 86_400_000;

/// Whose channel, and which.
type Way = (Owner, String);

/// Delivers notices.
pub struct Outbox<S> {
    pub store: Arc<S>,
    pub host: Host,
    pub outgoing: Arc<Outgoing>,
    pub random: Random,
    /// Turns true when it is to end: what is being sent is, and the rest waits for another one.
    pub stopping: watch::Receiver<bool>,
}

/// Channels by whose they are, as they were found in a round.
#[derive(Default)]
struct Channels(BTreeMap<Owner, BTreeMap<String, Option<Channel>>>);

/// What goes over a channel, in order.
struct Load {
    way: Way,
    channel: Channel,
    parcels: Vec<(Vec<DeliveryRow>, Message)>,
}

impl<S: Stores> Outbox<S> {
    /// Delivers until it is to end, and what is being sent then was.
    pub async fn run(self: Arc<Self>, every: Duration) {
        let (mut sending, mut busy) = (JoinSet::new(), HashMap::new());
        let mut stopping = self.stopping.clone();
        while !*stopping.borrow() {
            if let Err(error) = self.hand_over_new().await {
                tracing::warn!(%error, "notices wait: the store does not tell them");
            }
            while let Some(done) = sending.try_join_next_with_id() {
                busy.remove(&done.map_or_else(|error| error.id(), |(id, ())| id));
            }
            if let Err(error) = self.begin(&mut sending, &mut busy).await {
                tracing::warn!(%error, "deliveries wait: the store does not tell them");
            }
            // Whoever would have it stop may be gone.
            let stops = async {
                if stopping.wait_for(|stops| *stops).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let _ = tokio::time::timeout(every, stops).await;
        }
        while sending.join_next().await.is_some() {}
    }

    /// Has channels with something due be at it, each beside the others.
    async fn begin(
        self: &Arc<Self>,
        sending: &mut JoinSet<()>,
        busy: &mut HashMap<Id, Way>,
    ) -> Result<()> {
        while let free @ 1.. = CHANNELS.saturating_sub(busy.len()) {
            let ways: Vec<Way> = busy.values().cloned().collect();
            let due = self.take(&ways, u32::try_from(free).unwrap_or(PAGE)).await?;
            if due.is_empty() {
                break;
            }
            for (way, rows) in by_way(due) {
                let (outbox, own) = (Arc::clone(self), way.clone());
                let begun = sending.spawn(async move { outbox.deliver_or_warn(own, rows).await });
                busy.insert(begun.id(), way);
            }
        }
        Ok(())
    }

    /// Hands over what is new, and tries what is due, once.
    pub async fn round(&self) -> Result<()> {
        self.hand_over_new().await?;
        loop {
            let due = self.take(&[], PAGE).await?;
            if due.is_empty() {
                return Ok(());
            }
            let ways = by_way(due);
            let count = ways.len().max(1);
            let loads = ways.into_iter().map(|(way, rows)| self.deliver(way, rows));
            let mut delivered = stream::iter(loads).buffer_unordered(count);
            while let Some(done) = delivered.next().await {
                done?;
            }
        }
    }

    async fn take(&self, busy: &[Way], limit: u32) -> Result<Vec<DeliveryRow>> {
        let now = self.store.now().await?;
        let until = now.saturating_add(TAKEN_MS);
        let portion =
            Portion { channels_of_owner: CHANNELS_OF_OWNER, of_channel: OF_CHANNEL, in_all: limit };
        Ok(self.store.take_due(now, until, busy, portion).await?)
    }

    /// What is new beyond some pages waits for the next round: what is due does not wait for it.
    async fn hand_over_new(&self) -> Result<()> {
        let mut channels = Channels::default();
        for _ in 0..PAGES {
            let new = self.store.new_notices(PAGE).await?;
            for notice in &new {
                if let Err(error) = self.hand_over(notice, &mut channels).await {
                    let KeptNotice { tenant, id, .. } = notice;
                    tracing::warn!(%tenant, %id, %error, "a notice is not handed to channels yet");
                }
            }
            if new.len() < PAGE as usize {
                break;
            }
        }
        Ok(())
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

    async fn deliver_or_warn(&self, way: Way, rows: Vec<DeliveryRow>) {
        if let Err(error) = self.deliver(way, rows).await {
            tracing::warn!(%error, "what became of deliveries could not be written down");
        }
    }

    /// What is due of a channel, in order.
    async fn deliver(&self, way: Way, rows: Vec<DeliveryRow>) -> Result<()> {
        let (owner, name) = &way;
        let mut channels = Channels::default();
        let words = match channels.of(&*self.store, owner).await?.get(name) {
            Some(Some(channel)) => {
                let channel = channel.clone();
                let parcels = self.parcels(owner, &channel, rows).await?;
                return self.carry(Load { way, channel, parcels }).await;
            }
            None => "the channel is gone",
            Some(None) => "the channel's settings cannot be read",
        };
        for row in rows {
            self.gave_up(row, words).await?;
        }
        Ok(())
    }

    /// A message for each notice, or one for all that wait for the same time. What was tried as one
    /// message is tried as that one again, so that its receiver knows it.
    async fn parcels(
        &self,
        owner: &Owner,
        channel: &Channel,
        rows: Vec<DeliveryRow>,
    ) -> Result<Vec<(Vec<DeliveryRow>, Message)>> {
        let (mut parcels, mut digests) = (Vec::new(), BTreeMap::new());
        for row in rows {
            let kept = self.store.notice(&row.tenant, row.notice).await?;
            let Some(notice) = kept.and_then(NoticeRecord::of) else {
                self.gave_up(row, "the notice is gone").await?;
                continue;
            };
            let notice = Notice::of(&row.tenant, notice);
            if channel.gathers() && notice.severity < Severity::Critical {
                // Of what was tried together one is tried as often as the other, and what joined it
                // later less often.
                let tried: &mut (Vec<_>, Vec<_>) =
                    digests.entry(Reverse(row.attempts)).or_default();
                tried.0.push(row);
                tried.1.push(notice);
            } else {
                let message = notice.message(owner);
                parcels.push((vec![row], message));
            }
        }
        if !digests.is_empty() {
            let now = self.store.now().await?;
            let language = match owner {
                Owner::Platform => Language::default(),
                Owner::Tenant(tenant) => {
                    self.host.setup(tenant).map_or_else(|_| Language::default(), |own| own.language)
                }
            };
            parcels.extend(digests.into_values().map(|(rows, notices)| {
                let message = digest(&notices, owner, language, now);
                (rows, message)
            }));
        }
        Ok(parcels)
    }

    /// Tries one after the other. Where one fails for now, all that goes the same way waits with it.
    async fn carry(&self, load: Load) -> Result<()> {
        let Load { way: (owner, name), channel, parcels } = load;
        let mut parcels = parcels.into_iter();
        let began = self.store.now().await?;
        while let Some((rows, message)) = parcels.next() {
            let now = self.store.now().await?;
            if now.saturating_sub(began) > PATIENCE_MS || *self.stopping.borrow() {
                for row in rows.into_iter().chain(parcels.by_ref().flat_map(|(rows, _)| rows)) {
                    self.put_back(row, now).await?;
                }
                break;
            }
            match self.outgoing.send((&owner).into(), &channel.to, &message, now).await {
                Ok(()) => {
                    for row in rows {
                        let attempt = row.attempts;
                        let row =
                            DeliveryRow { state: DeliveryState::Delivered, error: None, ..row };
                        self.store.tried(attempt, &row).await?;
                    }
                }
                Err(Failure::Final(words)) => {
                    for row in rows {
                        self.gave_up(row, &words).await?;
                    }
                }
                Err(Failure::Later { words, after_seconds }) => {
                    let attempt = rows.iter().map(|row| row.attempts).max().unwrap_or_default();
                    let again = self.again(attempt, after_seconds, now);
                    for row in rows {
                        match again {
                            Some(due_at) => self.failed(row, &words, due_at).await?,
                            None => self.gave_up(row, &words).await?,
                        }
                    }
                    let next = again.unwrap_or(now);
                    for row in parcels.by_ref().flat_map(|(rows, _)| rows) {
                        self.put_back(row, next).await?;
                    }
                    self.store.put_off(&owner, &name, now, next).await?;
                    if again.is_none() {
                        // What waited behind it is as late, and has no more hope.
                        let raised = now.saturating_sub(RAISED_MS);
                        let count = self.store.give_up(&owner, &name, now, raised, &words).await?;
                        tracing::warn!(%owner, name, count, "what waited is not delivered either");
                    }
                }
            }
        }
        Ok(())
    }

    /// It was not tried.
    async fn put_back(&self, row: DeliveryRow, due_at: Instant) -> Result<()> {
        let attempt = row.attempts;
        let row = DeliveryRow { attempts: attempt - 1, due_at, ..row };
        self.store.tried(attempt, &row).await?;
        Ok(())
    }

    /// When what failed for the how-manieth time is tried again: all of a message at once, so that it
    /// stays the same. None: it is not.
    fn again(&self, attempt: i32, after_seconds: Option<u64>, now: Instant) -> Option<Instant> {
        let tries = usize::try_from(attempt - 1).unwrap_or_default();
        let again = AGAIN_SECONDS.get(tries)?;
        let told = after_seconds.and_then(|told| i64::try_from(told).ok()).unwrap_or_default();
        let again_ms = again.max(&told) * 1_000;
        // Those that failed together are not tried together.
        let spread = i64::try_from((self.random)() % 1_000).unwrap_or_default();
        Some(now.saturating_add(again_ms + again_ms * spread / 10_000))
    }

    async fn failed(&self, row: DeliveryRow, words: &str, due_at: Instant) -> Result<()> {
        let attempt = row.attempts;
        let row = DeliveryRow { due_at, error: Some(words.to_owned()), ..row };
        self.store.tried(attempt, &row).await?;
        Ok(())
    }

    async fn gave_up(&self, row: DeliveryRow, words: &str) -> Result<()> {
        let DeliveryRow { tenant, notice, channel, .. } = &row;
        tracing::warn!(%tenant, %notice, channel, words, "a notice is not delivered");
        let attempt = row.attempts;
        let row =
            DeliveryRow { state: DeliveryState::GivenUp, error: Some(words.to_owned()), ..row };
        self.store.tried(attempt, &row).await?;
        Ok(())
    }
}

/// Each channel's, as they were raised.
fn by_way(mut due: Vec<DeliveryRow>) -> BTreeMap<Way, Vec<DeliveryRow>> {
    due.sort_by_key(|row| row.notice);
    let mut all: BTreeMap<Way, Vec<DeliveryRow>> = BTreeMap::new();
    for row in due {
        all.entry((row.channel_of.clone(), row.channel.clone())).or_default().push(row);
    }
    all
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

#[cfg(test)]
mod tests;
