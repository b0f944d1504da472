//! Durable reservations on a Postgres of its own, side by side in one run: a transaction with
//! `SELECT … FOR UPDATE` for each, and hosts that commit in groups, on one tenant, on many, and
//! four of them in processes of their own. Each decision runs in the sandbox: a price and twelve
//! counters.
//!
//! Prints one JSON object. `TOLLGATE_BENCH_SECONDS` says how long each part runs.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use tollgate_host::engine::{Binding, Call, Host, Setup};
use tollgate_host::sandbox::{Compiler, Instances, Limits, Sandbox, Settings};
use tollgate_host::store::{
    CounterRow, DecisionRow, Durability, HoldRow, Locked, Need, PostgresStore, Since, Store,
    Tenant, Total, Write, Written,
};
use tollgate_policy_core::contract::{Dimension, Quantity};
use tollgate_tests::postgres::Cluster;
use uuid::Uuid;

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
            let (per_s, _) = reserve(&options, 1, false).await;
            println!("{per_s}");
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
    let (transaction, transaction_ms) = transactions(&cluster.database().await).await;
    let (hot, hot_ms) = reserve(&cluster.database().await, 1, false).await;
    let (pairs, _) = reserve(&cluster.database().await, 1, true).await;
    let (spread, spread_ms) = reserve(&cluster.database().await, TENANTS, false).await;
    let database = cluster.database().await;
    // Its tables, before four want to make them.
    store(&database).await.create(&tenant(0)).await.unwrap();
    let four: f64 = hosts(&database, 4);
    println!(
        "{}",
        json!({
            "transaction_per_s": transaction, "hot_per_s": hot, "spread_per_s": spread,
            "four_hosts_per_s": four, "pairs_per_s": pairs,
            "p99_ms": { "transaction": transaction_ms, "hot": hot_ms, "spread": spread_ms },
            "hot_to_transaction": hot / transaction,
        })
    );
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

/// Reservations a second of one host over so many tenants, with a settlement each or without;
/// and the 99th percentile of an answer, in ms.
async fn reserve(options: &PgConnectOptions, tenants: usize, settle: bool) -> (f64, f64) {
    let setup = setup();
    let names: Vec<Tenant> = (0..tenants).map(tenant).collect();
    let mut builder = Host::builder(Arc::new(store(options).await))
        .shards(if tenants == 1 { 1 } else { 4 })
        .random(Arc::new(random));
    for name in &names {
        builder = builder.tenant(name.clone(), Arc::clone(&setup));
    }
    let host = builder.start().await.unwrap();
    let names: Arc<[Tenant]> = names.into();
    let asked = move |_| {
        let (host, names) = (host.clone(), Arc::clone(&names));
        async move {
            let place = (random() >> 70) as usize % names.len();
            let reserved = host.reserve(&names[place], None, call(), TTL).await.unwrap().unwrap();
            if settle {
                host.settle(&names[place], None, reserved.id, quantities()).await.unwrap();
            }
        }
    };
    measure(CALLERS, asked).await
}

/// The same rows, each reservation in a transaction of its own; nothing is judged.
async fn transactions(options: &PgConnectOptions) -> (f64, f64) {
    let store = Arc::new(store(options).await);
    let tenant = tenant(0);
    store.create(&tenant).await.unwrap();
    let asked = move |_| {
        let (store, tenant) = (Arc::clone(&store), tenant.clone());
        async move {
            let values = "[\"ana\"]".to_owned();
            let mut locked = loop {
                // Its lock's time may run out where sixteen want it.
                if let Ok(locked) = store.lock(&tenant).await {
                    break locked;
                }
            };
            let since = |counter| Since { counter, values: values.clone(), opened: 0 };
            let counters = (0..12).map(since).collect();
            let need = Need { counters, ..Need::head(tenant.clone()) };
            let found = locked.read(&need).await.unwrap();
            let id = Uuid::from_u128(random());
            let body = vec![7; 600];
            let total = Total {
                used: found.head.version.unsigned_abs().try_into().unwrap(),
                held: 5.into(),
            };
            let row = |counter| CounterRow { counter, values: values.clone(), opened: 100, total };
            let mut write = Write::new(tenant, found.head, (random() >> 64) as i64, found.now);
            write.counters = (0..12).map(row).collect();
            write.holds = vec![HoldRow { id, expires_at: found.now, body: body.clone() }];
            write.decisions = vec![DecisionRow { id, allowed: true, body }];
            assert_eq!(locked.write(&write).await, Ok(Written::Committed));
        }
    };
    measure(TRANSACTIONS, asked).await
}

/// Lets so many callers ask again and again: answers a second, and the 99th percentile in ms.
async fn measure<F, A>(callers: usize, asked: F) -> (f64, f64)
where
    F: Fn(usize) -> A + Clone + Send + 'static,
    A: Future<Output = ()> + Send,
{
    let warm = Instant::now() + Duration::from_secs_f64(seconds() / 5.0);
    let end = warm + Duration::from_secs_f64(seconds());
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
    took.sort();
    let p99 = took[took.len() * 99 / 100].as_secs_f64() * 1_000.0;
    ((took.len() as f64 / seconds()).round(), (p99 * 10.0).round() / 10.0)
}
