//! `GET /v1/stream`: what happens to a tenant, as it happens, as server-sent events or over a WebSocket.
//! All readers of a tenant share one look at the store. Nobody waits for a reader that is slow: it is
//! told how much it missed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tollgate_host::store::Tenant;
use tollgate_policy_core::contract::dimension;

use super::Service;
use super::happened::{Cursor, Follower, Happened, Kind};
use super::listen::Place;
use super::problem::{Problem, invalid};
use super::route::{Answers, Asked, Schemed};
use super::shapes::Dimensions;
use crate::stores::Stores;

/// How often the store is looked at while somebody reads.
const LOOKING: Duration = Duration::from_millis(200);

/// So much is kept for a reader that falls behind.
const KEPT: usize = 2_048;

/// So much is told before readers get their turn.
const TOLD_AT_ONCE: usize = 256;

/// How often it is asked whether a reader's token still counts.
const CHECKING: Duration = Duration::from_secs(1);

/// Where nothing happens, this often a sign of life is given.
const ALIVE: Duration = Duration::from_secs(15);

/// Nobody has more to say.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// A reader that takes nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to tell of.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Wanted {
    /// Kinds of events, with commas between them: `decision`, `usage`, `policies`; all unless said
    /// otherwise.
    pub types: Option<String>,
    /// All that happened after the event of this `id`; the header `Last-Event-ID` says the same.
    pub after: Option<String>,
    /// Only what is about these values of dimensions: `user`, `agent`, and any others.
    #[serde(flatten)]
    pub dimensions: Dimensions,
}

/// What is sent to whom: the feeds of all tenants that somebody reads.
#[derive(Default)]
pub struct Feeds(Mutex<HashMap<Tenant, broadcast::Sender<Arc<Happened>>>>);

impl Feeds {
    /// What happens to a tenant from now on, while there is room for one more that reads it.
    fn subscribe<S: Stores>(
        &self,
        service: &Arc<Service<S>>,
        tenant: &Tenant,
        now: Cursor,
    ) -> Result<broadcast::Receiver<Arc<Happened>>, Problem> {
        let most = service.limits.streams_max;
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = feeds.get(tenant).map_or(0, broadcast::Sender::receiver_count);
        if open >= most {
            let words = format!("`{tenant}` reads {most} streams already: close one of them");
            return Err(Problem::unavailable(words));
        }
        if let Some(feed) = feeds.get(tenant) {
            return Ok(feed.subscribe());
        }
        let (feed, reader) = broadcast::channel(KEPT);
        feeds.insert(tenant.clone(), feed.clone());
        let follower = Follower::from(tenant.clone(), now.for_all());
        tokio::spawn(follow(Arc::downgrade(service), follower, feed));
        Ok(reader)
    }

    /// Ends a feed that nobody reads any more.
    fn ended(&self, tenant: &Tenant, feed: &broadcast::Sender<Arc<Happened>>) -> bool {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = feed.receiver_count() == 0;
        if ends {
            feeds.remove(tenant);
        }
        ends
    }
}

async fn follow<S: Stores>(
    service: Weak<Service<S>>,
    mut follower: Follower,
    feed: broadcast::Sender<Arc<Happened>>,
) {
    let mut ticks = tokio::time::interval(LOOKING);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(service) = service.upgrade() else { return };
        if service.feeds.ended(&follower.tenant, &feed) {
            return;
        }
        // What cannot be read now is read at the next tick, from where this one was.
        loop {
            match follower.next(&service).await {
                Ok(all) if all.is_empty() => break,
                Ok(all) => {
                    for (number, happened) in (1..).zip(all) {
                        let _ = feed.send(Arc::new(happened));
                        if number % TOLD_AT_ONCE == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                }
                Err(problem) => {
                    let (tenant, words) = (&follower.tenant, problem.detail);
                    tracing::warn!(%tenant, words, "what happens cannot be told");
                    break;
                }
            }
            // Readers take what there is before there is more.
            tokio::task::yield_now().await;
        }
    }
}

/// What a reader is told next.
enum Told {
    Happened(Arc<Happened>),
    /// So many things happened that it was too slow to hear of.
    Missed(u64),
    /// Nothing happens.
    Alive,
}

/// Somebody who reads.
struct Reader<S> {
    service: Arc<Service<S>>,
    kinds: Vec<Kind>,
    dimensions: Dimensions,
    /// Reads what happened before, for whoever comes again.
    past: Option<Follower>,
    ready: std::vec::IntoIter<Arc<Happened>>,
    live: broadcast::Receiver<Arc<Happened>>,
    /// Up to where the past was told, or is not asked for: nothing is told twice.
    until: Cursor,
    /// When something was told last.
    told_at: Instant,
    headers: Arc<HeaderMap>,
    stopping: watch::Receiver<bool>,
    /// It counts among the connections, also where it is one no longer.
    _place: Option<Place>,
}

impl<S: Stores> Reader<S> {
    async fn begin(asked: &Asked<S, Wanted>) -> Result<Self, Problem> {
        let (service, tenant) = (Arc::clone(&asked.service), asked.tenant()?);
        // A tenant that there is not has no stream.
        service.host.accounts(tenant).await?;
        let Wanted { types, after, dimensions } = &asked.parameters;
        let kind = |name: &str| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name.trim());
            kind.ok_or_else(|| Problem::invalid(format!("there are no events of type `{name}`")))
        };
        let kinds = match types {
            Some(types) => types.split(',').map(kind).collect::<Result<_, _>>()?,
            None => Kind::ALL.to_vec(),
        };
        let header = asked.parts.headers.get("last-event-id");
        let after = after.as_deref().or_else(|| header.and_then(|id| id.to_str().ok()));
        let after: Option<Cursor> = after.map(str::parse).transpose().map_err(invalid)?;
        let now = Cursor::now(&service).await?;
        let live = service.feeds.subscribe(&service, tenant, now)?;
        let past = after.map(|after| Follower::from(tenant.clone(), after));
        Ok(Self {
            kinds,
            dimensions: dimensions.clone(),
            past,
            ready: Vec::new().into_iter(),
            live,
            until: now,
            told_at: Instant::now(),
            headers: Arc::new(asked.parts.headers.clone()),
            stopping: service.stopping.clone(),
            _place: asked.parts.extensions.get::<Place>().cloned(),
            service,
        })
    }

    /// None: the service stops, or the token counts no longer.
    async fn next(&mut self) -> Option<Told> {
        let mut stopping = self.stopping.clone();
        let told = tokio::select! {
            _ = stopping.wait_for(|stops| *stops) => None,
            told = self.wanted() => told,
        };
        self.told_at = Instant::now();
        told
    }

    async fn wanted(&mut self) -> Option<Told> {
        let (service, headers) = (Arc::clone(&self.service), Arc::clone(&self.headers));
        let told_at = self.told_at;
        let mut checks = tokio::time::interval(CHECKING);
        let mut told = pin!(self.next_wanted());
        loop {
            tokio::select! {
                told = &mut told => return Some(told),
                _ = checks.tick() => {
                    let store = &**service.registry.store();
                    let checked = service.tokens.caller(store, &service.clock, &headers).await;
                    // A store that gives no answer says nothing against the token.
                    if checked.is_err_and(|problem| problem.status == StatusCode::UNAUTHORIZED) {
                        return None;
                    }
                    if told_at.elapsed() >= ALIVE {
                        return Some(Told::Alive);
                    }
                }
            }
        }
    }

    async fn next_wanted(&mut self) -> Told {
        loop {
            match self.any().await {
                Told::Happened(happened) if !self.wants(&happened) => {}
                told => return told,
            }
        }
    }

    fn wants(&self, happened: &Happened) -> bool {
        let named =
            |(name, value): (&String, &String)| dimension(&happened.dimensions, name) == value;
        self.kinds.contains(&happened.kind) && self.dimensions.iter().all(named)
    }

    /// What is next, wanted or not. Dropped while it waits, it has taken nothing.
    async fn any(&mut self) -> Told {
        loop {
            if let Some(happened) = self.ready.next() {
                return Told::Happened(happened);
            }
            let Some(past) = &mut self.past else { break };
            // What is told to all meanwhile is read here as well, until nothing is left to read.
            self.live = self.live.resubscribe();
            match past.next(&self.service).await {
                Ok(all) if all.is_empty() => {
                    self.until = past.cursor;
                    self.past = None;
                }
                Ok(all) => {
                    let all: Vec<_> = all.into_iter().map(Arc::new).collect();
                    self.ready = all.into_iter();
                }
                Err(_) => tokio::time::sleep(LOOKING).await,
            }
        }
        loop {
            match self.live.recv().await {
                Ok(happened) if happened.is_before(self.until) => {}
                Ok(happened) => return Told::Happened(happened),
                Err(RecvError::Lagged(missed)) => return Told::Missed(missed),
                // The feed ended with the service.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// Words for a reader that was too slow.
fn missed(count: u64) -> String {
    json!({ "type": "missed", "missed": { "count": count } }).to_string()
}

/// A stream has no schema that a document could tell.
pub struct Streamed(Response);

impl Answers for Streamed {
    const SCHEMA: Option<Schemed> = None;
    const MEDIA_TYPE: &'static str = "text/event-stream";

    fn respond(self, _: axum::http::StatusCode) -> Response {
        self.0
    }
}

/// `GET /v1/stream`
pub async fn stream<S: Stores>(mut asked: Asked<S, Wanted>) -> Result<Streamed, Problem> {
    let reader = Reader::begin(&asked).await?;
    let upgrade = asked.parts.headers.get(header::UPGRADE).and_then(|own| own.to_str().ok());
    if !upgrade.is_some_and(|own| own.eq_ignore_ascii_case("websocket")) {
        return Ok(Streamed(events(reader)));
    }
    let upgrade = WebSocketUpgrade::from_request_parts(&mut asked.parts, &()).await;
    let upgrade = upgrade.map_err(|error| Problem::bad_request(error.to_string()))?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES_MAX);
    Ok(Streamed(upgrade.on_upgrade(|socket| talk(reader, socket)).into_response()))
}

/// Server-sent events. A reader that takes nothing has nothing made for it.
fn events<S: Stores>(reader: Reader<S>) -> Response {
    let lines = stream::unfold(reader, async |mut reader| {
        let text = match reader.next().await? {
            Told::Happened(own) => {
                format!("id: {}\nevent: {}\ndata: {}\n\n", own.cursor, own.kind.name(), own.text)
            }
            Told::Missed(count) => format!("event: missed\ndata: {}\n\n", missed(count)),
            Told::Alive => ":\n\n".to_owned(),
        };
        Some((Ok::<_, Infallible>(Bytes::from(text)), reader))
    });
    // The first bytes tell that it has begun.
    let begun = stream::once(async { Ok(Bytes::from_static(b":\n\n")) });
    let mut response = Body::from_stream(stream::StreamExt::chain(begun, lines)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn talk<S: Stores>(mut reader: Reader<S>, mut socket: WebSocket) {
    loop {
        let message = tokio::select! {
            told = reader.next() => match told {
                Some(Told::Happened(own)) => Message::text(own.text.clone()),
                Some(Told::Missed(count)) => Message::text(missed(count)),
                Some(Told::Alive) => Message::Ping(Bytes::new()),
                None => break,
            },
            // What it says matters only in that it is there.
            said = socket.recv() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
        };
        match tokio::time::timeout(PATIENCE, socket.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    let _ = tokio::time::timeout(PATIENCE, socket.send(Message::Close(None))).await;
}
