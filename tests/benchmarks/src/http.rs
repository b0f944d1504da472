//! Callers of a service over HTTP/1.1 that leave the machine to the service: a thread and a connection
//! each, requests written by hand, and no more read of an answer than is needed.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::{percentile_ms, random};

/// An answer comes by then, or none will.
const PATIENCE: Duration = Duration::from_secs(60);
/// An answer is shorter than that.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Of an identifier, as text.
const ID_BYTES: usize = 36;

/// Whom a call is about, and what it needs: as in [`crate::call`].
const DIMENSIONS: &str = r#"{"user":"ana","agent":"research","model":"gpt-4o","provider":"openai","session":"a-session-of-a-user"}"#;
const AMOUNTS: &str = r#"{"llm_requests":"1","llm_tokens.input":"1000","llm_tokens.output":"200"}"#;

/// Where a service is, and the token by which it knows its callers.
#[derive(Clone)]
pub struct Door {
    pub address: SocketAddr,
    pub token: String,
}

impl Door {
    /// Asks something on a connection of its own, which must go well.
    pub fn done(&self, path: &str, body: &Json) -> Json {
        let mut request = Vec::new();
        self.post(&mut request, None, path, &body.to_string());
        let mut connection = Connection::open(self.address).unwrap();
        let (status, answer) = connection.ask(&request).unwrap();
        let answer = String::from_utf8_lossy(answer);
        assert!((200..300).contains(&status), "{path}: {status}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    fn post(&self, request: &mut Vec<u8>, tenant: Option<&str>, path: &str, body: &str) {
        let (Self { address, token }, length) = (self, body.len());
        request.clear();
        write!(
            request,
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n"
        )
        .unwrap();
        if let Some(tenant) = tenant {
            write!(request, "tollgate-tenant: {tenant}\r\n").unwrap();
        }
        write!(request, "\r\n{body}").unwrap();
    }
}

/// A connection that is kept.
struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    filled: usize,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, received: vec![0; ANSWER_BYTES_MAX], filled: 0 })
    }

    /// Sends a request; returns the status and the body of its answer.
    fn ask(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        self.stream.write_all(request)?;
        self.filled = 0;
        let Head { status, body } = loop {
            self.receive()?;
            if let Some(head) = Head::read(&self.received[..self.filled]) {
                break head;
            }
        };
        while self.filled < body.end {
            self.receive()?;
        }
        Ok((status, &self.received[body]))
    }

    fn receive(&mut self) -> io::Result<()> {
        let count = self.stream.read(&mut self.received[self.filled..])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += count;
        Ok(())
    }
}

/// What an answer begins with.
struct Head {
    status: u16,
    /// Where the body stands.
    body: Range<usize>,
}

impl Head {
    /// None: it is not there as a whole.
    fn read(received: &[u8]) -> Option<Self> {
        let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&received[..end]);
        let status = text.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        let (from, length) = (end + 4, length.map_or(0, |length| length.expect("a length")));
        Some(Self { status, body: from..from + length })
    }
}

/// Somebody who reserves and settles in turn.
pub struct Caller {
    door: Door,
    connection: Connection,
    tenant: String,
    /// What is reserved and not settled yet.
    held: Option<String>,
    request: Vec<u8>,
}

impl Caller {
    #[must_use]
    pub fn open(door: &Door, tenant: String) -> Self {
        let connection = Connection::open(door.address).expect("a connection");
        Self { door: door.clone(), connection, tenant, held: None, request: Vec::new() }
    }

    /// Settles what is reserved, or reserves.
    fn ask(&mut self) -> Result<(), String> {
        let asked = match self.held.take() {
            Some(id) => self.settle(&id),
            None => self.reserve(),
        };
        if asked.is_err() {
            // What is still to come on the old one would be taken for the answer to the next request.
            self.connection = Connection::open(self.door.address).expect("a connection");
        }
        asked
    }

    fn reserve(&mut self) -> Result<(), String> {
        let key = random();
        let body =
            format!(r#"{{"key":"{key:032x}","dimensions":{DIMENSIONS},"estimate":{AMOUNTS}}}"#);
        let answer = self.post("/v1/reservations", &body)?;
        let id = id_in(answer).ok_or_else(|| format!("no reservation: {answer}"))?.to_owned();
        self.held = Some(id);
        Ok(())
    }

    fn settle(&mut self, id: &str) -> Result<(), String> {
        let key = random();
        let body = format!(r#"{{"key":"{key:032x}","usage":{AMOUNTS}}}"#);
        self.post(&format!("/v1/reservations/{id}/settle"), &body).map(drop)
    }

    fn post(&mut self, path: &str, body: &str) -> Result<&str, String> {
        self.door.post(&mut self.request, Some(&self.tenant), path, body);
        let asked = self.connection.ask(&self.request);
        let (status, answer) = asked.map_err(|error| error.to_string())?;
        let answer = std::str::from_utf8(answer).map_err(|error| error.to_string())?;
        if (200..300).contains(&status) { Ok(answer) } else { Err(format!("{status}: {answer}")) }
    }
}

/// The reservation that an answer names.
fn id_in(answer: &str) -> Option<&str> {
    let (_, rest) = answer.split_once(r#""reservation":""#)?;
    rest.get(..ID_BYTES)
}

/// What became of requests: how many were answered a second, and what that took, in ms.
pub struct Asked {
    pub per_s: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
    pub errors: Vec<String>,
}

/// So many requests a second by a schedule. What one took counts from when it was due, also where no
/// caller was free to send it then.
#[must_use]
pub fn scheduled(callers: Vec<Caller>, began: Instant, length: Duration, per_s: f64) -> Asked {
    let count = (length.as_secs_f64() * per_s) as usize;
    let taken = AtomicUsize::new(0);
    ask_all(callers, began, || {
        let number = taken.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return None;
        }
        let due = began + Duration::from_secs_f64(number as f64 / per_s);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        Some(due)
    })
}

/// Each caller asks again once it is answered.
#[must_use]
pub fn at_once(callers: Vec<Caller>, length: Duration) -> Asked {
    let began = Instant::now();
    let end = began + length;
    ask_all(callers, began, || {
        let now = Instant::now();
        (now < end).then_some(now)
    })
}

/// Has callers ask until nothing is due any more.
fn ask_all(
    callers: Vec<Caller>,
    began: Instant,
    next: impl Fn() -> Option<Instant> + Sync,
) -> Asked {
    let next = &next;
    let heard: Vec<Heard> = thread::scope(|scope| {
        let start = |caller| scope.spawn(move || Heard::by(caller, next));
        let callers: Vec<_> = callers.into_iter().map(start).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    Asked::of(heard, began.elapsed())
}

/// What one caller was answered.
#[derive(Default)]
struct Heard {
    took: Vec<Duration>,
    errors: Vec<String>,
}

impl Heard {
    fn by(mut caller: Caller, next: &impl Fn() -> Option<Instant>) -> Self {
        let mut heard = Self::default();
        while let Some(due) = next() {
            match caller.ask() {
                Ok(()) => heard.took.push(due.elapsed()),
                Err(error) => heard.errors.push(error),
            }
        }
        heard
    }
}

impl Asked {
    fn of(heard: Vec<Heard>, length: Duration) -> Self {
        let (mut took, mut errors) = (Vec::new(), Vec::new());
        for own in heard {
            took.extend(own.took);
            errors.extend(own.errors);
        }
        assert!(!took.is_empty(), "nothing was answered: {:?}", errors.first());
        took.sort_unstable();
        let percentile = |percent| percentile_ms(&took, percent);
        Self {
            per_s: (took.len() as f64 / length.as_secs_f64()).round(),
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            max: percentile(100),
            errors,
        }
    }
}
