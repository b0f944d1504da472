//! Policies that take long, and are in their rights.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::sync::Notify;
use tollgate_host::engine::{Binding, Host, Layer, Outcome, Setup, verify};
use tollgate_host::store::{BatchKey, Store, Tenant};

use crate::guest::{Guest, later};
use crate::house::{House, acme, binding, call, reserve, sandbox};
use crate::{run, shared};

const ROOMY: &str = r#"{"limits":[{"meter":"llm_tokens","period":"month","limit":1000000}]}"#;

/// A quota policy whose every answer takes longer than a turn, until an instant.
fn slow(until: i64) -> Arc<Setup> {
    let spin = "(func $spin (local $left i32)
        (local.set $left (i32.const 2000000))
        (loop $again
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))";
    let check = format!(
        "(if (i64.lt_s (global.get $now) (i64.const {until})) (then {}))",
        later("(call $spin)")
    );
    let guest = Guest { fields: spin, check: &check, ..Guest::default() };
    let policy = sandbox().load(&guest.component(), "{}").expect("let in");
    let own = Binding { layer: Layer::Tenant, ..Binding::new("own", policy) };
    Arc::new(Setup { bindings: vec![binding("quota", ROOMY), own], ..Setup::default() })
}

async fn allowed(host: &Host, tenant: &Tenant) {
    let outcome = host.ask(tenant, None, reserve(1)).await.expect("an answer");
    assert!(matches!(outcome, Outcome::Reserved(_)), "{outcome:?}");
}

/// Whoever shares a shard with it waits for a turn of its, and not for all that it asks.
pub async fn a_tenant_whose_policies_take_long_holds_up_no_other<S: Store>(house: &House<S>) {
    const SLOW: usize = 40;
    let (slow, rival): (_, Tenant) = (slow(i64::MAX), "rival".parse().expect("a name"));
    let quick = Arc::new(Setup { bindings: vec![binding("quota", ROOMY)], ..Setup::default() });
    house.know(&quick);
    let host = house.builder(&slow).tenant(rival.clone(), quick).shards(1);
    let host = host.start().await.expect("a host");
    // Until none of them is expected to have other hosts beside this one.
    while host.books() < 2 {
        allowed(&host, &acme()).await;
        allowed(&host, &rival).await;
    }
    let answered = AtomicUsize::new(0);
    let slow = (0..SLOW).map(|_| async {
        allowed(&host, &acme()).await;
        answered.fetch_add(1, Ordering::Relaxed);
    });
    let quick = async {
        allowed(&host, &rival).await;
        answered.load(Ordering::Relaxed)
    };
    let (_, before) = tokio::join!(join_all(slow), quick);
    assert!(before < SLOW / 4, "{before} of {SLOW} were answered before it");
}

/// The slow one is locked and judged on both hosts in turn, and so is its rival.
#[test]
fn a_slow_tenant_that_two_hosts_contend_for_holds_up_no_other() {
    run(async {
        const SLOW: usize = 40;
        let house = shared().await;
        let (slow, rival): (_, Tenant) = (slow(i64::MAX), "rival".parse().expect("a name"));
        let quick = Arc::new(Setup { bindings: vec![binding("quota", ROOMY)], ..Setup::default() });
        let mut hosts = Vec::new();
        for _ in 0..2 {
            let builder = house.builder(&slow).tenant(rival.clone(), Arc::clone(&quick)).shards(1);
            let host = builder.start().await.expect("a host");
            while host.books() < 2 {
                allowed(&host, &acme()).await;
                allowed(&host, &rival).await;
            }
            hosts.push(host);
        }
        let before = turns(&house, &acme()).await.len();
        let answered = AtomicUsize::new(0);
        let slow = (0..SLOW).map(|place| {
            let (host, answered) = (&hosts[place % 2], &answered);
            async move {
                allowed(host, &acme()).await;
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        let quick = hosts.iter().map(|host| {
            let (answered, rival) = (&answered, &rival);
            async move {
                allowed(host, rival).await;
                answered.load(Ordering::Relaxed)
            }
        });
        let (_, before_it) = tokio::join!(join_all(slow), join_all(quick));
        let most = before_it.iter().max().expect("two");
        assert!(*most < SLOW / 4, "{before_it:?} of {SLOW} were answered before it");
        // Each takes more than a turn: neither a shard nor a lock is anybody's for two of them.
        assert_eq!(turns(&house, &acme()).await.split_off(before), [1; SLOW]);
        for tenant in [&acme(), &rival] {
            assert_eq!(verify(&*house.store, tenant, None).await, Ok(Vec::new()));
        }
    });
}

/// How many requests were allowed in each batch, in order.
async fn turns<S: Store>(house: &House<S>, tenant: &Tenant) -> Vec<usize> {
    let beginning = BatchKey::before(i64::MIN);
    let batches = house.store.batches(tenant, beginning, 9_999).await.expect("batches");
    batches.iter().map(|batch| batch.allowed.len()).collect()
}

/// What waits for a turn and what comes anew are of one tenant, whom nobody expects to be slow by then.
pub async fn nothing_is_lost_as_a_tenant_is_slow_no_longer<S: Store>(house: &House<S>) {
    const EACH: usize = 200;
    let host = house.builder(&slow(house.at() + 1)).shards(1).start().await.expect("a host");
    while host.books() < 1 {
        allowed(&host, &acme()).await;
    }
    allowed(&host, &acme()).await;
    let check = async || host.check(&acme(), call(&[], &[])).await.expect("an answer");
    let (answered, is_quick) = (AtomicUsize::new(0), Notify::new());
    let first = (0..EACH).map(|_| async {
        check().await;
        if answered.fetch_add(1, Ordering::Relaxed) == 3 {
            house.advance(1);
            is_quick.notify_one();
        }
    });
    let then = async {
        is_quick.notified().await;
        join_all((0..EACH).map(|_| check())).await
    };
    tokio::join!(join_all(first), then);
}
