//! A person's name gives way to a pseudonym.

use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tollgate_host::engine::{
    AgentText, Author, Call, Expiring, Host, HostError, Limit, LimitKey, Operation, Outcome,
    Random, Report, Retention, Setup, Subject, context_of, decisions, disable, enable, erase,
    follow, upkeep, verify,
};
use tollgate_host::store::{
    AuditRow, BatchKey, ChangeKey, DeliveryRow, DeliveryState, LatestKey, Need, Owner, Place,
    Rewritten, RunQuery, Since, Store,
};
use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::window::Window;
use uuid::Uuid;

use crate::house::{House, acme, ask, binding, call, limited, reserve_of};

const DAY_MS: i64 = 86_400_000;
const MARIA: &str = "maria.silva@example.com";
const BEN: &str = "ben";

fn maria() -> Dimension {
    Dimension { name: "user".into(), value: MARIA.into() }
}

fn random() -> Random {
    Arc::new(|| 0x1234_5678_9abc_def0_u128 << 64)
}

fn setup() -> Setup {
    let limits = r#"[{"meter":"llm_tokens","period":"month","limit":1000,"per":["user"]},
        {"meter":"llm_tokens","period":"total","limit":100000,"per":["agent","user"]},
        {"meter":"llm_tokens","period":"rolling:5000000","limit":100000,"per":["user"]}]"#;
    let mut setup = Setup { expiring: Expiring::Charge, ..limited(limits) };
    // People are told of her as well.
    setup.bindings.push(binding("alerts", &format!(r#"{{"limits":{limits}}}"#)));
    setup
}

fn use_of(user: &str, tokens: u32) -> Call {
    let quantities = [("llm_tokens", tokens), ("llm_tokens.input", tokens)];
    call(&[("user", user), ("agent", "sdr"), ("model", "gpt-4o")], &quantities)
}

async fn record(host: &Host, user: &str, tokens: u32) -> Result<Uuid, HostError> {
    let reports = vec![Report { call: use_of(user, tokens), used_at: None }];
    match ask(host, Operation::Record { reports }).await? {
        Outcome::Recorded(recorded) => Ok(recorded[0].usage),
        outcome => panic!("{outcome:?}"),
    }
}

async fn reserved(host: &Host, user: &str, tokens: u32, ttl_ms: i64) -> Option<Uuid> {
    match ask(host, reserve_of(use_of(user, tokens), ttl_ms)).await.expect("an answer") {
        Outcome::Reserved(reserved) => Some(reserved.id),
        Outcome::Denied(_) => None,
        outcome => panic!("{outcome:?}"),
    }
}

async fn void(host: &Host, usage: Uuid) {
    ask(host, Operation::Void { usage, reason: "told wrongly".into() }).await.expect("undone");
}

async fn limit_of(host: &Host, limit: Option<u32>) -> Result<Outcome, HostError> {
    let meter = "llm_tokens".parse().expect("a meter");
    let key = LimitKey { meter, window: Window::Lifetime, dimensions: vec![maria()] };
    let limit = limit.map(|limit| Limit {
        limit: limit.into(),
        valid_from: None,
        valid_until: None,
        set_by: "ops".into(),
        is_platforms: false,
    });
    let by = Author::Person("ops".into());
    ask(host, Operation::Set { subject: Subject::Limit(key, limit), by }).await
}

/// What of each kind of history names her, and the reservation that expired.
async fn history<S: Store>(house: &House<S>, host: &Host) -> (Uuid, Uuid) {
    for user in [MARIA, BEN] {
        let run = Operation::Start { call: use_of(user, 0), ttl_ms: DAY_MS };
        let Ok(Outcome::Reserved(run)) = ask(host, run).await else { panic!("no run") };
        record(host, user, 100).await.expect("booked");
        let id = reserved(host, user, 50, 60_000).await.expect("allowed");
        host.settle(&acme(), None, id, use_of(user, 40).quantities).await.expect("settled");
        ask(host, Operation::Finish { id: run.id }).await.expect("finished");
        // She asks for more than there is.
        assert_eq!(reserved(host, user, 5_000, 60_000).await, None);
    }
    limit_of(host, Some(7_000)).await.expect("set");
    let disabled = Subject::Disabled(maria(), Some(("on leave".into(), None)));
    let by = Author::Person("ops".into());
    ask(host, Operation::Set { subject: disabled, by: by.clone() }).await.expect("disabled");
    assert_eq!(reserved(host, MARIA, 1, 60_000).await, None);
    let enabled = Subject::Disabled(maria(), None);
    ask(host, Operation::Set { subject: enabled, by }).await.expect("enabled");
    acts(house).await;
    echoes(house).await;
    let usage = record(host, MARIA, 3).await.expect("booked");
    let expired = reserved(host, MARIA, 20, 1_000).await.expect("allowed");
    house.advance(60_000);
    record(host, BEN, 1).await.expect("booked");
    (usage, expired)
}

/// Acts that name her, in all the ways they do; and one that names somebody else.
async fn acts<S: Store>(house: &House<S>) {
    static ACTS: AtomicU64 = AtomicU64::new(1);
    let of_her = format!(r#"{{"dimensions":[{{"name":"user","value":"{MARIA}"}}]}}"#);
    let reason = format!(r#"{{"reason":"{MARIA} is on leave"}}"#);
    for (act, subject, before, after) in [
        ("dimension.disable", format!("user={MARIA}"), None, Some(reason.clone())),
        ("dimension.enable", format!("user={MARIA}"), Some(reason), None),
        ("limit.set", of_her.clone(), None, Some(r#"{"limit":"5"}"#.into())),
        ("ledger.repair", String::new(), Some(format!(r#"{{"differences":[{of_her}]}}"#)), None),
        ("dimension.disable", format!("user={BEN}"), None, Some(r#"{"reason":"a pause"}"#.into())),
    ] {
        let id = Uuid::from_u128(ACTS.fetch_add(1, Ordering::Relaxed).into());
        let (owner, who) = (Owner::Tenant(acme()), "ops".into());
        let outcome =
            (act == "dimension.enable").then(|| format!("user `{MARIA}` is not disabled"));
        let (act, at) = (act.into(), house.at());
        let row = AuditRow { id, owner, at, who, act, subject, before, after, outcome };
        house.store.audit(&row).await.expect("written down");
    }
}

/// Receivers tell what they were told, of her and of Ben.
async fn echoes<S: Store>(house: &House<S>) {
    for kept in house.store.notices_after(&acme(), Uuid::nil(), 999).await.expect("notices") {
        let named = if String::from_utf8_lossy(&kept.body).contains(MARIA) { MARIA } else { BEN };
        let delivery = DeliveryRow {
            tenant: acme(),
            notice: kept.id,
            channel_of: Owner::Platform,
            channel: "ops".into(),
            state: DeliveryState::Waits,
            attempts: 0,
            due_at: 0,
            error: Some(format!("500: {named} is unknown")),
        };
        let handed = house.store.hand_over(&acme(), kept.id, std::slice::from_ref(&delivery)).await;
        handed.expect("handed over");
        house.store.tried(0, &delivery).await.expect("tried");
    }
}

fn beginning() -> Since {
    Since { counter: i64::MIN, values: String::new(), opened: i64::MIN }
}

/// All that is kept, as text.
async fn all<S: Store>(house: &House<S>) -> String {
    let (store, acme) = (&house.store, acme());
    let mut text = String::new();
    let mut tell = |what: &dyn Debug, body: Option<&[u8]>| {
        let body = String::from_utf8_lossy(body.unwrap_or_default());
        writeln!(text, "{what:?} {body}").expect("in memory");
    };
    let need = Need { whole: true, ..Need::head(acme.clone()) };
    for found in store.read(&[need]).await.expect("the head") {
        found.records.iter().for_each(|row| tell(&(&row.kind, &row.name), row.body.as_deref()));
    }
    let from = LatestKey { per: String::new(), values: String::new() };
    tell(&store.latest(&acme, &from, 999).await.expect("totals"), None);
    tell(&store.counters(&acme, &beginning(), 999).await.expect("totals"), None);
    tell(&store.carried_counters(&acme, &beginning(), 999).await.expect("totals"), None);
    for (place, row) in store.usages(&acme, Place::before(i64::MIN), 999).await.expect("usages") {
        tell(&place, Some(&row.body));
    }
    for (id, body) in store.expired(&acme, Uuid::nil(), 999).await.expect("closures") {
        tell(&id, Some(&body));
    }
    for row in store.runs(&acme, &RunQuery::first(999)).await.expect("runs") {
        tell(&row.user, Some(&row.body));
    }
    for kept in store.notices_after(&acme, Uuid::nil(), 999).await.expect("notices") {
        tell(&kept.id, Some(&kept.body));
    }
    for row in store.deliveries(&acme, None, false, 999).await.expect("deliveries") {
        tell(&row, None);
    }
    for row in store.audits(Some(&Owner::Tenant(acme.clone())), None, 999).await.expect("acts") {
        tell(&row, None);
    }
    for row in store.changes(&acme, &ChangeKey::default(), 999).await.expect("changes") {
        tell(&row.key, row.body.as_deref());
    }
    for (grouping, _) in tollgate_host::engine::GROUPINGS {
        for grain_ms in tollgate_host::engine::GRAINS_MS {
            let rows = store.rollups(&acme, grouping, None, grain_ms, i64::MIN..i64::MAX).await;
            rows.expect("roll-ups").iter().for_each(|row| tell(row, None));
        }
    }
    let batches = store.batches(&acme, BatchKey::before(i64::MIN), 999).await.expect("batches");
    for batch in batches.iter().filter(|own| !(own.allowed.is_empty() && own.denied.is_empty())) {
        let setup = house.setup_of(&context_of(batch).expect("a context"));
        tell(&decisions(batch, &setup).expect("decisions"), None);
    }
    text
}

/// What is used of each counter that a call reads.
async fn used(host: &Host, user: &str) -> Vec<String> {
    let checked = host.check(&acme(), use_of(user, 0)).await.expect("an answer");
    let of_quota = checked.standings.iter().filter(|own| own.by == "quota");
    of_quota.map(|own| own.used.to_string()).collect()
}

pub async fn what_is_erased_stands_nowhere_and_all_sums_stay<S: Store>(house: &House<S>) {
    let host = house.host(&Arc::new(setup())).await;
    history(house, &host).await;
    // Some of it is carried forward, and some is not.
    house.advance(95 * DAY_MS);
    let kept = Some(Duration::from_secs(60 * 86_400));
    let retention = Retention { ledger: kept, ..Retention::default() };
    follow(&*house.store, &acme()).await.expect("rolled up");
    upkeep(&*house.store, &retention, &random()).await.expect("kept up");
    let (usage, expired) = history(house, &host).await;
    let carried = house.store.carried_counters(&acme(), &beginning(), 999).await.expect("totals");
    assert!(carried.iter().any(|row| row.values.contains(MARIA)), "{carried:?}");
    let (before, bens) = (used(&host, MARIA).await, used(&host, BEN).await);
    let text = all(house).await;
    assert!(text.matches(MARIA).count() > 20, "{text}");

    // It cannot be finished while something cannot be read.
    let usages = house.store.usages(&acme(), Place::before(i64::MIN), 999).await.expect("usages");
    let (place, row) = usages.last().expect("a usage");
    let body = |body: Vec<u8>| Rewritten {
        usages: vec![(place.at, row.id, body)],
        ..Rewritten::default()
    };
    house.store.rewrite(&acme(), &body(vec![9])).await.expect("unreadable");
    let refused = erase(&*house.store, &acme(), &maria(), &random()).await;
    assert!(matches!(refused, Err(HostError::Unreadable(_))), "{refused:?}");
    house.store.rewrite(&acme(), &body(row.body.clone())).await.expect("readable");

    // Two at a time would rewrite the same rows.
    let session = Dimension { name: "session".into(), value: "s9".into() };
    let refused = erase(&*house.store, &acme(), &session, &random()).await;
    assert_eq!(refused, Err(HostError::Erasing("user".into())));

    // In between nothing new names her, her past can be put right, and all adds up.
    let erasing = Err(HostError::Erasing("user".into()));
    assert_eq!(ask(&host, reserve_of(use_of(MARIA, 1), 60_000)).await, erasing);
    assert_eq!(limit_of(&host, Some(5)).await, erasing);
    assert_eq!(record(&host, MARIA, 1).await.map(drop), Err(HostError::Erasing("user".into())));
    assert!(host.check(&acme(), use_of(MARIA, 1)).await.is_err());
    let (store, by) = (&*house.store, || Author::Person("ops".into()));
    let why = || ("on leave".into(), None);
    let refused = disable(store, &acme(), &maria(), why(), by(), &random()).await;
    assert_eq!(refused, Err(HostError::Erasing("user".into())));
    let refused = enable(store, &acme(), &maria(), by(), &random()).await;
    assert_eq!(refused, Err(HostError::Erasing("user".into())));
    let ben = Dimension { name: "user".into(), value: BEN.into() };
    assert_eq!(disable(store, &acme(), &ben, why(), by(), &random()).await, Ok(true));
    assert_eq!(enable(store, &acme(), &ben, by(), &random()).await, Ok(true));
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    void(&host, usage).await;
    let settled = host.settle(&acme(), None, expired, use_of(MARIA, 15).quantities).await;
    assert!(settled.expect("settled").late);
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    let more = r#"[{"meter":"llm_tokens","period":"month","limit":2000,"per":["model","user"]}]"#;
    let more = Setup { expiring: Expiring::Charge, ..limited(more) };
    let other = house.host(&Arc::new(more)).await;
    record(&other, BEN, 1).await.expect("booked");
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));

    upkeep(&*house.store, &Retention::default(), &random()).await.expect("kept up");
    let text = all(house).await;
    assert_eq!(text.matches(MARIA).count(), 0, "{text}");
    let pseudonym = "erased-123456789abcdef0";
    assert!(text.matches(pseudonym).count() > 20, "{text}");
    // What is of somebody else stays.
    assert!(text.contains("500: ben is unknown") && text.contains("user=ben"), "{text}");
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    // 3 were undone, and 20 became 15; of Ben one more was told.
    let sum = |used: &[String], more: i64| -> Vec<String> {
        used.iter().map(|own| (own.parse::<i64>().expect("a number") + more).to_string()).collect()
    };
    assert_eq!(used(&host, pseudonym).await, sum(&before, -8));
    assert_eq!(used(&host, BEN).await, sum(&bens, 1));
    // It is a decision of hers that says so.
    assert!(text.contains("erased: true") && text.contains("erased: false"));
    // Who comes under her name is somebody else, also to a host that knew of her.
    record(&other, MARIA, 4).await.expect("booked");
    assert_eq!(used(&host, MARIA).await, ["4", "4", "4"]);
}

pub async fn what_is_open_is_not_erased<S: Store>(house: &House<S>) {
    let host = house.host(&Arc::new(setup())).await;
    let id = reserved(&host, MARIA, 5, DAY_MS).await.expect("allowed");
    let before = all(house).await;
    let refused = erase(&*house.store, &acme(), &maria(), &random()).await;
    assert_eq!(refused, Err(HostError::StillOpen(1)));
    assert_eq!(all(house).await, before);
    host.release(&acme(), None, id).await.expect("released");
    erase(&*house.store, &acme(), &maria(), &random()).await.expect("erased");
    assert!(!all(house).await.contains(MARIA));
}

pub async fn an_agent_that_is_erased_leaves_no_record<S: Store>(house: &House<S>) {
    let host = house.host(&Arc::new(setup())).await;
    for name in ["Agente Maria", "Maria's"] {
        let settings = serde_json::json!({ "note": "what Agente Maria wants" }).to_string();
        let agent = AgentText { name: Some(name.into()), settings, enabled: true };
        let subject = Subject::Agent("maria-s-agent".into(), Some(agent));
        let by = Author::Person("ops".into());
        ask(&host, Operation::Set { subject, by }).await.expect("set");
    }
    let of_it = call(
        &[("agent", "maria-s-agent"), ("model", "gpt-4o")],
        &[("llm_tokens", 5), ("llm_tokens.input", 5)],
    );
    let reports = vec![Report { call: of_it, used_at: None }];
    ask(&host, Operation::Record { reports }).await.expect("booked");
    follow(&*house.store, &acme()).await.expect("rolled up");
    let dimension = Dimension { name: "agent".into(), value: "maria-s-agent".into() };
    assert!(all(house).await.contains("maria-s-agent"));
    erase(&*house.store, &acme(), &dimension, &random()).await.expect("erased");
    let text = all(house).await;
    assert!(!text.contains("maria-s-agent") && !text.contains("Maria"), "{text}");
}

/// Whoever disables without a host is held to what hosts are.
pub async fn what_cannot_be_kept_is_not_disabled<S: Store>(house: &House<S>) {
    let host = house.host(&Arc::new(setup())).await;
    record(&host, BEN, 1).await.expect("booked");
    let (store, by) = (&*house.store, || Author::Person("ops".into()));
    let user = |value: &str| Dimension { name: "user".into(), value: value.into() };
    let long = "x".repeat(2_000);
    for (value, reason) in [("b\0n", "a pause"), ("ben", "a \0"), (&*long, "a"), ("ben", &*long)] {
        let why = (reason.to_owned(), None);
        let refused = disable(store, &acme(), &user(value), why, by(), &random()).await;
        assert!(matches!(refused, Err(HostError::Malformed(_))), "{refused:?}");
    }
    let refused = enable(store, &acme(), &user(&long), by(), &random()).await;
    assert!(matches!(refused, Err(HostError::Malformed(_))), "{refused:?}");
    // Nobody holds the lock.
    record(&host, BEN, 1).await.expect("booked");
}
