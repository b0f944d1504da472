//! Somebody who is posted to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use reqwest::Method;
use serde_json::{Value as Json, json};
use sha2::Sha256;

use crate::house::Caller;

/// However slow the machine is, a notice is delivered by then, also the second time it is tried.
pub const DELIVERED: Duration = Duration::from_secs(60);

/// 24 bytes of a secret.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Somebody who is posted to, and answers with these statuses, the last one for ever.
pub struct Receiver {
    pub url: String,
    pub posts: mpsc::Receiver<Post>,
}

impl Receiver {
    pub fn answering(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("its address"));
        let (tell, posts) = mpsc::channel();
        std::thread::spawn(move || {
            let statuses = statuses.iter().chain(statuses.last().into_iter().cycle());
            for (stream, status) in listener.incoming().zip(statuses) {
                let mut stream = stream.expect("a connection");
                let mut reader = BufReader::new(stream.try_clone().expect("the same"));
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).expect("a line");
                    match line.trim_end() {
                        "" => break,
                        line => lines.push(line.to_owned()),
                    }
                }
                let headers: Vec<(String, String)> = lines
                    .iter()
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                    .collect();
                let length = headers.iter().find(|own| own.0 == "content-length");
                let length = length.expect("a length").1.parse().expect("a number");
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body");
                let body = String::from_utf8(body).expect("text");
                let answer = format!("HTTP/1.1 {status} so\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).expect("an answer");
                if tell.send(Post { headers, body }).is_err() {
                    return;
                }
            }
        });
        Self { url, posts }
    }

    pub fn next(&self) -> Post {
        self.posts.recv_timeout(DELIVERED).expect("it is delivered")
    }

    pub fn channel(&self) -> Json {
        json!({ "to": { "kind": "webhook", "url": self.url, "secret": SECRET } })
    }
}

/// What was posted.
pub struct Post {
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Post {
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|own| own.0 == name);
        found.map_or_else(|| panic!("no `{name}`"), |own| own.1.as_str())
    }

    /// What was signed must be what came.
    pub fn verified(&self) -> Json {
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let key = BASE64_STANDARD.decode(SECRET.trim_start_matches("whsec_")).expect("a key");
        let mut hmac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
        hmac.update(format!("{id}.{timestamp}.{}", self.body).as_bytes());
        let signature = format!("v1,{}", BASE64_STANDARD.encode(hmac.finalize().into_bytes()));
        assert_eq!(self.header("webhook-signature"), signature);
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// A user has made so many queries more; of the standard limit of 10,000 a day.
pub async fn used(caller: &Caller, user: &str, queries: u32) {
    let usage = json!({
        "key": format!("{user} {queries}"),
        "usage": [{
            "dimensions": { "user": user },
            "amounts": { "database_queries": queries.to_string() },
        }],
    });
    caller.done(Method::POST, "/v1/usage", Some(usage)).await;
}

pub async fn connect(caller: &Caller, name: &str, channel: Json) {
    caller.done(Method::PUT, &format!("/v1/channels/{name}"), Some(channel)).await;
}

pub const OWN: &[&str] = &["--own-network"];

/// Somebody who takes every connection, and never answers on it.
pub fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        let mut taken = Vec::new();
        for stream in listener.incoming() {
            taken.push(stream.expect("a connection"));
        }
    });
    url
}
