//! An entry of the ledger names the revisions that priced it and allowed what it is for.

use std::sync::Arc;

use tollgate_host::engine::{
    Binding, Entry, EntryKind, Expiring, Host, Layer, Line, Operation, Outcome, Report, Setup,
    Tariff, erase, lines,
};
use tollgate_host::store::{Owner, Place, RevisionId, Store};
use tollgate_policy_core::contract::{Dimension, Quantity};
use tollgate_policy_core::{Currency, Money};
use uuid::Uuid;

use crate::house::{House, acme, ask, binding, call, reserve_of};

const TTL_MS: i64 = 60_000;

fn revision(owner: Owner, policy: &str, number: i64) -> Option<RevisionId> {
    Some(RevisionId { owner, policy: policy.into(), number })
}

/// Each policy in this revision, but for one that no registry knows.
fn bound(number: i64) -> Arc<Setup> {
    let tokens = r#"{"limits":[{"meter":"llm_tokens","period":"month","limit":1000}]}"#;
    let ours = |component: &str, settings: &str| Binding {
        revision: revision(Owner::Platform, component, number),
        ..binding(component, settings)
    };
    let theirs = Binding {
        revision: revision(Owner::Tenant(acme()), "pricing", number),
        layer: Layer::Tenant,
        ..binding("pricing", r#"{"prices":"cost","factor":"2"}"#)
    };
    let bindings = vec![
        ours("alerts", "{}"),
        binding("quota", tokens),
        ours("pricing", "{}"),
        theirs,
        ours("quota", tokens),
    ];
    Arc::new(Setup { bindings, expiring: Expiring::Charge, ..Setup::default() })
}

async fn reserved(host: &Host) -> Uuid {
    let call = call(&[("model", "gpt-4o"), ("user", "ana")], &[("llm_tokens.input", 9)]);
    match ask(host, reserve_of(call, TTL_MS)).await.expect("an answer") {
        Outcome::Reserved(reserved) => reserved.id,
        other => panic!("{other:?}"),
    }
}

fn used() -> Vec<Quantity> {
    vec![Quantity { meter: "llm_tokens.input".parse().expect("a meter"), amount: 5.into() }]
}

async fn all<S: Store>(house: &House<S>) -> Vec<Line> {
    let page = lines(&*house.store, &acme(), Place::before(0), 999).await.expect("the ledger");
    page.into_iter().map(|(_, line)| line.expect("an entry")).collect()
}

/// The new ones, in a line each: account, kind, who priced it and who allowed it.
async fn told<S: Store>(house: &House<S>, before: &mut usize) -> Vec<String> {
    let all = all(house).await;
    let names = |revisions: &[RevisionId]| {
        revisions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let told = all.iter().skip(*before).map(|line| {
        let Line { account, kind, revisions, .. } = line;
        let (priced, allowed) = (names(&revisions.priced), names(&revisions.allowed));
        format!("{account} {kind}: {priced} | {allowed}")
    });
    let told = told.collect();
    *before = all.len();
    told
}

pub async fn an_entry_names_who_priced_it_and_who_allowed_it<S: Store>(house: &House<S>) {
    let (first, second) = (bound(1), bound(2));
    let old = house.host(&first).await;
    let mut before = 0;

    // Allowed by one, priced by another, on a host that has it from the store.
    let id = reserved(&old).await;
    let new = house.host(&second).await;
    ask(&new, Operation::Settle { id, used: used() }).await.expect("settled");
    let wanted =
        ["cost charge: */pricing@2 | */quota@1", "price charge: acme/pricing@2 | */quota@1"];
    assert_eq!(told(house, &mut before).await, wanted);

    // Extended by others: both allowed it. What it holds is charged once its time is over.
    let id = reserved(&old).await;
    let extend = Operation::Extend { id, more: used(), ttl_ms: TTL_MS };
    ask(&new, extend).await.expect("extended");
    house.advance(2 * TTL_MS);
    let next = house.host(&bound(3)).await;
    ask(&next, Operation::Expire).await.expect("expired");
    let wanted = [
        "cost expiry: */pricing@1 | */quota@1 */quota@2",
        "price expiry: acme/pricing@1 | */quota@1 */quota@2",
    ];
    assert_eq!(told(house, &mut before).await, wanted);

    // Settled after all, on a host that has that from the store.
    ask(&new, Operation::Settle { id, used: used() }).await.expect("settled");
    let wanted = [
        "cost refund:  | ",
        "price refund:  | ",
        "cost charge: */pricing@2 | */quota@1 */quota@2",
        "price charge: acme/pricing@2 | */quota@1 */quota@2",
    ];
    assert_eq!(told(house, &mut before).await, wanted);

    // Nobody was asked, and nothing was priced.
    let call = call(&[("model", "gpt-4o")], &[("llm_tokens.input", 3)]);
    let reports = vec![Report { call, used_at: None }];
    ask(&new, Operation::Record { reports }).await.expect("recorded");
    let money = Money::new(7.into(), Currency::USD);
    let (account, kind, reason) = (Tariff::Cost, EntryKind::Credit, "paid".into());
    let entry = Entry { account, kind, money, reason };
    ask(&new, Operation::Book { entry }).await.expect("booked");
    let wanted =
        ["cost charge: */pricing@2 | ", "price charge: acme/pricing@2 | ", "cost credit:  | "];
    assert_eq!(told(house, &mut before).await, wanted);

    // Who is erased takes none of it along.
    let entries = all(house).await;
    let ana = Dimension { name: "user".into(), value: "ana".into() };
    let random: tollgate_host::engine::Random = Arc::new(|| 7);
    erase(&*house.store, &acme(), &ana, &random).await.expect("erased");
    assert_eq!(all(house).await, entries);
}
