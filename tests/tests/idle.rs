//! What a tenant takes of whom nothing is heard. Alone in its process, which counts what it
//! allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tollgate_host::engine::{BindingMode, Call, Failing, Host};
use tollgate_host::registry::{Bound, By, Change, Registry, Upload};
use tollgate_host::sandbox::{Compiler, Instances, Limits, Sandbox, Settings};
use tollgate_host::store::{Durability, Owner, Scope, SqliteStore, Tenant};

/// At the most, in bytes.
const IDLE_MAX: i64 = 4_096;

const TENANTS: i64 = 1_000;

/// Bytes that are allocated and not given back.
static LIVE: AtomicI64 = AtomicI64::new(0);

struct Counting;

fn bytes(layout: Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

#[allow(unsafe_code, reason = "it counts, and hands on")]
// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(bytes(layout), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(bytes(layout), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn by() -> By {
    By { author: "ops".into(), message: String::new() }
}

fn tenant(number: i64) -> Tenant {
    format!("tenant-{number}").parse().expect("a name")
}

async fn bind(registry: &Registry<SqliteStore>, policy: &str) {
    let component = tollgate_plugins::standard(policy).expect("a standard component");
    let upload = Upload::new(policy, component, "{}");
    let id = registry.push(&Owner::Platform, &upload, &by()).await.expect("pushed").id;
    let (failing, mode) = (Failing::Closed, BindingMode::Enforce);
    let (policy, of, revision) = (id.policy, id.owner, id.number);
    let bound = Bound { policy, of, revision, failing, mode };
    let scope = Scope { owner: Owner::Platform, plan: String::new() };
    registry.change(&scope, None, Change::Bind(bound), &by()).await.expect("bound");
}

/// Serves these tenants, and asks each once.
async fn serve(registry: &Registry<SqliteStore>, host: &Host, tenants: std::ops::Range<i64>) {
    for number in tenants.clone() {
        let scope = Scope { owner: Owner::Tenant(tenant(number)), plan: String::new() };
        let settings = Change::Settings(Box::default());
        registry.change(&scope, None, settings, &by()).await.expect("bound");
    }
    registry.bring(host).await.expect("brought");
    for number in tenants {
        let call = Call::of([("user", "ana"), ("model", "gpt-4o")]).asking("llm_requests", 1_u32);
        let checked = host.check(&tenant(number), call.expect("a meter")).await;
        assert_eq!(checked.expect("an answer").denial, None);
    }
}

#[test]
fn an_idle_tenant_takes_at_most_4_kb() {
    tollgate_tests::run(async {
        let directory = tempfile::tempdir().expect("a directory");
        let now = Arc::new(AtomicI64::new(1_000_000_000_000));
        let clock = {
            let now = Arc::clone(&now);
            Arc::new(move || now.load(Ordering::Relaxed))
        };
        let path = directory.path().join("ledger.db");
        let store = SqliteStore::open(&path, Durability::Required, clock.clone()).await;
        let store = Arc::new(store.expect("the store"));
        let (limits, instances) = (Limits::default(), Instances::Pooled(4));
        let cache = Some(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
        let settings = Settings { limits, instances, compiler: Compiler::InProcess, cache };
        let sandbox = Arc::new(Sandbox::new(settings).expect("the sandbox"));
        let registry = Registry::new(Arc::clone(&store), sandbox);
        bind(&registry, "pricing").await;
        bind(&registry, "quota").await;
        let drawn = AtomicU64::new(1);
        let random = Arc::new(move || {
            u128::from(drawn.fetch_add(1, Ordering::Relaxed)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let host = Host::builder(store, clock, random).sweep(Duration::from_millis(10));
        let host = host.start().await.expect("a host");
        let rest = async || {
            now.fetch_add(60_001, Ordering::Relaxed);
            // What was read a moment later rests a moment later.
            while host.books() > 0 {
                now.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        };
        // What is there once for all is there after the first of them.
        serve(&registry, &host, 0..100).await;
        rest().await;
        let before = LIVE.load(Ordering::Relaxed);
        serve(&registry, &host, 100..100 + TENANTS).await;
        rest().await;
        let idle = (LIVE.load(Ordering::Relaxed) - before) / TENANTS;
        println!("an idle tenant takes {idle} bytes");
        assert!((1..=IDLE_MAX).contains(&idle), "{idle} bytes");
    });
}
