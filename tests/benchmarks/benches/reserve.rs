//! Durable reservations on a Postgres of its own, side by side in one run: a transaction with
//! `SELECT … FOR UPDATE` for each, and hosts that commit in groups, on one tenant, on many, and
//! four of them in processes of their own. Each decision runs in the sandbox: a price and twelve
//! counters.
//!
//! Prints one JSON object. `TOLLGATE_BENCH_SECONDS` says how long each part runs;
//! `TOLLGATE_BENCH_PARTS` which parts, by name.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tollgate_host::engine::{Binding, Call, Host, Setup};
use tollgate_host::sandbox::{Compiler, Instances, Limits, Sandbox, Settings};
use tollgate_host::store::{Durability, PostgresStore, Store, Tenant};
use tollgate_policy_core::contract::{Dimension, Quantity};
use tollgate_tests::postgres::Cluster;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many callers wait for an answer at a time.
const CALLERS: usize = 1_024;
const TENANTS: usize = 10_000;
const TRANSACTIONS: usize = 16;
const TTL: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if let Some(place) = arguments.iter().position(|argument| argument == "host") {
            let (sockets, database) = (&arguments[place + 1], &arguments[place + 2]);
            let options =
                PgConnectOptions::new().socket(sockets).username("postgres").database(database);
            println!("{}", reserve(&options, 1, What::Reserve, None).await.per_s);
        } else {
            all().await;
        }
    });
    ExitCode::SUCCESS
}

fn seconds() -> f64 {
    std::env::var("TOLLGATE_BENCH_SECONDS").map_or(5.0, |seconds| seconds.parse().unwrap())
}

async fn all() {
    let cluster = Cluster::shared();
    let parts = std::env::var("TOLLGATE_BENCH_PARTS").unwrap_or_default();
    let wanted = |part: &str| parts.is_empty() || parts.split(',').any(|own| own == part);
    let mut figures = serde_json::Map::new();
    let mut latencies: BTreeMap<&str, Json> = BTreeMap::new();
    let mut tell = |part: &'static str, run: &Run| {
        eprintln!("{part}: {} a second, {} ms (median), {} ms (p99)", run.per_s, run.p50, run.p99);
        latencies.insert(part, json!({ "p50": run.p50, "p99": run.p99 }));
    };
    if wanted("transaction") {
        let run = transactions(&cluster.database().await).await;
        tell("transaction", &run);
        figures.insert("transaction_per_s".into(), json!(run.per_s));
    }
    if wanted("hot") {
        let run = reserve(&cluster.database().await, 1, What::Reserve, None).await;
        tell("hot", &run);
        figures.insert("hot_per_s".into(), json!(run.per_s));
        let half = run.per_s / 2.0;
        let run = reserve(&cluster.database().await, 1, What::Reserve, Some(half)).await;
        tell("hot_at_half_load", &run);
        figures.insert("p99_ms".into(), json!(run.p99));
    }
    if wanted("pairs") {
        let run = reserve(&cluster.database().await, 1, What::Pair, None).await;
        tell("pairs", &run);
        figures.insert("pairs_per_s".into(), json!(run.per_s));
    }
    if wanted("spread") {
        let run = reserve(&cluster.database().await, TENANTS, What::Reserve, None).await;
        tell("spread", &run);
        figures.insert("spread_per_s".into(), json!(run.per_s));
    }
    if wanted("check") {
        let run = reserve(&cluster.database().await, 1, What::Check, None).await;
        tell("check", &run);
        let us = |ms: f64| (ms * 1_000.0).round();
        figures.insert("check_us".into(), json!({ "p50": us(run.p50), "p99": us(run.p99) }));
    }
    if wanted("four_hosts") {
        let database = cluster.database().await;
        // Its tables, before four want to make them.
        store(&database).await.create(&[tenant(0)]).await.unwrap();
        let per_s: f64 = hosts(&database, 4);
        eprintln!("four_hosts: {per_s} a second");
        figures.insert("four_hosts_per_s".into(), json!(per_s));
    }
    if let (Some(hot), Some(transaction)) = (
        figures.get("hot_per_s").and_then(Json::as_f64),
        figures.get("transaction_per_s").and_then(Json::as_f64),
    ) {
        let ratio = (hot / transaction * 10.0).round() / 10.0;
        figures.insert("hot_to_transaction".into(), json!(ratio));
    }
    figures.insert("latency_ms".into(), json!(latencies));
    println!("{}", Json::Object(figures));
}

/// Hosts in processes of their own, all on one tenant.
fn hosts(database: &PgConnectOptions, count: usize) -> f64 {
    let program = std::env::current_exe().unwrap();
    let host = |_| {
        Command::new(&program)
            .arg("host")
            .arg(database.get_socket().unwrap())
            .arg(database.get_database().unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..count).map(host).collect();
    let rate = |child: std::process::Child| {
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().unwrap()
    };
    children.into_iter().map(rate).sum()
}

fn tenant(number: usize) -> Tenant {
    format!("tenant-{number}").parse().unwrap()
}

async fn store(options: &PgConnectOptions) -> PostgresStore {
    PostgresStore::connect(options.clone(), 16, Durability::Required).await.unwrap()
}

fn random() -> u128 {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
    let process = u128::from(std::process::id()) << 64;
    (u128::from(drawn) ^ process).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

fn setup() -> Arc<Setup> {
    let meters = ["llm_requests", "llm_tokens", "cost.usd"];
    let periods = ["minute", "hour", "day", "month"];
    let limits: Vec<_> = (0..12)
        .map(|index| {
            let (meter, period) = (meters[index % 3], periods[index / 3]);
            json!({ "meter": meter, "period": period, "per": ["user"], "limit": "900000000000" })
        })
        .collect();
    let cache = std::env::temp_dir().join(format!("tollgate-bench-{}", std::process::id()));
    let settings = Settings {
        limits: Limits::default(),
        instances: Instances::Pooled(32),
        compiler: Compiler::InProcess,
        cache: Some(cache),
    };
    let sandbox = Sandbox::new(settings).unwrap();
    let binding = |name: &str, settings: &str| {
        let component = tollgate_plugins::standard(name).unwrap();
        Binding::new(name, sandbox.load(component, settings).unwrap())
    };
    let quota = json!({ "limits": limits }).to_string();
    Arc::new(Setup {
        bindings: vec![binding("pricing", "{}"), binding("quota", &quota)],
        ..Setup::default()
    })
}

fn call() -> Call {
    let dimensions = [
        ("user", "ana"),
        ("agent", "research"),
        ("model", "gpt-4o"),
        ("provider", "openai"),
        ("session", "a-session-of-a-user"),
    ];
    let dimensions =
        dimensions.map(|(name, value)| Dimension { name: name.into(), value: value.into() });
    Call { dimensions: dimensions.to_vec(), quantities: quantities() }
}

fn quantities() -> Vec<Quantity> {
    [
        ("llm_requests", 1),
        ("llm_tokens", 1_200),
        ("llm_tokens.input", 1_000),
        ("llm_tokens.output", 200_u32),
    ]
    .map(|(meter, amount)| Quantity { meter: meter.parse().unwrap(), amount: amount.into() })
    .to_vec()
}

/// What callers ask for.
#[derive(Clone, Copy)]
enum What {
    Reserve,
    /// A reservation and its settlement.
    Pair,
    Check,
}

/// What one host answers over so many tenants; as fast as it can, or so many a second.
async fn reserve(options: &PgConnectOptions, tenants: usize, what: What, pace: Option<f64>) -> Run {
    let setup = setup();
    let names: Vec<Tenant> = (0..tenants).map(tenant).collect();
    let began = Instant::now();
    let clock = move || i64::try_from(began.elapsed().as_millis()).unwrap();
    let store = Arc::new(store(options).await);
    let mut builder = Host::builder(store, Arc::new(clock), Arc::new(random))
        .shards(if tenants == 1 { 1 } else { 4 });
    for name in &names {
        builder = builder.tenant(name.clone(), Arc::clone(&setup));
    }
    let host = builder.start().await.unwrap();
    let (names, host_too): (Arc<[Tenant]>, Host) = (names.into(), host.clone());
    let asked = move |_| {
        let (host, names) = (host.clone(), Arc::clone(&names));
        async move {
            let tenant = &names[(random() >> 70) as usize % names.len()];
            if let What::Check = what {
                assert!(host.check(tenant, call()).await.unwrap().denial.is_none());
                return;
            }
            let reserved = host.reserve(tenant, None, call(), TTL).await.unwrap().unwrap();
            if let What::Pair = what {
                host.settle(tenant, None, reserved.id, quantities()).await.unwrap();
            }
        }
    };
    // What is measured is a system that runs, and not one that meets its tenants.
    let meetings: Vec<_> =
        (0..tenants).map(|number| tokio::spawn(meet(host_too.clone(), tenant(number)))).collect();
    for meeting in meetings {
        meeting.await.unwrap();
    }
    match pace {
        // What a check takes, and not how many there may be.
        _ if matches!(what, What::Check) => measure(1, asked).await,
        Some(per_s) => paced(per_s, asked).await,
        None => measure(CALLERS, asked).await,
    }
}

async fn meet(host: Host, tenant: Tenant) {
    host.reserve(&tenant, None, call(), TTL).await.unwrap().unwrap();
}

/// The same rows, each reservation in a transaction of its own, as one would write it by hand;
/// nothing is judged.
async fn transactions(options: &PgConnectOptions) -> Run {
    // The tables are those of the store.
    store(options).await.create(&[tenant(0)]).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(TRANSACTIONS as u32);
    let pool = pool.connect_with(options.clone()).await.unwrap();
    let asked = move |_| {
        let pool = pool.clone();
        async move {
            let mut transaction = pool.begin().await.unwrap();
            let (version,): (i64,) =
                sqlx::query_as("SELECT version FROM head WHERE tenant_id = 'tenant-0' FOR UPDATE")
                    .fetch_one(&mut *transaction)
                    .await
                    .unwrap();
            let _totals: Option<String> = sqlx::query_scalar(
                "SELECT totals::text FROM latest WHERE tenant_id = 'tenant-0' \
                 AND per = '[\"user\"]' AND dimension_values = '[\"ana\"]'",
            )
            .fetch_optional(&mut *transaction)
            .await
            .unwrap();
            let (id, body) = (Uuid::from_u128(random()), vec![7_u8; 600]);
            let total = |counter: i64| format!("[{},1764547200000,0,{version}]", counter << 56);
            let totals: Vec<String> = (0..12).map(total).collect();
            let totals = format!("[{}]", totals.join(","));
            sqlx::query(
                "INSERT INTO batch (tenant_id, at, version, stamp, allowed, denied, body) \
                 VALUES ('tenant-0', $1, $1, 0, ARRAY[$2], '{}', $3)",
            )
            .bind(version)
            .bind(id)
            .bind(&body)
            .execute(&mut *transaction)
            .await
            .unwrap();
            sqlx::query(
                "INSERT INTO hold (tenant_id, id, expires_at, body) VALUES ('tenant-0', $1, $2, $3)",
            )
            .bind(id)
            .bind(version)
            .bind(&body)
            .execute(&mut *transaction)
            .await
            .unwrap();
            sqlx::query(
                "INSERT INTO latest (tenant_id, per, dimension_values, version, totals) \
                 VALUES ('tenant-0', '[\"user\"]', '[\"ana\"]', $1, $2::json) \
                 ON CONFLICT (tenant_id, per, dimension_values) DO UPDATE SET totals = excluded.totals",
            )
            .bind(version)
            .bind(&totals)
            .execute(&mut *transaction)
            .await
            .unwrap();
            sqlx::query("UPDATE head SET version = version + 1 WHERE tenant_id = 'tenant-0'")
                .execute(&mut *transaction)
                .await
                .unwrap();
            transaction.commit().await.unwrap();
        }
    };
    measure(TRANSACTIONS, asked).await
}

/// Answers a second, and what they took, in ms.
struct Run {
    per_s: f64,
    p50: f64,
    p99: f64,
}

impl Run {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort();
        let percentile = |percent: usize| {
            let ms = took[took.len() * percent / 100].as_secs_f64() * 1_000.0;
            (ms * 1_000.0).round() / 1_000.0
        };
        let per_s = (took.len() as f64 / seconds()).round();
        Self { per_s, p50: percentile(50), p99: percentile(99) }
    }
}

/// A fifth of the time to get going, and when it ends.
fn phases() -> (Instant, Instant) {
    let warm = Instant::now() + Duration::from_secs_f64(seconds() / 5.0);
    (warm, warm + Duration::from_secs_f64(seconds()))
}

/// Lets so many callers ask again and again.
async fn measure<F, A>(callers: usize, asked: F) -> Run
where
    F: Fn(usize) -> A + Clone + Send + 'static,
    A: Future<Output = ()> + Send,
{
    let (warm, end) = phases();
    let caller = |number: usize| {
        let asked = asked.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                asked(number).await;
                if start > warm {
                    took.push(start.elapsed());
                }
            }
            took
        })
    };
    let callers: Vec<_> = (0..callers).map(caller).collect();
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await.unwrap());
    }
    Run::of(took)
}

/// Asks so many times a second, whether answers have come or not.
async fn paced<F, A>(per_s: f64, asked: F) -> Run
where
    F: Fn(usize) -> A + Clone + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let (warm, end) = phases();
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut callers = Vec::new();
    while Instant::now() < end {
        ticks.tick().await;
        let due = (began.elapsed().as_secs_f64() * per_s) as usize;
        while callers.len() < due {
            let start = Instant::now();
            let asking = asked(callers.len());
            callers.push(tokio::spawn(async move {
                asking.await;
                (start, start.elapsed())
            }));
        }
    }
    let mut took = Vec::new();
    for caller in callers {
        let (start, elapsed) = caller.await.unwrap();
        if start > warm {
            took.push(elapsed);
        }
    }
    Run::of(took)
}
