//! Policies that take long, and are in their rights.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tollgate_host::engine::{Binding, Host, Layer, Outcome, Setup};
use tollgate_host::store::{Store, Tenant};

use crate::guest::{Guest, later};
use crate::house::{House, acme, binding, reserve, sandbox};

const ROOMY: &str = r#"{"limits":[{"meter":"llm_tokens","period":"month","limit":1000000}]}"#;

/// A quota policy whose every answer takes longer than a turn.
fn slow() -> Arc<Setup> {
    let spin = "(func $spin (local $left i32)
        (local.set $left (i32.const 2000000))
        (loop $again
            (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))";
    let guest = Guest { fields: spin, check: &later("(call $spin)"), ..Guest::default() };
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
    let (slow, rival): (_, Tenant) = (slow(), "rival".parse().expect("a name"));
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
    let (_, before) = tokio::join!(futures_util::future::join_all(slow), quick);
    assert!(before < SLOW / 4, "{before} of {SLOW} were answered before it");
}
