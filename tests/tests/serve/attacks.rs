//! What hostile callers send, and how they send it.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use futures_util::future::join_all;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tokio::task::spawn_blocking;
use tollgate_tests::run;

use crate::house::{Caller, House, Town, drip, head, is_problem, rest, told, town};

/// So often something is tried that must come to an end by itself.
const TRIES: usize = 100_000;

const BODY_BYTES: usize = 1 << 20;

/// The longest that a name or a value may be, in bytes.
const TEXT_BYTES: usize = 1_024;

fn texts() -> Vec<String> {
    let short = [
        "'; DROP TABLE token; --",
        "\" OR 1=1",
        "$1 ?1 {0} %s",
        "%00%27",
        "a\nb\r\nc",
        "a\0b",
        "\u{202e}gnp.exe\u{202c}",
        "名前 🦀 e\u{301}",
        "<script>alert(1)</script>",
    ];
    let mut all = short.map(str::to_owned).to_vec();
    all.push("x".repeat(2 * TEXT_BYTES));
    all
}

/// As it stands in an address.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn hostile_texts_come_back_letter_for_letter_or_are_refused_on_a_file() {
    run(async { texts_are_texts(&House::sqlite()).await });
}

#[test]
fn hostile_texts_come_back_letter_for_letter_or_are_refused_on_postgres() {
    run(async { texts_are_texts(&House::postgres().await).await });
}

async fn texts_are_texts(house: &House) {
    let server = house.serve();
    let Town { admin, acme, .. } = town(&server).await;
    for (number, text) in texts().iter().enumerate() {
        kept(&acme, number, text).await;
        refused(&admin, text).await;
        for (method, path, body) in asked(number, text) {
            let mut request = acme.request(method, &path);
            if let Some(body) = body {
                request = request.json(&body);
            }
            // The body is left alone: that of a stream never ends.
            let status = request.send().await.expect("an answer").status();
            assert!(status.is_success() || status.is_client_error(), "{path}: {status}");
        }
    }
    assert_eq!(acme.reserve("after", 1).await["decision"], "allow");
    let tokens = admin.done(Method::GET, "/v1/tokens", None).await;
    assert_eq!(tokens["tokens"].as_array().expect("tokens").len(), 3);
}

/// Keys, dimensions and settings are anybody's own words.
async fn kept(acme: &Caller, number: usize, text: &str) {
    let can_be_kept = !text.contains('\0') && text.len() <= TEXT_BYTES;
    let about = json!({ "user": text, "model": "gpt-4o" });
    for key in [format!("call-{number}"), text.to_owned()] {
        let body = json!({ "key": key, "dimensions": about });
        let (status, first) = acme.post("/v1/reservations", body.clone()).await;
        assert_eq!(status.is_success(), can_be_kept, "{text:?}: {status}: {first}");
        if can_be_kept {
            assert_eq!(acme.post("/v1/reservations", body).await.1, first, "{text:?}");
            let id = first["reservation"].as_str().expect("a reservation");
            let taken = acme.done(Method::GET, &format!("/v1/decisions/{id}"), None).await;
            assert_eq!(taken["dimensions"], about);
        }
    }
    let whom = json!({ "user": text });
    let limit = json!({ "meter": "llm_requests", "window": "calendar:day", "limit": "1000",
        "dimensions": whom });
    let (status, answer) = acme.send(Method::PUT, "/v1/limits", Some(limit)).await;
    assert_eq!(status.is_success(), can_be_kept, "{text:?}: {status}: {answer}");
    if can_be_kept {
        let limits = acme.done(Method::GET, "/v1/limits", None).await;
        let mut limits = limits["limits"].as_array().expect("limits").iter();
        assert!(limits.any(|limit| limit["dimensions"] == whom), "{text:?}");
    }
    let settings = json!({ "note": text, text: [text] });
    let body = json!({ "settings": settings });
    let (status, answer) = acme.send(Method::PUT, "/v1/agents/writer", Some(body)).await;
    assert!(status.is_success() || status.is_client_error(), "{text:?}: {status}: {answer}");
    if status.is_success() {
        let agent = acme.done(Method::GET, "/v1/agents/writer", None).await;
        assert_eq!(agent["settings"], settings);
    }
}

/// Tenants' names are of letters that mean nothing to anybody.
async fn refused(admin: &Caller, text: &str) {
    let (status, answer) = admin.post("/v1/tenants", json!({ "name": text })).await;
    assert!(status.is_client_error(), "{text:?}: {status}: {answer}");
    if let Ok(name) = HeaderValue::from_bytes(text.as_bytes()) {
        let request = admin.request(Method::GET, "/v1/balance").header("tollgate-tenant", name);
        is_problem(request.send().await.expect("an answer"), StatusCode::BAD_REQUEST, text).await;
    }
}

fn asked(number: usize, text: &str) -> Vec<(Method, String, Option<Json>)> {
    let text_in_path = escaped(text);
    let looks = [
        "/v1/agents/{}",
        "/v1/agents/{}/can-process",
        "/v1/agents/{}/cost/total",
        "/v1/agents/a/cost?month={}",
        "/v1/agents/a/stats?from={}",
        "/v1/agents/{}/stats?from=2026-01-01T00:00:00Z",
        "/v1/agents/a/stats?from=2026-01-01T00:00:00Z&currency={}",
        "/v1/quotas/{}",
        "/v1/quotas?user={}",
        "/v1/quotas?{}=ana",
        "/v1/runs?user={}",
        "/v1/runs?from={}",
        "/v1/runs/active?user={}",
        "/v1/runs/{}",
        "/v1/decisions/{}",
        "/v1/ledger?after={}",
        "/v1/audit?before={}",
        "/v1/audit?limit={}",
        "/v1/revisions?policy={}",
        "/v1/policies?plan={}",
        "/v1/stream?types={}",
        "/v1/stream?after={}",
        "/v1/stream?user={}",
    ];
    let look = |path: &str| (Method::GET, path.replace("{}", &text_in_path), None);
    let key = format!("told-{number}");
    let about = json!({ "user": text, "agent": text, "session": text, text: text });
    let used = json!({ "dimensions": about, "amounts": { "llm_requests": "1" } });
    let meter = json!({ "amounts": { text: "1" } });
    let policy = json!({ "policy": "own", "component": "quota", "settings": { text: text },
        "message": text });
    let does = [
        (Method::POST, "/v1/check", json!({ "dimensions": about })),
        (Method::POST, "/v1/usage", json!({ "key": key, "usage": [used] })),
        (Method::POST, "/v1/usage", json!({ "key": text, "usage": [meter] })),
        (Method::POST, "/v1/runs", json!({ "key": key, "dimensions": { text: "ana" } })),
        (Method::PUT, "/v1/agents/{}", json!({ "settings": {} })),
        (Method::POST, "/v1/tasks/check", json!({ "description": text, "dimensions": about })),
        (Method::POST, "/v1/revisions", json!({ "policy": text, "component": "quota" })),
        (Method::POST, "/v1/revisions", json!({ "policy": "own", "component": text })),
        (Method::POST, "/v1/revisions", policy),
        (Method::POST, "/v1/policies", json!({ "do": "bind", "revision": text, "message": text })),
        (Method::POST, "/v1/policies", json!({ "do": "unbind", "policy": text })),
    ];
    let does = does.map(|(method, path, body)| {
        let path = path.replace("{}", &text_in_path);
        (method, path, Some(body))
    });
    looks.into_iter().map(look).chain(does).collect()
}

#[test]
fn a_body_that_is_too_long_is_refused_however_it_is_sent() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        for (more, status) in [(0, "HTTP/1.1 200"), (1, "HTTP/1.1 413")] {
            let body = format!("{{}}{}", " ".repeat(BODY_BYTES - 2 + more));
            let length = format!("content-length: {}", body.len());
            let whole = head(&acme, "POST /v1/check", &length) + &body;
            let said = told(&server, whole.as_bytes());
            assert!(said.starts_with(status), "{said}");
            let mut parts = head(&acme, "POST /v1/check", "transfer-encoding: chunked");
            for part in body.as_bytes().chunks(1 << 16) {
                let text = std::str::from_utf8(part).expect("text");
                parts += &format!("{:x}\r\n{text}\r\n", part.len());
            }
            let said = told(&server, (parts + "0\r\n\r\n").as_bytes());
            assert!(said.starts_with(status), "{said}");
        }
    });
}

#[test]
fn bodies_that_are_deep_packed_or_of_another_type_are_refused() {
    /// The beginning of a gzip file, and of a space in it.
    const BEGIN: [u8; 11] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0x53];
    /// 2,064 spaces more.
    const SPACES: [u8; 13] =
        [0x18, 0x05, 0xa3, 0x60, 0x14, 0x8c, 0x82, 0x51, 0x30, 0x0a, 0x46, 0xc1, 0x28];
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let (json, events) = ("application/json", "application/cloudevents-batch+json");
        let mut packed = BEGIN.to_vec();
        packed.extend(SPACES.repeat(60_000));
        packed.extend([0_u8, 0]);
        let deep = "[".repeat(100_000);
        let within = format!("{{\"settings\":{{\"a\":{deep}{}}}}}", "]".repeat(100_000));
        for (method, path) in [
            (Method::POST, "/v1/reservations"),
            (Method::POST, "/v1/usage"),
            (Method::PUT, "/v1/agents/writer"),
            (Method::POST, "/v1/policies"),
        ] {
            for body in [&deep, &within] {
                let request = acme.request(method.clone(), path).header(CONTENT_TYPE, json);
                let answer = request.body(body.clone()).send().await.expect("an answer");
                is_problem(answer, StatusCode::BAD_REQUEST, path).await;
            }
            let request = acme.request(method.clone(), path).header(CONTENT_TYPE, json);
            let request = request.header("content-encoding", "gzip").body(packed.clone());
            let status = request.send().await.expect("an answer").status();
            assert!(status.is_client_error(), "{path}: {status}");
            for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
                let request = acme.request(method.clone(), path).header(CONTENT_TYPE, kind);
                let answer = request.body("{}").send().await.expect("an answer");
                is_problem(answer, StatusCode::UNSUPPORTED_MEDIA_TYPE, path).await;
            }
        }
        let request = acme.request(Method::POST, "/v1/usage").header(CONTENT_TYPE, events);
        let answer = request.body(deep).send().await.expect("an answer");
        is_problem(answer, StatusCode::BAD_REQUEST, events).await;
    });
}

/// As JSON; an operator says for whom.
async fn sent(caller: &Caller, method: Method, path: &str, body: String) -> StatusCode {
    let request = caller.request(method, path).header("tollgate-tenant", "acme");
    let request = request.header(CONTENT_TYPE, "application/json").body(body);
    request.send().await.expect("an answer").status()
}

#[test]
fn a_field_that_is_said_twice_or_unknown_is_refused() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        for (path, body) in [
            ("/v1/reservations", r#"{"key":"a","key":"b"}"#),
            ("/v1/reservations", r#"{"key":"a","tenant":"rival"}"#),
            ("/v1/check", r#"{"estimate":{},"estimate":{}}"#),
            ("/v1/usage", r#"{"key":"a","usage":[{"amounts":{},"amounts":{}}]}"#),
            ("/v1/usage", r#"{"key":"a","usage":[{"amounts":{},"cost":"0"}]}"#),
            ("/v1/policies", r#"{"do":"unbind","policy":"own","force":true}"#),
            ("/v1/check", "{} {}"),
        ] {
            let status = sent(&acme, Method::POST, path, body.into()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {body}");
        }
        for path in ["/v1/ledger?limit=1&limit=2", "/v1/runs?of=ana", "/v1/agents/a/cost?id=b"] {
            assert_eq!(acme.get(path).await.0, StatusCode::BAD_REQUEST, "{path}");
        }
    });
}

/// Two readers of one text must not read two amounts, or two users, from it.
#[test]
fn a_meter_or_a_dimension_that_is_said_twice_is_refused() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        for body in [
            r#"{"estimate":{"llm_requests":"9","llm_requests":"1"}}"#,
            r#"{"dimensions":{"user":"ana","user":"bob"}}"#,
        ] {
            let status = sent(&acme, Method::POST, "/v1/check", body.into()).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        }
    });
}

#[test]
fn a_key_stands_for_one_request_however_often_it_is_sent() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let answers = join_all((0..64).map(async |_| acme.reserve("once", 10).await)).await;
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        let path = "/v1/quotas/llm_requests?user=ana";
        let quotas = acme.done(Method::GET, path, None).await;
        assert_eq!(quotas["quotas"][0]["held"], "1", "{quotas}");
        let body = json!({ "key": "once", "dimensions": { "user": "bob", "model": "gpt-4o" } });
        let answer = acme.request(Method::POST, "/v1/reservations").json(&body).send().await;
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let problem = is_problem(answer.expect("an answer"), status, "another body").await;
        assert_eq!(problem["type"], "urn:tollgate:problem:key_reused");
    });
}

#[test]
fn amounts_that_are_none_are_refused_and_book_nothing() {
    let asked = [
        (Method::POST, "/v1/check", r#"{"estimate":{"llm_requests":AMOUNT}}"#),
        (Method::POST, "/v1/reservations", r#"{"key":"none","estimate":{"llm_requests":AMOUNT}}"#),
        (
            Method::POST,
            "/v1/usage",
            concat!(
                r#"{"key":"none","usage":[{"dimensions":{"model":"gpt-4o"},"#,
                r#""amounts":{"llm_requests":AMOUNT}}]}"#
            ),
        ),
        (
            Method::PUT,
            "/v1/limits",
            r#"{"meter":"llm_requests","window":"calendar:day","limit":AMOUNT}"#,
        ),
        (
            Method::POST,
            "/v1/credits",
            r#"{"key":"none","amount":AMOUNT,"currency":"USD","reason":"a test"}"#,
        ),
    ];
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, .. } = town(&server).await;
        let before = acme.done(Method::GET, "/v1/balance", None).await;
        let (digits, decimals) = ("9".repeat(5_000), format!("0.{}1", "0".repeat(12)));
        let large = ["1e400", "1e999999999999", "1000000000000000", digits.as_str()];
        let small = ["1e-400", "-1e-999999999999", decimals.as_str()];
        let none = ["-1", "NaN", "Infinity", "0x10", "1,5", "", "true"];
        for amount in large.iter().chain(&small).chain(&none) {
            for amount in [(*amount).to_owned(), format!("\"{amount}\"")] {
                for (method, path, body) in &asked {
                    let body = body.replace("AMOUNT", &amount);
                    let status = sent(&admin, method.clone(), path, body).await;
                    assert!(status.is_client_error(), "{path}: {amount:.40}: {status}");
                }
            }
        }
        assert_eq!(acme.done(Method::GET, "/v1/balance", None).await, before);
        assert_eq!(acme.done(Method::GET, "/v1/limits", None).await["limits"], json!([]));
    });
}

#[test]
fn an_act_is_carried_out_and_written_down_though_its_caller_hangs_up() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        // One that nobody has compiled before.
        let mut component = tollgate_plugins::standard("quota").expect("quota").to_vec();
        let unique = house.path().display().to_string();
        component.extend([0, u8::try_from(unique.len()).expect("short") + 1, 0]);
        component.extend(unique.as_bytes());
        let head = format!(
            "POST /v1/components?policy=own HTTP/1.1\r\nhost: tollgate\r\nauthorization: Bearer {}\r\n\
             content-type: application/wasm\r\ncontent-length: {}\r\n\r\n",
            acme.token,
            component.len()
        );
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).expect("a head");
        stream.write_all(&component).expect("a body");
        let pushed = async || {
            let acts = acme.done(Method::GET, "/v1/audit", None).await;
            let acts = acts["acts"].as_array().expect("acts").clone();
            acts.into_iter().find(|act| act["act"] == "policy.push")
        };
        while pushed().await.is_none() {}
        drop(stream);
        while pushed().await.expect("it was begun")["outcome"].is_null() {}
    });
}

#[test]
fn a_head_that_is_too_long_is_refused_and_one_that_never_ends_is_cut_off() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(&["--arrival-seconds", "1"]);
        let Town { acme, .. } = town(&server).await;
        let long = "a".repeat(1 << 16);
        for head in [
            format!("GET /healthz HTTP/1.1\r\nhost: tollgate\r\nx: {long}\r\n\r\n"),
            format!("GET /healthz?{long} HTTP/1.1\r\nhost: tollgate\r\n\r\n"),
            format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1_000)),
        ] {
            let said = told(&server, head.as_bytes());
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
        }
        let mut silent = server.connect();
        silent.write_all(b"GET /healthz HTTP/1.1\r\nhost: toll").expect("half a head");
        let mut slow = server.connect();
        slow.write_all(b"GET /healthz HTTP/1.1\r\nx: ").expect("half a head");
        let slow = spawn_blocking(|| drip(slow));
        for number in 0..10 {
            let answer = acme.reserve(&format!("call-{number}"), 1).await;
            assert_eq!(answer["decision"], "allow", "others are served meanwhile");
        }
        for said in [rest(silent), slow.await.expect("an end")] {
            assert!(!said.starts_with("HTTP/1.1 2"), "{said}");
        }
    });
}

#[test]
fn a_body_that_never_ends_is_cut_off_while_others_are_served() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(&["--arrival-seconds", "1"]);
        let Town { acme, .. } = town(&server).await;
        let head = head(&acme, "POST /v1/check", "content-length: 100000");
        let [mut slow, mut silent] = [server.connect(), server.connect()];
        slow.write_all(head.as_bytes()).expect("a head");
        silent.write_all(head.as_bytes()).expect("a head");
        let slow = spawn_blocking(|| drip(slow));
        for number in 0..10 {
            let answer = acme.reserve(&format!("call-{number}"), 1).await;
            assert_eq!(answer["decision"], "allow", "others are served meanwhile");
        }
        for said in [slow.await.expect("an end"), rest(silent)] {
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
        }
    });
}

#[test]
fn one_tenants_slow_requests_leave_places_for_others() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(&["--requests-max", "4"]);
        let Town { acme, rival, .. } = town(&server).await;
        // Each holds its place once its body is asked for.
        let open = || {
            let mut slow = server.connect();
            let more = "expect: 100-continue\r\ncontent-length: 2";
            slow.write_all(head(&acme, "POST /v1/check", more).as_bytes()).expect("a head");
            let mut some = [0; 256];
            let count = slow.read(&mut some).expect("a word");
            let said = String::from_utf8_lossy(&some[..count]).into_owned();
            (slow, said.split(' ').nth(1).expect("a status").to_owned())
        };
        let mut opened: Vec<_> = (0..5).map(|_| open()).collect();
        let said: Vec<&str> = opened.iter().map(|(_, status)| status.as_str()).collect();
        assert_eq!(said, ["100", "100", "503", "503", "503"]);
        rival.reserve("call", 1).await;
        // Its places are its own again.
        for (slow, _) in opened.drain(..2) {
            let mut slow = slow;
            slow.write_all(b"{}").expect("a body");
            assert!(rest(slow).starts_with("HTTP/1.1 200"));
        }
        acme.reserve("call", 1).await;
    });
}

#[test]
fn bodies_have_room_before_they_are_read_and_one_tenants_leave_some_for_others() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(&["--bodies-bytes", "4096", "--body-bytes", "4096"]);
        let Town { acme, rival, .. } = town(&server).await;
        // Each has its room once its body is asked for.
        let open = |caller: &Caller, length: &str| {
            let mut slow = server.connect();
            let more = format!("expect: 100-continue\r\n{length}");
            slow.write_all(head(caller, "POST /v1/check", &more).as_bytes()).expect("a head");
            let mut some = [0; 512];
            let count = slow.read(&mut some).expect("a word");
            (slow, String::from_utf8_lossy(&some[..count]).into_owned())
        };
        let is_refused = |said: &str| {
            said.starts_with("HTTP/1.1 503") && said.to_ascii_lowercase().contains("retry-after: ")
        };
        let (_, said) = open(&acme, "content-length: 2048");
        assert!(said.starts_with("HTTP/1.1 100"), "{said}");
        // Whoever hung up has none any more.
        let mut tries = 0..TRIES;
        let slow = loop {
            let (slow, said) = open(&acme, "content-length: 2000");
            if said.starts_with("HTTP/1.1 100") {
                break slow;
            }
            assert!(is_refused(&said) && tries.next().is_some(), "{said}");
        };
        let (_, said) = open(&acme, "content-length: 100");
        assert!(is_refused(&said), "{said}");
        acme.done(Method::GET, "/v1/balance", None).await;
        // What is chunked may come to all that there may be.
        let (mut chunked, said) = open(&rival, "transfer-encoding: chunked");
        assert!(said.starts_with("HTTP/1.1 100"), "{said}");
        let (_, said) = open(&rival, "content-length: 100");
        assert!(is_refused(&said), "{said}");
        chunked.write_all(b"2\r\n{}\r\n0\r\n\r\n").expect("a body");
        assert!(rest(chunked).starts_with("HTTP/1.1 200"));
        rival.reserve("call", 1).await;
        let mut slow = slow;
        slow.write_all(format!("{{}}{}", " ".repeat(1_998)).as_bytes()).expect("a body");
        assert!(rest(slow).starts_with("HTTP/1.1 200"));
        acme.reserve("call", 1).await;
    });
}

#[test]
fn who_finds_no_place_is_told_to_come_again_and_no_call_is_lost() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(&["--requests-max", "1"]);
        let Town { acme, .. } = town(&server).await;
        // It holds the one place once its body is asked for.
        let mut first = server.connect();
        let more = "expect: 100-continue\r\ncontent-length: 2";
        first.write_all(head(&acme, "POST /v1/check", more).as_bytes()).expect("a head");
        let mut some = [0; 256];
        let count = first.read(&mut some).expect("a word");
        assert!(some[..count].starts_with(b"HTTP/1.1 100"), "{:?}", &some[..count]);
        let answer = acme.request(Method::GET, "/v1/balance").send().await.expect("an answer");
        let seconds = answer.headers()[RETRY_AFTER].to_str().unwrap().parse::<u32>().unwrap();
        assert!((1..60).contains(&seconds));
        is_problem(answer, StatusCode::SERVICE_UNAVAILABLE, "no place").await;
        first.write_all(b"{}").expect("a body");
        let said = rest(first);
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");

        let asked = (0..64).map(async |number| {
            let key = format!("call-{number}");
            let body = json!({ "key": key, "dimensions": { "user": "ana", "model": "gpt-4o" },
                "estimate": { "llm_requests": "1" } });
            for _ in 0..TRIES {
                let (status, answer) = acme.post("/v1/reservations", body.clone()).await;
                if status != StatusCode::SERVICE_UNAVAILABLE {
                    assert_eq!(answer["decision"], "allow", "{status}: {answer}");
                    return answer["reservation"].to_string();
                }
            }
            panic!("it never had a place");
        });
        let calls: BTreeSet<String> = join_all(asked).await.into_iter().collect();
        assert_eq!(calls.len(), 64);
        let path = "/v1/quotas/llm_requests?user=ana";
        let quotas = acme.done(Method::GET, path, None).await;
        assert_eq!(quotas["quotas"][0]["held"], "64", "{quotas}");
    });
}

#[test]
fn a_script_in_a_text_is_told_as_json_alone() {
    const SCRIPT: &str = "<script>alert(1)</script>";
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, .. } = town(&server).await;
        let page = acme.request(Method::GET, "/").send().await.expect("a page");
        let before = page.text().await.expect("a page");
        assert!(!before.contains("acme"), "{before}");
        let token = json!({ "name": SCRIPT, "role": "tenant", "tenant": "acme" });
        let made = admin.done(Method::POST, "/v1/tokens", Some(token)).await;
        let hostile = server.client(made["token"].as_str().unwrap());
        let limit = json!({ "meter": "llm_requests", "window": "calendar:day", "limit": "0",
            "dimensions": { "user": SCRIPT } });
        hostile.done(Method::PUT, "/v1/limits", Some(limit)).await;
        let agent = format!("/v1/agents/{}", escaped(SCRIPT));
        hostile.done(Method::PUT, &agent, Some(json!({ "settings": { "note": SCRIPT } }))).await;
        let policy = json!({ "policy": "own", "component": "quota", "message": SCRIPT });
        hostile.done(Method::POST, "/v1/revisions", Some(policy)).await;
        for path in [
            agent.as_str(),
            "/v1/limits",
            "/v1/revisions",
            "/v1/audit",
            "/v1/quotas?user=%3Cscript%3E",
            "/v1/agents/%3Cscript%3E",
            "/v1/stream?types=%3Cscript%3E",
        ] {
            let answer = hostile.request(Method::GET, path).send().await.expect("an answer");
            let is_well = answer.status().is_success();
            let kind = if is_well { "application/json" } else { "application/problem+json" };
            assert_eq!(answer.headers()[CONTENT_TYPE], kind, "{path}");
            let text = answer.text().await.expect("a text");
            assert!(text.contains("<script>"), "{path}: {text}");
        }
        let page = acme.request(Method::GET, "/").send().await.expect("a page");
        assert_eq!(page.text().await.expect("a page"), before, "it is the same for everybody");
    });
}
