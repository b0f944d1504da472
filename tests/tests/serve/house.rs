//! Services under test: processes of their own, on a file or on Postgres.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, Response, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};
use sqlx::ConnectOptions;
use tempfile::TempDir;
use tollgate_tests::postgres::Cluster;

/// However slow the machine is, it serves by then.
const SERVING: Duration = Duration::from_secs(60);

/// Where a ledger is kept.
pub struct House {
    pub store: String,
    directory: TempDir,
}

/// A service that runs.
pub struct Server {
    child: Child,
    pub url: String,
    /// What it said at its start.
    pub said: Vec<String>,
    /// All that it says; told when it ends.
    words: Vec<JoinHandle<String>>,
}

impl House {
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = directory.path().join("ledger.db").display().to_string();
        Self { store, directory }
    }

    pub async fn postgres() -> Self {
        Self::on(Cluster::shared()).await
    }

    pub async fn on(cluster: &Cluster) -> Self {
        let options = cluster.database().await;
        let store = options.to_url_lossy().to_string();
        Self { store, directory: tempfile::tempdir().expect("a directory") }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The program with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"));
        command
            .current_dir(self.directory.path())
            .env("TOLLGATE_STORE", &self.store)
            .env("TOLLGATE_CACHE", cache)
            .args(arguments);
        command
    }

    /// What the program says, which must end well.
    pub fn run(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(arguments).output().expect("a run");
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("text")
    }

    /// A service, once it takes connections.
    pub fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    pub fn serve_with(&self, arguments: &[&str]) -> Server {
        self.start(arguments, "warn", Stdio::inherit())
    }

    /// One that says all it can, and is heard.
    pub fn serve_aloud(&self) -> Server {
        self.start(&[], "trace", Stdio::piped())
    }

    fn start(&self, arguments: &[&str], level: &str, stderr: Stdio) -> Server {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(arguments).env("TOLLGATE_LOG", level).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("a service");
        let lines = BufReader::new(child.stdout.take().expect("its words")).lines();
        let (tell, told) = mpsc::channel();
        let mut words = vec![std::thread::spawn(move || {
            let mut all = String::new();
            for line in lines.map_while(Result::ok) {
                all.push_str(&line);
                all.push('\n');
                // Once it serves nobody waits for a line.
                let _ = tell.send(line);
            }
            all
        })];
        if let Some(mut stderr) = child.stderr.take() {
            words.push(std::thread::spawn(move || {
                let mut all = Vec::new();
                stderr.read_to_end(&mut all).expect("its words");
                String::from_utf8_lossy(&all).into_owned()
            }));
        }
        // It is ended with this, also where it never serves.
        let mut server = Server { child, url: String::new(), said: Vec::new(), words };
        loop {
            let line = told.recv_timeout(SERVING).expect("it serves");
            if let Some(url) = line.strip_prefix("listening on ") {
                server.url = url.to_owned();
                return server;
            }
            server.said.push(line);
        }
    }

    /// A token of its own.
    pub fn token(&self, role: &str, tenant: Option<&str>) -> String {
        let mut arguments = vec!["token", "create", "--name", role, "--role", role];
        arguments.extend(tenant.iter().flat_map(|tenant| ["--tenant", tenant]));
        self.run(&arguments).trim().to_owned()
    }
}

impl Server {
    /// Whoever shows this token.
    pub fn client(&self, token: &str) -> Caller {
        let client = Client::builder().timeout(Duration::from_secs(60)).build().expect("a client");
        Caller { client, url: self.url.clone(), token: token.to_owned() }
    }

    /// The token that the first start shows.
    pub fn first_token(&self) -> &str {
        self.said.iter().find(|line| line.starts_with("tg_")).expect("a token")
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(mut self) -> bool {
        self.signal(Signal::TERM);
        self.child.wait().expect("an end").success()
    }

    /// The same: all that it ever said.
    pub fn stop_and_tell(mut self) -> String {
        self.signal(Signal::TERM);
        assert!(self.child.wait().expect("an end").success());
        let words = std::mem::take(&mut self.words).into_iter();
        words.map(|words| words.join().expect("its words")).collect()
    }

    /// A connection on which nothing was said yet.
    pub fn connect(&self) -> TcpStream {
        let address = self.url.strip_prefix("http://").expect("an address");
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(SERVING)).expect("a timeout");
        stream
    }

    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("a signal");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A caller with a token.
#[derive(Clone)]
pub struct Caller {
    pub client: Client,
    pub url: String,
    pub token: String,
}

impl Caller {
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<Json>) -> (StatusCode, Json) {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        read(request.send().await.expect("an answer")).await
    }

    pub async fn post(&self, path: &str, body: Json) -> (StatusCode, Json) {
        self.send(Method::POST, path, Some(body)).await
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Json) {
        self.send(Method::GET, path, None).await
    }

    /// The same, which must go well.
    pub async fn done(&self, method: Method, path: &str, body: Option<Json>) -> Json {
        let (status, answer) = self.send(method, path, body).await;
        assert!(status.is_success(), "{path}: {status}: {answer}");
        answer
    }

    /// Somebody with a token that this caller makes.
    pub async fn admit(&self, role: &str, tenant: Option<&str>) -> Self {
        let body = json!({ "name": role, "role": role, "tenant": tenant });
        let made = self.done(Method::POST, "/v1/tokens", Some(body)).await;
        Self { token: made["token"].as_str().expect("a token").to_owned(), ..self.clone() }
    }

    /// Waits until the service judges by a policy that was bound beside it.
    pub async fn judged_by(&self, policy: &str) {
        loop {
            let (_, checked) = self.post("/v1/check", json!({})).await;
            let quotas = checked["quotas"].as_array().map(Vec::as_slice).unwrap_or_default();
            if quotas.iter().any(|quota| quota["by"] == policy) {
                return;
            }
        }
    }

    pub async fn reserve(&self, key: &str, tokens: u32) -> Json {
        let body = json!({
            "key": key,
            "dimensions": { "user": "ana", "model": "gpt-4o" },
            "estimate": { "llm_requests": "1", "llm_tokens.input": tokens.to_string() },
        });
        // On a slow disk the store may not answer in time: then clients are told to ask again.
        loop {
            let (status, answer) = self.post("/v1/reservations", body.clone()).await;
            if status != StatusCode::SERVICE_UNAVAILABLE {
                assert!(status.is_success(), "{status}: {answer}");
                return answer;
            }
        }
    }
}

pub async fn read(answer: Response) -> (StatusCode, Json) {
    let status = answer.status();
    let bytes = answer.bytes().await.expect("a body");
    let body = if bytes.is_empty() {
        Json::Null
    } else {
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&bytes)))
    };
    (status, body)
}

/// Whether it is a problem of this status, as all of them are told.
pub async fn is_problem(answer: Response, status: StatusCode, about: &str) -> Json {
    assert_eq!(answer.status(), status, "{about}");
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json", "{about}");
    let (_, problem) = read(answer).await;
    assert_eq!(problem["status"], status.as_u16(), "{about}: {problem}");
    problem
}

/// Whoever looks after it all, and two tenants that decide for themselves.
pub struct Town {
    pub admin: Caller,
    pub acme: Caller,
    pub rival: Caller,
}

/// The town of a service that started for the first time.
pub async fn town(server: &Server) -> Town {
    let admin = server.client(server.first_token());
    for name in ["acme", "rival"] {
        admin.done(Method::POST, "/v1/tenants", Some(json!({ "name": name }))).await;
    }
    let acme = admin.admit("tenant", Some("acme")).await;
    let rival = admin.admit("tenant", Some("rival")).await;
    Town { admin, acme, rival }
}

/// A tenant `acme` that may make so many requests a day in all, and a caller that reports for it.
pub async fn limited(house: &House, server: &Server, requests: u32) -> Caller {
    let admin = server.client(server.first_token());
    admin.done(Method::POST, "/v1/tenants", Some(json!({ "name": "acme" }))).await;
    let limits = json!({ "limits": [
        { "meter": "llm_requests", "period": "day", "limit": requests },
    ] });
    let file = house.path().join("limits.json");
    std::fs::write(&file, limits.to_string()).expect("a file");
    let file = file.display().to_string();
    house.run(&[
        "policy",
        "push",
        "calls",
        "quota",
        "--settings",
        &file,
        "--tenant",
        "acme",
        "--store",
        &house.store,
    ]);
    house.run(&["policy", "bind", "calls", "--tenant", "acme", "--store", &house.store]);
    let caller = server.client(&house.token("ingest", Some("acme")));
    caller.judged_by("calls").await;
    caller
}

/// What is answered to these bytes until the connection is closed.
pub fn told(server: &Server, bytes: &[u8]) -> String {
    let mut stream = server.connect();
    // Who sends too much may be cut off in the middle of it.
    let _ = stream.write_all(bytes);
    rest(stream)
}

/// What comes until the connection is closed.
pub fn rest(mut stream: TcpStream) -> String {
    let (mut all, mut some) = (Vec::new(), [0; 4_096]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&some[..count]),
            Err(error) if is_silence(&error) => panic!("it is neither answered nor cut off"),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// How often a drip falls, and how many are far too many.
const DRIP: Duration = Duration::from_millis(50);
const DRIPS: usize = 400;

/// Sends a space now and then, until it is cut off: what it was told.
pub fn drip(mut stream: TcpStream) -> String {
    let (mut all, mut some) = (Vec::new(), [0; 4_096]);
    stream.set_read_timeout(Some(DRIP)).expect("a timeout");
    for _ in 0..DRIPS {
        match stream.write_all(b" ").and_then(|()| stream.read(&mut some)) {
            Ok(count) if count > 0 => all.extend_from_slice(&some[..count]),
            Err(error) if is_silence(&error) => {}
            _ => return String::from_utf8_lossy(&all).into_owned(),
        }
    }
    panic!("it may go on for ever");
}

/// Nothing came in the time that a connection waits.
pub fn is_silence(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The head of a request after whose answer the connection is closed.
pub fn head(caller: &Caller, line: &str, more: &str) -> String {
    let authorization = format!("authorization: Bearer {}", caller.token);
    format!(
        "{line} HTTP/1.1\r\nhost: tollgate\r\nconnection: close\r\n{authorization}\r\n\
         content-type: application/json\r\n{more}\r\n\r\n"
    )
}
