//! Durable reservations on a Postgres of its own, side by side in one run: a transaction with
//! `SELECT … FOR UPDATE` for each, and hosts that commit in groups, on one tenant, on many, and
//! four of them in processes of their own. Each decision runs in the sandbox: a price and twelve
//! counters.
//!
//! Prints one JSON object. `TOLLGATE_BENCH_SECONDS` says how long each part runs;
//! `TOLLGATE_BENCH_PARTS` which parts, by name. With `TOLLGATE_BENCH_RESERVATIONS` it makes so many
//! instead, for one tenant, none of which ends, and tells how fast it was as they became more.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use sqlx::postgres::PgConnectOptions;
use tollgate_benchmarks::transactions::{TRANSACTIONS, Transactions};
use tollgate_benchmarks::{
    Run, call, measure, paced, quantities, quota_settings, random, tenant, use_log,
};
use tollgate_host::engine::{Binding, Host, Setup};
use tollgate_host::sandbox::{Compiler, Instances, Limits, Sandbox, Settings};
use tollgate_host::store::{Durability, PostgresStore, Store, Tenant};
use tollgate_tests::postgres::Cluster;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many callers wait for an answer at a time.
const CALLERS: usize = 1_024;
const TENANTS: usize = 10_000;
/// Those of [`quota_settings`].
const COUNTERS: i64 = 12;
const TTL: Duration = Duration::from_secs(600);
/// Longer than it takes to make them.
const TTL_OF_MANY: Duration = Duration::from_secs(86_400);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if let Some(place) = arguments.iter().position(|argument| argument == "host") {
            let (sockets, database) = (&arguments[place + 1], &arguments[place + 2]);
            let options =
                PgConnectOptions::new().socket(sockets).username("postgres").database(database);
            println!("{}", reserve(&options, 1, What::Reserve, None).await.per_s);
        } else if let Ok(reservations) = std::env::var("TOLLGATE_BENCH_RESERVATIONS") {
            grown(reservations.parse().unwrap()).await;
        } else {
            all().await;
        }
    });
    ExitCode::SUCCESS
}

async fn all() {
    let cluster = Cluster::shared();
    use_log(&cluster.database().await).await;
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

async fn store(options: &PgConnectOptions) -> PostgresStore {
    PostgresStore::connect(options.clone(), 16, Durability::Required).await.unwrap()
}

fn setup() -> Arc<Setup> {
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
    let quota = quota_settings();
    Arc::new(Setup {
        bindings: vec![binding("pricing", "{}"), binding("quota", &quota)],
        ..Setup::default()
    })
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
    let names: Vec<Tenant> = (0..tenants).map(tenant).collect();
    let host = host(options, &names).await;
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

async fn host(options: &PgConnectOptions, names: &[Tenant]) -> Host {
    let setup = setup();
    let began = Instant::now();
    let clock = move || i64::try_from(began.elapsed().as_millis()).unwrap();
    let store = Arc::new(store(options).await);
    let mut builder = Host::builder(store, Arc::new(clock), Arc::new(random))
        .shards(if names.len() == 1 { 1 } else { 4 });
    for name in names {
        builder = builder.tenant(name.clone(), Arc::clone(&setup));
    }
    builder.start().await.unwrap()
}

/// How many a second, of each tenth.
async fn grown(reservations: u64) {
    let cluster = Cluster::shared();
    let database = cluster.database().await;
    use_log(&database).await;
    let host = host(&database, &[tenant(0)]).await;
    meet(host.clone(), tenant(0)).await;
    let made = Arc::new(AtomicU64::new(0));
    let mut tenths = Vec::new();
    for tenth in 1..=10 {
        let begun = Instant::now();
        let (before, until) = (made.load(Ordering::Relaxed), reservations * tenth / 10);
        let callers = (0..CALLERS).map(|_| {
            let (host, made) = (host.clone(), Arc::clone(&made));
            tokio::spawn(async move {
                while made.fetch_add(1, Ordering::Relaxed) < until {
                    host.reserve(&tenant(0), None, call(), TTL_OF_MANY).await.unwrap().unwrap();
                }
                made.fetch_sub(1, Ordering::Relaxed);
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        let per_s = (until - before) as f64 / begun.elapsed().as_secs_f64();
        eprintln!("{until} reservations: the last tenth at {per_s:.0} a second");
        tenths.push(per_s.round());
    }
    println!("{}", json!({ "reservations": reservations, "per_s_by_tenth": tenths }));
}

async fn meet(host: Host, tenant: Tenant) {
    host.reserve(&tenant, None, call(), TTL).await.unwrap().unwrap();
}

/// The same rows, each reservation in a transaction of its own, as one would write it by hand;
/// nothing is judged.
async fn transactions(options: &PgConnectOptions) -> Run {
    let by_hand = Transactions::connect(options, &[tenant(0)], COUNTERS).await;
    let asked = move |_| {
        let by_hand = by_hand.clone();
        async move {
            by_hand.reserve("tenant-0").await;
        }
    };
    measure(TRANSACTIONS, asked).await
}
