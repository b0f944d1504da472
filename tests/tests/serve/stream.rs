//! What happens is told as it happens, to those whom it concerns, and to nobody else.

use std::io::{Read, Write};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value as Json, json};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tollgate_tests::run;

use crate::house::{Caller, House, Server, Town, is_problem, is_silence, rest, town};

/// However slow the machine is, what happens is told by then.
const TOLD: Duration = Duration::from_secs(20);

/// Somebody who reads server-sent events.
struct Reader {
    answer: Response,
    text: String,
}

/// Something that happened, as it was told.
#[derive(Debug)]
struct Event {
    id: String,
    kind: String,
    body: Json,
}

impl Reader {
    async fn open(caller: &Caller, path: &str) -> Self {
        Self::again(caller, path, None).await
    }

    /// Of one who knows what happened up to an event.
    async fn again(caller: &Caller, path: &str, last: Option<&str>) -> Self {
        let mut request = caller.request(Method::GET, path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/event-stream");
        let mut reader = Self { answer, text: String::new() };
        assert_eq!(reader.block().await.as_deref(), Some(":"), "it says that it has begun");
        reader
    }

    /// The lines up to the next empty one; none: the stream is over.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                return Some(block.trim_end().to_owned());
            }
            let some = self.answer.chunk().await.expect("the stream")?;
            self.text.push_str(std::str::from_utf8(&some).expect("text"));
        }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                let value = block.lines().find_map(|line| line.strip_prefix(name));
                value.unwrap_or_default().to_owned()
            };
            let (id, kind, data) = (field("id: "), field("event: "), field("data: "));
            if !data.is_empty() {
                let body: Json = serde_json::from_str(&data).expect("JSON");
                assert_eq!(body["type"], kind.as_str(), "{body}");
                return Some(Event { id, kind, body });
            }
        }
    }

    /// The next so many.
    async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(soon(self.next()).await.expect("more"));
        }
        all
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(TOLD, what).await.expect("in time")
}

/// Which ones of a kind were told, in order.
fn of(told: &[Event], kind: &str) -> Vec<Json> {
    let those = told.iter().filter(|event| event.kind == kind);
    those.map(|event| event.body[kind]["id"].clone()).collect()
}

/// A call that was reserved and settled.
struct Spent {
    call: Json,
    usage: Json,
    cost: Json,
}

async fn spend(caller: &Caller, user: &str, key: &str) -> Spent {
    let body = json!({ "key": key, "dimensions": { "user": user, "model": "gpt-4o" },
        "estimate": { "llm_requests": "1", "llm_tokens.input": "1000" } });
    let reserved = caller.done(Method::POST, "/v1/reservations", Some(body)).await;
    let id = reserved["reservation"].as_str().expect("a reservation");
    let body = json!({ "key": key, "usage": { "llm_requests": "1", "llm_tokens.input": "900" } });
    let path = format!("/v1/reservations/{id}/settle");
    let settled = caller.done(Method::POST, &path, Some(body)).await;
    let (usage, cost) = (settled["usage"].clone(), settled["cost"].clone());
    Spent { call: reserved["reservation"].clone(), usage, cost }
}

/// A usage that was told without asking.
async fn tell(caller: &Caller, key: &str) -> Json {
    let about = json!({ "user": "ana", "model": "gpt-4o" });
    let used = json!({ "dimensions": about, "amounts": { "llm_requests": "1" } });
    let body = json!({ "key": key, "usage": [used] });
    let told = caller.done(Method::POST, "/v1/usage", Some(body)).await;
    told["usage"][0]["usage"].clone()
}

type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// Somebody who listens over a WebSocket.
async fn listen(caller: &Caller, path: &str) -> Result<Socket, Error> {
    let url = format!("{}{path}", caller.url.replacen("http", "ws", 1));
    let mut request = url.into_client_request()?;
    if !caller.token.is_empty() {
        let authorization = format!("Bearer {}", caller.token).parse().expect("a header");
        request.headers_mut().insert("authorization", authorization);
    }
    Ok(connect_async(request).await?.0)
}

#[test]
fn a_call_is_told_as_it_was_decided_and_as_it_was_settled() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let mut reader = Reader::open(&acme, "/v1/stream").await;
        let spent = spend(&acme, "ana", "call-1").await;
        let denied = acme.reserve("call-2", 2_000_000_000).await;
        assert_eq!(denied["decision"], "deny", "{denied}");
        // The denial is of two limits.
        let told = reader.take(5).await;
        for pair in told.windows(2) {
            let place = |event: &Event| -> Vec<i64> {
                event.id.split('.').take(7).map(|part| part.parse().expect("a number")).collect()
            };
            let (before, after) = (place(&pair[0]), place(&pair[1]));
            // Up to which decision, which usage and which change of policies; which notice follows.
            let grows = before[..3] <= after[..3] && before[3..6] <= after[3..6];
            let is_another = pair[0].id != pair[1].id;
            assert!(grows && before[6] <= after[6] && is_another, "{told:?}");
        }
        assert!(told.iter().all(|event| event.body["id"] == event.id.as_str()), "{told:?}");
        assert_eq!(of(&told, "decision")[0], spent.call);
        let mut decisions = told.iter().filter(|event| event.kind == "decision");
        let allowed = &decisions.next().expect("a decision").body["decision"];
        assert_eq!(allowed["decision"], "allow", "{allowed}");
        assert_eq!(allowed["dimensions"], json!({ "user": "ana", "model": "gpt-4o" }));
        let told_denial = &decisions.next().expect("a denial").body["decision"];
        assert_eq!(told_denial["decision"], "deny", "{told_denial}");
        assert_eq!(told_denial["denial"]["code"], denied["denial"]["code"], "{told_denial}");
        let notices = told.iter().filter(|event| event.kind == "notice");
        let mut notices: Vec<_> =
            notices.map(|event| event.body["notice"]["key"].to_string()).collect();
        notices.sort();
        assert_eq!(
            notices,
            [
                r#""quota_exceeded:cost.usd:calendar:month:user""#,
                r#""quota_exceeded:llm_tokens:calendar:day:user""#
            ]
        );
        let mut usages = told.iter().filter(|event| event.kind == "usage");
        let usage = &usages.next().expect("a usage").body["usage"];
        assert_eq!(usage["id"], spent.usage, "{usage}");
        assert_eq!(usage["reservation"], spent.call, "{usage}");
        assert_eq!(usage["cost"], spent.cost, "{usage}");
        assert_ne!(usage["cost"]["amount"], "0", "{usage}");
    });
}

/// Of many, since those whose first event comes soonest are the likeliest to miss it.
#[test]
fn what_happens_once_a_stream_has_begun_is_told_and_nothing_before() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, .. } = town(&server).await;
        let mut callers = Vec::new();
        for number in 0..64 {
            let name = format!("tenant-{number}");
            admin.done(Method::POST, "/v1/tenants", Some(json!({ "name": name }))).await;
            let caller = admin.admit("tenant", Some(&name)).await;
            tell(&caller, "before").await;
            callers.push(caller);
        }
        let told = callers.iter().map(async |caller| {
            let mut reader = Reader::open(caller, "/v1/stream?types=usage").await;
            let usage = tell(caller, "after").await;
            assert_eq!(of(&reader.take(1).await, "usage"), [usage]);
        });
        join_all(told).await;
    });
}

#[test]
fn who_comes_again_hears_what_happened_meanwhile_and_nothing_before() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let mut first = Reader::open(&acme, "/v1/stream").await;
        spend(&acme, "ana", "before").await;
        let known = first.take(2).await.pop().expect("an event").id;
        let meanwhile = spend(&acme, "ana", "meanwhile").await;
        first.take(2).await;
        let by_query = format!("/v1/stream?after={known}");
        let mut again = [
            Reader::again(&acme, "/v1/stream", Some(&known)).await,
            Reader::open(&acme, &by_query).await,
        ];
        for reader in &mut again {
            let told = reader.take(2).await;
            assert_eq!(of(&told, "decision"), std::slice::from_ref(&meanwhile.call));
            assert_eq!(of(&told, "usage"), std::slice::from_ref(&meanwhile.usage));
        }
        let after = spend(&acme, "ana", "after").await;
        for reader in &mut again {
            let told = reader.take(2).await;
            assert_eq!(of(&told, "decision"), std::slice::from_ref(&after.call));
            assert_eq!(of(&told, "usage"), std::slice::from_ref(&after.usage));
        }
        for path in ["/v1/stream?after=yesterday", "/v1/stream?types=usage,gossip"] {
            let answer = acme.request(Method::GET, path).send().await.expect("an answer");
            is_problem(answer, StatusCode::UNPROCESSABLE_ENTITY, path).await;
        }
    });
}

#[test]
fn who_comes_again_after_a_restart_hears_of_a_call_of_that_very_moment() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let mut reader = Reader::open(&acme, "/v1/stream").await;
        spend(&acme, "ana", "before").await;
        let known = reader.take(2).await.pop().expect("an event").id;
        assert!(server.stop());
        let server = house.serve();
        let acme = server.client(&acme.token);
        let spent = spend(&acme, "ana", "after").await;
        let mut reader = Reader::again(&acme, "/v1/stream", Some(&known)).await;
        let told = reader.take(2).await;
        assert_eq!(of(&told, "decision"), [spent.call]);
        assert_eq!(of(&told, "usage"), [spent.usage]);
    });
}

#[test]
fn a_reader_hears_of_the_kinds_and_of_the_people_that_it_asked_for() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let mut all = Reader::open(&acme, "/v1/stream?types=usage,%20decision").await;
        let mut usages = Reader::open(&acme, "/v1/stream?types=usage").await;
        let mut bob = Reader::open(&acme, "/v1/stream?user=bob").await;
        let mut both = Reader::open(&acme, "/v1/stream?types=decision&user=bob").await;
        let mut spent = Vec::new();
        for (number, user) in ["ana", "bob", "ana", "bob"].into_iter().enumerate() {
            spent.push(spend(&acme, user, &format!("call-{number}")).await);
        }
        let calls: Vec<Json> = spent.iter().map(|own| own.call.clone()).collect();
        let uses: Vec<Json> = spent.iter().map(|own| own.usage.clone()).collect();
        let of_bob = |all: &[Json]| [all[1].clone(), all[3].clone()];
        let told = all.take(8).await;
        assert_eq!((of(&told, "decision"), of(&told, "usage")), (calls.clone(), uses.clone()));
        assert_eq!(of(&usages.take(4).await, "usage"), uses);
        let told = bob.take(4).await;
        assert_eq!(of(&told, "decision"), of_bob(&calls));
        assert_eq!(of(&told, "usage"), of_bob(&uses));
        assert_eq!(of(&both.take(2).await, "decision"), of_bob(&calls));
    });
}

#[test]
fn nobody_hears_of_another_tenant() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, rival, .. } = town(&server).await;
        let mut own = Reader::open(&acme, "/v1/stream").await;
        let mut others = Reader::open(&rival, "/v1/stream").await;
        spend(&acme, "ana", "call").await;
        own.take(2).await;
        let spent = spend(&rival, "ana", "call").await;
        let told = others.take(2).await;
        assert_eq!(of(&told, "decision"), [spent.call]);
        assert_eq!(of(&told, "usage"), [spent.usage]);
    });
}

#[test]
fn a_change_of_policies_is_told_to_whom_it_concerns() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, rival } = town(&server).await;
        let mut readers = [
            Reader::open(&acme, "/v1/stream?types=policies").await,
            Reader::open(&rival, "/v1/stream?types=policies").await,
        ];
        for caller in [&acme, &rival, &admin] {
            let policy = json!({ "policy": "own", "component": "quota" });
            caller.done(Method::POST, "/v1/revisions", Some(policy)).await;
            let change = json!({ "do": "bind", "revision": "own", "message": "as agreed" });
            caller.done(Method::POST, "/v1/policies", Some(change)).await;
        }
        for (reader, name) in readers.iter_mut().zip(["acme", "rival"]) {
            let told = reader.take(2).await;
            let whose: Vec<&Json> = told.iter().map(|own| &own.body["policies"]["of"]).collect();
            assert_eq!(whose, [name, "*"]);
            // Why the platform does something is its own affair.
            let why = |own: &Event| own.body["policies"]["message"].clone();
            assert_eq!((why(&told[0]), why(&told[1])), (json!("as agreed"), Json::Null));
        }
    });
}

#[test]
fn a_reader_that_takes_nothing_is_told_how_much_it_missed_and_hurts_nobody() {
    /// More than the system keeps for a reader, and the service beside that.
    const ROUNDS: u64 = 40;
    const EACH: u64 = 240;
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, rival, .. } = town(&server).await;
        let mut idle = Reader::open(&acme, "/v1/stream?types=usage").await;
        let mut busy = Reader::open(&acme, "/v1/stream?types=usage").await;
        let long = "x".repeat(1_000);
        let about = json!({ "user": "ana", "model": "gpt-4o", "a": long, "b": long, "c": long });
        let used = json!({ "dimensions": about, "amounts": { "llm_requests": "1" } });
        let flood = async {
            for round in 0..ROUNDS {
                let usage: Vec<&Json> = (0..EACH).map(|_| &used).collect();
                let body = json!({ "key": format!("flood-{round}"), "usage": usage });
                acme.done(Method::POST, "/v1/usage", Some(body)).await;
                let answer = rival.reserve(&format!("call-{round}"), 1).await;
                assert_eq!(answer["decision"], "allow", "{answer}");
            }
        };
        let listening = async {
            for _ in 0..ROUNDS * EACH {
                assert_eq!(soon(busy.next()).await.expect("more").kind, "usage");
            }
        };
        tokio::join!(flood, listening);
        let (mut told, mut missed) = (0, 0);
        while told + missed < ROUNDS * EACH {
            let event = soon(idle.next()).await.expect("more");
            match event.kind.as_str() {
                "usage" => told += 1,
                _ => missed += event.body["missed"]["count"].as_u64().expect("a count"),
            }
        }
        assert!(missed > 0);
        assert_eq!(told + missed, ROUNDS * EACH);
    });
}

#[test]
fn a_websocket_tells_the_same_and_to_nobody_without_a_token() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, .. } = town(&server).await;
        let mut reader = Reader::open(&acme, "/v1/stream?user=ana").await;
        let mut socket = listen(&acme, "/v1/stream?user=ana").await.expect("a socket");
        spend(&acme, "ana", "call").await;
        for event in reader.take(2).await {
            let message = soon(socket.next()).await.expect("more").expect("a message");
            let text = message.to_text().expect("a text");
            assert_eq!(serde_json::from_str::<Json>(text).expect("JSON"), event.body);
        }
        let ingest = admin.admit("ingest", Some("acme")).await;
        for (caller, status) in [(server.client(""), 401), (ingest, 403)] {
            match listen(&caller, "/v1/stream").await {
                Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), status),
                Err(error) => panic!("{error}"),
                Ok(_) => panic!("it is let in"),
            }
        }
    });
}

#[test]
fn a_stream_ends_once_its_token_counts_no_longer() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, .. } = town(&server).await;
        let caller = admin.admit("read", Some("acme")).await;
        let mut reader = Reader::open(&caller, "/v1/stream").await;
        let path = format!("/v1/tokens/{}", &caller.token["tg_".len()..][..16]);
        admin.done(Method::DELETE, &path, None).await;
        let ended = async { while reader.block().await.is_some() {} };
        soon(ended).await;
    });
}

#[test]
fn the_service_stops_soon_while_streams_are_open() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let mut reader = Reader::open(&acme, "/v1/stream").await;
        let mut socket = listen(&acme, "/v1/stream").await.expect("a socket");
        let stopping = tokio::task::spawn_blocking(move || server.stop());
        let stopped = tokio::time::timeout(Duration::from_secs(10), stopping).await;
        assert!(stopped.expect("in time").expect("an end"));
        assert!(reader.next().await.is_none());
        while let Some(Ok(message)) = soon(socket.next()).await {
            assert!(!message.is_text(), "{message}");
        }
    });
}

/// A connection on which the service was asked whether it is there.
fn asking(server: &Server, more: &str) -> std::net::TcpStream {
    let mut stream = server.connect();
    let head = format!("GET /healthz HTTP/1.1\r\nhost: tollgate\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).expect("a request");
    stream
}

/// A connection that waits to be let in, and is as soon as `held` is closed.
fn waits_for<T>(server: &Server, held: T) {
    let mut waiting = asking(server, "connection: close\r\n");
    waiting.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let silence = waiting.read(&mut [0; 64]).expect_err("it is let in at once");
    assert!(is_silence(&silence), "{silence}");
    waiting.set_read_timeout(Some(TOLD)).expect("a timeout");
    drop(held);
    let said = rest(waiting);
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[test]
fn a_tenant_reads_so_many_streams_and_hinders_no_other() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(&["--streams-max", "2"]);
        let Town { acme, rival, .. } = town(&server).await;
        let first = Reader::open(&acme, "/v1/stream").await;
        let _second = Reader::open(&acme, "/v1/stream").await;
        let third = acme.request(Method::GET, "/v1/stream").send().await.unwrap();
        assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(third.headers().contains_key("retry-after"));
        let _other = Reader::open(&rival, "/v1/stream").await;
        drop(first);
        soon(async {
            let open = || acme.request(Method::GET, "/v1/stream").send();
            while open().await.unwrap().status() != StatusCode::OK {}
        })
        .await;
    });
}

#[test]
fn connections_beyond_the_most_wait_until_others_are_closed() {
    let house = House::sqlite();
    let server = house.serve_with(&["--connections-max", "2", "--arrival-seconds", "60"]);
    let held = [asking(&server, ""), asking(&server, "")].map(|mut stream| {
        let mut some = [0; 256];
        let count = stream.read(&mut some).expect("an answer");
        assert!(some[..count].starts_with(b"HTTP/1.1 200"));
        stream
    });
    waits_for(&server, held);
}

#[test]
fn a_websocket_is_a_connection_like_any_other() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        assert!(server.stop());
        let server = house.serve_with(&["--connections-max", "1", "--arrival-seconds", "60"]);
        let acme = server.client(&acme.token);
        let socket = listen(&acme, "/v1/stream").await.expect("a socket");
        waits_for(&server, socket);
    });
}
