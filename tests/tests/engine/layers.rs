//! What one layer binds keeps nothing of another one from being judged by.

use tollgate_host::engine::{Failing, Host, Outcome};
use tollgate_host::registry::{
    Change, POLICIES_UNFIT, Registry, RegistryError, TenantSettings, Trouble, Upload,
};
use tollgate_host::store::{BindingSetRow, Owner, RegistryStore, Scope, Signed, Store, Tenant};

use crate::binding::{bind, bring, by, fits, of, plan, platform, settle_in, start, tokens_a_month};
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
    // What a tenant is may be set meanwhile, and any step may be one out of it.
    settle_in(&registry, &acme(), TenantSettings::default()).await;
    // One of which the failing denies nothing is passed over, and the platform's hold.
    let mut own = registry.bound(&of(&acme())).await.expect("bindings").1.policies.remove(0);
    own.failing = Failing::Open;
    registry.change(&of(&acme()), None, Change::Bind(own), &by()).await.expect("bound");
    assert_eq!(brought(house, &registry, &host).await, [(acme(), unpriced.clone())]);
    assert!(fits(&host, &acme(), 60).await && !fits(&host, &acme(), 61).await);
    // What goes with the platform's is asked, whatever does not.
    bind(&registry, &of(&acme()), "few", "quota", &tokens_a_month(20)).await.expect("bound");
    assert_eq!(brought(house, &registry, &host).await, [(acme(), unpriced)]);
    assert!(fits(&host, &acme(), 20).await && !fits(&host, &acme(), 21).await);
    // What only looks on denies nothing by not being asked.
    for name in ["own", "few"] {
        let unbind = Change::Unbind(name.into());
        registry.change(&of(&acme()), None, unbind, &by()).await.expect("unbound");
    }
    bind(&registry, &platform(), "prices", "pricing", "{}").await.expect("bound");
    bind(&registry, &of(&acme()), "alerts", "alerts", "{}").await.expect("bound");
    assert_eq!(brought(house, &registry, &host).await, []);
    let unbind = Change::Unbind("prices".into());
    registry.change(&platform(), None, unbind, &by()).await.expect("unbound");
    assert_eq!(brought(house, &registry, &host).await.len(), 1);
    assert!(fits(&host, &acme(), 60).await && !fits(&host, &acme(), 61).await);
    // Once it goes with the platform's again, it is asked again.
    bind(&registry, &platform(), "prices", "pricing", "{}").await.expect("bound");
    assert_eq!(brought(house, &registry, &host).await, []);
    assert_eq!(host.setup(&acme()).expect("a setup").bindings.len(), 3);
}

/// What holds for all is held against each plan, also where it is bound later.
pub async fn a_plan_and_the_platform_go_together<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    let (registry, host) = start(house).await;
    let euros = r#"{"prices":{"name":"own","currency":"EUR","models":{"gpt-4o":{"prices":{"llm_tokens.input":"1"}}}}}"#;
    bind(&registry, &plan("eu"), "prices", "pricing", euros).await.expect("bound");
    let both = r#"{"limits":[{"meter":"cost.usd","period":"month","limit":5},{"meter":"cost.eur","period":"month","limit":5}]}"#;
    let (policy, meter) = ("dollars".to_owned(), "cost.usd".parse().expect("a meter"));
    let currency = "EUR".parse().expect("a currency");
    let refused = bind(&registry, &platform(), "dollars", "quota", DOLLARS).await;
    assert_eq!(refused, Err(RegistryError::OtherCurrency { policy, meter, currency }));
    // Who limits both goes with both.
    bind(&registry, &platform(), "dollars", "quota", both).await.expect("bound");
    let on_eu = TenantSettings { plan: Some("eu".into()), ..TenantSettings::default() };
    settle_in(&registry, &acme(), on_eu).await;
    assert_eq!(brought(house, &registry, &host).await, []);
    assert!(fits(&host, &acme(), 5).await && !fits(&host, &acme(), 6).await);
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
    // A mistake of the platform's in between is over once it is taken back.
    bind(&registry, &of(&acme()), "own", "quota", DOLLARS).await.expect("bound");
    assert_eq!(brought(house, &registry, &host).await, []);
    bind_body(house, of(&acme()), gone).await;
    let unbind = Change::Unbind("prices".into());
    registry.change(&platform(), None, unbind, &by()).await.expect("unbound");
    assert_eq!(brought(house, &registry, &host).await.len(), 1);
    assert_eq!(denial(&host).await, POLICIES_UNFIT);
    bind(&registry, &platform(), "prices", "pricing", "{}").await.expect("bound");
    assert_eq!(brought(house, &registry, &host).await.len(), 1);
    assert!(fits(&host, &acme(), 100).await);
    // A host that starts has nothing that served before: without the tenant's own it denies.
    let fresh = crate::binding::registry(house);
    let starts = house.host(&host.setup(&acme()).expect("a setup")).await;
    fresh.follow_tenants().await.expect("followed");
    assert_eq!(brought(house, &fresh, &starts).await.len(), 1);
    assert_eq!(denial(&starts).await, POLICIES_UNFIT);
    // And it is served again at once where that is mended.
    registry.roll_back(&of(&acme()), None, None, false, &by()).await.expect("rolled back");
    assert_eq!(brought(house, &fresh, &starts).await, []);
    assert!(fits(&starts, &acme(), 100).await && !fits(&starts, &acme(), 2_001).await);
}
