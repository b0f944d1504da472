//! What is bound in the registry reaches hosts that run.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use futures_util::future::join_all;
use tollgate_host::engine::{BindingMode, Failing, Host, Outcome, Setup};
use tollgate_host::registry::{
    Bound, By, Change, Key, NotVouched, Registry, RegistryError, Signing, TenantSettings, Trouble,
    Upload,
};
use tollgate_host::sandbox::Refused;
use tollgate_host::store::{
    BindingSetRow, Owner, PostgresStore, RegistryStore, RevisionId, RevisionRow, Scope, Signed,
    Store, Tenant,
};
use tollgate_policy_core::Currency;

use crate::house::{
    House, acme, ask, call, reserve_of, sandbox, sandbox_that_hangs, sandbox_that_knows_nothing,
};

pub fn by() -> By {
    By { author: "ops".into(), message: "as agreed".into() }
}

pub fn registry<S: Store + RegistryStore>(house: &House<S>) -> Registry<S> {
    Registry::new(Arc::clone(&house.store), sandbox())
}

pub fn platform() -> Scope {
    Scope::platform()
}

pub fn plan(plan: &str) -> Scope {
    Scope::plan(plan.into())
}

pub fn of(tenant: &Tenant) -> Scope {
    Scope::of(tenant)
}

pub fn tokens_a_month(limit: u32) -> String {
    format!(r#"{{"limits":[{{"meter":"llm_tokens","period":"month","limit":{limit}}}]}}"#)
}

/// Pushes a standard component and binds it where its owner is, or on a plan of the platform's.
pub async fn bind<S: Store + RegistryStore>(
    registry: &Registry<S>,
    scope: &Scope,
    policy: &str,
    component: &str,
    settings: &str,
) -> Result<i64, RegistryError> {
    let bytes = tollgate_plugins::standard(component).expect("a standard component");
    let pushed = registry.push(&scope.owner, &Upload::new(policy, bytes, settings), &by()).await?;
    bind_revision(registry, scope, pushed.id).await
}

async fn bind_revision<S: Store + RegistryStore>(
    registry: &Registry<S>,
    scope: &Scope,
    id: RevisionId,
) -> Result<i64, RegistryError> {
    let RevisionId { owner: of, policy, number: revision } = id;
    let (failing, mode) = (Failing::Closed, BindingMode::Enforce);
    let bound = Bound { policy, of, revision, failing, mode };
    registry.change(scope, None, Change::Bind(bound), &by()).await
}

/// A tenant that is known, with what is bound for everybody: prices, and 100 tokens a month.
pub async fn start<S: Store + RegistryStore>(house: &House<S>) -> (Registry<S>, Host) {
    let registry = registry(house);
    bind(&registry, &platform(), "prices", "pricing", "{}").await.expect("bound");
    let limit = tokens_a_month(100);
    bind(&registry, &platform(), "house", "quota", &limit).await.expect("bound");
    settle_in(&registry, &acme(), TenantSettings::default()).await;
    let host = house.host(&Arc::new(Setup::default())).await;
    (registry, host)
}

pub async fn settle_in<S: Store + RegistryStore>(
    registry: &Registry<S>,
    tenant: &Tenant,
    settings: TenantSettings,
) {
    let change = Change::Settings(Box::new(settings));
    registry.change(&of(tenant), None, change, &by()).await.expect("bound");
}

pub async fn bring<S: Store + RegistryStore>(
    house: &House<S>,
    registry: &Registry<S>,
    host: &Host,
) {
    registry.bring(host).await.expect("brought");
    assert_eq!(registry.troubles(), []);
    house.know(&Arc::new(registry.setup(&acme()).await.expect("a setup")));
}

/// Whether so many tokens are allowed; what is, is given back.
pub async fn fits(host: &Host, tenant: &Tenant, tokens: u32) -> bool {
    let dimensions = [("user", "ana"), ("model", "gpt-4o")];
    let call = call(&dimensions, &[("llm_tokens", tokens), ("llm_tokens.input", tokens)]);
    match host.ask(tenant, None, reserve_of(call, 60_000)).await.expect("an answer") {
        Outcome::Reserved(reserved) => {
            host.release(tenant, None, reserved.id).await.expect("released");
            true
        }
        Outcome::Denied(denied) => {
            assert_eq!(denied.denial.code, "quota_exceeded", "{denied:?}");
            false
        }
        outcome => panic!("{outcome:?}"),
    }
}

pub async fn what_is_bound_reaches_a_host_and_a_tenant_only_tightens<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    let (registry, host) = start(house).await;
    bring(house, &registry, &host).await;
    assert!(fits(&host, &acme(), 100).await && !fits(&host, &acme(), 101).await);
    // Its own limit is lower, and then higher than the platform's.
    for (limit, allowed) in [(50, 50), (1_000, 100)] {
        bind(&registry, &of(&acme()), "own", "quota", &tokens_a_month(limit)).await.expect("bound");
        bring(house, &registry, &host).await;
        assert!(fits(&host, &acme(), allowed).await && !fits(&host, &acme(), allowed + 1).await);
    }
    // Back to 50, and back from that.
    for allowed in [50, 100] {
        registry.roll_back(&of(&acme()), None, None, false, &by()).await.expect("bound");
        bring(house, &registry, &host).await;
        assert!(fits(&host, &acme(), allowed).await && !fits(&host, &acme(), allowed + 1).await);
    }
    let history = registry.history(&of(&acme()), 9).await.expect("history");
    let bound: Vec<_> = history
        .iter()
        .map(|(row, own)| {
            let own = own.as_ref().expect("bindings");
            (row.version, own.policies.first().map(|own| own.revision))
        })
        .collect();
    assert_eq!(bound, [(5, Some(2)), (4, Some(1)), (3, Some(2)), (2, Some(1)), (1, None)]);
    let unbind = Change::Unbind("own".into());
    registry.change(&of(&acme()), Some(5), unbind, &by()).await.expect("unbound");
    bring(house, &registry, &host).await;
    // What judged stands with each decision.
    let call = call(&[("model", "gpt-4o")], &[("llm_tokens", 1), ("llm_tokens.input", 1)]);
    ask(&host, reserve_of(call, 60_000)).await.expect("an answer");
    let setup = registry.setup(&acme()).await.expect("a setup");
    let revisions = setup.bindings.iter().map(|own| own.revision.as_ref().map(ToString::to_string));
    let revisions: Vec<_> = revisions.flatten().collect();
    assert_eq!(revisions, ["*/prices@1", "*/house@1"]);
}

pub async fn what_cannot_be_bound_is_refused_and_nothing_changes<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    let (registry, host) = start(house).await;
    let (quota, other) = (tollgate_plugins::standard("quota").expect("quota"), "other");
    let other: Tenant = other.parse().expect("a name");
    let owner = Owner::Tenant(acme());
    let theirs = registry
        .push(&Owner::Tenant(other.clone()), &Upload::new("own", quota, &tokens_a_month(5)), &by())
        .await
        .expect("pushed")
        .id;
    bring(house, &registry, &host).await;
    let before = registry.bound(&of(&acme())).await.expect("bindings");

    let push = |policy: &'static str, bytes: &'static [u8], settings: &'static str| {
        let (registry, owner) = (&registry, &owner);
        async move {
            let upload = Upload::new(policy, bytes, settings);
            registry.push(owner, &upload, &by()).await.map(|own| own.id)
        }
    };
    let refused = push("own", b"no component", "{}").await;
    assert!(
        matches!(refused, Err(RegistryError::Refused { reason: Refused::NotWasm, .. })),
        "{refused:?}"
    );
    let refused = push("own", quota, r#"{"limits":7}"#).await;
    let words = refused.as_ref().expect_err("refused").to_string();
    assert!(
        words.starts_with(
            "`own` is refused: the settings do not fit the policy's schema: at `/limits`:"
        ),
        "{words}"
    );
    assert_eq!(push("a b", quota, "{}").await, Err(RegistryError::Name("a b".into())));
    assert_eq!(registry.revisions(&owner, None).await, Ok(Vec::new()));

    let scope = of(&acme());
    let refused = bind_revision(&registry, &scope, theirs.clone()).await;
    let not_yours = RegistryError::NotYours { revision: theirs.clone(), scope: owner.clone() };
    assert_eq!(refused, Err(not_yours));
    let on_all = bind_revision(&registry, &platform(), theirs).await;
    assert!(matches!(on_all, Err(RegistryError::NotYours { .. })), "{on_all:?}");
    let unknown = RevisionId { owner: Owner::Platform, policy: "house".into(), number: 2 };
    let refused = bind_revision(&registry, &scope, unknown.clone()).await;
    assert_eq!(refused, Err(RegistryError::UnknownRevision(unknown)));
    // A price is limited only where the tenant's own policy tells it: the platform's tells the cost.
    let price = r#"{"limits":[{"meter":"price.usd","period":"month","limit":5}]}"#;
    let refused = bind(&registry, &scope, "price", "quota", price).await;
    let meter = "price.usd".parse().expect("a meter");
    assert_eq!(refused, Err(RegistryError::Unpriced { policy: "price".into(), meter }));
    let refused = bind(&registry, &platform(), "more-prices", "pricing", "{}").await;
    assert!(matches!(refused, Err(RegistryError::Setup(_))), "{refused:?}");
    let unbind = |policy: &str| Change::Unbind(policy.into());
    let refused = registry.change(&scope, None, unbind("nothing"), &by()).await;
    assert_eq!(refused, Err(RegistryError::NotBound("nothing".into())));
    let refused = registry.change(&scope, Some(7), unbind("nothing"), &by()).await;
    assert_eq!(refused, Err(RegistryError::Moved { expected: 7, found: 1 }));
    for to in [Some(0), Some(1), Some(2), None] {
        let refused = registry.roll_back(&scope, to, None, false, &by()).await;
        assert_eq!(refused, Err(RegistryError::NoVersion(to.unwrap_or(0))), "{to:?}");
    }
    // Nor in a currency in which nothing is priced.
    let euros = r#"{"limits":[{"meter":"cost.eur","period":"month","limit":5}]}"#;
    let refused = bind(&registry, &scope, "cost", "quota", euros).await;
    let (policy, meter) = ("cost".to_owned(), "cost.eur".parse().expect("a meter"));
    let currency = Currency::USD;
    assert_eq!(refused, Err(RegistryError::OtherCurrency { policy, meter, currency }));
    // A cost is limited only where something tells it.
    registry.change(&platform(), None, unbind("prices"), &by()).await.expect("unbound");
    let cost = r#"{"limits":[{"meter":"cost.usd","period":"month","limit":5}]}"#;
    let refused = bind(&registry, &scope, "cost", "quota", cost).await;
    let meter = "cost.usd".parse().expect("a meter");
    assert_eq!(refused, Err(RegistryError::Unpriced { policy: "cost".into(), meter }));

    assert_eq!(registry.bound(&scope).await, Ok(before));
    bring(house, &registry, &host).await;
    assert!(fits(&host, &acme(), 100).await && !fits(&host, &acme(), 101).await);
}

pub async fn a_plan_reaches_those_who_are_on_it<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    let (registry, host) = start(house).await;
    let gold: Tenant = "gold-one".parse().expect("a name");
    let on_gold = TenantSettings { plan: Some("gold".into()), ..TenantSettings::default() };
    settle_in(&registry, &gold, on_gold.clone()).await;
    let dear = r#"{"prices":{"name":"dear","currency":"USD","models":{"gpt-4o":{"prices":{"llm_tokens.input":"1"}}}}}"#;
    bind(&registry, &plan("gold"), "dear", "pricing", dear).await.expect("bound");
    bind(&registry, &plan("gold"), "ten", "quota", &tokens_a_month(10)).await.expect("bound");
    bring(house, &registry, &host).await;
    assert!(fits(&host, &gold, 10).await && !fits(&host, &gold, 11).await);
    assert!(fits(&host, &acme(), 100).await && !fits(&host, &acme(), 101).await);
    let prices =
        |setup: Setup| setup.bindings.iter().map(|own| own.name.clone()).collect::<Vec<_>>();
    // The plan's prices take the place of the platform's.
    assert_eq!(prices(registry.setup(&gold).await.expect("a setup")), ["house", "dear", "ten"]);
    // And it has one list of prices, as all have.
    let refused = bind(&registry, &plan("gold"), "dearer", "pricing", dear).await;
    assert!(matches!(refused, Err(RegistryError::Setup(_))), "{refused:?}");
    // Who has nothing of its own is followed as well, once it is set up.
    let bare: Tenant = "bare".parse().expect("a name");
    host.serve(&bare, registry.setup(&bare).await.expect("a setup")).await.expect("served");
    assert!(fits(&host, &bare, 100).await && !fits(&host, &bare, 101).await);
    for limit in [90, 100] {
        bind(&registry, &platform(), "house", "quota", &tokens_a_month(limit))
            .await
            .expect("bound");
        bring(house, &registry, &host).await;
        assert!(fits(&host, &bare, limit).await && !fits(&host, &bare, limit + 1).await);
    }
    // Who comes to the plan, or leaves it, is judged so at once.
    settle_in(&registry, &gold, TenantSettings::default()).await;
    settle_in(&registry, &acme(), on_gold).await;
    bring(house, &registry, &host).await;
    assert!(fits(&host, &gold, 100).await && !fits(&host, &gold, 101).await);
    assert!(fits(&host, &acme(), 10).await && !fits(&host, &acme(), 11).await);
    // And what changes on the plan reaches who is on it.
    bind(&registry, &plan("gold"), "ten", "quota", &tokens_a_month(20)).await.expect("bound");
    bring(house, &registry, &host).await;
    assert!(fits(&host, &acme(), 20).await && !fits(&host, &acme(), 21).await);
}

pub async fn what_does_not_load_leaves_what_served_before<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    let (registry, host) = start(house).await;
    bring(house, &registry, &host).await;
    // Bound past the registry, as by a later version of it.
    let nothing = RevisionId { owner: Owner::Platform, policy: "gone".into(), number: 1 };
    let row = |version, body: &str| BindingSetRow {
        scope: of(&acme()),
        version,
        moved: 0,
        signed: Signed { at: 1, author: "ops".into(), message: String::new() },
        body: body.into(),
    };
    let gone = r#"{"policies":[{"policy":"gone","of":"platform","revision":1}]}"#;
    assert_eq!(house.store.put_bindings(&row(2, gone)).await, Ok(true));
    registry.bring(&host).await.expect("brought");
    let unknown = Trouble::Registry(RegistryError::UnknownRevision(nothing));
    assert_eq!(registry.troubles(), [(acme(), unknown)]);
    assert!(fits(&host, &acme(), 100).await && !fits(&host, &acme(), 101).await);
    // Once it can be loaded again it serves.
    assert_eq!(house.store.put_bindings(&row(3, "{}")).await, Ok(true));
    bring(house, &registry, &host).await;
}

/// A host of an earlier version beside one that knows more: what it cannot read it must not leave out.
pub async fn what_cannot_be_read_is_not_left_out<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    let (registry, host) = start(house).await;
    bring(house, &registry, &host).await;
    for scope in [of(&acme()), platform()] {
        let (version, _) = registry.bound(&scope).await.expect("bound");
        let later = BindingSetRow {
            scope: scope.clone(),
            version: version + 1,
            moved: 0,
            signed: Signed { at: 1, author: "ops".into(), message: String::new() },
            body: r#"{"of a later version":1}"#.into(),
        };
        assert_eq!(house.store.put_bindings(&later).await, Ok(true));
        registry.bring(&host).await.expect("brought");
        let troubles = registry.troubles();
        let is_unreadable =
            |trouble: &Trouble| matches!(trouble, Trouble::Registry(RegistryError::Unreadable(_)));
        assert!(troubles.len() == 1 && is_unreadable(&troubles[0].1), "{troubles:?}");
        assert!(fits(&host, &acme(), 100).await && !fits(&host, &acme(), 101).await);
        // One that starts has nothing that served before.
        let fresh = crate::binding::registry(house).setup(&acme()).await;
        assert!(matches!(fresh, Err(RegistryError::Unreadable(_))), "{:?}", fresh.err());
        // There is a way back, for who saw what stands.
        let by = by();
        let back = |expected| registry.roll_back(&scope, None, expected, false, &by);
        let moved = RegistryError::Moved { expected: version, found: version + 1 };
        assert_eq!(back(Some(version)).await, Err(moved));
        assert_eq!(back(Some(version + 1)).await, Ok(version + 2));
        bring(house, &registry, &host).await;
        assert!(fits(&host, &acme(), 100).await && !fits(&host, &acme(), 101).await);
    }
    let nobodys = registry.roll_back(&plan("none"), None, None, false, &by()).await;
    assert_eq!(nobodys, Err(RegistryError::NothingBound));
}

pub async fn hosts_follow_what_is_bound<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    let (registry, first) = start(house).await;
    let mut hosts = vec![first];
    for _ in 0..3 {
        hosts.push(house.host(&Arc::new(Setup::default())).await);
    }
    let follow = |host: &Host| {
        let own = Registry::new(Arc::clone(&house.store), sandbox());
        tokio::spawn(own.follow(host.clone(), Duration::from_millis(50)))
    };
    let followers: Vec<_> = hosts.iter().map(follow).collect();
    for limit in [100, 40, 70] {
        bind(&registry, &platform(), "house", "quota", &tokens_a_month(limit))
            .await
            .expect("bound");
        house.know(&Arc::new(registry.setup(&acme()).await.expect("a setup")));
        // Each of them, sooner or later.
        join_all(hosts.iter().map(|host| async move {
            while !fits(host, &acme(), limit / 4).await || fits(host, &acme(), limit + 1).await {
                tokio::task::yield_now().await;
            }
        }))
        .await;
    }
    drop(hosts);
    for follower in followers {
        follower.await.expect("it ends with its host");
    }
}

/// What one tenant binds may take a minute to compile, and come to nothing.
pub async fn what_takes_long_to_compile_holds_up_nobody_else<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    let (registry, _) = start(house).await;
    let rival: Tenant = "rival".parse().expect("a name");
    settle_in(&registry, &rival, TenantSettings::default()).await;
    let know = async || {
        house.know(&Arc::new(registry.setup(&rival).await.expect("a setup")));
    };
    know().await;
    let directory = tempfile::tempdir().expect("a directory");
    let until = directory.path().join("until");
    let slow = Registry::new(Arc::clone(&house.store), sandbox_that_hangs(&until));
    let host = house.host(&Arc::new(Setup::default())).await;
    slow.bring(&host).await.expect("brought");
    assert_eq!(slow.troubles(), []);
    let follower = tokio::spawn(slow.clone().follow(host.clone(), Duration::from_millis(20)));
    // A component that nobody has compiled: the standard one with a section of its own.
    let mut bytes = tollgate_plugins::standard("quota").expect("a standard component").to_vec();
    bytes.extend(b"\x00\x05\x04slow");
    let elsewhere = Registry::new(Arc::clone(&house.store), sandbox_that_knows_nothing());
    let settings = tokens_a_month(50);
    let upload = Upload::new("own", &bytes, &settings);
    let pushed = elsewhere.push(&of(&acme()).owner, &upload, &by()).await.expect("pushed");
    bind_revision(&elsewhere, &of(&acme()), pushed.id.clone()).await.expect("bound");
    let compiling = Trouble::Registry(RegistryError::Compiling(pushed.id.to_string()));
    while slow.troubles() != [(acme(), compiling.clone())] {
        tokio::task::yield_now().await;
    }
    // Meanwhile others are judged by what is bound, and who asks for that does not wait.
    bind(&registry, &platform(), "house", "quota", &tokens_a_month(40)).await.expect("bound");
    know().await;
    slow.bring_to(&host, None).await.expect("brought");
    slow.bring_to(&host, Some(&rival)).await.expect("brought");
    assert!(fits(&host, &rival, 40).await && !fits(&host, &rival, 41).await);
    bind(&registry, &platform(), "house", "quota", &tokens_a_month(30)).await.expect("bound");
    know().await;
    while fits(&host, &rival, 31).await {}
    // What waits for its own is judged by what of it served before, and by the platform's new ones.
    assert!(fits(&host, &acme(), 30).await && !fits(&host, &acme(), 31).await);
    std::fs::write(&until, "").expect("a file");
    while !matches!(
        &slow.troubles()[..],
        [(tenant, Trouble::Registry(RegistryError::Refused { .. }))] if *tenant == acme()
    ) {
        tokio::task::yield_now().await;
    }
    drop(host);
    follower.await.expect("it ends with its host");
}

pub async fn components_are_vouched_for_where_that_is_required<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    house.store.create(&[acme()]).await.expect("created");
    let registry = registry(house);
    let quota = tollgate_plugins::standard("quota").expect("quota");
    let settings = &tokens_a_month(9);
    let digest = tollgate_host::sandbox::digest(quota);
    let (ana, bob) = (SigningKey::from_bytes(&[7; 32]), SigningKey::from_bytes(&[8; 32]));
    let sign = |key: &SigningKey, text: &str| key.sign(text.as_bytes()).to_bytes();
    let named = |name: &str, key: &SigningKey| {
        let hex: String =
            key.verifying_key().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        Key { name: name.into(), public: hex.parse().expect("a key") }
    };
    let own = Owner::Tenant(acme());
    let signing = Signing { required: true, keys: vec![named("ana", &ana)] };
    registry.change(&of(&acme()), None, Change::Signing(signing), &by()).await.expect("bound");
    let push = async |owner: &Owner, digest: Option<&str>, signature: Option<&[u8]>| {
        let upload = Upload { digest, signature, ..Upload::new("own", quota, settings) };
        registry.push(owner, &upload, &by()).await
    };
    let refused = |reason| {
        let policy = "own".to_owned();
        Err::<(), _>(RegistryError::NotVouched { policy, reason })
    };
    let text = format!("sha256:{digest}");
    assert_eq!(push(&own, None, None).await.map(drop), refused(NotVouched::Unsigned));
    for wrong in [sign(&bob, &text), sign(&ana, &digest), sign(&ana, "sha256:00"), [0; 64]] {
        assert_eq!(push(&own, None, Some(&wrong)).await.map(drop), refused(NotVouched::Wrong));
    }
    let other = Some("00");
    let mismatch = push(&own, other, Some(&sign(&ana, &text))).await.map(drop);
    let words = mismatch.expect_err("refused").to_string();
    assert!(words.contains(&format!("sha256:{digest}, and not sha256:00")), "{words}");
    assert_eq!(registry.revisions(&own, None).await, Ok(Vec::new()));
    push(&own, Some(&digest), Some(&sign(&ana, &text))).await.expect("pushed");
    let revisions = registry.revisions(&own, None).await.expect("revisions");
    assert_eq!(revisions[0].signer.as_deref(), Some("ana"));
    // Another owner's keys are its own.
    let by_ana = push(&Owner::Platform, None, Some(&sign(&ana, &text))).await.map(drop);
    assert_eq!(by_ana, refused(NotVouched::Wrong));
    push(&Owner::Platform, None, None).await.expect("pushed");
    // Another owner's revision is vouched for by that one's keys, also where it is bound by a tenant.
    let house = RevisionId { owner: Owner::Platform, policy: "own".into(), number: 1 };
    let required = Signing { required: true, keys: vec![named("ana", &ana)] };
    registry.change(&platform(), None, Change::Signing(required), &by()).await.expect("bound");
    let bound = bind_revision(&registry, &of(&acme()), house).await.map(drop);
    assert_eq!(bound, refused(NotVouched::Unsigned));
    let again = push(&Owner::Platform, None, Some(&sign(&ana, &text))).await.expect("pushed");
    assert!(again.is_new && again.id.number == 2, "{again:?}");
    bind_revision(&registry, &of(&acme()), again.id).await.expect("bound");
}

/// What was changed in the store behind the registry's back is not taken.
pub async fn a_component_that_is_not_of_its_digest_is_not_loaded<S>(house: &House<S>)
where
    S: Store + RegistryStore,
{
    house.store.create(&[acme()]).await.expect("created");
    let quota = tollgate_plugins::standard("quota").expect("quota");
    let digest = tollgate_host::sandbox::digest(b"another");
    let signed = Signed { at: 1, author: "eva".into(), message: String::new() };
    house.store.put_component(&Owner::Platform, &digest, quota, &signed).await.expect("kept");
    let id = RevisionId { owner: Owner::Platform, policy: "house".into(), number: 1 };
    let row = RevisionRow {
        owner: id.owner.clone(),
        policy: id.policy.clone(),
        number: 1,
        digest: digest.clone(),
        settings: tokens_a_month(3),
        signer: None,
        signature: None,
        signed,
    };
    house.store.put_revision(&row).await.expect("kept");
    let refused = bind_revision(&registry(house), &platform(), id).await;
    let found = tollgate_host::sandbox::digest(quota);
    assert_eq!(refused, Err(RegistryError::Digest { expected: digest, found }));
}

/// Hosts that ask the store once an hour hear of it at once.
pub async fn hosts_hear_of_what_is_bound(house: &House<PostgresStore>) {
    let (registry, host) = start(house).await;
    let own = Registry::new(Arc::clone(&house.store), sandbox());
    tokio::spawn(own.follow(host.clone(), Duration::from_secs(3_600)));
    // Whoever does not listen yet hears of a later one, and the first may be found by asking.
    let mut seen = 0;
    for round in 0..1_000 {
        let limit = [100, 60][round % 2];
        bind(&registry, &platform(), "house", "quota", &tokens_a_month(limit))
            .await
            .expect("bound");
        house.know(&Arc::new(registry.setup(&acme()).await.expect("a setup")));
        for _ in 0..20 {
            if !fits(&host, &acme(), limit + 1).await && fits(&host, &acme(), limit).await {
                seen += 1;
                break;
            }
        }
        if seen == 4 {
            return;
        }
    }
    panic!("nothing was heard");
}
