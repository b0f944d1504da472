//! What the service tells of itself: metrics, and traces to a collector.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
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

/// How often something stands in what was exported.
fn count(bodies: &[Vec<u8>], part: &[u8]) -> usize {
    let of = |body: &Vec<u8>| body.windows(part.len()).filter(|own| *own == part).count();
    bodies.iter().map(of).sum()
}

#[test]
fn a_trace_names_the_decision_it_is_of() {
    run(async {
        let house = House::sqlite();
        let (url, exported) = collector();
        let server = house.serve_with(&["--otlp", &url]);
        let caller = limited(&house, &server, 100).await;
        let mut ids = Vec::new();
        for (end, body) in
            [("settle", json!({ "key": "1", "usage": {} })), ("release", json!({ "key": "2" }))]
        {
            let reserved = caller.reserve(end, 10).await;
            let id = reserved["reservation"].as_str().unwrap();
            let path = format!("/v1/reservations/{id}/{end}");
            caller.done(Method::POST, &path, Some(body)).await;
            ids.push(id.to_owned());
        }
        assert!(server.stop());
        let bodies: Vec<Vec<u8>> = exported.try_iter().collect();
        let traced = |text: &str| count(&bodies, text.as_bytes());
        for id in ids {
            assert_eq!(traced(&id), 2, "as it was reserved, and as it ended");
        }
        assert!(traced("/v1/reservations") > 0 && traced("acme") > 0, "{}", bodies.len());
        assert_eq!(traced(&caller.token), 0);
    });
}

#[test]
fn a_callers_trace_goes_on() {
    run(async {
        let house = House::sqlite();
        let (url, exported) = collector();
        let server = house.serve_with(&["--otlp", &url]);
        let admin = server.client(server.first_token());
        let (trace, span) = ([0xab; 16], [0xcd; 8]);
        let traceparent = format!("00-{}-{}-01", "ab".repeat(16), "cd".repeat(8));
        for header in [traceparent.as_str(), "00-of no trace"] {
            let request = admin.request(Method::GET, "/v1/tenants").header("traceparent", header);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
        }
        assert!(server.stop());
        let bodies: Vec<Vec<u8>> = exported.try_iter().collect();
        assert_eq!((count(&bodies, &trace), count(&bodies, &span)), (1, 1));
        assert_eq!(count(&bodies, b"/v1/tenants"), 2);
    });
}

#[test]
fn what_is_logged_is_json_line_by_line() {
    run(async {
        let house = House::sqlite();
        // So that the service does not start for the first time, and has no token.
        house.run(&["policy", "push", "house", "estimate", "--store", &house.store]);
        house.run(&["policy", "bind", "house", "--store", &house.store]);
        let said = house.serve_aloud().stop_and_tell();
        let (told, logged): (Vec<&str>, Vec<&str>) =
            said.lines().partition(|line| line.starts_with("listening on "));
        assert_eq!(told.len(), 1, "{said}");
        let lines = logged.iter().map(|line| {
            serde_json::from_str::<Json>(line).unwrap_or_else(|_| panic!("not JSON: {line}"))
        });
        let is_warning = |line: &Json| {
            let words = line["fields"]["message"].as_str().unwrap_or_default();
            line["level"] == "WARN" && words.starts_with("there is no token yet")
        };
        assert_eq!(lines.filter(is_warning).count(), 1, "{said}");
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
