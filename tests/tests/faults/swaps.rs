//! Policies are swapped while requests are under way, on hosts in processes of their own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tollgate_host::engine::{BindingMode, Context, Failing, context_of};
use tollgate_host::registry::{Bound, By, Change, Registry, Upload};
use tollgate_host::store::{BatchKey, Durability, Owner, PostgresStore, Scope, Store, Tenant};
use tollgate_tests::embedded;
use tollgate_tests::postgres::Cluster;

use crate::ground::{Ground, Place, cache, wait};
use crate::judge::judge;
use crate::sizes::{alone, size};
use crate::storm::Storm;

const TENANTS: usize = 3;

/// None is lost, none is judged by a mixture, and each decision names what judged it.
#[test]
fn policies_are_swapped_under_load() {
    let _alone = alone();
    let swaps = size(50, 200, 1_000);
    let between = 200;
    let limit = (swaps * between) as u64;
    let ground = Ground::postgres(Cluster::shared(), TENANTS, limit);
    let mut storm = Storm::begin(ground.clone(), 4, 20);
    let shelf = Shelf::open(&ground);
    shelf.settle_in(limit);
    for swap in 0..swaps {
        shelf.swap(swap % 2 + 1);
        storm.go_on(between);
        // Hosts that are killed come back with what is bound by then.
        if swap % 10 == 9 {
            let host = storm.any_host();
            storm.kill(host);
            storm.start();
        }
    }
    storm.end();
    let found = judge(&ground, &mut storm.journal);
    assert!(found.denied > 0 && found.settled > 0 && found.released > 0, "{found:?}");
    let sets = shelf.sets();
    println!("{found:?} {sets:?}");
    for set in ["*/quota@1", "*/quota@2"] {
        assert!(sets.get(set).is_some_and(|decisions| *decisions > swaps), "{sets:?}");
    }
    shelf.judge_again();
}

/// The registry, and a look into what was decided.
struct Shelf {
    runtime: tokio::runtime::Runtime,
    registry: Registry<PostgresStore>,
}

impl Shelf {
    fn open(ground: &Ground) -> Self {
        let Place::Postgres(options) = &ground.place else { panic!("a database") };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let store = PostgresStore::connect((**options).clone(), 4, Durability::Required);
        let store = Arc::new(runtime.block_on(store).expect("the store"));
        let registry = Registry::new(store, embedded::sandbox(&cache()));
        for (_, component) in tollgate_plugins::STANDARD {
            registry.know(component);
        }
        Self { runtime, registry }
    }

    fn tenants() -> impl Iterator<Item = Tenant> {
        (0..TENANTS).map(|number| format!("t{number}").parse().expect("a name"))
    }

    /// Two revisions that allow the same, and are not the same.
    fn settle_in(&self, limit: u64) {
        let limits = |warning: &str| {
            format!(
                r#"{{"limits":[{{"meter":"llm_tokens","period":"total","per":["agent"],"limit":{limit},"warning_threshold":{warning}}}]}}"#
            )
        };
        self.push("pricing", "{}");
        self.push("quota", &limits("0.8"));
        self.push("quota", &limits("0.5"));
        self.bind("pricing", 1);
        self.bind("quota", 1);
        for tenant in Self::tenants() {
            let scope = Scope { owner: Owner::Tenant(tenant), plan: String::new() };
            self.change(&scope, Change::Settings(Box::default()));
        }
    }

    fn swap(&self, revision: usize) {
        self.bind("quota", i64::try_from(revision).expect("a revision"));
    }

    fn push(&self, policy: &str, settings: &str) {
        let component = tollgate_plugins::standard(policy).expect("a standard component");
        let by = by();
        let upload = Upload::new(policy, component, settings);
        let pushed = self.registry.push(&Owner::Platform, &upload, &by);
        self.runtime.block_on(pushed).expect("pushed");
    }

    fn bind(&self, policy: &str, revision: i64) {
        let (policy, of) = (policy.to_owned(), Owner::Platform);
        let (failing, mode) = (Failing::Closed, BindingMode::Enforce);
        let bound = Bound { policy, of, revision, failing, mode };
        let scope = Scope { owner: Owner::Platform, plan: String::new() };
        self.change(&scope, Change::Bind(bound));
    }

    fn change(&self, scope: &Scope, change: Change) {
        let by = by();
        let bound = self.registry.change(scope, None, change, &by);
        self.runtime.block_on(bound).expect("bound");
    }

    /// How many decisions each revision of the quota policy took.
    fn sets(&self) -> BTreeMap<String, usize> {
        let store = self.registry.store();
        let mut sets = BTreeMap::new();
        for tenant in Self::tenants() {
            let mut contexts: HashMap<String, String> = HashMap::new();
            let mut after = BatchKey::before(i64::MIN);
            loop {
                let page = wait(store.batches(&tenant, after, 500)).expect("batches");
                let Some(last) = page.last() else { break };
                after = last.key;
                for batch in &page {
                    let name = context_of(batch).expect("a context");
                    let revision = contexts.entry(name.clone()).or_insert_with(|| {
                        let body = wait(store.context(&tenant, &name)).expect("a context");
                        let context =
                            Context::read(&body.expect("it is kept")).expect("it is read");
                        let quota = context.policies.into_iter().find(|own| own.name == "quota");
                        let revision = quota.expect("a quota policy").revision;
                        revision.map_or_else(|| "embedded".into(), |own| own.to_string())
                    });
                    let decisions = batch.allowed.len() + batch.denied.len();
                    *sets.entry(revision.clone()).or_default() += decisions;
                }
            }
        }
        sets
    }

    /// What was judged by a mixture would come out otherwise.
    fn judge_again(&self) {
        let tenants: Vec<Tenant> = Self::tenants().collect();
        let report = self.registry.replay(&tenants, i64::MIN..i64::MAX, None, |_, _| {});
        let report = self.runtime.block_on(report).expect("a report");
        assert!(report.decisions > 0);
        assert_eq!((report.differences, report.unreadable), (0, 0), "{report:?}");
    }
}

fn by() -> By {
    By { author: "ops".into(), message: String::new() }
}
