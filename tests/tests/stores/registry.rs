//! What policies there are, and where they are bound.

use futures_util::future::join_all;
use tollgate_host::store::{
    BindingSetRow, Owner, RegistryStore, RevisionId, RevisionRow, Scope, Signed,
};

fn tenant(name: &str) -> Owner {
    Owner::Tenant(name.parse().expect("a name"))
}

fn signed(message: &str) -> Signed {
    Signed { at: 7, author: "ana".into(), message: message.into() }
}

fn revision(owner: Owner, number: i64, settings: &str) -> RevisionRow {
    let (policy, digest) = ("monthly".into(), "d1".into());
    let (settings, signed) = (settings.into(), signed("as agreed"));
    let signer = (number == 2).then(|| "ana".into());
    let signature = signer.is_some().then(|| vec![7; 64]);
    RevisionRow { owner, policy, number, digest, settings, signer, signature, signed }
}

fn bindings(owner: Owner, plan: &str, version: i64, body: &str) -> BindingSetRow {
    let scope = Scope { owner, plan: plan.into() };
    BindingSetRow { scope, version, moved: 0, signed: signed("bound"), body: body.into() }
}

pub async fn a_component_is_kept_once_for_each_owner<S: RegistryStore>(store: &S) {
    for (owner, bytes) in [(Owner::Platform, b"one"), (tenant("acme"), b"two")] {
        assert_eq!(store.component(&owner, "d1").await, Ok(None));
        assert_eq!(store.put_component(&owner, "d1", bytes, &signed("")).await, Ok(true));
        assert_eq!(store.put_component(&owner, "d1", b"other", &signed("")).await, Ok(false));
        assert_eq!(store.component(&owner, "d1").await, Ok(Some(bytes.to_vec())));
        assert_eq!(store.component(&owner, "d2").await, Ok(None));
    }
}

pub async fn a_revision_never_changes<S: RegistryStore>(store: &S) {
    let all = [revision(tenant("acme"), 1, "{}"), revision(tenant("acme"), 2, r#"{"limits":[]}"#)];
    for own in &all {
        assert_eq!(store.put_revision(own).await, Ok(true));
    }
    assert_eq!(store.put_revision(&revision(tenant("acme"), 2, "[]")).await, Ok(false));
    assert_eq!(store.put_revision(&revision(Owner::Platform, 2, "[]")).await, Ok(true));
    assert_eq!(store.revisions(&tenant("acme"), None).await, Ok(all.to_vec()));
    assert_eq!(store.revisions(&tenant("acme"), Some("monthly")).await, Ok(all.to_vec()));
    assert_eq!(store.revisions(&tenant("acme"), Some("daily")).await, Ok(Vec::new()));
    let id = |number| RevisionId { number, ..all[0].id() };
    let found = store.some_revisions(&[id(2), id(3)]).await;
    assert_eq!(found, Ok(vec![all[1].clone()]));
}

pub async fn of_two_that_bind_at_once_one_is_told<S: RegistryStore>(store: &S) {
    let acme = || Scope { owner: tenant("acme"), plan: String::new() };
    for version in 1..=20 {
        let both = ["one", "two"].map(|body| bindings(tenant("acme"), "", version, body));
        let done = join_all(both.iter().map(|own| store.put_bindings(own))).await;
        let won = done.iter().position(|done| *done == Ok(true)).expect("one of them");
        assert_eq!(done[1 - won], Ok(false));
        let last = store.bindings(&acme(), 1).await.expect("bindings").remove(0);
        assert_eq!((last.version, &last.body), (version, &both[won].body));
    }
    // Neither a version that is taken nor one that does not follow.
    for version in [1, 19, 20, 22] {
        let other = bindings(tenant("acme"), "", version, "other");
        assert_eq!(store.put_bindings(&other).await, Ok(false), "{version}");
    }
    let history = store.bindings(&acme(), 99).await.expect("bindings");
    let versions: Vec<i64> = history.iter().map(|own| own.version).collect();
    assert_eq!(versions, (1..=20).rev().collect::<Vec<_>>());
}

pub async fn what_is_bound_is_found_in_the_order_in_which_it_was<S: RegistryStore>(store: &S) {
    let places = [(Owner::Platform, ""), (Owner::Platform, "gold"), (tenant("acme"), "")];
    for version in 1..=3 {
        for (owner, plan) in &places {
            let set = bindings(owner.clone(), plan, version, &format!("{version}"));
            assert_eq!(store.put_bindings(&set).await, Ok(true));
        }
    }
    let current = store.bound_since(0).await.expect("bindings");
    let found: Vec<_> = current.iter().map(|own| (&own.scope, own.version)).collect();
    let scopes = places.map(|(owner, plan)| Scope { owner, plan: plan.into() });
    assert_eq!(found, scopes.iter().map(|scope| (scope, 3)).collect::<Vec<_>>());
    assert!(current.is_sorted_by(|one, next| one.moved < next.moved), "{current:?}");
    let seen = current[1].moved;
    assert_eq!(store.bound_since(seen).await, Ok(current[2..].to_vec()));
    // What is refused moves nothing that is looked for.
    assert_eq!(store.put_bindings(&bindings(Owner::Platform, "", 3, "")).await, Ok(false));
    assert_eq!(store.bound_since(current[2].moved).await, Ok(Vec::new()));
    assert_eq!(store.put_bindings(&bindings(Owner::Platform, "", 4, "last")).await, Ok(true));
    let last = store.bound_since(current[2].moved).await.expect("bindings");
    assert_eq!((last.len(), last[0].body.as_str()), (1, "last"));
}
