//! What a test stands on: a store, and hosts in processes of their own that embed it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use sqlx::postgres::PgConnectOptions;
use tollgate_tests::embedded::{Reply, Request, What};
use tollgate_tests::postgres::Cluster;
use uuid::Uuid;

/// Where a store is.
#[derive(Clone)]
pub enum Place {
    Postgres(Box<PgConnectOptions>),
    Sqlite(PathBuf),
}

/// A store and what its hosts are set up with.
#[derive(Clone)]
pub struct Ground {
    pub place: Place,
    pub tenants: usize,
    /// Of tokens, for each agent of each tenant.
    pub limit: u64,
    /// What stands before the program's name, if anything.
    pub enter: Vec<String>,
}

/// Something heard from a host.
pub struct Event {
    /// Which one, by the number it was started with.
    pub host: usize,
    /// None: it has ended.
    pub said: Option<Reply>,
}

/// A host in a process of its own; it ends with this.
pub struct Process {
    child: Child,
    input: ChildStdin,
}

impl Ground {
    pub fn new(place: Place, tenants: usize, limit: u64) -> Self {
        Self { place, tenants, limit, enter: Vec::new() }
    }

    /// A new database of a cluster.
    pub fn postgres(cluster: &Cluster, tenants: usize, limit: u64) -> Self {
        Self::new(Place::Postgres(Box::new(wait(cluster.database()))), tenants, limit)
    }

    pub fn sqlite(directory: &Path, tenants: usize, limit: u64) -> Self {
        Self::new(Place::Sqlite(directory.join("ledger.db")), tenants, limit)
    }

    /// Starts a host and waits until it is ready. An error is its last word.
    pub fn start(&self, host: usize, events: &Sender<Event>) -> Result<Process, String> {
        self.launch(host, events).and_then(Launched::ready)
    }

    /// Starts a host and waits for nothing.
    pub fn launch(&self, host: usize, events: &Sender<Event>) -> Result<Launched, String> {
        let program = env!("CARGO_BIN_EXE_host-under-test").to_owned();
        let words: Vec<String> = self.enter.iter().cloned().chain([program]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command.arg(cache());
        command.args([self.tenants.to_string(), self.limit.to_string()]);
        match &self.place {
            Place::Postgres(options) => {
                let sockets = options.get_socket().expect("a socket");
                let database = options.get_database().expect("a database");
                command.arg("postgres").arg(sockets).args([database, "8"]);
            }
            Place::Sqlite(file) => {
                command.arg("sqlite").arg(file);
            }
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| error.to_string())?;
        let input = child.stdin.take().expect("its input");
        let output = child.stdout.take().expect("its output");
        let (events, (first, word)) = (events.clone(), std::sync::mpsc::channel());
        thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            let _ = first.send(lines.next().unwrap_or_default());
            for line in lines {
                // Killed in the middle of a line it has said nothing.
                let said: Option<Reply> = serde_json::from_str(&line).ok();
                if said.is_some() {
                    let _ = events.send(Event { host, said });
                }
            }
            let _ = events.send(Event { host, said: None });
        });
        Ok(Launched { process: Process { child, input }, word })
    }
}

/// A host that has not said yet whether it is ready.
pub struct Launched {
    pub process: Process,
    /// Its first one.
    pub word: std::sync::mpsc::Receiver<String>,
}

impl Launched {
    /// Waits for its first word.
    pub fn ready(self) -> Result<Process, String> {
        let word = self.word.recv().unwrap_or_default();
        if word == "ready" { Ok(self.process) } else { Err(word) }
    }
}

impl Process {
    /// Hands requests to it. One that has just ended takes none: its end is heard of as an event.
    pub fn ask<'a>(&mut self, requests: impl IntoIterator<Item = &'a Request>) {
        let mut lines = Vec::new();
        for request in requests {
            serde_json::to_writer(&mut lines, request).expect("a request is JSON");
            lines.push(b'\n');
        }
        let _ = self.input.write_all(&lines);
    }

    /// Ends it without a word to it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder of the components that are compiled already.
pub fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")
}

/// Waits for one thing, in a runtime of its own.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// A request for tokens of the one agent that most tests have.
/// Held for longer than any test runs.
pub fn reserve(amount: u64) -> What {
    reserve_for(amount, 7 * 86_400_000)
}

pub fn reserve_for(amount: u64, ttl_ms: i64) -> What {
    What::Reserve { amount: amount.try_into().expect("an amount"), agent: "sdr".into(), ttl_ms }
}

pub fn settle(id: Uuid, used: u64) -> What {
    What::Settle { id, used: used.try_into().expect("an amount") }
}

pub fn request(number: u64, tenant: usize, key: Option<String>, what: What) -> Request {
    Request { number, tenant: format!("t{tenant}"), key, what }
}
