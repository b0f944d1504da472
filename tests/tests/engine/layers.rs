//! What one layer binds keeps nothing of another one from being judged by.

use tollgate_host::engine::{BindingMode, Failing, Host, Outcome};
use tollgate_host::registry::{
    Bound, Change, POLICIES_UNFIT, Registry, RegistryError, TenantSettings, Trouble, Upload,
};
use tollgate_host::store::{BindingSetRow, Owner, RegistryStore, Scope, Signed, Store, Tenant};

use crate::binding::{bind, bring, by, fits, of, platform, settle_in, start, tokens_a_month};
use crate::house::{House, acme, call, reserve_of};

const DOLLARS: &str = r#"{"limits":[{"meter":"cost.usd","period":"month","limit":5}]}"#;

/// Binds past the registry, as by a later version of it.
async fn bind_body<S: Store + RegistryStore>(house: &House<S>, scope: Scope, body: &str) {
    let last = house.store.bindings(&scope, 1).await.expect("bindings").pop();
    let row = BindingSetRow {
        scope,
        version: last.map_or(0, |row| row.version) + 1,
        moved: 0,
        signed: Signed { at: 1, author: "ops".into(), message: String::new() },
        body: body.into(),
    };
    assert_eq!(house.store.put_bindings(&row).await, Ok(true));
}

/// Brings what is bound, and what is wrong with it.
async fn brought<S: Store + RegistryStore>(
    house: &House<S>,
    registry: &Registry<S>,
    host: &Host,
) -> Vec<(Tenant, Trouble)> {
    registry.bring(host).await.expect("brought");
    for tenant in [acme(), rival()] {
        if let Ok(setup) = host.setup(&tenant) {
            house.know(&setup);
        }
    }
    registry.troubles()
}

fn rival() -> Tenant {
    "rival".parse().expect("a name")
}

async fn denial(host: &Host) -> String {
    let call = call(&[("user", "ana"), ("model", "gpt-4o")], &[("llm_tokens", 1)]);
    match host.ask(&acme(), None, reserve_of(call, 60_000)).await.expect("an answer") {
        Outcome::Denied(denied) => denied.denial.code,
        outcome => panic!("{outcome:?}"),
    }
}

pub async fn what_the_platform_binds_holds_whatever_a_tenant_has_bound<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    let (registry, host) = start(house).await;
    settle_in(&registry, &rival(), TenantSettings::default()).await;
    bind(&registry, &of(&acme()), "own", "quota", DOLLARS).await.expect("bound");
    bring(house, &registry, &host).await;
    assert!(fits(&host, &acme(), 100).await && !fits(&host, &acme(), 101).await);

    // From now on nothing tells what a call costs, which the tenant would limit.
    bind(&registry, &platform(), "house", "quota", &tokens_a_month(60)).await.expect("bound");
    let unbind = Change::Unbind("prices".into());
    registry.change(&platform(), None, unbind, &by()).await.expect("unbound");
    let meter = "cost.usd".parse().expect("a meter");
    let unpriced = Trouble::Registry(RegistryError::Unpriced { policy: "own".into(), meter });
    for _ in 0..2 {
        assert_eq!(brought(house, &registry, &host).await, [(acme(), unpriced.clone())]);
        assert_eq!(denial(&host).await, POLICIES_UNFIT);
        assert!(fits(&host, &rival(), 60).await && !fits(&host, &rival(), 61).await);
    }
    // One of which the failing denies nothing is passed over, and the platform's hold.
    let revision = registry.revisions(&Owner::Tenant(acme()), None).await.expect("revisions");
    let open = Bound {
        policy: "own".into(),
        of: Owner::Tenant(acme()),
        revision: revision[0].number,
        failing: Failing::Open,
        mode: BindingMode::Enforce,
    };
    let body = serde_json::json!({ "policies": [open] }).to_string();
    bind_body(house, of(&acme()), &body).await;
    assert_eq!(brought(house, &registry, &host).await, [(acme(), unpriced)]);
    assert!(fits(&host, &acme(), 60).await && !fits(&host, &acme(), 61).await);
    // Once it goes with the platform's again, it is asked again.
    bind(&registry, &platform(), "prices", "pricing", "{}").await.expect("bound");
    assert_eq!(brought(house, &registry, &host).await, []);
    assert_eq!(host.setup(&acme()).expect("a setup").bindings.len(), 3);
}

pub async fn each_layer_is_the_last_of_it_that_loads<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    let (registry, host) = start(house).await;
    bind(&registry, &of(&acme()), "own", "quota", &tokens_a_month(50)).await.expect("bound");
    bring(house, &registry, &host).await;
    let gone = r#"{"policies":[{"policy":"gone","of":"platform","revision":1}]}"#;
    let unreadable = r#"{"of a later version":1}"#;
    for body in [gone, unreadable] {
        // The tenant's own does not load: its last one holds, beside the platform's new ones.
        bind_body(house, of(&acme()), body).await;
        for (limit, allowed) in [(40, 40), (1_000, 50)] {
            let limit = tokens_a_month(limit);
            bind(&registry, &platform(), "house", "quota", &limit).await.expect("bound");
            assert_eq!(brought(house, &registry, &host).await.len(), 1);
            assert!(
                fits(&host, &acme(), allowed).await && !fits(&host, &acme(), allowed + 1).await
            );
        }
        registry.roll_back(&of(&acme()), None, None, false, &by()).await.expect("rolled back");
        assert_eq!(brought(house, &registry, &host).await, []);
        // The platform's do not load: what a tenant binds holds beside its last ones.
        bind_body(house, platform(), body).await;
        for (limit, allowed) in [(30, 30), (2_000, 1_000), (50, 50)] {
            let limit = tokens_a_month(limit);
            let bytes = tollgate_plugins::standard("quota").expect("quota");
            let owner = Owner::Tenant(acme());
            let upload = Upload::new("own", bytes, &limit);
            let id = registry.push(&owner, &upload, &by()).await.expect("pushed").id;
            let own = format!(
                r#"{{"policies":[{{"policy":"own","of":{{"tenant":"acme"}},"revision":{}}}]}}"#,
                id.number
            );
            bind_body(house, of(&acme()), &own).await;
            assert_eq!(brought(house, &registry, &host).await.len(), 1);
            assert!(
                fits(&host, &acme(), allowed).await && !fits(&host, &acme(), allowed + 1).await
            );
        }
        registry.roll_back(&platform(), None, None, false, &by()).await.expect("rolled back");
        assert_eq!(brought(house, &registry, &host).await, []);
    }
    // A host that starts has nothing that served before: without the tenant's own it denies.
    bind_body(house, of(&acme()), gone).await;
    let fresh = crate::binding::registry(house);
    let starts = house.host(&host.setup(&acme()).expect("a setup")).await;
    fresh.follow_tenants().await.expect("followed");
    assert_eq!(brought(house, &fresh, &starts).await.len(), 1);
    assert_eq!(denial(&starts).await, POLICIES_UNFIT);
    // And it is served again at once where that is mended.
    registry.roll_back(&of(&acme()), None, None, false, &by()).await.expect("rolled back");
    assert_eq!(brought(house, &fresh, &starts).await, []);
    assert!(fits(&starts, &acme(), 50).await && !fits(&starts, &acme(), 51).await);
}
