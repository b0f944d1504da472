//! Policies that keep failing.

use std::sync::Arc;

use tollgate_host::engine::{
    Author, Binding, Candidate, Denied, Event, Failing, Host, Layer, Operation, Outcome, PolicyKey,
    Report, Setup, Subject, Unjudged, decisions, notices, quarantined as quarantined_policies,
};
use tollgate_host::sandbox::{Fault, Sandbox};
use tollgate_host::store::{BatchKey, Store, Tenant};
use tollgate_policy_core::contract::{Reading, Request};

use crate::guest::{CONTRACT, Guest, encode, later};
use crate::house::{House, acme, ask, binding, call, reserve, sandbox, sandbox_of_time};

/// A quota policy that traps wherever the instant is beyond this one, or odd.
fn fails(condition: &str) -> Binding {
    let check = format!("(if {condition} (then (unreachable)))");
    let component = Guest { check: &check, ..Guest::default() }.component();
    let policy = sandbox().load(&component, "{}").expect("let in");
    Binding { layer: Layer::Tenant, ..Binding::new("own", policy) }
}

fn fails_after(at: i64) -> Binding {
    fails(&format!("(i64.gt_s (global.get $now) (i64.const {at}))"))
}

/// Nothing that is asked for here comes near.
const ROOMY: &str = r#"{"limits":[{"meter":"llm_tokens","period":"month","limit":1000000}]}"#;

fn set_of(bindings: Vec<Binding>) -> Arc<Setup> {
    Arc::new(Setup { bindings, ..Setup::default() })
}

async fn denied(host: &Host) -> Denied {
    match ask(host, reserve(1)).await.expect("an answer") {
        Outcome::Denied(denied) => denied,
        outcome => panic!("{outcome:?}"),
    }
}

fn quarantined(events: &[Event]) -> Vec<PolicyKey> {
    let policy = |event: &Event| match event {
        Event::Quarantined { policy, .. } => Some(policy.clone()),
        _ => None,
    };
    events.iter().filter_map(policy).collect()
}

pub async fn a_policy_that_keeps_failing_is_asked_no_longer<S: Store>(house: &House<S>) {
    let set = set_of(vec![binding("quota", ROOMY), fails_after(house.at())]);
    let hosts = [house.host(&set).await, house.host(&set).await];
    assert!(matches!(ask(&hosts[0], reserve(1)).await, Ok(Outcome::Reserved(_))));
    house.advance(1);
    let mut told = Vec::new();
    for _ in 0..10 {
        let Denied { denial, events, .. } = denied(&hosts[0]).await;
        assert_eq!(denial.code, "policy_trapped");
        told.extend(quarantined(&events));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&*told[0].policy, told[0].layer), ("own", Layer::Tenant));
    // Wherever it is asked for from now on.
    for host in &hosts {
        let Denied { denial, events, fault, consulted, .. } = denied(host).await;
        assert_eq!(denial.code, "policy_quarantined");
        assert!(quarantined(&events).is_empty());
        assert_eq!(fault, Some(("own".into(), Fault::Quarantined)));
        assert_eq!(consulted[1].fault, Some(Fault::Quarantined));
    }
    let notices = async || notices(&*house.store, &acme(), None, false, 9).await.expect("notices");
    let open = notices().await;
    assert_eq!((open.len(), open[0].notice.title.as_str()), (1, "Policy `own` is in quarantine"));
    // A person lets it back: it is asked again, and taken out again once it fails as often.
    let (subject, by) = (Subject::LetBack(told[0].clone()), Author::Person("ana".into()));
    ask(&hosts[1], Operation::Set { subject, by }).await.expect("let back");
    assert_eq!(notices().await[0].over_at, Some(house.at()));
    let codes = async |host: &Host, count| {
        let mut codes = Vec::new();
        for _ in 0..count {
            codes.push(denied(host).await.denial.code);
        }
        codes
    };
    let again = codes(&hosts[1], 11).await;
    assert!(again[..10].iter().all(|code| code == "policy_trapped"), "{again:?}");
    assert_eq!(again[10], "policy_quarantined");
    // Another revision is another policy, and the old one is still out when it comes back.
    let healthy = set_of(vec![binding("quota", ROOMY), fails_after(i64::MAX)]);
    house.know(&healthy);
    hosts[0].serve(&acme(), healthy).await.expect("served");
    assert!(matches!(ask(&hosts[0], reserve(1)).await, Ok(Outcome::Reserved(_))));
    hosts[0].serve(&acme(), set).await.expect("served");
    assert_eq!(codes(&hosts[0], 1).await, ["policy_quarantined"]);
}

pub async fn a_policy_that_may_fail_open_is_passed_and_said_so<S: Store>(house: &House<S>) {
    let open = Binding { failing: Failing::Open, ..fails_after(house.at()) };
    let host = house.host(&set_of(vec![binding("quota", ROOMY), open])).await;
    house.advance(1);
    let mut told = 0;
    for count in 0..15 {
        let outcome = ask(&host, reserve(1)).await.expect("an answer");
        let Outcome::Reserved(reserved) = outcome else { panic!("{outcome:?}") };
        let fault = reserved.consulted[1].fault.as_ref().expect("a fault");
        assert_eq!(*fault == Fault::Quarantined, count >= 10, "{count}: {fault}");
        told += quarantined(&reserved.events).len();
    }
    assert_eq!(told, 1);
}

/// Whoever makes a policy of the platform's fail is not rid of it, where it may fail open.
pub async fn the_platforms_policies_that_may_fail_open_are_asked_again<S: Store>(house: &House<S>) {
    let own = fails_after(house.at());
    let open = Binding { failing: Failing::Open, layer: Layer::Platform, ..own };
    let host = house.host(&set_of(vec![open])).await;
    house.advance(1);
    for _ in 0..15 {
        let outcome = ask(&host, reserve(1)).await.expect("an answer");
        let Outcome::Reserved(reserved) = outcome else { panic!("{outcome:?}") };
        assert!(matches!(reserved.consulted[0].fault, Some(Fault::Trap(_))), "{reserved:?}");
        host.release(&acme(), None, reserved.id).await.expect("released");
    }
}

pub async fn one_tenants_failures_are_not_anothers<S: Store>(house: &House<S>) {
    let set = set_of(vec![fails_after(house.at())]);
    let host = house.builder(&set).tenant(other(), Arc::clone(&set)).start().await.expect("a host");
    house.advance(1);
    let code = async |tenant: &Tenant| match host.ask(tenant, None, reserve(1)).await {
        Ok(Outcome::Denied(denied)) => denied.denial.code,
        outcome => panic!("{outcome:?}"),
    };
    for _ in 0..10 {
        assert_eq!(code(&acme()).await, "policy_trapped");
    }
    assert_eq!(code(&acme()).await, "policy_quarantined");
    for _ in 0..10 {
        assert_eq!(code(&other()).await, "policy_trapped");
    }
    assert_eq!(code(&other()).await, "policy_quarantined");
    // What was only looked at does not count.
    let call = call(&[("model", "gpt-4o")], &[("llm_tokens", 1)]);
    let third = "third".parse::<Tenant>().expect("a name");
    host.serve(&third, Arc::clone(&set)).await.expect("served");
    for _ in 0..20 {
        host.check(&third, call.clone()).await.expect("an answer");
    }
    assert_eq!(code(&third).await, "policy_trapped");
}

fn other() -> Tenant {
    "other".parse().expect("a name")
}

pub async fn failures_that_are_not_in_a_row_do_not_count<S: Store>(house: &House<S>) {
    let odd = "(i64.eq (i64.rem_s (global.get $now) (i64.const 2)) (i64.const 1))";
    let host = house.host(&set_of(vec![fails(odd)])).await;
    house.advance(1 - house.at() % 2);
    for _ in 0..4 {
        for _ in 0..9 {
            assert_eq!(denied(&host).await.denial.code, "policy_trapped");
        }
        house.advance(1);
        assert!(matches!(ask(&host, reserve(1)).await, Ok(Outcome::Reserved(_))));
        house.advance(1);
    }
}

/// Time that was up, and a pool without room: neither follows from what the policy was fed.
pub async fn what_the_host_cut_short_is_recorded_and_counts_for_nothing<S: Store>(
    house: &House<S>,
) {
    let endless = |sandbox: &Sandbox| {
        let check = later("(loop (br 0))");
        let component = Guest { check: &check, ..Guest::default() }.component();
        sandbox.load(&component, "{}").expect("let in")
    };
    let own = |policy| Binding { layer: Layer::Tenant, ..Binding::new("own", policy) };
    // Longer in a row than any policy may fail.
    let set = set_of(vec![binding("quota", ROOMY), own(endless(&sandbox_of_time(100, 4)))]);
    let host = house.host(&set).await;
    for _ in 0..12 {
        let Denied { denial, events, fault, .. } = denied(&host).await;
        assert_eq!(denial.code, "policy_out_of_time");
        assert_eq!(fault, Some(("own".into(), Fault::Time)));
        assert!(quarantined(&events).is_empty());
    }
    // One instance, which another call holds for longer than is waited for it.
    let narrow = sandbox_of_time(1_500, 1);
    let component = Guest::default().component();
    let healthy = own(narrow.load(&component, "{}").expect("let in"));
    let holding = endless(&narrow);
    let host = house.host(&set_of(vec![binding("quota", ROOMY), healthy.clone()])).await;
    let request =
        Request { at: house.at(), readings: vec![Reading::default()], ..Request::default() };
    let holding = std::thread::spawn(move || holding.check(request).outcome);
    let mut busy = 0;
    while !holding.is_finished() {
        match ask(&host, reserve(1)).await.expect("an answer") {
            Outcome::Denied(Denied { fault, .. }) => {
                assert_eq!(fault, Some(("own".into(), Fault::Busy)));
                busy += 1;
            }
            outcome => assert!(matches!(outcome, Outcome::Reserved(_)), "{outcome:?}"),
        }
    }
    assert_eq!(holding.join().expect("no panic"), Err(Fault::Time));
    assert!(busy > 0, "none was without an instance");
    // They stand as what they were; nobody who is judged again is held to them.
    let never = set_of(vec![binding("quota", ROOMY), healthy]);
    let candidate =
        Candidate { name: "own".into(), owner: None, policy: never.bindings[1].policy.clone() };
    let mut forced = (0, 0);
    for batch in
        house.store.batches(&acme(), BatchKey::before(i64::MIN), 999).await.expect("batches")
    {
        for decision in decisions(&batch, &never).expect("decisions") {
            match decision.judged[1].outcome {
                Err(Fault::Time) => forced.0 += 1,
                Err(Fault::Busy) => forced.1 += 1,
                _ => continue,
            }
            assert_eq!(decision.judge_again(&never), Vec::<usize>::new());
            assert_eq!(decision.judge_with(&never, &candidate), Err(Unjudged::Forced));
        }
    }
    assert_eq!(forced, (12, busy));
    assert_eq!(quarantined_policies(&*house.store, &acme()).await, Ok(Vec::new()));
}

pub async fn prices_that_keep_failing_are_asked_no_longer<S: Store>(house: &House<S>) {
    let host = house.host(&set_of(vec![prices_that_fail()])).await;
    for count in 0..12 {
        let Denied { denial, events, consulted, .. } = denied(&host).await;
        let is_out = denial.code == "policy_quarantined";
        assert_eq!(is_out, count >= 10, "{count}: {denial:?}");
        assert_eq!(quarantined(&events).len(), usize::from(count == 9));
        assert_eq!(consulted.len(), 1);
    }
    // What was used is not denied: the policy is asked, and fails as it does.
    let report = Report { call: call(&[("model", "gpt-4o")], &[("llm_tokens", 1)]), used_at: None };
    let recorded = ask(&host, Operation::Record { reports: vec![report] }).await;
    let words = recorded.expect_err("no price").to_string();
    assert!(words.contains("trapped"), "{words}");
}

/// A pricing policy that traps in service: to the trial of admission it says that it knows no price.
fn prices_that_fail() -> Binding {
    let fields = "(data (i32.const 4096) (i32 1 1064 4 1064 4))";
    let guest = Guest { fields, check: &later("(unreachable)"), ..Guest::default() };
    let quota = "(param $at i64) (param i32 i32) (param i32 i32) (param i32 i32) (param i32 i32) (param $partial i32)";
    let pricing = format!("(param $at i64) (param{})", " i32".repeat(12));
    let module = guest.module();
    assert!(module.contains(quota));
    let module = module
        .replace(quota, &pricing)
        .replace("(global.get $verdict))", "(i32.const 4096))")
        .replace("tollgate:policy/quota@0.1.0#check", "tollgate:policy/pricing@0.1.0#price");
    let component = encode(&module, CONTRACT, "pricing-policy");
    Binding::new("prices", sandbox().load(&component, "{}").expect("let in"))
}
