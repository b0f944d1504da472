//! Recorded decisions are judged again.

use std::sync::Arc;

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tollgate_host::engine::{
    Author, Binding, BindingMode, Candidate, Host, Limit, LimitKey, Operation, Outcome, Reserved,
    Setup, Subject,
};
use tollgate_host::registry::{Compared, Flip, Hit, Registry, ReplayReport};
use tollgate_host::store::{PostgresStore, RegistryStore, Store};
use tollgate_policy_core::Decimal;

use crate::guest::{Guest, later};
use crate::house::{
    House, acme, ask, binding, call, reserve_of, sandbox, sandbox_that_knows_nothing,
};

fn limits(limits: &[(&str, u32)]) -> String {
    let limit = |(per, limit): &(&str, u32)| {
        format!(r#"{{"meter":"llm_tokens","period":"month","per":[{per}],"limit":{limit}}}"#)
    };
    let limits: Vec<String> = limits.iter().map(limit).collect();
    format!(r#"{{"limits":[{}]}}"#, limits.join(","))
}

/// A token costs so many dollars.
fn price(cost: u32) -> String {
    format!(
        r#"{{"prices":{{"name":"own","currency":"USD","models":{{"gpt-4o":{{"prices":{{"llm_tokens":"{cost}"}}}}}}}}}}"#
    )
}

fn registry<S: Store + RegistryStore>(house: &House<S>) -> Registry<S> {
    let registry = Registry::new(Arc::clone(&house.store), sandbox());
    for (_, component) in tollgate_plugins::STANDARD {
        registry.know(component);
    }
    registry
}

fn candidate(component: &str, settings: &str) -> Option<Arc<Candidate>> {
    let Binding { name, policy, .. } = binding(component, settings);
    Some(Arc::new(Candidate { name, owner: None, policy }))
}

async fn host<S: Store>(house: &House<S>, bindings: Vec<Binding>) -> Host {
    house.host(&Arc::new(Setup { bindings, ..Setup::default() })).await
}

/// Asks for tokens, and uses them where they are had.
async fn use_tokens(host: &Host, user: &str, agent: &str, tokens: u32) {
    let dimensions = [("user", user), ("agent", agent), ("model", "gpt-4o")];
    let call = call(&dimensions, &[("llm_tokens", tokens)]);
    let outcome = ask(host, reserve_of(call.clone(), 60_000)).await.expect("an answer");
    if let Outcome::Reserved(Reserved { id, .. }) = outcome {
        ask(host, Operation::Settle { id, used: call.quantities }).await.expect("settled");
    }
}

async fn replay<S: Store + RegistryStore>(
    house: &House<S>,
    candidate: Option<Arc<Candidate>>,
) -> ReplayReport {
    let all = i64::MIN..i64::MAX;
    registry(house).replay(&[acme()], all, candidate, |_, _| {}).await.expect("a report")
}

fn kinds(flips: &[Flip]) -> Vec<(&str, &str, u64)> {
    flips.iter().map(|own| (&*own.from, &*own.to, own.count)).collect()
}

fn dollars(sums: &tollgate_host::registry::Sums) -> Vec<Decimal> {
    sums.iter().map(|money| money.amount).collect()
}

fn hit(hits: &[Hit]) -> Vec<(&str, u64)> {
    hits.iter().map(|own| (&*own.value, own.count)).collect()
}

pub async fn a_candidate_shows_whom_it_would_hit<S: Store + RegistryStore>(house: &House<S>) {
    let bindings = vec![
        binding("pricing", &price(2)),
        binding("quota", &limits(&[("", 100), (r#""user""#, 90)])),
    ];
    let host = host(house, bindings).await;
    // 30, 60 and 90 of 100 are used; the fourth and the fifth exceed them.
    for user in ["ana", "ana", "bob", "bob", "eva"] {
        use_tokens(&host, user, "sdr", 30).await;
    }
    let same = replay(house, None).await;
    assert_eq!((same.decisions, same.differences), (5, 0));

    // Half of it: two more are denied, and what is denied stays so.
    let half = replay(house, candidate("quota", &limits(&[("", 50)]))).await;
    assert_eq!(half.decisions, 5);
    assert_eq!(kinds(&half.flips), [("allowed", "quota_exceeded", 2)]);
    assert_eq!(dollars(&half.newly_denied), [Decimal::from(120)]);
    assert_eq!(dollars(&half.flips[0].money), [Decimal::from(120)]);
    assert_eq!(
        (dollars(&half.cost_before), dollars(&half.newly_allowed)),
        (vec![60.into()], vec![])
    );
    assert_eq!(hit(&half.users), [("ana", 1), ("bob", 1)]);
    assert_eq!(hit(&half.agents), [("sdr", 2)]);
    let example = &half.flips[0].examples[0];
    assert_eq!(example.before, "allowed");
    assert!(example.after.contains("Limit: 50"), "{example:?}");

    // More for each user only: who was denied is allowed.
    let by_user = replay(house, candidate("quota", &limits(&[(r#""user""#, 1_000)]))).await;
    assert_eq!(kinds(&by_user.flips), [("quota_exceeded", "allowed", 2)]);
    assert_eq!(dollars(&by_user.newly_allowed), [Decimal::from(120)]);

    // A policy of another name is asked beside those there were.
    let other = binding("quota", &limits(&[(r#""user""#, 20)]));
    let other = Candidate { name: "other".into(), owner: None, policy: other.policy };
    let beside = replay(house, Some(Arc::new(other))).await;
    assert_eq!(kinds(&beside.flips), [("allowed", "quota_exceeded", 3)]);

    // Nobody was fed what each agent had used.
    let by_agent = replay(house, candidate("quota", &limits(&[(r#""agent""#, 50)]))).await;
    assert_eq!((by_agent.decisions, by_agent.differences), (0, 0));
    let counter = "llm_tokens over calendar:month for each agent".to_owned();
    assert_eq!(Vec::from_iter(by_agent.unrecorded), [(counter, 5)]);

    // In a stretch of time.
    let all = house.at() + 1..i64::MAX;
    let none = registry(house).replay(&[acme()], all, None, |_, _| {}).await.expect("a report");
    assert_eq!(none, ReplayReport::default());
}

pub async fn candidates_for_prices_are_judged_by_what_is_limited<S: Store + RegistryStore>(
    house: &House<S>,
) {
    let cost = r#"{"limits":[{"meter":"cost.usd","period":"month","limit":100}]}"#;
    let host = host(house, vec![binding("pricing", &price(1)), binding("quota", cost)]).await;
    for tokens in [10, 50, 45] {
        use_tokens(&host, "ana", "sdr", tokens).await;
    }
    // 45 beside 60 is too much. At half the price it would not be; at thrice the second would be,
    // beside what was spent as it was priced.
    let half = replay(house, candidate("pricing", &price(1).replace("\"1\"", "\"0.5\""))).await;
    assert_eq!(kinds(&half.flips), [("quota_exceeded", "allowed", 1)]);
    assert_eq!(
        (dollars(&half.cost_before), dollars(&half.cost_after)),
        (vec![60.into()], vec![30.into()])
    );
    let thrice = replay(house, candidate("pricing", &price(3))).await;
    assert_eq!(kinds(&thrice.flips), [("allowed", "quota_exceeded", 1)]);
    let other = price(1).replace("gpt-4o", "gpt-5");
    let unknown = replay(house, candidate("pricing", &other)).await;
    assert_eq!(kinds(&unknown.flips)[0], ("allowed", "model_unknown", 2));
}

pub async fn what_the_host_denied_stays_denied<S: Store + RegistryStore>(house: &House<S>) {
    let host = host(house, vec![binding("quota", &limits(&[("", 100)]))]).await;
    let key = LimitKey {
        meter: "llm_tokens".parse().expect("a meter"),
        window: "calendar:month".parse().expect("a window"),
        dimensions: Vec::new(),
    };
    let limit = Limit {
        limit: 20.into(),
        valid_from: None,
        valid_until: None,
        set_by: "ops".into(),
        is_platforms: false,
    };
    let by = || Author::Person("ana".into());
    let subject = Subject::Limit(key, Some(limit));
    ask(&host, Operation::Set { subject, by: by() }).await.expect("set");
    use_tokens(&host, "ana", "sdr", 10).await;
    use_tokens(&host, "ana", "sdr", 11).await;
    let agent =
        tollgate_policy_core::contract::Dimension { name: "agent".into(), value: "sdr".into() };
    let subject = Subject::Disabled(agent, Some(("spent too much".into(), None)));
    ask(&host, Operation::Set { subject, by: by() }).await.expect("set");
    use_tokens(&host, "ana", "sdr", 1).await;
    let generous = replay(house, candidate("quota", &limits(&[("", 1_000)]))).await;
    // The limit that was set is fed to the policy as well, and outranks its own.
    assert_eq!((generous.decisions, generous.unasked, generous.differences), (2, 1, 0));
    let same = replay(house, None).await;
    assert_eq!((same.decisions, same.differences), (3, 0));
}

pub async fn what_a_candidate_lacks_is_told<S: Store + RegistryStore>(house: &House<S>) {
    let trap = Guest { check: &later("(unreachable)"), ..Guest::default() }.component();
    let fails = sandbox().load(&trap, "{}").expect("let in");
    let bindings = vec![binding("quota", &limits(&[("", 100)]))];
    let host = host(house, bindings).await;
    use_tokens(&host, "ana", "sdr", 1).await;
    let fails = Candidate { name: "quota".into(), owner: None, policy: fails };
    let report = replay(house, Some(Arc::new(fails))).await;
    assert_eq!(kinds(&report.flips), [("allowed", "policy_trapped", 1)]);
    // What judged and is kept nowhere cannot judge again.
    let bare = Registry::new(Arc::clone(&house.store), sandbox_that_knows_nothing());
    let report = bare.replay(&[acme()], i64::MIN..i64::MAX, None, |_, _| {}).await;
    let report = report.expect("a report");
    assert!(report.decisions == 0 && report.unreadable > 0, "{report:?}");
}

pub async fn evidence_of_a_shadow_is_what_replay_says<S: Store + RegistryStore>(house: &House<S>) {
    let shadow = |component, settings: &str| Binding {
        mode: BindingMode::Shadow,
        ..binding(component, settings)
    };
    let tight = limits(&[("", 70)]);
    let alerts = |dollars: u32| {
        format!(r#"{{"cost_limits":{{"monthly_limit":{dollars},"auto_disable":true}}}}"#)
    };
    let host = host(
        house,
        vec![
            binding("pricing", &price(2)),
            shadow("pricing", &price(3)),
            binding("quota", &limits(&[("", 100)])),
            shadow("quota", &tight),
            binding("alerts", &alerts(1_000)),
            shadow("alerts", &alerts(100)),
        ],
    )
    .await;
    for user in ["ana", "ana", "bob", "bob", "eva"] {
        use_tokens(&host, user, "sdr", 30).await;
    }
    let all = i64::MIN..i64::MAX;
    let evidence = registry(house).evidence(&[acme()], all, |_, _| {}).await.expect("evidence");
    let of = |compared| evidence.iter().find(|own| own.compared == compared).expect("evidence");
    let quota = of(Compared::Quota);
    assert_eq!((quota.agreed, quota.diverged, quota.failed), (4, 1, 0));
    assert_eq!(quota.mode, BindingMode::Shadow);
    assert_eq!(quota.beside.as_ref().map(|own| &*own.policy), Some("quota"));
    let replayed = replay(house, candidate("quota", &tight)).await;
    assert_eq!(kinds(&quota.flips), kinds(&replayed.flips));
    assert_eq!(quota.users, replayed.users);
    let pricing = of(Compared::Pricing);
    assert_eq!((pricing.agreed, pricing.diverged), (0, 5));
    assert_eq!(kinds(&pricing.flips), [("priced", "dearer", 5)]);
    assert_eq!(dollars(&pricing.flips[0].money), [Decimal::from(450)]);
    // It would have warned, and then disabled the agent.
    let alerting = of(Compared::Alerting);
    assert!(alerting.diverged > 0, "{alerting:?}");
    assert!(alerting.flips.iter().any(|own| own.to.contains("disable:agent")), "{alerting:?}");
}

/// Whoever changes what a decision was taken with is found out.
pub async fn what_was_tampered_with_is_found(house: &House<PostgresStore>) {
    let host = host(house, vec![binding("quota", &limits(&[("", 100)]))]).await;
    use_tokens(&host, "ana", "sdr", 60).await;
    assert_eq!(replay(house, None).await.differences, 0);
    let options = house.options.as_ref().expect("a database");
    let mut connection = PgConnection::connect_with(options).await.expect("a connection");
    let done = sqlx::query(
        r#"UPDATE context SET body = convert_to(replace(convert_from(body, 'UTF8'), '\"limit\":100', '\"limit\":50'), 'UTF8')"#,
    );
    assert_eq!(done.execute(&mut connection).await.expect("done").rows_affected(), 1);
    let report = replay(house, None).await;
    assert_eq!((report.decisions, report.differences), (1, 1));
    assert_eq!(report.flips[0].examples[0].after, "said otherwise by `quota`");
}
