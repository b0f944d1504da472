//! A store, a clock that a test sets, and hosts on both.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tollgate_host::engine::{
    Binding, Call, Host, HostBuilder, HostError, Mode, Operation, Outcome, Setup,
};
use tollgate_host::sandbox::{Compiler, Instances, Limits, Policy, Sandbox, Settings};
use tollgate_host::store::{Clock, Durability, PostgresStore, SqliteStore, Store, Tenant};
use tollgate_policy_core::contract::{Dimension, Quantity};
use uuid::Uuid;

/// A store and a clock.
pub struct House<S> {
    pub store: Arc<S>,
    pub now: Arc<AtomicI64>,
    /// How to reach the tables; none: it is a file.
    pub options: Option<PgConnectOptions>,
    /// With what hosts judged, by the names that batches know it by.
    setups: Mutex<HashMap<String, Arc<Setup>>>,
    _directory: Option<TempDir>,
}

pub const TENANT: &str = "acme";

pub fn acme() -> Tenant {
    TENANT.parse().expect("a name")
}

pub async fn postgres() -> House<PostgresStore> {
    postgres_at(tollgate_tests::postgres::Cluster::shared().database().await).await
}

/// On a database of a cluster of one's own.
pub async fn postgres_at(options: PgConnectOptions) -> House<PostgresStore> {
    let store = PostgresStore::connect(options.clone(), 8, Durability::Required).await;
    let (now, clock) = clock();
    let store = store.expect("the store").with_clock(clock);
    let (store, setups) = (Arc::new(store), Mutex::default());
    House { store, now, setups, options: Some(options), _directory: None }
}

/// On a store that goes by its own clock, and no test's.
pub async fn postgres_by_its_own_clock() -> House<PostgresStore> {
    let options = tollgate_tests::postgres::Cluster::shared().database().await;
    let store = PostgresStore::connect(options.clone(), 8, Durability::Required).await;
    let (store, (now, _), setups) =
        (Arc::new(store.expect("the store")), clock(), Mutex::default());
    House { store, now, setups, options: Some(options), _directory: None }
}

pub async fn sqlite() -> House<SqliteStore> {
    let directory = tempfile::tempdir().expect("a directory");
    let (now, clock) = clock();
    let path = directory.path().join("ledger.db");
    let store = SqliteStore::open(&path, Durability::Required, clock).await.expect("the store");
    let (store, setups) = (Arc::new(store), Mutex::default());
    House { store, now, setups, options: None, _directory: Some(directory) }
}

/// A clock that the test sets.
fn clock() -> (Arc<AtomicI64>, Clock) {
    let now = Arc::new(AtomicI64::new(1_000_000_000_000));
    let clock = Arc::clone(&now);
    (now, Arc::new(move || clock.load(Ordering::Relaxed)))
}

/// The one in which all policies of these tests run.
pub fn sandbox() -> Arc<Sandbox> {
    static SANDBOX: OnceLock<Arc<Sandbox>> = OnceLock::new();
    let sandbox = SANDBOX.get_or_init(|| sandbox_with(Some(compiled()), Compiler::InProcess));
    Arc::clone(sandbox)
}

/// One that loaded nothing before.
pub fn sandbox_that_knows_nothing() -> Arc<Sandbox> {
    sandbox_with(None, Compiler::InProcess)
}

/// One that knows what the one for all knows, and compiles nothing: until there is this file, it does
/// not even give up.
pub fn sandbox_that_hangs(until: &Path) -> Arc<Sandbox> {
    let script = format!("while [ ! -e '{}' ]; do /bin/sleep 0.02; done", until.display());
    let (program, arguments) = ("/bin/sh".into(), vec!["-c".into(), script]);
    sandbox_with(Some(compiled()), Compiler::Child { program, arguments })
}

fn compiled() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")
}

fn sandbox_with(cache: Option<PathBuf>, compiler: Compiler) -> Arc<Sandbox> {
    let (limits, instances) = (Limits::default(), Instances::Pooled(32));
    sandbox_of(Settings { limits, instances, compiler, cache })
}

/// One with limits of its own, in which time is up before fuel is, and so many instances.
pub fn sandbox_of_time(call_ms: u64, instances: u32) -> Arc<Sandbox> {
    let limits = Limits { call_fuel: u64::MAX, call_ms, ..Limits::default() };
    let (instances, compiler) = (Instances::Pooled(instances), Compiler::InProcess);
    sandbox_of(Settings { limits, instances, compiler, cache: None })
}

fn sandbox_of(settings: Settings) -> Arc<Sandbox> {
    Arc::new(Sandbox::new(settings).expect("the sandbox"))
}

fn policy(component: &str, settings: &str) -> Policy {
    let component = tollgate_plugins::standard(component).expect("a standard component");
    sandbox().load(component, settings).expect("let in")
}

/// So many tokens a month, priced by the seed list; an agent that costs a cent is disabled.
pub fn setup(tokens: u32) -> Arc<Setup> {
    let limits = format!(
        r#"{{"limits":[{{"meter":"llm_tokens","period":"month","limit":{tokens}}},
        {{"meter":"active_runs","period":"in-flight","limit":1000000}}]}}"#
    );
    let cost = r#"{"cost_limits":{"monthly_limit":0.01,"auto_disable":true}}"#;
    Arc::new(Setup {
        bindings: vec![
            binding("pricing", "{}"),
            binding("quota", &limits),
            binding("alerts", cost),
        ],
        ..Setup::default()
    })
}

/// These limits alone, priced by the seed list.
pub fn limited(limits: &str) -> Setup {
    let settings = format!(r#"{{"limits":{limits}}}"#);
    let bindings = vec![binding("pricing", "{}"), binding("quota", &settings)];
    Setup { bindings, ..Setup::default() }
}

pub fn binding(component: &str, settings: &str) -> Binding {
    Binding::new(component, policy(component, settings))
}

impl<S: Store> House<S> {
    pub fn at(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Time goes on.
    pub fn advance(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }

    /// With what a batch was judged.
    pub fn setup_of(&self, context: &str) -> Arc<Setup> {
        let setups = self.setups.lock().expect("the setups");
        Arc::clone(setups.get(context).expect("a setup of this test"))
    }

    /// Something is about to be judged with this.
    pub fn know(&self, setup: &Arc<Setup>) {
        let mut setups = self.setups.lock().expect("the setups");
        setups.insert(setup.context_name(), Arc::clone(setup));
    }

    /// A host with books of its own.
    pub async fn host(&self, setup: &Arc<Setup>) -> Host {
        self.builder(setup).start().await.expect("a host")
    }

    pub fn builder(&self, setup: &Arc<Setup>) -> HostBuilder<S> {
        let now = Arc::clone(&self.now);
        self.builder_by(setup, Arc::new(move || now.load(Ordering::Relaxed)))
    }

    /// A host that has a clock of its own.
    pub fn builder_by(&self, setup: &Arc<Setup>, clock: Clock) -> HostBuilder<S> {
        static DRAWN: AtomicU64 = AtomicU64::new(1);
        // No two numbers alike, spread over all bits.
        let random = || {
            let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
            u128::from(drawn).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        };
        self.know(setup);
        Host::builder(Arc::clone(&self.store), clock, Arc::new(random))
            // What is forgotten must be found again.
            .remembered(4)
            .tenant(acme(), Arc::clone(setup))
    }
}

pub fn tokens(amount: u32) -> Vec<Quantity> {
    let quantity = |meter: &str, amount: u32| Quantity {
        meter: meter.parse().expect("a meter"),
        amount: amount.into(),
    };
    [("llm_tokens", amount), ("llm_tokens.input", amount), ("active_runs", 1)]
        .map(|(meter, amount)| quantity(meter, amount))
        .to_vec()
}

pub fn reserve(amount: u32) -> Operation {
    reserve_for("sdr", amount)
}

pub fn reserve_for(agent: &str, amount: u32) -> Operation {
    let dimensions = [("agent", agent), ("model", "gpt-4o")]
        .map(|(name, value)| Dimension { name: name.into(), value: value.into() });
    let call = Call { dimensions: dimensions.to_vec(), quantities: tokens(amount) };
    Operation::Reserve { call, ttl_ms: 60_000, mode: Mode::All }
}

pub fn call(dimensions: &[(&str, &str)], quantities: &[(&str, u32)]) -> Call {
    let dimension =
        |(name, value): &(&str, &str)| Dimension { name: (*name).into(), value: (*value).into() };
    let quantity = |(meter, amount): &(&str, u32)| Quantity {
        meter: meter.parse().expect("a meter"),
        amount: (*amount).into(),
    };
    Call {
        dimensions: dimensions.iter().map(dimension).collect(),
        quantities: quantities.iter().map(quantity).collect(),
    }
}

pub fn reserve_of(call: Call, ttl_ms: i64) -> Operation {
    Operation::Reserve { call, ttl_ms, mode: Mode::All }
}

pub async fn ask(host: &Host, operation: Operation) -> Result<Outcome, HostError> {
    host.ask(&acme(), None, operation).await
}

/// The reservation's id; none where it was denied.
pub async fn reserved(host: &Host, amount: u32) -> Option<Uuid> {
    match ask(host, reserve(amount)).await.expect("an answer") {
        Outcome::Reserved(reserved) => Some(reserved.id),
        Outcome::Denied(denied) => {
            assert_eq!(denied.denial.code, "quota_exceeded");
            None
        }
        outcome => panic!("{outcome:?}"),
    }
}
