use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tollgate_host::engine::NoticeBody;
use tollgate_host::store::{
    ChannelRow, Durability, Need, NoticeRow, NoticeStore, SqliteStore, Store, Tenant, Write,
    first_id_of,
};

use super::super::outgoing::{Reach, Times, Web, system_lookup};
use super::*;

const HOUR_MS: i64 = 3_600_000;
/// In hours.
const YEAR: i64 = 365 * 24;

struct Town {
    outbox: Arc<Outbox<SqliteStore>>,
    stop: watch::Sender<bool>,
    now: Arc<AtomicI64>,
    /// How many were posted, and how many of them were taken.
    posts: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
    /// By which identifiers.
    ids: Arc<Mutex<Vec<String>>>,
    tenant: Tenant,
    _directory: tempfile::TempDir,
}

/// A tenant with a channel to a receiver that fails for so many hours.
async fn town(channel: serde_json::Value, hours: i64) -> Town {
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
    let (stop, stopping) = watch::channel(false);
    let outbox = Outbox { store: Arc::clone(&store), host, outgoing, random, stopping };
    let (posts, taken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (then, time) = (now.load(Ordering::Relaxed) + hours * HOUR_MS, Arc::clone(&now));
    let (posted, took) = (Arc::clone(&posts), Arc::clone(&taken));
    let ids = Arc::new(Mutex::new(Vec::new()));
    let known = Arc::clone(&ids);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            let mut some = [0; 4_096];
            while !read.ends_with(b"}") {
                let count = stream.read(&mut some).await.unwrap();
                read.extend_from_slice(&some[..count]);
            }
            posted.fetch_add(1, Ordering::Relaxed);
            let text = String::from_utf8_lossy(&read);
            let id = text.lines().find_map(|line| line.strip_prefix("webhook-id: "));
            known.lock().unwrap().extend(id.map(str::to_owned));
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
    Town { outbox: Arc::new(outbox), stop, now, posts, taken, ids, tenant, _directory: directory }
}

impl Town {
    /// So many notices are raised now.
    async fn raise(&self, count: u128) {
        let at = self.now.load(Ordering::Relaxed);
        let need = Need::head(self.tenant.clone());
        let head = self.outbox.store.read(&[need]).await.unwrap().remove(0).head;
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
        while self.step().await {}
    }

    /// One round, and on to when something is due next. False: nothing waits.
    async fn step(&self) -> bool {
        self.outbox.round().await.unwrap();
        let waits = self.deliveries().await.into_iter();
        let waits = waits.filter(|own| own.state == DeliveryState::Waits);
        let Some(due) = waits.map(|own| own.due_at).min() else { return false };
        self.now.fetch_max(due, Ordering::Relaxed);
        true
    }

    fn counts(&self) -> (usize, usize) {
        (self.posts.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_receiver_that_fails_for_an_hour_gets_each_notice_once() {
    let town = town(json!({}), 1).await;
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
    let town = town(json!({ "digest_at": ["08:00"] }), 9).await;
    town.raise(10).await;
    town.outbox.round().await.unwrap();
    assert_eq!(town.counts(), (0, 0));
    // Its receiver fails from eight to nine.
    town.deliver().await;
    let (posts, taken) = town.counts();
    assert!((6..=12).contains(&posts) && taken == 1, "{posts} {taken}");
    let ids = town.ids.lock().unwrap().clone();
    assert_eq!(ids, vec![ids[0].clone(); posts]);
    assert!(town.deliveries().await.iter().all(|own| own.state == DeliveryState::Delivered));
}

/// Its receiver knows it by its identifier, which follows from the notices in it.
#[tokio::test]
async fn what_is_due_later_does_not_join_a_digest_that_was_tried() {
    let town = town(json!({ "digest_at": ["08:00"] }), 30).await;
    town.raise(10).await;
    town.step().await;
    town.outbox.round().await.unwrap();
    town.now.fetch_add(60_000, Ordering::Relaxed);
    town.raise(2).await;
    town.outbox.round().await.unwrap();
    // Nobody is at it until the next day's is due as well.
    town.now.fetch_add(25 * HOUR_MS, Ordering::Relaxed);
    town.outbox.round().await.unwrap();
    let ids = town.ids.lock().unwrap().clone();
    let (last, tries) = ids.split_last().unwrap();
    assert_eq!(tries, vec![tries[0].clone(); 3]);
    assert_ne!(*last, tries[0]);
    assert!(town.deliveries().await.iter().all(|own| own.state == DeliveryState::Delivered));
}

#[tokio::test]
async fn what_is_given_up_after_a_day_says_why() {
    let town = town(json!({}), YEAR).await;
    town.raise(1).await;
    let began = town.now.load(Ordering::Relaxed);
    town.deliver().await;
    let own = town.deliveries().await.remove(0);
    assert_eq!(own.state, DeliveryState::GivenUp);
    assert!(own.error.unwrap().contains("503"));
    let took_ms = town.now.load(Ordering::Relaxed) - began;
    assert!((24 * HOUR_MS..36 * HOUR_MS).contains(&took_ms), "{took_ms}");
    assert_eq!(town.counts(), (12, 0));
}

#[tokio::test]
async fn what_waits_for_a_day_behind_what_is_given_up_goes_with_it() {
    let town = town(json!({}), YEAR).await;
    town.raise(300).await;
    let began = town.now.load(Ordering::Relaxed);
    while town.now.load(Ordering::Relaxed) < began + 12 * HOUR_MS {
        town.step().await;
    }
    town.raise(1).await;
    let rest = loop {
        assert!(town.step().await);
        let all = town.deliveries().await;
        let waits: Vec<_> = all.iter().filter(|own| own.state == DeliveryState::Waits).collect();
        if waits.len() < 301 {
            break waits.iter().map(|own| own.notice).collect::<Vec<_>>();
        }
    };
    // What was raised later has its own day.
    let last = town.deliveries().await.iter().map(|own| own.notice).max();
    assert_eq!(rest, Vec::from_iter(last));
    assert!(town.deliveries().await.iter().all(|own| own.error.is_some()));
    town.deliver().await;
    assert_eq!(town.counts(), (24, 0));
}

/// Takes what is posted, tells how much that was, and answers once it may.
async fn receiver(answers: watch::Receiver<bool>) -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (count, counted) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (count, mut answers) = (count.clone(), answers.clone());
            tokio::spawn(async move {
                let (mut read, mut some) = (Vec::new(), [0; 4_096]);
                while !read.ends_with(b"}") {
                    let bytes = stream.read(&mut some).await.unwrap();
                    read.extend_from_slice(&some[..bytes]);
                }
                count.send_modify(|count| *count += 1);
                if answers.wait_for(|may| *may).await.is_ok() {
                    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
    (url, counted)
}

#[tokio::test]
async fn a_slow_receiver_keeps_nobody_else_waiting() {
    const NOTICES: usize = 1_000;
    let (_never, never) = watch::channel(false);
    let (_at_once, at_once) = watch::channel(true);
    let (url, _) = receiver(never).await;
    let town = town(json!({ "to": { "kind": "webhook", "url": url } }), 0).await;
    let (url, mut counted) = receiver(at_once).await;
    let owner = Owner::Platform;
    let body = json!({ "to": { "kind": "webhook", "url": url } }).to_string();
    let quick = ChannelRow { owner, name: "quick".into(), body };
    town.outbox.store.put_channel(&quick).await.unwrap();
    town.raise(NOTICES as u128).await;
    let running = tokio::spawn(Arc::clone(&town.outbox).run(Duration::from_millis(1)));
    // The slow one is given ten seconds for each.
    let all = counted.wait_for(|count| *count == NOTICES);
    tokio::time::timeout(Duration::from_secs(9), all).await.unwrap().unwrap();
    running.abort();
}

#[tokio::test]
async fn what_is_being_sent_as_the_server_stops_is_sent_once() {
    let (answer, answers) = watch::channel(false);
    let (url, mut counted) = receiver(answers).await;
    let town = town(json!({ "to": { "kind": "webhook", "url": url } }), 0).await;
    town.raise(3).await;
    let running = tokio::spawn(Arc::clone(&town.outbox).run(Duration::from_millis(1)));
    counted.wait_for(|count| *count == 1).await.unwrap();
    town.stop.send_replace(true);
    answer.send_replace(true);
    running.await.unwrap();
    let mut all = town.deliveries().await;
    all.sort_by_key(|own| own.notice);
    let states: Vec<_> = all.iter().map(|own| (own.state, own.attempts)).collect();
    let waits = (DeliveryState::Waits, 0);
    assert_eq!(states, [(DeliveryState::Delivered, 1), waits, waits]);
    // Another server goes on at once.
    let now = town.now.load(Ordering::Relaxed);
    assert_eq!(all.iter().filter(|own| own.due_at <= now).count(), 2, "{all:?}");
    assert_eq!(*counted.borrow(), 1);
}
