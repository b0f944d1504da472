//! The outbox: notices are handed to channels, and tried until they are delivered. Any number of
//! servers may be at it; nobody who asks for a decision waits for it, and no receiver holds up another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono_tz::Tz;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::task::JoinSet;
use tollgate_host::engine::{Host, NoticeRecord, Random};
use tollgate_host::store::{ChannelRow, DeliveryRow, DeliveryState, KeptNotice, Owner};
use tollgate_policy_core::window::Instant;

use super::channel::{Channel, Severity};
use super::message::{Notice, digest};
use super::{Failure, Message, Outgoing};
use crate::stores::Stores;

/// So many are taken at a time, and so many of each channel; a digest is of as many at the most.
const PAGE: u32 = 256;
const OF_EACH: u32 = 64;

/// A page has a channel for so long; what is left then is taken again.
const PATIENCE_MS: i64 = 60_000;

/// So many pages are under way at a time: slow receivers among them keep nobody else waiting.
const PAGES: usize = 8;

/// Who takes a delivery has so long for it: longer than its page may take.
const TAKEN_MS: i64 = 300_000;

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

/// What goes over a channel, in order.
struct Load {
    owner: Owner,
    name: String,
    channel: Channel,
    parcels: Vec<(Vec<DeliveryRow>, Message)>,
}

impl<S: Stores> Outbox<S> {
    /// Delivers for as long as it is not dropped.
    pub async fn run(self: Arc<Self>, every: Duration) {
        let mut pages = JoinSet::new();
        loop {
            if let Err(error) = self.hand_over_new().await {
                tracing::warn!(%error, "notices wait: the store does not tell them");
            }
            while pages.try_join_next().is_some() {}
            while pages.len() < PAGES {
                match self.take().await {
                    Ok(due) if due.is_empty() => break,
                    Ok(due) => {
                        let outbox = Arc::clone(&self);
                        pages.spawn(async move { outbox.deliver_or_warn(due).await });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "deliveries wait: the store does not tell them");
                        break;
                    }
                }
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Hands over what is new, and tries what is due, once.
    pub async fn round(&self) -> Result<()> {
        self.hand_over_new().await?;
        loop {
            let due = self.take().await?;
            if due.is_empty() {
                return Ok(());
            }
            self.deliver(due).await?;
        }
    }

    async fn take(&self) -> Result<Vec<DeliveryRow>> {
        let now = self.store.now().await?;
        Ok(self.store.take_due(now, now.saturating_add(TAKEN_MS), OF_EACH, PAGE).await?)
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

    async fn deliver_or_warn(&self, due: Vec<DeliveryRow>) {
        if let Err(error) = self.deliver(due).await {
            tracing::warn!(%error, "what became of deliveries could not be written down");
        }
    }

    /// Each channel's in order, the channels beside each other.
    async fn deliver(&self, mut due: Vec<DeliveryRow>) -> Result<()> {
        // As they were raised.
        due.sort_by_key(|row| row.notice);
        let mut channels = Channels::default();
        let mut all: BTreeMap<(Owner, String), Vec<DeliveryRow>> = BTreeMap::new();
        for row in due {
            all.entry((row.channel_of.clone(), row.channel.clone())).or_default().push(row);
        }
        let mut loads = Vec::new();
        for ((owner, name), rows) in all {
            match channels.of(&*self.store, &owner).await?.get(&name) {
                Some(Some(channel)) => {
                    let channel = channel.clone();
                    let parcels = self.parcels(&owner, &channel, rows).await?;
                    loads.push(Load { owner, name, channel, parcels });
                }
                found => {
                    let words = match found {
                        None => "the channel is gone",
                        Some(_) => "the channel's settings cannot be read",
                    };
                    for row in rows {
                        self.gave_up(row, words).await?;
                    }
                }
            }
        }
        let count = loads.len().max(1);
        let loads = loads.into_iter().map(|load| self.carry(load));
        let mut carried = stream::iter(loads).buffer_unordered(count);
        while let Some(done) = carried.next().await {
            done?;
        }
        Ok(())
    }

    /// A message for each notice, or one for all that wait for the same time.
    async fn parcels(
        &self,
        owner: &Owner,
        channel: &Channel,
        rows: Vec<DeliveryRow>,
    ) -> Result<Vec<(Vec<DeliveryRow>, Message)>> {
        let (mut parcels, mut gathered) = (Vec::new(), (Vec::new(), Vec::new()));
        for row in rows {
            let kept = self.store.notice(&row.tenant, row.notice).await?;
            let Some(notice) = kept.and_then(NoticeRecord::of) else {
                self.gave_up(row, "the notice is gone").await?;
                continue;
            };
            let notice = Notice::of(&row.tenant, notice);
            if channel.gathers() && notice.severity < Severity::Critical {
                gathered.0.push(row);
                gathered.1.push(notice);
            } else {
                let message = notice.message(owner);
                parcels.push((vec![row], message));
            }
        }
        if !gathered.0.is_empty() {
            let now = self.store.now().await?;
            let message = digest(&gathered.1, owner, now);
            parcels.push((gathered.0, message));
        }
        Ok(parcels)
    }

    /// Tries one after the other. Where one fails for now, all that goes the same way waits with it.
    async fn carry(&self, load: Load) -> Result<()> {
        let Load { owner, name, channel, parcels } = load;
        let mut parcels = parcels.into_iter();
        let began = self.store.now().await?;
        while let Some((rows, message)) = parcels.next() {
            let now = self.store.now().await?;
            if now.saturating_sub(began) > PATIENCE_MS {
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
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tollgate_host::engine::NoticeBody;
    use tollgate_host::store::{
        ChannelRow, Durability, Head, NoticeRow, NoticeStore, SqliteStore, Store, Tenant, Write,
        first_id_of,
    };

    use super::super::outgoing::{Reach, Times, Web, system_lookup};
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    struct Town {
        outbox: Arc<Outbox<SqliteStore>>,
        now: Arc<AtomicI64>,
        /// How many were posted, and how many of them were taken.
        posts: Arc<AtomicUsize>,
        taken: Arc<AtomicUsize>,
        tenant: Tenant,
        _directory: tempfile::TempDir,
    }

    /// A tenant with a channel to a receiver that fails until an hour has passed.
    async fn town(channel: serde_json::Value) -> Town {
        let now = Arc::new(AtomicI64::new(1_763_596_800_000));
        let clock = {
            let now = Arc::clone(&now);
            Arc::new(move || now.load(Ordering::Relaxed))
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let store = SqliteStore::open(&path, Durability::Waived, clock.clone()).await.unwrap();
        let store = Arc::new(store);
        let random: Random = Arc::new(|| 500);
        let host = Host::builder(Arc::clone(&store), clock, random.clone()).start().await.unwrap();
        let tenant: Tenant = "acme".parse().unwrap();
        store.create(std::slice::from_ref(&tenant)).await.unwrap();
        let web = Web::new(Reach::OwnNetwork, system_lookup(), Times::default());
        let outgoing = Arc::new(Outgoing::new(web, None, Vec::new()));
        let outbox = Arc::new(Outbox { store: Arc::clone(&store), host, outgoing, random });
        let (posts, taken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (then, time) = (now.load(Ordering::Relaxed) + HOUR_MS, Arc::clone(&now));
        let (posted, took) = (Arc::clone(&posts), Arc::clone(&taken));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut read = Vec::new();
                let mut some = [0; 4_096];
                while !read.ends_with(b"}") {
                    let count = stream.read(&mut some).await.unwrap();
                    read.extend_from_slice(&some[..count]);
                }
                posted.fetch_add(1, Ordering::Relaxed);
                let is_well = time.load(Ordering::Relaxed) >= then;
                took.fetch_add(usize::from(is_well), Ordering::Relaxed);
                let status = if is_well { "204 No Content" } else { "503 Later" };
                let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let mut body = json!({ "to": { "kind": "webhook", "url": url } });
        body.as_object_mut().unwrap().extend(channel.as_object().unwrap().clone());
        let (owner, name) = (Owner::Tenant(tenant.clone()), "ops".to_owned());
        let body = body.to_string();
        store.put_channel(&ChannelRow { owner, name, body }).await.unwrap();
        Town { outbox, now, posts, taken, tenant, _directory: directory }
    }

    impl Town {
        /// So many notices are raised now.
        async fn raise(&self, count: u128) {
            let at = self.now.load(Ordering::Relaxed);
            let head = Head { version: 0, stamp: 0, at: 0 };
            let mut write = Write::new(self.tenant.clone(), head, 1, at);
            let first = first_id_of(at).as_u128();
            let notice = |number| NoticeRow {
                id: uuid::Uuid::from_u128(first + number),
                severity: "warning".into(),
                body: serde_json::to_vec(&NoticeBody::default()).unwrap(),
                is_over: false,
            };
            write.notices = (0..count).map(notice).collect();
            for written in self.outbox.store.write(&[write]).await {
                written.unwrap();
            }
        }

        async fn deliveries(&self) -> Vec<DeliveryRow> {
            self.outbox.store.deliveries(&self.tenant, None, false, 999).await.unwrap()
        }

        /// Rounds whenever something is due, until nothing waits.
        async fn deliver(&self) {
            loop {
                self.outbox.round().await.unwrap();
                let waits = self.deliveries().await.into_iter();
                let waits = waits.filter(|own| own.state == DeliveryState::Waits);
                let Some(due) = waits.map(|own| own.due_at).min() else { return };
                self.now.store(due, Ordering::Relaxed);
            }
        }

        fn counts(&self) -> (usize, usize) {
            (self.posts.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed))
        }
    }

    #[tokio::test]
    async fn a_receiver_that_fails_for_an_hour_gets_each_notice_once() {
        let town = town(json!({})).await;
        town.raise(10).await;
        town.deliver().await;
        // While it fails only the first in the row is tried.
        let (posts, taken) = town.counts();
        assert_eq!(taken, 10);
        assert!((15..=20).contains(&posts), "{posts}");
        let all = town.deliveries().await;
        assert!(all.iter().all(|own| own.state == DeliveryState::Delivered), "{all:?}");
        // Those behind it lost no try.
        assert_eq!(all.iter().filter(|own| own.attempts > 1).count(), 1, "{all:?}");
    }

    #[tokio::test]
    async fn a_digest_that_fails_is_one_message_still() {
        let town = town(json!({ "digest_at": ["08:00"] })).await;
        town.raise(10).await;
        town.outbox.round().await.unwrap();
        assert_eq!(town.counts(), (0, 0));
        // By then it is later than the hour for which it fails.
        town.deliver().await;
        assert_eq!(town.counts(), (1, 1));
        assert!(town.deliveries().await.iter().all(|own| own.state == DeliveryState::Delivered));
    }

    #[tokio::test]
    async fn what_is_given_up_after_a_day_says_why() {
        let town = town(json!({})).await;
        town.raise(1).await;
        // The receiver is well again in a year.
        let began = town.now.load(Ordering::Relaxed);
        town.now.fetch_sub(365 * 24 * HOUR_MS, Ordering::Relaxed);
        let mut last = began;
        town.outbox.hand_over_new().await.unwrap();
        for delivery in town.deliveries().await {
            let due_at = town.now.load(Ordering::Relaxed);
            assert!(town.outbox.store.tried(0, &DeliveryRow { due_at, ..delivery }).await.unwrap());
        }
        loop {
            town.outbox.round().await.unwrap();
            let own = town.deliveries().await.remove(0);
            if own.state == DeliveryState::GivenUp {
                assert!(own.error.unwrap().contains("503"));
                break;
            }
            last = own.due_at;
            town.now.store(own.due_at, Ordering::Relaxed);
        }
        let took_ms = last - (began - 365 * 24 * HOUR_MS);
        assert!((24 * HOUR_MS..36 * HOUR_MS).contains(&took_ms), "{took_ms}");
        assert_eq!(town.counts(), (12, 0));
    }
}
