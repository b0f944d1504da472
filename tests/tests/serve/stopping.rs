//! A service that is told to stop: what is under way ends, also where nobody waits for it.

use std::io::{Read, Write};
use std::net::TcpStream;

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use tollgate_tests::run;

use crate::house::{Caller, House, Server, Town, head, rest, town};

/// A request whose body is asked for, and not sent yet.
fn begun(server: &Server, caller: &Caller, line: &str, length: usize) -> TcpStream {
    let mut stream = server.connect();
    let more = format!("expect: 100-continue\r\ncontent-length: {length}");
    stream.write_all(head(caller, line, &more).as_bytes()).expect("a head");
    let mut some = [0; 256];
    let count = stream.read(&mut some).expect("a word");
    assert!(some[..count].starts_with(b"HTTP/1.1 100"), "{:?}", &some[..count]);
    stream
}

fn is_listening(server: &Server) -> bool {
    TcpStream::connect(server.url.strip_prefix("http://").expect("an address")).is_ok()
}

#[test]
fn a_request_that_arrives_while_the_service_stops_is_answered() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let body = json!({ "key": "call", "dimensions": { "user": "ana", "model": "gpt-4o" } });
        let body = body.to_string();
        let (half, other) = body.split_at(body.len() / 2);
        let mut stream = begun(&server, &acme, "POST /v1/reservations", body.len());
        stream.write_all(half.as_bytes()).expect("half a body");
        server.signal(Signal::TERM);
        while is_listening(&server) {}
        stream.write_all(other.as_bytes()).expect("a body");
        let said = rest(stream);
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("allow"), "{said}");
        assert!(server.stop());
    });
}

#[test]
fn what_callers_left_under_way_ends_before_the_service_does_on_a_file() {
    run(async { left_under_way(&House::sqlite()).await });
}

#[test]
fn what_callers_left_under_way_ends_before_the_service_does_on_postgres() {
    run(async { left_under_way(&House::postgres().await).await });
}

async fn left_under_way(house: &House) {
    const CALLS: usize = 16;
    let server = house.serve();
    let Town { acme, .. } = town(&server).await;
    let about = json!({ "user": "ana", "model": "gpt-4o" });
    for call in 0..CALLS {
        let body = json!({ "key": format!("call-{call}"), "dimensions": about,
            "estimate": { "llm_requests": "1" } });
        let body = body.to_string();
        let mut stream = begun(&server, &acme, "POST /v1/reservations", body.len());
        stream.write_all(body.as_bytes()).expect("a body");
    }
    // One that nobody has compiled before, which takes a while.
    let mut component = tollgate_plugins::standard("quota").expect("quota").to_vec();
    let unique = house.path().display().to_string();
    component.extend([0, u8::try_from(unique.len()).expect("short") + 1, 0]);
    component.extend(unique.as_bytes());
    let mut push = server.connect();
    let head = format!(
        "POST /v1/components?policy=own HTTP/1.1\r\nhost: tollgate\r\nauthorization: Bearer {}\r\n\
         content-type: application/wasm\r\ncontent-length: {}\r\n\r\n",
        acme.token,
        component.len()
    );
    push.write_all(head.as_bytes()).expect("a head");
    push.write_all(&component).expect("a body");
    let pushed = async |acme: &Caller| {
        let acts = acme.done(Method::GET, "/v1/audit", None).await;
        let acts = acts["acts"].as_array().expect("acts").clone();
        acts.into_iter().find(|act| act["act"] == "policy.push")
    };
    while pushed(&acme).await.is_none() {}
    drop(push);
    assert!(server.stop());

    let server = house.serve();
    let acme = server.client(&acme.token);
    let act = pushed(&acme).await.expect("it was begun");
    assert_eq!(act["outcome"], "done", "{act}");
    let again = (0..CALLS).map(async |call| {
        let key = format!("call-{call}");
        let body = json!({ "key": key, "dimensions": about, "estimate": { "llm_requests": "1" } });
        acme.done(Method::POST, "/v1/reservations", Some(body)).await
    });
    assert!(join_all(again).await.iter().all(|answer| answer["decision"] == "allow"));
    let quotas = acme.done(Method::GET, "/v1/quotas/llm_requests?user=ana", None).await;
    assert_eq!(quotas["quotas"][0]["held"], CALLS.to_string(), "each is there once");
}

#[test]
fn a_service_that_is_about_to_stop_is_not_ready_and_serves_yet() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(&["--stop-delay-seconds", "600"]);
        let Town { acme, .. } = town(&server).await;
        let ready = async || {
            let answer = acme.request(Method::GET, "/readyz").send().await.expect("an answer");
            answer.status()
        };
        assert_eq!(ready().await, StatusCode::OK);
        server.signal(Signal::TERM);
        while ready().await != StatusCode::SERVICE_UNAVAILABLE {}
        assert_eq!(acme.reserve("call", 1).await["decision"], "allow");
        let fresh = server.client(&acme.token);
        assert_eq!(fresh.reserve("call", 1).await["decision"], "allow");
    });
}
