//! Policies on the move, on a Postgres of its own: decisions judged again, a change that four hosts
//! see, what answers take meanwhile, and how soon many tenants are ready.
//!
//! Prints one JSON object. `TOLLGATE_BENCH_SECONDS` says how long each part runs.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use tollgate_benchmarks::{call, measure, quota_settings, random, tenant};
use tollgate_host::engine::{BindingMode, Failing, Host};
use tollgate_host::registry::{Bindings, Bound, By, Change, Registry, Upload};
use tollgate_host::sandbox::{Compiler, Instances, Limits, Sandbox, Settings};
use tollgate_host::store::{
    BindingSetRow, Durability, Owner, PostgresStore, RegistryStore, RevisionId, RevisionRow, Scope,
    Signed, Tenant,
};
use tollgate_tests::postgres::Cluster;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TTL: Duration = Duration::from_secs(600);
const CALLERS: usize = 64;
const SWAPS: usize = 40;
const REPLAYED: usize = 240_000;
const TENANTS: usize = 1_000;
const COMPONENTS: usize = 100;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let mut figures = serde_json::Map::new();
        figures.insert("replay_per_s".into(), json!(replayed(directory.path()).await));
        let (told, untold) = seen(directory.path()).await;
        figures.insert("swap_seen_ms".into(), json!(told));
        figures.insert("swap_seen_untold_ms".into(), json!(untold));
        let (quiet, swapping) = answered(directory.path()).await;
        figures.insert("p99_ms".into(), json!(quiet));
        figures.insert("p99_swapping_ms".into(), json!(swapping));
        figures.insert("ready_ms".into(), json!(ready(directory.path()).await));
        println!("{}", serde_json::Value::Object(figures));
    });
    ExitCode::SUCCESS
}

fn sandbox(directory: &Path) -> Arc<Sandbox> {
    let settings = Settings {
        limits: Limits::default(),
        instances: Instances::Pooled(32),
        compiler: Compiler::InProcess,
        cache: Some(directory.join("cache")),
    };
    Arc::new(Sandbox::new(settings).unwrap())
}

async fn store(options: &PgConnectOptions) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::connect(options.clone(), 8, Durability::Required).await.unwrap())
}

async fn host(store: &Arc<PostgresStore>) -> Host {
    let began = Instant::now();
    let clock = move || i64::try_from(began.elapsed().as_millis()).unwrap();
    let host = Host::builder(Arc::clone(store), Arc::new(clock), Arc::new(random));
    host.shards(1).start().await.unwrap()
}

fn by() -> By {
    By { author: "bench".into(), message: String::new() }
}

fn platform() -> Scope {
    Scope { owner: Owner::Platform, plan: String::new() }
}

fn of(tenant: &Tenant) -> Scope {
    Scope { owner: Owner::Tenant(tenant.clone()), plan: String::new() }
}

async fn push(registry: &Registry<PostgresStore>, policy: &str, settings: &str) -> RevisionId {
    let component = tollgate_plugins::standard(policy).unwrap();
    let upload = Upload::new(policy, component, settings);
    registry.push(&Owner::Platform, &upload, &by()).await.unwrap().id
}

async fn bind(registry: &Registry<PostgresStore>, id: RevisionId) {
    let RevisionId { owner: of, policy, number: revision } = id;
    let (failing, mode) = (Failing::Closed, BindingMode::Enforce);
    let bound = Bound { policy, of, revision, failing, mode };
    registry.change(&platform(), None, Change::Bind(bound), &by()).await.unwrap();
}

/// Prices and twelve counters for a tenant, as two revisions that differ in what they warn at.
async fn two_sets(registry: &Registry<PostgresStore>) -> [RevisionId; 2] {
    let prices = push(registry, "pricing", "{}").await;
    bind(registry, prices).await;
    let settings = quota_settings();
    let one = push(registry, "quota", &settings).await;
    let other = settings.replace("900000000000", "800000000000");
    let two = push(registry, "quota", &other).await;
    bind(registry, one.clone()).await;
    let settings = Change::Settings(Box::default());
    registry.change(&of(&tenant(0)), None, settings, &by()).await.unwrap();
    [one, two]
}

async fn reserve(host: &Host) {
    host.reserve(&tenant(0), None, call(), TTL).await.unwrap().unwrap();
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Decisions judged again by the same policies, a second on each processor.
async fn replayed(directory: &Path) -> f64 {
    let store = store(&Cluster::shared().database().await).await;
    let registry = Registry::new(Arc::clone(&store), sandbox(directory));
    two_sets(&registry).await;
    let host = host(&store).await;
    registry.bring(&host).await.unwrap();
    let callers = (0..512).map(|_| {
        let host = host.clone();
        tokio::spawn(async move {
            for _ in 0..REPLAYED / 512 {
                reserve(&host).await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let begun = Instant::now();
    let all = i64::MIN..i64::MAX;
    let report = registry.replay(&[tenant(0)], all, None, |_, _| {}).await.unwrap();
    assert_eq!((report.decisions, report.differences), (REPLAYED as u64 / 512 * 512, 0));
    let lanes = std::thread::available_parallelism().unwrap().get();
    let per_s = report.decisions as f64 / begun.elapsed().as_secs_f64() / lanes as f64;
    eprintln!("replay: {per_s:.0} decisions a second on each of {lanes} processors");
    per_s.round()
}

/// How long it takes until the last of four hosts judges by what was bound, in ms: the median where
/// they are told of it, and where they are not.
async fn seen(directory: &Path) -> (f64, f64) {
    let options = Cluster::shared().database().await;
    let registry = Registry::new(store(&options).await, sandbox(directory));
    let sets = two_sets(&registry).await;
    let mut medians = [0.0; 2];
    for (listens, median) in std::iter::zip([true, false], &mut medians) {
        let mut hosts = Vec::new();
        for _ in 0..4 {
            let store = PostgresStore::connect(options.clone(), 8, Durability::Required);
            let store = store.await.unwrap();
            let store = Arc::new(if listens { store } else { store.without_listening() });
            let host = host(&store).await;
            let own = Registry::new(store, sandbox(directory));
            own.bring(&host).await.unwrap();
            tokio::spawn(own.follow(host.clone(), Duration::from_millis(250)));
            hosts.push(host);
        }
        let mut took = Vec::new();
        for swap in 0..SWAPS {
            bind(&registry, sets[(swap + 1) % 2].clone()).await;
            let begun = Instant::now();
            let limit = [900_000_000_000_u64, 800_000_000_000][(swap + 1) % 2];
            for host in &hosts {
                loop {
                    let checked = host.check(&tenant(0), call()).await.unwrap();
                    if checked.standings[0].limit == Some(limit.try_into().unwrap()) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_micros(500)).await;
                }
            }
            took.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        took.sort_by(f64::total_cmp);
        *median = rounded(took[SWAPS / 2]);
        let last = rounded(took[SWAPS - 1]);
        eprintln!("a swap is seen by four hosts after {median} ms (median), {last} ms (longest)");
    }
    (medians[0], medians[1])
}

/// The 99th percentile of a reservation in ms, without and with ten swaps a second.
async fn answered(directory: &Path) -> (f64, f64) {
    let store = store(&Cluster::shared().database().await).await;
    let registry = Registry::new(Arc::clone(&store), sandbox(directory));
    let sets = two_sets(&registry).await;
    let host = host(&store).await;
    registry.bring(&host).await.unwrap();
    tokio::spawn(registry.clone().follow(host.clone(), Duration::from_millis(250)));
    let asked = |host: &Host| {
        let host = host.clone();
        move |_| {
            let host = host.clone();
            async move { reserve(&host).await }
        }
    };
    let quiet = measure(CALLERS, asked(&host)).await;
    let swapping = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        for swap in 0.. {
            ticks.tick().await;
            bind(&registry, sets[swap % 2].clone()).await;
        }
    });
    let swapped = measure(CALLERS, asked(&host)).await;
    swapping.abort();
    eprintln!("p99 {} ms, while policies are swapped {} ms", quiet.p99, swapped.p99);
    (quiet.p99, swapped.p99)
}

/// How long it takes a host until tenants on as many components are ready, in ms; and what one more
/// idle tenant takes of memory, in bytes.
async fn ready(directory: &Path) -> f64 {
    let options = Cluster::shared().database().await;
    let store = store(&options).await;
    for number in 0..COMPONENTS {
        shelve(&store, number).await;
    }
    for number in 0..TENANTS {
        settle(&store, number).await;
    }
    let mut took = Vec::new();
    // The first fills the cache.
    for _ in 0..4 {
        let begun = Instant::now();
        let host = host(&store).await;
        let registry = Registry::new(Arc::clone(&store), sandbox(directory));
        registry.bring(&host).await.unwrap();
        assert!(registry.troubles().is_empty(), "{:?}", registry.troubles()[0]);
        host.check(&tenant(TENANTS - 1), call()).await.unwrap();
        took.push(begun.elapsed().as_secs_f64() * 1_000.0);
        eprintln!(
            "{TENANTS} tenants on {COMPONENTS} components are ready after {:?}",
            begun.elapsed()
        );
    }
    took.remove(0);
    took.sort_by(f64::total_cmp);
    rounded(took[1])
}

/// A component like no other: the standard one, with a number in it.
async fn shelve(store: &PostgresStore, number: usize) {
    let mut component = tollgate_plugins::standard("quota").unwrap().to_vec();
    let section = [b"\x06number".as_slice(), format!("{number:04}").as_bytes()].concat();
    component.extend([0, u8::try_from(section.len()).unwrap()]);
    component.extend(section);
    let digest = tollgate_host::sandbox::digest(&component);
    let signed = signed();
    store.put_component(&Owner::Platform, &digest, &component, &signed).await.unwrap();
    let (owner, policy, settings) = (Owner::Platform, format!("p{number}"), quota());
    let (signer, signature) = (None, None);
    let row = RevisionRow { owner, policy, number: 1, digest, settings, signer, signature, signed };
    store.put_revision(&row).await.unwrap();
}

fn quota() -> String {
    r#"{"limits":[{"meter":"llm_tokens","period":"month","limit":1000000}]}"#.into()
}

async fn settle(store: &PostgresStore, number: usize) {
    let (policy, of_) = (format!("p{}", number % COMPONENTS), Owner::Platform);
    let (failing, mode) = (Failing::Closed, BindingMode::Enforce);
    let bound = Bound { policy, of: of_, revision: 1, failing, mode };
    let bindings = Bindings { policies: vec![bound], ..Bindings::default() };
    let (scope, body) = (of(&tenant(number)), bindings.to_string());
    let row = BindingSetRow { scope, version: 1, moved: 0, signed: signed(), body };
    assert!(store.put_bindings(&row).await.unwrap());
}

fn signed() -> Signed {
    Signed { at: 1, author: "bench".into(), message: String::new() }
}
