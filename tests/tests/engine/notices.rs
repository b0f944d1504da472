//! What people are told: once for each key and period, whoever sees it first and however often.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::Tz;
use tollgate_host::engine::{
    Author, Binding, Bounds, Event, Host, Layer, NoticeRecord, Operation, Outcome, Report, Setup,
    Subject, directory, monitor, next_look, notices,
};
use tollgate_host::store::{ChangeKey, NoticeStore, Store};
use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::messages::Language;
use tollgate_policy_core::window::Window;

use crate::house::{House, acme, ask, binding, call, reserve_of};

/// The seed's settings of an agent's cost.
const SEED: &str = r#"{"currency":"BRL","language":"pt","forecast":false,"cost_limits":
    {"enabled":true,"monthly_limit":500.00,"auto_disable":true,"alert_threshold":80}}"#;

const SAO_PAULO: Tz = chrono_tz::America::Sao_Paulo;

fn watched(settings: &str, zone: Tz) -> Arc<Setup> {
    let calendar = TenantCalendar { zone, ..TenantCalendar::default() };
    Arc::new(Setup { bindings: vec![binding("alerts", settings)], calendar, ..Setup::default() })
}

pub fn set_clock<S>(house: &House<S>, local: &str, zone: Tz) {
    let local = chrono::NaiveDateTime::parse_from_str(local, "%Y-%m-%d %H:%M").expect("a time");
    let at: DateTime<Utc> = zone.from_local_datetime(&local).earliest().expect("there").to_utc();
    house.now.store(at.timestamp_millis(), Ordering::Relaxed);
}

/// An agent spends so many reais.
async fn spend(host: &Host, agent: &str, reais: u32) -> Vec<Event> {
    let call = call(&[("agent", agent)], &[("cost.brl", reais)]);
    let reports = vec![Report { call, used_at: None }];
    match ask(host, Operation::Record { reports }).await.expect("booked") {
        Outcome::Recorded(recorded) => recorded.into_iter().flat_map(|own| own.events).collect(),
        other => panic!("{other:?}"),
    }
}

async fn denied(host: &Host, agent: &str) -> Option<(String, String)> {
    let call = call(&[("agent", agent)], &[("cost.brl", 1)]);
    match ask(host, reserve_of(call, 60_000)).await.expect("an answer") {
        Outcome::Denied(denied) => Some((denied.denial.code, denied.denial.message)),
        _ => None,
    }
}

pub async fn all(store: &impl NoticeStore) -> Vec<NoticeRecord> {
    let mut all = notices(store, &acme(), None, false, 1_000).await.expect("the notices");
    all.reverse();
    all
}

pub fn kinds(records: &[NoticeRecord]) -> Vec<&str> {
    records.iter().map(|own| own.notice.key.as_str()).collect()
}

pub async fn look<S: Store>(house: &House<S>, host: &Host, since: i64) -> Vec<Event> {
    monitor(host, &*house.store, &acme(), since).await.expect("it looks")
}

/// The seed's month: one warning, one disabling, one enabling.
pub async fn an_agent_is_warned_stopped_and_comes_back_each_told_once<S: Store>(house: &House<S>) {
    set_clock(house, "2025-11-20 12:00", SAO_PAULO);
    let host = house.host(&watched(SEED, SAO_PAULO)).await;
    spend(&host, "Agente SDR", 399).await;
    assert!(all(&*house.store).await.is_empty());
    spend(&host, "Agente SDR", 1).await;
    let told = all(&*house.store).await;
    assert_eq!(kinds(&told), ["threshold_warning"]);
    assert_eq!(
        told[0].notice.body,
        "⚠️ Atenção: O agente de IA 'Agente SDR' está próximo do limite de custo mensal!\n\n\
         Limite configurado: R$ 500.00\nCusto atual: R$ 400.00 (80.0% do limite)\n\n\
         Considere revisar o uso ou aumentar o limite."
    );
    assert_eq!(denied(&host, "Agente SDR").await, None);
    house.advance(60_000);
    spend(&host, "Agente SDR", 150).await;
    // A second and a third crossing, and a look in between.
    for _ in 0..2 {
        spend(&host, "Agente SDR", 1).await;
        look(house, &host, house.at()).await;
    }
    let told = all(&*house.store).await;
    assert_eq!(kinds(&told), ["threshold_warning", "limit_exceeded"]);
    assert_eq!(
        told[1].notice.body,
        "⚠️ O agente de IA 'Agente SDR' excedeu o limite de custo mensal!\n\n\
         Limite configurado: R$ 500.00\nCusto atual: R$ 550.00\n\n\
         O agente foi desativado automaticamente."
    );
    assert!(told.iter().all(|own| own.over_at.is_none()));
    let (code, reason) = denied(&host, "Agente SDR").await.expect("it is stopped");
    assert_eq!(code, "disabled");
    assert!(reason.contains("excedeu o limite de custo mensal"), "{reason}");
    // One agent's matter is nobody else's.
    assert_eq!(denied(&host, "Agente CS").await, None);
    set_clock(house, "2025-11-30 23:59", SAO_PAULO);
    assert!(denied(&host, "Agente SDR").await.is_some());
    let slept_from = house.at();
    set_clock(house, "2025-12-01 00:00", SAO_PAULO);
    // A call that comes before the monitor goes ahead as well.
    assert_eq!(denied(&host, "Agente SDR").await, None);
    let events = look(house, &host, slept_from).await;
    assert!(events.iter().any(|event| matches!(event, Event::Enabled { .. })), "{events:?}");
    look(house, &host, slept_from).await;
    let told = all(&*house.store).await;
    assert_eq!(kinds(&told), ["threshold_warning", "limit_exceeded", "agent_enabled"]);
    // The month is over, and so is what was told of it.
    assert!(told[..2].iter().all(|own| own.over_at == Some(house.at())), "{told:?}");
    assert_eq!(told[2].over_at, None);
    // The next month is another one.
    house.advance(1);
    spend(&host, "Agente SDR", 501).await;
    assert_eq!(kinds(&all(&*house.store).await)[3..], ["limit_exceeded"]);
    assert!(denied(&host, "Agente SDR").await.is_some());
    // A monitor that is late does not lift what this month stopped.
    look(house, &host, slept_from).await;
    assert!(denied(&host, "Agente SDR").await.is_some());
}

/// Four hosts see 10,000 crossings.
pub async fn of_10_000_crossings_on_four_hosts_one_is_told<S: Store>(house: &House<S>) {
    set_clock(house, "2025-11-20 12:00", SAO_PAULO);
    let setup = watched(SEED, SAO_PAULO);
    let mut hosts = Vec::new();
    for _ in 0..4 {
        hosts.push(house.host(&setup).await);
    }
    let crossings = hosts.iter().cycle().take(10_000).map(|host| spend(host, "sdr", 501));
    let events = futures_util::future::join_all(crossings).await;
    let raised = events.iter().flatten().filter(|own| matches!(own, Event::Notice { .. }));
    assert_eq!(raised.count(), 1);
    let looks = hosts.iter().map(|host| look(house, host, i64::MIN));
    futures_util::future::join_all(looks).await;
    assert_eq!(kinds(&all(&*house.store).await), ["limit_exceeded"]);
}

/// What a person stopped no month and no policy starts again.
pub async fn what_a_person_stopped_stays_stopped<S: Store>(house: &House<S>) {
    set_clock(house, "2025-11-20 12:00", SAO_PAULO);
    let host = house.host(&watched(SEED, SAO_PAULO)).await;
    let dimension = Dimension { name: "agent".into(), value: "sdr".into() };
    let by = Author::Person("ana".into());
    let subject = Subject::Disabled(dimension.clone(), Some(("on holiday".into(), None)));
    ask(&host, Operation::Set { subject, by }).await.expect("disabled");
    spend(&host, "sdr", 600).await;
    let slept_from = house.at();
    set_clock(house, "2025-12-02 09:00", SAO_PAULO);
    look(house, &host, slept_from).await;
    let (_, reason) = denied(&host, "sdr").await.expect("it is stopped");
    assert!(reason.contains("on holiday"), "{reason}");
    assert_eq!(kinds(&all(&*house.store).await), ["limit_exceeded"]);
    let known = directory(&*house.store, &acme()).await.expect("the records");
    assert_eq!(known.disabled.len(), 1);
}

/// A host sleeps from the 30th to the 2nd: the month is opened once, in the tenant's own zone.
pub async fn a_month_that_opened_while_all_slept_is_opened_once<S: Store>(house: &House<S>) {
    for (index, zone) in [
        SAO_PAULO,
        chrono_tz::Europe::Berlin,
        chrono_tz::Asia::Kolkata,
        chrono_tz::Pacific::Auckland,
    ]
    .into_iter()
    .enumerate()
    {
        // Each a year on, since no tenant's time goes back. Clocks turn in Berlin and in Auckland.
        let year = 2025 + index;
        let months = [("09-30 18:00", "10-02 03:00"), ("10-31 23:30", "11-02 00:30")];
        let months =
            months.map(|(asleep, awake)| (format!("{year}-{asleep}"), format!("{year}-{awake}")));
        for (turn, (asleep, awake)) in months.into_iter().enumerate() {
            let agent = format!("agent {index}.{turn}");
            set_clock(house, &asleep, zone);
            let host = house.host(&watched(SEED, zone)).await;
            spend(&host, &agent, 501).await;
            let slept_from = house.at();
            assert!(denied(&host, &agent).await.is_some());
            // One minute before the month turns it is stopped, and then it is not.
            let first = format!("{}-01 00:00", &awake[..7]);
            set_clock(house, &first, zone);
            house.advance(-60_000);
            assert!(denied(&host, &agent).await.is_some(), "{zone} {first}");
            house.advance(60_000);
            assert_eq!(denied(&host, &agent).await, None, "{zone} {first}");
            set_clock(house, &awake, zone);
            for _ in 0..2 {
                look(house, &host, slept_from).await;
            }
            let of =
                |own: &NoticeRecord| own.notice.dimensions.iter().any(|own| own.value == agent);
            let told: Vec<NoticeRecord> = all(&*house.store).await.into_iter().filter(of).collect();
            assert_eq!(kinds(&told), ["limit_exceeded", "agent_enabled"], "{zone} {awake}");
        }
    }
}

/// Clocks are changed as a month turns, or between that and the look: every full hour of the tenant's own
/// is looked at, and the month is opened in its first one.
pub async fn a_month_that_turns_as_clocks_change_is_opened_in_its_first_hour<S: Store>(
    house: &House<S>,
) {
    let (berlin, auckland) = (chrono_tz::Europe::Berlin, chrono_tz::Pacific::Auckland);
    // In the order of time, which goes back for no tenant; of hours so many passed.
    for (zone, from, first, until, hours) in [
        // 00:00 on the 4th is not there.
        (SAO_PAULO, "2018-10-31 23:00", "2018-11-01 00:00", "2018-11-04 02:00", 74),
        // 02:00 on the last of the month is not there, or is there twice.
        (berlin, "2024-03-31 01:00", "2024-04-01 00:00", "2024-04-01 01:00", 23),
        (berlin, "2027-10-31 01:00", "2027-11-01 00:00", "2027-11-01 01:00", 25),
        // 02:00 on the first is there twice.
        (auckland, "2029-03-31 23:00", "2029-04-01 00:00", "2029-04-01 04:00", 6),
    ] {
        let instant = |local| {
            set_clock(house, local, zone);
            house.at()
        };
        let (first, until, mut looked_at) = (instant(first), instant(until), instant(from));
        let setup = watched(SEED, zone);
        let host = house.host(&setup).await;
        spend(&host, from, 501).await;
        let mut looks = 0;
        loop {
            let next = next_look(&setup, looked_at);
            if next > until {
                break;
            }
            house.now.store(next, Ordering::Relaxed);
            look(house, &host, looked_at).await;
            (looked_at, looks) = (next, looks + 1);
        }
        assert_eq!(looks, hours, "{zone} {from}");
        let of = |own: &NoticeRecord| own.notice.dimensions.iter().any(|own| own.value == from);
        let told: Vec<NoticeRecord> = all(&*house.store).await.into_iter().filter(of).collect();
        assert_eq!(kinds(&told), ["limit_exceeded", "agent_enabled"], "{zone} {from}");
        assert_eq!((told[0].over_at, told[1].at), (Some(first), first), "{zone} {from}");
    }
}

/// Full hours are those of the tenant's own clock.
pub async fn the_next_look_is_at_the_tenants_full_hour<S: Store>(house: &House<S>) {
    for (zone, at, next) in [
        (SAO_PAULO, "2025-11-20 12:10", "2025-11-20 13:00"),
        (chrono_tz::Asia::Kolkata, "2025-11-20 12:10", "2025-11-20 13:00"),
        // The hour that is there twice, and the one that is not there.
        (chrono_tz::Europe::Berlin, "2025-10-26 01:30", "2025-10-26 02:00"),
        (chrono_tz::Europe::Berlin, "2026-03-29 01:30", "2026-03-29 03:00"),
    ] {
        let setup = watched(SEED, zone);
        house.host(&setup).await;
        set_clock(house, next, zone);
        let wanted = house.at();
        set_clock(house, at, zone);
        assert_eq!(next_look(&setup, house.at()), wanted, "{zone} {at}");
    }
}

/// What has no period is told again once it was over.
pub async fn what_stands_at_no_period_is_told_anew_once_it_was_over<S: Store>(house: &House<S>) {
    let limits = r#"{"limits":[{"meter":"concurrent_tasks","period":"in-flight","per":["user"],
        "limit":10}]}"#;
    let host = house.host(&watched(limits, Tz::UTC)).await;
    let mut held = Vec::new();
    for round in 1..=2 {
        for _ in 0..9 {
            let call = call(&[("user", "ana")], &[("concurrent_tasks", 1)]);
            match ask(&host, reserve_of(call, 86_400_000)).await.expect("an answer") {
                Outcome::Reserved(reserved) => held.push(reserved.id),
                other => panic!("{other:?}"),
            }
        }
        look(house, &host, house.at()).await;
        look(house, &host, house.at()).await;
        let told = all(&*house.store).await;
        let approaching = "quota_approaching:concurrent_tasks:in-flight:user";
        assert_eq!(kinds(&told), vec![approaching; round]);
        assert_eq!(told[round - 1].over_at, None);
        for id in held.drain(..) {
            ask(&host, Operation::Release { id }).await.expect("released");
        }
        house.advance(1_000);
        look(house, &host, house.at()).await;
        assert_eq!(all(&*house.store).await[round - 1].over_at, Some(house.at()));
    }
}

/// A policy proposes another limit, within the bounds that the platform set and no further: it holds,
/// and people are told.
pub async fn a_limit_grows_with_use_within_the_platforms_bounds<S: Store>(house: &House<S>) {
    let settings = r#"{"limits":[{"meter":"llm_tokens","period":"day","per":"user","limit":100,
        "scaling":{"at":0.9,"by":0.5}}]}"#;
    let bounds = Bounds {
        meter: "llm_tokens".parse().expect("a meter"),
        window: Window::from_period_name("day").expect("a window"),
        least: 50.into(),
        most: 180.into(),
    };
    let bindings = vec![binding("quota", settings), binding("alerts", settings)];
    let setup =
        |proposals| Arc::new(Setup { bindings: bindings.clone(), proposals, ..Setup::default() });
    let spent = async |host: &Host, tokens: u32| {
        let call = call(&[("user", "ana")], &[("llm_tokens", tokens)]);
        let id = match ask(host, reserve_of(call.clone(), 60_000)).await.expect("an answer") {
            Outcome::Reserved(reserved) => reserved.id,
            Outcome::Denied(_) => return false,
            other => panic!("{other:?}"),
        };
        ask(host, Operation::Settle { id, used: call.quantities }).await.expect("settled");
        true
    };
    // Without bounds nothing may be proposed.
    let host = house.host(&setup(Vec::new())).await;
    assert!(spent(&host, 90).await);
    assert!(!spent(&host, 11).await);
    let known = directory(&*house.store, &acme()).await.expect("the records");
    assert!(known.limits.is_empty());
    // Nor for nobody: that would be a limit on all.
    let host = house.host(&setup(vec![bounds.clone()])).await;
    let nobodys = call(&[], &[("llm_tokens", 95)]);
    let reports = vec![Report { call: nobodys, used_at: None }];
    ask(&host, Operation::Record { reports }).await.expect("recorded");
    let known = directory(&*house.store, &acme()).await.expect("the records");
    assert!(known.limits.is_empty(), "{:?}", known.limits);
    let host = house.host(&setup(vec![bounds])).await;
    assert!(spent(&host, 5).await);
    // 100 is 150 now, and 150 would be 225, which is 180.
    assert!(spent(&host, 45).await);
    assert!(spent(&host, 40).await);
    assert!(!spent(&host, 1).await);
    let known = directory(&*house.store, &acme()).await.expect("the records");
    let limits: Vec<_> =
        known.limits.values().map(|own| (own.limit, own.set_by.as_str())).collect();
    assert_eq!(limits, [(180.into(), "policy `*/alerts`")]);
    let told = all(&*house.store).await;
    let mut changed: Vec<&str> = told
        .iter()
        .filter(|own| own.notice.key == "limit_changed:llm_tokens:calendar:day")
        .map(|own| own.notice.title.as_str())
        .collect();
    changed.sort_unstable();
    assert_eq!(
        changed,
        [
            "The limit on `llm_tokens` of user `ana` was changed from 150 to 180",
            "The limit on `llm_tokens` of user `ana` was changed to 150",
        ]
    );
}

/// Nobody ever looked at a tenant that is new.
pub async fn a_tenant_that_is_new_is_looked_at_at_once<S: Store>(house: &House<S>) {
    let setup = watched(SEED, SAO_PAULO);
    house.host(&setup).await;
    assert!(next_look(&setup, i64::MIN) <= house.at());
}

/// A tenant's policy of the same name silences nothing that the platform's says, and undoes nothing.
pub async fn two_policies_of_one_name_do_not_speak_for_each_other<S: Store>(house: &House<S>) {
    set_clock(house, "2025-11-20 12:00", SAO_PAULO);
    let english = SEED.replace("pt", "en");
    let own = Binding { layer: Layer::Tenant, ..binding("alerts", &english) };
    let calendar = TenantCalendar { zone: SAO_PAULO, ..TenantCalendar::default() };
    let bindings = vec![own, binding("alerts", SEED)];
    let host = house.host(&Arc::new(Setup { bindings, calendar, ..Setup::default() })).await;
    spend(&host, "sdr", 501).await;
    let told = all(&*house.store).await;
    let policies: Vec<&str> = told.iter().map(|own| own.notice.policy.as_str()).collect();
    assert_eq!(policies, ["alerts", "*/alerts"]);
    assert!(told.iter().all(|own| own.notice.key == "limit_exceeded" && own.over_at.is_none()));
}

/// A month starts those whom its policy stopped, and nobody whom another one did; and whoever stops
/// somebody as well does not start them earlier.
pub async fn a_month_starts_only_whom_its_policy_stopped<S: Store>(house: &House<S>) {
    set_clock(house, "2025-11-20 12:00", SAO_PAULO);
    let setup = watched(SEED, SAO_PAULO);
    let host = house.host(&setup).await;
    let set = async |agent: &str, why: &str, until, by| {
        let dimension = Dimension { name: "agent".into(), value: agent.into() };
        let subject = Subject::Disabled(dimension, Some((why.into(), until)));
        ask(&host, Operation::Set { subject, by }).await.expect("disabled");
    };
    set("fraud", "it is a fraud", None, Author::Platform("fraud".into())).await;
    spend(&host, "fraud", 1).await;
    spend(&host, "sdr", 501).await;
    let soon = Some(house.at() + 60_000);
    set("sdr", "a pause", soon, Author::Person("ana".into())).await;
    house.advance(120_000);
    assert!(denied(&host, "sdr").await.is_some());
    let slept_from = house.at();
    set_clock(house, "2025-12-01 00:00", SAO_PAULO);
    look(house, &host, slept_from).await;
    assert_eq!(denied(&host, "sdr").await, None);
    let (_, reason) = denied(&host, "fraud").await.expect("it is stopped");
    assert!(reason.contains("it is a fraud"), "{reason}");
    // What it stops in this very month, until it says otherwise, a monitor that is late leaves so.
    house.advance(60_000);
    set("late", "it is late", None, Author::Platform("alerts".into())).await;
    look(house, &host, slept_from).await;
    assert!(denied(&host, "late").await.is_some());
}

/// What is so already is not written down again.
pub async fn a_stopped_agent_that_goes_on_spending_changes_nothing<S: Store>(house: &House<S>) {
    let host = house.host(&watched(SEED, Tz::UTC)).await;
    spend(&host, "sdr", 501).await;
    let changes = async || house.store.changes(&acme(), &ChangeKey::default(), 999).await;
    let before = changes().await.expect("changes").len();
    for _ in 0..3 {
        spend(&host, "sdr", 1).await;
        look(house, &host, house.at()).await;
    }
    assert_eq!(changes().await.expect("changes").len(), before);
}

/// What the platform binds for all speaks to each tenant in its own language, where the settings name
/// none; what was fed is recorded, so that it is said again.
pub async fn the_platforms_policies_speak_the_tenants_language<S: Store>(house: &House<S>) {
    let silent = SEED.replace(r#""language":"pt","#, "");
    let tokens = r#"{"limits":[{"meter":"llm_tokens","period":"day","per":"user","limit":5}]}"#;
    let bindings = vec![binding("quota", tokens), binding("alerts", &silent)];
    let setup = Setup { bindings, language: Language::Portuguese, ..Setup::default() };
    let host = house.host(&Arc::new(setup.clone())).await;
    spend(&host, "sdr", 501).await;
    let told = all(&*house.store).await;
    assert_eq!(told[0].notice.title, "O agente de IA 'sdr' excedeu o limite de custo mensal");
    let asked = async |host: &Host| {
        let call = call(&[("user", "ana")], &[("llm_tokens", 6)]);
        match ask(host, reserve_of(call, 60_000)).await.expect("an answer") {
            Outcome::Denied(denied) => denied.denial.message,
            other => panic!("{other:?}"),
        }
    };
    let portuguese = "Cota excedida para llm_tokens. Limite: 5, não é possível continuar.";
    assert_eq!(asked(&host).await, portuguese);
    let english = Setup { language: Language::English, ..setup };
    let host = house.host(&Arc::new(english)).await;
    assert_eq!(asked(&host).await, "Quota exceeded for llm_tokens. Limit: 5, cannot proceed.");
}
