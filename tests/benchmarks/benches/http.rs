//! The service over HTTP: a real `tollgate serve` on a Postgres of its own, and clients that keep 64
//! connections to it, of which one request in two reserves and the next one settles that. First 5,000
//! requests a second by a schedule, where what one took counts from when it was due; then as many as
//! the connections can ask, in turn with the same clients on a server that does each request in a
//! transaction of its own, and neither reads nor judges what it is asked.
//!
//! Prints one JSON object. `TOLLGATE_BENCH_SECONDS` says how long the schedule is.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::fmt;
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as InPath, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::serve::ListenerExt;
use serde_json::{Value as Json, json};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tollgate_benchmarks::http::{Asked, Caller, Door, at_once, scheduled};
use tollgate_benchmarks::processes::{family_s, processor_s, resident_mb};
use tollgate_benchmarks::transactions::Transactions;
use tollgate_benchmarks::{tenant, use_log};
use tollgate_host::store::Tenant;
use tollgate_tests::postgres::Cluster;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PER_S: f64 = 5_000.0;
/// Unless `TOLLGATE_BENCH_CONNECTIONS` and `TOLLGATE_BENCH_TENANTS` say otherwise.
const CONNECTIONS: usize = 256;
const TENANTS: usize = 16;
/// So often each of the two is asked as fast as it goes.
const ROUNDS: usize = 3;
/// What is limited, and how often anew: each for each user.
const LIMITS: [(&str, &str); 4] = [
    ("llm_requests", "day"),
    ("llm_tokens", "day"),
    ("llm_tokens", "month"),
    ("cost.usd", "month"),
];
/// When memory is looked at, as shares of the time.
const LOOKS: [f64; 3] = [0.1, 0.5, 1.0];

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

fn connections() -> usize {
    number("TOLLGATE_BENCH_CONNECTIONS", CONNECTIONS)
}

fn tenants() -> usize {
    number("TOLLGATE_BENCH_TENANTS", TENANTS)
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        // This program stands for the service too, as `tollgate-under-test` does in the tests: the
        // service starts it again to compile.
        Some("serve" | "compile-worker") => tollgate::main(),
        Some("transactions") => serve_transactions(),
        _ => all(),
    }
}

fn all() -> ExitCode {
    let directory = tempfile::tempdir().unwrap();
    let [ledger, by_hand] = databases();
    let postgres = postmaster(&ledger);
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let mut tollgate = Service::start(&serve, &ledger, directory.path());
    tollgate.door.token = furnish(&tollgate.door);
    // What is measured is a system that runs, and not one that meets its tenants.
    let warm = at_once(callers(&tollgate.door), warming());
    let (load, busy, memory) = load(&tollgate, postgres);
    eprintln!("load: {PER_S} offered, {}", told(&load));
    let [early, half_way, late] = memory;
    eprintln!("load: {busy}; memory {early} MB, {half_way} MB half-way, {late} MB at the end");
    let transactions = Service::start(&["transactions"], &by_hand, directory.path());
    let warm_too = at_once(callers(&transactions.door), warming());
    let (mut most, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        most.push(closed("tollgate", &tollgate, postgres));
        beside.push(closed("transaction", &transactions, postgres));
    }
    println!("{}", figures(&load, &busy, memory, &most, &beside));
    let warm = [&warm, &warm_too, &load];
    let errors: Vec<&String> =
        warm.into_iter().chain(&most).chain(&beside).flat_map(|asked| &asked.errors).collect();
    if let Some(first) = errors.first() {
        eprintln!("{} errors, of which the first is: {first}", errors.len());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn figures(
    load: &Asked,
    busy: &Busy,
    memory: [f64; LOOKS.len()],
    most: &[Asked],
    beside: &[Asked],
) -> Json {
    let (most_per_s, beside_per_s) =
        (median(most, |own| own.per_s), median(beside, |own| own.per_s));
    json!({
        "offered_per_s": PER_S,
        "served_per_s": load.per_s,
        "p50_ms": load.p50,
        "p95_ms": load.p95,
        "p99_ms": load.p99,
        "max_ms": load.max,
        "errors": load.errors.len(),
        "memory_mb_at_10": memory[0],
        "memory_mb_at_50": memory[1],
        "memory_mb_at_100": memory[2],
        "processors_client": busy.client,
        "processors_service": busy.service,
        "processors_postgres": busy.postgres,
        "most_per_s": most_per_s,
        "most_p99_ms": median(most, |own| own.p99),
        "transaction_per_s": beside_per_s,
        "transaction_p99_ms": median(beside, |own| own.p99),
        "most_to_transaction": rounded(most_per_s / beside_per_s, 10.0),
    })
}

fn median(rounds: &[Asked], figure: impl Fn(&Asked) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}

fn told(asked: &Asked) -> String {
    let Asked { per_s, p50, p95, p99, max, errors } = asked;
    let errors = errors.len();
    format!(
        "{per_s} served a second, {p50} ms (median), {p95} ms (p95), {p99} ms (p99), {max} ms (longest), \
         {errors} errors"
    )
}

/// How long the schedule is.
fn length() -> Duration {
    let seconds = std::env::var("TOLLGATE_BENCH_SECONDS");
    Duration::from_secs_f64(seconds.map_or(60.0, |seconds| seconds.parse().unwrap()))
}

/// How long it is asked as fast as it goes.
fn closed_length() -> Duration {
    length().min(Duration::from_secs(10))
}

fn warming() -> Duration {
    length().mul_f64(0.2).min(Duration::from_secs(5))
}

/// New ones, since servers hang up on those that were silent for a while.
fn callers(door: &Door) -> Vec<Caller> {
    let caller = |number: usize| Caller::open(door, tenant(number % tenants()).to_string());
    (0..connections()).map(caller).collect()
}

/// Requests by the schedule, and meanwhile looks at the service's memory, in MB.
fn load(service: &Service, postgres: u32) -> (Asked, Busy, [f64; LOOKS.len()]) {
    let (callers, pid) = (callers(&service.door), service.child.id());
    let (began, length) = (Instant::now(), length());
    let look = move |share: f64| {
        let due = began + length.mul_f64(share);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        resident_mb(pid)
    };
    let looks = thread::spawn(move || LOOKS.map(look));
    let (asked, busy) = Busy::during(pid, postgres, || scheduled(callers, began, length, PER_S));
    (asked, busy, looks.join().unwrap())
}

/// Requests as fast as they go.
fn closed(name: &str, service: &Service, postgres: u32) -> Asked {
    let (callers, pid) = (callers(&service.door), service.child.id());
    let (asked, busy) = Busy::during(pid, postgres, || at_once(callers, closed_length()));
    eprintln!("{name}: {}; {busy}", told(&asked));
    asked
}

/// How many processors were busy with what.
struct Busy {
    client: f64,
    service: f64,
    postgres: f64,
}

impl Busy {
    fn during<T>(service: u32, postgres: u32, work: impl FnOnce() -> T) -> (T, Self) {
        let taken = || [processor_s(std::process::id()), processor_s(service), family_s(postgres)];
        let (began, before) = (Instant::now(), taken());
        let done = work();
        let (seconds, after) = (began.elapsed().as_secs_f64(), taken());
        let share = |of: usize| rounded((after[of] - before[of]) / seconds, 100.0);
        (done, Self { client: share(0), service: share(1), postgres: share(2) })
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, service, postgres } = self;
        write!(f, "processors: {client} clients, {service} service, {postgres} Postgres")
    }
}

/// Two that are empty.
fn databases() -> [PgConnectOptions; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::shared();
        use_log(&cluster.database().await).await;
        [cluster.database().await, cluster.database().await]
    })
}

/// The process that started all others of Postgres.
fn postmaster(database: &PgConnectOptions) -> u32 {
    let file = database.get_socket().unwrap().join("data/postmaster.pid");
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().next().unwrap().trim().parse().unwrap()
}

/// A server in a process of its own.
struct Service {
    child: Child,
    /// By the token of the first start, where there is one.
    door: Door,
    /// A program whose words nobody can hear any more dies of the next one.
    _words: Lines<BufReader<ChildStdout>>,
}

impl Service {
    fn start(arguments: &[&str], database: &PgConnectOptions, directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .current_dir(directory)
            .env("TOLLGATE_STORE", database.to_url_lossy().to_string())
            .env("TOLLGATE_CACHE", directory.join("cache"))
            .env("TOLLGATE_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut words = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut token = String::new();
        let address = loop {
            let line = words.next().expect("it serves").unwrap();
            if let Some(address) = line.strip_prefix("listening on http://") {
                break address.parse().unwrap();
            }
            if line.starts_with("tg_") {
                token = line;
            }
        };
        Self { child, door: Door { address, token }, _words: words }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Binds limits that nobody comes near and makes tenants; returns a token that is good for all of
/// these.
fn furnish(admin: &Door) -> String {
    // By their standard limits, alerts would be told without end.
    for policy in ["quota", "alerts"] {
        let limits = LIMITS.map(|(meter, period)| {
            json!({ "meter": meter, "period": period, "per": ["user"], "limit": "900000000000" })
        });
        let settings = json!({ "limits": limits });
        let revision = json!({ "policy": policy, "component": policy, "settings": settings });
        admin.done("/v1/revisions", &revision);
        admin.done("/v1/policies", &json!({ "do": "bind", "revision": policy }));
    }
    for number in 0..tenants() {
        admin.done("/v1/tenants", &json!({ "name": tenant(number).as_str() }));
    }
    let made = admin.done("/v1/tokens", &json!({ "name": "bench", "role": "ingest" }));
    made["token"].as_str().unwrap().to_owned()
}

/// Does each request in a transaction of its own.
fn serve_transactions() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database: PgConnectOptions = std::env::var("TOLLGATE_STORE").unwrap().parse().unwrap();
        let tenants: Vec<Tenant> = (0..tenants()).map(tenant).collect();
        let counters = i64::try_from(LIMITS.len()).unwrap();
        let router = Router::new()
            .route("/v1/reservations", post(reserve))
            .route("/v1/reservations/{id}/settle", post(settle))
            .with_state(Transactions::connect(&database, &tenants, counters).await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("listening on http://{}", listener.local_addr().unwrap());
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        axum::serve(listener, router).await.unwrap();
    });
    ExitCode::SUCCESS
}

async fn reserve(State(by_hand): State<Transactions>, headers: HeaderMap, _body: Bytes) -> String {
    let id = by_hand.reserve(tenant_in(&headers)).await;
    json!({ "decision": "allow", "reservation": id.to_string() }).to_string()
}

async fn settle(
    State(by_hand): State<Transactions>,
    InPath(id): InPath<Uuid>,
    headers: HeaderMap,
    _body: Bytes,
) -> &'static str {
    by_hand.settle(tenant_in(&headers), id).await;
    "{}"
}

fn tenant_in(headers: &HeaderMap) -> &str {
    headers["tollgate-tenant"].to_str().unwrap()
}
