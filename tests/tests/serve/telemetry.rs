//! What the service tells of itself: metrics, and traces to a collector.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tollgate_tests::run;

use crate::house::{House, limited};

/// Takes whatever is exported to it.
fn collector() -> (String, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or_default() <= 2 {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_ok() && length > 0 {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
                let _ = tell.send(body);
            }
        }
    });
    (url, told)
}

fn holds(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn a_trace_names_the_decision_it_is_of() {
    run(async {
        let house = House::sqlite();
        let (url, exported) = collector();
        let server = house.serve_with(&["--otlp", &url]);
        let caller = limited(&house, &server, 100).await;
        let reserved = caller.reserve("call-1", 10).await;
        assert!(server.stop());
        let bodies: Vec<Vec<u8>> = exported.try_iter().collect();
        let id = reserved["reservation"].as_str().unwrap();
        let traced = |text: &str| bodies.iter().any(|body| holds(body, text));
        assert!(traced(id) && traced("/v1/reservations") && traced("acme"), "{}", bodies.len());
        assert!(!traced(&caller.token));
    });
}

#[test]
fn metrics_count_what_was_decided_and_are_the_platforms() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let caller = limited(&house, &server, 1).await;
        let mut decisions = Vec::new();
        for call in ["call-1", "call-2", "call-3"] {
            decisions.push(caller.reserve(call, 10).await["decision"].clone());
        }
        let denied = decisions.iter().filter(|own| **own == json!("deny")).count();
        let admin = server.client(server.first_token());
        let text =
            admin.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let allowed = decisions.len() - denied;
        for line in [
            format!("tollgate_decisions_total{{code=\"allow\"}} {allowed}"),
            format!("tollgate_decisions_total{{code=\"deny\"}} {denied}"),
            "path=\"/v1/reservations\",status=\"200\"} 3".to_owned(),
        ] {
            assert!(text.contains(&line), "{line}: {text}");
        }
        let viewer = server.client(&house.token("read", Some("acme")));
        let (status, _) = viewer.get("/metrics").await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    });
}
