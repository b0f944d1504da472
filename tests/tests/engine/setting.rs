//! What is known by name holds from the next call on: limits, disablements, agents.

use tollgate_host::engine::{
    AgentText, Author, Call, Denied, Host, HostError, Limit, LimitKey, Operation, Outcome, Setup,
    Subject, verify,
};
use tollgate_host::store::Store;
use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::messages::Language;

use crate::house::{House, acme, ask, binding, call, limited, reserve_of, setup};
use crate::operations::{DAY_MS, MINUTE, anas, bens, fits, hold, month, record, report};

fn limit_of_ana(limit: u32) -> (LimitKey, Limit) {
    let key = LimitKey {
        meter: "llm_tokens".parse().expect("a meter"),
        window: "calendar:month".parse().expect("a window"),
        dimensions: vec![Dimension { name: "user".into(), value: "ana".into() }],
    };
    let (valid_from, valid_until, set_by) = (None, None, "the owner".into());
    (key, Limit { limit: limit.into(), valid_from, valid_until, set_by, is_platforms: false })
}

async fn set_limit(host: &Host, key: LimitKey, limit: Option<Limit>) {
    let by = Author::Person("the owner".into());
    let subject = Subject::Limit(key, limit);
    assert_eq!(ask(host, Operation::Set { subject, by }).await, Ok(Outcome::Done));
}

/// The counter is one that no policy reads: it is filled from what was used and is held.
pub async fn a_limit_set_as_data_holds_at_once_and_knows_what_was_used<S: Store>(house: &House<S>) {
    let setup = month(1_000_000).into();
    let host = house.host(&setup).await;
    record(&host, vec![report(30, None), report(500, Some(house.at() - 25 * DAY_MS))])
        .await
        .expect("recorded");
    let id = hold(&host, anas(20)).await;
    let (key, limit) = limit_of_ana(100);
    set_limit(&host, key.clone(), Some(limit.clone())).await;
    for host in [&host, &house.host(&setup).await] {
        assert!(fits(host, anas(50)).await && !fits(host, anas(51)).await, "30 used, 20 held");
        assert!(fits(host, bens(5_000)).await, "it is ana's");
    }
    // What was held before the counter was kept is given back to it.
    host.settle(&acme(), None, id, anas(10).quantities).await.expect("settled");
    assert!(fits(&host, anas(60)).await && !fits(&host, anas(61)).await);
    // Another one in its place, one that is over, and none.
    set_limit(&host, key.clone(), Some(Limit { limit: 41.into(), ..limit.clone() })).await;
    assert!(fits(&host, anas(1)).await && !fits(&host, anas(2)).await);
    let over = Limit { valid_until: Some(house.at()), ..limit.clone() };
    set_limit(&host, key.clone(), Some(over)).await;
    assert!(fits(&host, anas(5_000)).await);
    let begins = Limit { valid_from: Some(house.at() + 1_000), ..limit };
    set_limit(&host, key.clone(), Some(begins)).await;
    assert!(fits(&host, anas(5_000)).await);
    house.advance(1_000);
    assert!(!fits(&host, anas(5_000)).await);
    set_limit(&host, key, None).await;
    assert!(fits(&host, anas(5_000)).await);
}

pub async fn a_limit_set_as_data_is_fed_to_the_policy_that_reads_its_counter<S: Store>(
    house: &House<S>,
) {
    let per_user = r#"[{"meter":"llm_tokens","period":"month","limit":50,"per":["user"]}]"#;
    let host = house.host(&limited(per_user).into()).await;
    assert!(!fits(&host, anas(51)).await);
    let (key, limit) = limit_of_ana(100);
    set_limit(&host, key, Some(limit)).await;
    assert!(fits(&host, anas(100)).await && !fits(&host, anas(101)).await, "in place of its own");
    assert!(fits(&host, bens(50)).await && !fits(&host, bens(51)).await);
}

/// A new policy judges by what happened before it came.
pub async fn counters_of_a_new_policy_are_filled_before_it_judges<S: Store>(house: &House<S>) {
    let before = house.host(&month(1_000_000).into()).await;
    record(&before, vec![report(30, None)]).await.expect("recorded");
    let id = hold(&before, anas(20)).await;
    let today = r#"[{"meter":"llm_tokens","period":"day","limit":100,"per":["user"]},
        {"meter":"llm_tokens","period":"total","limit":200}]"#;
    let setup = limited(today).into();
    for host in [house.host(&setup).await, house.host(&setup).await] {
        assert!(fits(&host, anas(50)).await && !fits(&host, anas(51)).await);
    }
    let after = house.host(&setup).await;
    after.settle(&acme(), None, id, anas(20).quantities).await.expect("settled");
    house.advance(DAY_MS);
    assert!(fits(&after, anas(100)).await && !fits(&after, anas(101)).await);
    record(&after, vec![report(100, None)]).await.expect("recorded");
    assert!(fits(&after, bens(50)).await && !fits(&after, bens(51)).await, "150 in all");
}

/// What of a reservation began later is held apart, and a new counter's part of it as well: it is given
/// back where the counter was filled, and where the reservation comes from the store.
pub async fn what_was_extended_is_held_by_a_counter_that_is_new<S: Store>(house: &House<S>) {
    let before = house.host(&month(1_000_000).into()).await;
    let mut extended = Vec::new();
    for _ in 0..2 {
        let id = hold(&before, anas(20)).await;
        let more = anas(10).quantities;
        ask(&before, Operation::Extend { id, more, ttl_ms: 60_000 }).await.expect("extended");
        extended.push(id);
    }
    let today = r#"[{"meter":"llm_tokens","period":"day","limit":100}]"#;
    let setup = limited(today).into();
    let host = house.host(&setup).await;
    hold(&host, bens(1)).await;
    assert!(fits(&host, anas(39)).await && !fits(&host, anas(40)).await, "61 are held");
    let settle = async |host: &Host, id| {
        host.settle(&acme(), None, id, anas(15).quantities).await.expect("settled");
    };
    settle(&host, extended[0]).await;
    assert!(fits(&host, anas(54)).await && !fits(&host, anas(55)).await, "15 and 31");
    let after = house.host(&setup).await;
    settle(&after, extended[1]).await;
    assert!(fits(&after, anas(69)).await && !fits(&after, anas(70)).await, "30 and 1");
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
}

pub async fn what_a_person_disables_only_a_person_enables<S: Store>(house: &House<S>) {
    let setup = setup(1_000);
    let host = house.host(&setup).await;
    let dimension = Dimension { name: "user".into(), value: "ana".into() };
    let set = |why: Option<(String, Option<i64>)>, by| Operation::Set {
        subject: Subject::Disabled(dimension.clone(), why),
        by,
    };
    let person = || Author::Person("the owner".into());
    let until = house.at() + DAY_MS;
    ask(&host, set(Some(("on leave".into(), Some(until))), person())).await.expect("done");
    let policy = Author::Policy("alerts".into());
    ask(&host, set(None, policy.clone())).await.expect("done");
    for host in [&host, &house.host(&setup).await] {
        let denied = host.reserve(&acme(), None, anas(1), MINUTE).await.expect("an answer");
        let Err(Denied { denial, .. }) = denied else { panic!("{denied:?}") };
        assert_eq!(denial.message, "user `ana` is disabled: on leave");
        assert_eq!((denial.code.as_str(), denial.retry_at), ("disabled", Some(until)));
        assert!(fits(host, bens(1)).await);
    }
    ask(&host, set(None, person())).await.expect("done");
    assert!(fits(&host, anas(1)).await);
    ask(&host, set(Some(("at night".into(), Some(until))), policy)).await.expect("done");
    house.advance(DAY_MS);
    assert!(fits(&host, anas(1)).await, "it ends by itself");
}

pub async fn what_one_host_disabled_another_one_enables<S: Store>(house: &House<S>) {
    let setup = setup(1_000);
    let (host, other) = (house.host(&setup).await, house.host(&setup).await);
    // The books of both are open, and the other's will be those of before.
    assert!(fits(&host, anas(1)).await && fits(&other, anas(1)).await);
    let set = |why: Option<&str>| Operation::Set {
        subject: Subject::Disabled(
            Dimension { name: "user".into(), value: "ana".into() },
            why.map(|why| (why.into(), None)),
        ),
        by: Author::Person("the owner".into()),
    };
    ask(&host, set(Some("on leave"))).await.expect("done");
    ask(&other, set(None)).await.expect("done");
    assert!(fits(&host, anas(1)).await);
}

pub async fn who_enables_has_the_last_word_over_who_disabled<S: Store>(house: &House<S>) {
    let setup = setup(1_000);
    let host = house.host(&setup).await;
    let by = [Author::Policy, Author::Member, Author::Platform, Author::Person];
    let by = by.map(|by| by("own".into()));
    let set = async |why: Option<&str>, by: &Author| {
        let ana = Dimension { name: "user".into(), value: "ana".into() };
        let subject = Subject::Disabled(ana, why.map(|why| (why.into(), None)));
        let done = ask(&host, Operation::Set { subject, by: by.clone() }).await;
        assert!(matches!(done, Ok(Outcome::Done) | Err(HostError::Platforms)), "{done:?}");
        done.is_ok()
    };
    for disabled in 0..4 {
        for enabled in 0..4 {
            set(Some("stop"), &by[disabled]).await;
            // What was disabled by another one who has less of a word changes nothing.
            for less in &by[..disabled] {
                set(Some("otherwise"), less).await;
            }
            // A person is told that they may not.
            let done = set(None, &by[enabled]).await;
            assert_eq!(done, enabled != 1 || disabled <= 1);
            let answer = host.reserve(&acme(), None, anas(1), MINUTE).await.expect("an answer");
            match answer {
                Ok(_) => assert!(enabled >= disabled, "{:?} {:?}", by[disabled], by[enabled]),
                Err(denied) => {
                    assert!(enabled < disabled, "{:?} {:?}", by[disabled], by[enabled]);
                    assert!(denied.denial.message.ends_with("is disabled: stop"), "{denied:?}");
                }
            }
            set(None, &by[3]).await;
        }
    }
}

pub async fn an_agents_settings_hold_from_the_next_call_on<S: Store>(house: &House<S>) {
    let setup = Setup {
        bindings: vec![binding("pricing", "{}"), binding("quota", r#"{"agent_settings":true}"#)],
        ..Setup::default()
    };
    let setup = setup.into();
    let host = house.host(&setup).await;
    let set = async |settings: &str, enabled| {
        let agent = AgentText { name: None, settings: settings.into(), enabled };
        let subject = Subject::Agent("sdr".into(), Some(agent));
        ask(&host, Operation::Set { subject, by: Author::Person("her".into()) }).await
    };
    let sdr = |amount| {
        let dimensions = [("agent", "sdr"), ("model", "gpt-4o")];
        call(&dimensions, &[("llm_tokens", amount), ("llm_tokens.input", amount)])
    };
    let limits = |tokens: u32| {
        format!(r#"{{"rate_limits":{{"enabled":true,"period":"day","max_tokens":{tokens}}}}}"#)
    };
    assert!(fits(&host, sdr(1_000)).await);
    set(&limits(10), true).await.expect("set");
    for host in [&host, &house.host(&setup).await] {
        assert!(fits(host, sdr(10)).await && !fits(host, sdr(11)).await);
    }
    set(&limits(20), true).await.expect("set");
    assert!(fits(&host, sdr(20)).await && !fits(&host, sdr(21)).await);
    set(&limits(20), false).await.expect("set");
    let denied = host.reserve(&acme(), None, sdr(1), MINUTE).await.expect("an answer");
    assert_eq!(denied.expect_err("denied").denial.code, "disabled");
    let refused = set("{", true).await;
    assert!(matches!(refused, Err(HostError::Malformed(_))), "{refused:?}");
}

/// What the platform says of an agent is not its tenant's to lift.
pub async fn an_agent_that_the_platform_stopped_stays_so<S: Store>(house: &House<S>) {
    let host = house.host(&limited("[]").into()).await;
    let set = async |agent: Option<(&str, bool)>, by: fn(String) -> Author| {
        let text = |(settings, enabled): (&str, bool)| AgentText {
            name: None,
            settings: settings.to_owned(),
            enabled,
        };
        let subject = Subject::Agent("sdr".into(), agent.map(text));
        ask(&host, Operation::Set { subject, by: by("one".into()) }).await
    };
    let own = [Some(("{}", true)), Some((r#"{"a":1}"#, false)), None];
    for platforms in [("{}", false), (r#"{"cost_limits":{"monthly_limit":1}}"#, true)] {
        set(own[0], Author::Member).await.expect("set");
        set(Some(platforms), Author::Person).await.expect("set");
        for own in own {
            assert_eq!(set(own, Author::Member).await, Err(HostError::Platforms), "{platforms:?}");
        }
        // What the platform no longer has to say is the tenant's again.
        set(Some(("{}", true)), Author::Person).await.expect("set");
        for own in own {
            set(own, Author::Member).await.expect("set");
        }
    }
}

/// A tenant's people tighten what the platform's policies allow, and never loosen it.
pub async fn a_tenants_limit_only_tightens<S: Store>(house: &House<S>) {
    let per_user = r#"[{"meter":"llm_tokens","period":"month","limit":50,"per":["user"]}]"#;
    let host = house.host(&limited(per_user).into()).await;
    let set = async |limit: Option<u32>, by: fn(String) -> Author| {
        let (key, of_ana) = limit_of_ana(limit.unwrap_or_default());
        let subject = Subject::Limit(key, limit.map(|_| of_ana));
        ask(&host, Operation::Set { subject, by: by("own".into()) }).await
    };
    set(Some(5_000), Author::Member).await.expect("set");
    assert!(!fits(&host, anas(51)).await && fits(&host, anas(50)).await);
    set(Some(20), Author::Member).await.expect("set");
    assert!(!fits(&host, anas(21)).await && fits(&host, anas(20)).await);
    set(Some(70), Author::Person).await.expect("set");
    assert!(!fits(&host, anas(71)).await && fits(&host, anas(70)).await);
    for other in [Some(5_000), Some(10), None] {
        assert_eq!(set(other, Author::Member).await, Err(HostError::Platforms));
    }
    assert!(!fits(&host, anas(71)).await && fits(&host, anas(70)).await);
    set(None, Author::Person).await.expect("lifted");
    assert!(!fits(&host, anas(51)).await && fits(&host, anas(50)).await);
}

/// What the host says beside the policies is in the tenant's language.
pub async fn the_host_itself_speaks_the_tenants_language<S: Store>(house: &House<S>) {
    let setup = Setup { language: Language::Portuguese, ..month(1_000_000) };
    let host = house.host(&setup.into()).await;
    let denied = async |call: Call| match ask(&host, reserve_of(call, 60_000)).await {
        Ok(Outcome::Denied(denied)) => denied.denial.message,
        other => panic!("{other:?}"),
    };
    let (key, limit) = limit_of_ana(100);
    set_limit(&host, key, Some(limit)).await;
    let exceeded = "Cota excedida para llm_tokens. Limite: 100, não é possível continuar.";
    assert_eq!(denied(anas(101)).await, exceeded);
    let checked = host.check(&acme(), anas(101)).await.expect("an answer");
    let words: Vec<&str> = checked.standings.iter().map(|own| own.message.as_str()).collect();
    assert_eq!(words, ["Cota OK para llm_tokens. Restante: 1000000/1000000", exceeded]);

    let by = || Author::Person("the owner".into());
    let ana = Dimension { name: "user".into(), value: "ana".into() };
    let subject = Subject::Disabled(ana, Some(("férias".into(), None)));
    ask(&host, Operation::Set { subject, by: by() }).await.expect("disabled");
    assert_eq!(denied(anas(1)).await, "user `ana` está desativado: férias");
    let off = AgentText { name: None, settings: "{}".into(), enabled: false };
    let subject = Subject::Agent("sdr".into(), Some(off));
    ask(&host, Operation::Set { subject, by: by() }).await.expect("set");
    let of_agent = call(&[("agent", "sdr")], &[]);
    assert_eq!(denied(of_agent).await, "agent `sdr` está desativado: foi desligado");
}
