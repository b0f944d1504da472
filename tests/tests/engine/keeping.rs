//! What is old enough goes, and what it came to stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tollgate_host::engine::{
    Call, Entry, EntryKind, Host, HostError, Operation, Outcome, Random, Recorded, Report,
    Retention, Setup, Tariff, carry, follow, upkeep, verify,
};
use tollgate_host::store::{
    Carry, Closure, CounterRow, LatestKey, LatestRow, Locked, Month, Need, Past, Place, RecordRow,
    RollUp, Since, Store, Tenant, UsageRow, Write, first_id_of,
};
use tollgate_policy_core::{Currency, Money};
use uuid::Uuid;

use crate::house::{House, acme, ask, call, limited, reserve_of};
use crate::{run, shared};

const DAY_MS: i64 = 86_400_000;

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

/// All history for two months.
fn two_months() -> Retention {
    let kept = Some(days(60));
    Retention { decisions: kept, ledger: kept, ..Retention::default() }
}

/// From when on history is kept then.
fn kept_from<S>(house: &House<S>) -> i64 {
    Month::of(house.now.load(std::sync::atomic::Ordering::Relaxed) - 60 * DAY_MS)
        .expect("a month")
        .span()
        .start
}

fn random() -> Random {
    Arc::new(|| 5)
}

async fn keep_up<S: Store>(house: &House<S>, retention: &Retention) {
    upkeep(&*house.store, retention, &random()).await.expect("upkeep");
}

/// Counters of each kind.
fn of_each_kind() -> Setup {
    limited(
        r#"[{"meter":"llm_tokens","period":"day","limit":1000000,"per":["user"]},
        {"meter":"llm_tokens","period":"month","limit":1000000},
        {"meter":"llm_tokens","period":"calendar:year@11-05","limit":1000000},
        {"meter":"llm_tokens","period":"rolling:5000000","limit":1000000},
        {"meter":"llm_tokens","period":"total","limit":1000000,"per":["user"]},
        {"meter":"seats","period":"level","limit":1000000},
        {"meter":"active_runs","period":"in-flight","limit":1000000}]"#,
    )
}

fn use_of(user: &str, tokens: u32, seats: u32) -> Call {
    let quantities = [("llm_tokens", tokens), ("llm_tokens.input", tokens), ("seats", seats)];
    call(&[("user", user), ("model", "gpt-4o")], &quantities)
}

async fn record(host: &Host, calls: Vec<Call>) -> Vec<Recorded> {
    let reports = calls.into_iter().map(|call| Report { call, used_at: None }).collect();
    match ask(host, Operation::Record { reports }).await.expect("an answer") {
        Outcome::Recorded(recorded) => recorded,
        outcome => panic!("{outcome:?}"),
    }
}

async fn void(host: &Host, usage: Uuid) -> Result<Outcome, HostError> {
    ask(host, Operation::Void { usage, reason: "told wrongly".into() }).await
}

async fn reserved(host: &Host, call: Call, ttl_ms: i64) -> Option<Uuid> {
    match ask(host, reserve_of(call, ttl_ms)).await.expect("an answer") {
        Outcome::Reserved(reserved) => Some(reserved.id),
        _ => None,
    }
}

/// Five months in which something of everything happens; returned is what was used first.
async fn five_months<S: Store>(house: &House<S>, host: &Host) -> Uuid {
    let mut first = None;
    for month in 1..6 {
        let money = Money::new(10.into(), Currency::USD);
        let (account, kind) = (Tariff::Cost, EntryKind::Credit);
        let entry = Entry { account, kind, money, reason: "paid".into() };
        ask(host, Operation::Book { entry }).await.expect("booked");
        let recorded =
            record(host, vec![use_of("ana", 10 * month, 7), use_of("ben", 3, month)]).await;
        first = first.or(Some(recorded[0].usage));
        void(host, recorded[1].usage).await.expect("undone");
        // It is used in the month after the one that it is held in.
        let held = reserved(host, use_of("ana", 50, 0), 30 * DAY_MS).await.expect("allowed");
        house.advance(29 * DAY_MS);
        let used = use_of("ana", 60, 9).quantities;
        host.settle(&acme(), None, held, used).await.expect("settled");
        house.advance(2 * DAY_MS);
    }
    first.expect("one")
}

/// What all stretches stand at, whichever way they are kept.
async fn counters<S: Store>(house: &House<S>) -> Vec<CounterRow> {
    let beginning = Since { counter: i64::MIN, values: String::new(), opened: i64::MIN };
    let apart = house.store.counters(&acme(), &beginning, 9_999).await.expect("counters");
    let beginning = LatestKey { per: String::new(), values: String::new() };
    let latest = house.store.latest(&acme(), &beginning, 9_999).await.expect("counters");
    let mut all = BTreeMap::new();
    for CounterRow { counter, values, opened, total, .. } in apart {
        all.insert((counter, values, opened), total);
    }
    for LatestRow { key, totals, .. } in latest {
        let total = |(counter, opened, total)| ((counter, key.values.clone(), opened), total);
        all.extend(totals.into_iter().map(total));
    }
    let row = |((counter, values, opened), total)| CounterRow {
        counter,
        values,
        opened,
        version: 0,
        total,
    };
    all.into_iter().map(row).collect()
}

async fn usages<S: Store>(house: &House<S>) -> Vec<(Place, UsageRow)> {
    house.store.usages(&acme(), Place::before(i64::MIN), 9_999).await.expect("usages")
}

async fn differs_in_nothing<S: Store>(house: &House<S>) {
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
}

pub async fn what_was_carried_forward_still_adds_up<S: Store>(house: &House<S>) {
    let host = house.host(&of_each_kind().into()).await;
    let first = five_months(house, &host).await;
    let (stood, held) = (counters(house).await, host.accounts(&acme()).await.expect("accounts"));
    keep_up(house, &two_months()).await;
    let kept_from = kept_from(house);
    let left = usages(house).await;
    assert!(left.iter().all(|(place, _)| place.at >= kept_from) && !left.is_empty());
    let entries = house.store.entries(&acme(), Place::before(i64::MIN), 9_999).await;
    assert!(entries.expect("entries").iter().all(|(place, _)| place.at >= kept_from));
    let months = house.store.months(Past::Ledger).await.expect("months");
    assert!(months.iter().all(|month| month.span().end > kept_from), "{months:?}");
    assert_eq!(house.store.carried_until(&acme()).await, Ok(kept_from));
    differs_in_nothing(house).await;
    assert_eq!(counters(house).await, stood);
    assert_eq!(host.accounts(&acme()).await, Ok(held));
    // What is gone cannot be undone.
    assert_eq!(void(&host, first).await, Err(HostError::UnknownUsage(first)));
    // And so it goes on.
    for _ in 0..2 {
        five_months(house, &host).await;
        differs_in_nothing(house).await;
        let stood = counters(house).await;
        keep_up(house, &two_months()).await;
        differs_in_nothing(house).await;
        assert_eq!(counters(house).await, stood);
    }
}

pub async fn a_counter_that_is_new_is_kept_from_the_carried_instant_on<S: Store>(house: &House<S>) {
    let before = house.host(&of_each_kind().into()).await;
    five_months(house, &before).await;
    keep_up(house, &two_months()).await;
    let left: Vec<u32> = vec![31, 4];
    record(&before, left.iter().map(|tokens| use_of("eva", *tokens, 2)).collect()).await;
    // Of what ana used some is gone, and of eva everything is there.
    let evas = r#"[{"meter":"llm_tokens","period":"total","limit":100,"per":["user","model"]},
        {"meter":"seats","period":"level","limit":5,"per":["user"]}]"#;
    let setup = limited(evas).into();
    let after = house.host(&setup).await;
    assert_eq!(reserved(&after, use_of("eva", 66, 0), 1_000).await, None);
    assert!(reserved(&after, use_of("eva", 65, 3), 1_000).await.is_some());
    house.advance(1_000);
    assert_eq!(reserved(&after, use_of("ana", 1, 0), 1_000).await, None, "three months of hers");
    differs_in_nothing(house).await;
    // What was kept before it knows all, and both go on.
    five_months(house, &before).await;
    keep_up(house, &two_months()).await;
    differs_in_nothing(house).await;
    let again = house.host(&setup).await;
    assert_eq!(reserved(&again, use_of("eva", 66, 0), 1_000).await, None);
    assert!(reserved(&again, use_of("eva", 65, 3), 1_000).await.is_some());
    house.advance(1_000);
}

pub async fn hosts_that_keep_up_at_the_same_time_carry_once<S: Store>(house: &House<S>) {
    let host = house.host(&of_each_kind().into()).await;
    // In several steps.
    for number in 0..30 {
        record(&host, (0..70).map(|seats| use_of("ana", number, seats)).collect()).await;
        house.advance(1 + i64::from(number) % 2);
    }
    five_months(house, &host).await;
    let stood = counters(house).await;
    let retention = two_months();
    for _ in 0..2 {
        let random = random();
        let all = join_all((0..4).map(|_| upkeep(&*house.store, &retention, &random))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
    }
    let kept_from = kept_from(house);
    assert_eq!(house.store.carried_until(&acme()).await, Ok(kept_from));
    assert!(usages(house).await.iter().all(|(place, _)| place.at >= kept_from));
    differs_in_nothing(house).await;
    assert_eq!(counters(house).await, stood);
}

pub async fn what_is_not_rolled_up_is_not_carried<S: Store>(house: &House<S>) {
    let setup = of_each_kind().into();
    let host = house.builder(&setup).roll_up(Duration::from_millis(10)).start().await;
    let host = host.expect("a host");
    record(&host, vec![use_of("ana", 40, 2)]).await;
    let (place, row) = usages(house).await.remove(0);
    // The host has followed what it booked, and does not know of what comes behind its back.
    while house.store.rolled_up(&acme()).await.expect("a place") != Some(place) {
        tokio::task::yield_now().await;
    }
    drop(host);
    // Its tasks may still be at it, and hold on to the store as long.
    while Arc::strong_count(&house.store) > 1 {
        tokio::task::yield_now().await;
    }
    for _ in 0..30 {
        unfollowed(house, &row).await;
    }
    verify(&*house.store, &acme(), Some(&random())).await.expect("put right");
    house.advance(100 * DAY_MS);
    let (before, random) = (kept_from(house), random());
    let carry = async || carry(&*house.store, &acme(), before, &random).await;
    assert_eq!(carry().await, Ok(i64::MIN));
    // Roll-ups follow half of the way, and so does what is carried, by whole instants.
    let half = usages(house).await[1_000].0;
    let (tenant, from) = (acme(), Some(place));
    let rollup = RollUp { tenant, from, to: half, rows: Vec::new() };
    assert_eq!(house.store.roll_up(&rollup).await, Ok(true));
    let until = carry().await.expect("an instant");
    assert!(place.at < until && until <= half.at, "{until}");
    assert_eq!(house.store.carried_until(&acme()).await, Ok(until));
    differs_in_nothing(house).await;
    // What is to go, even if it is still there, fills no new counter.
    let total = r#"[{"meter":"llm_tokens","period":"total","limit":50,"per":["user","model"]}]"#;
    let new = house.host(&limited(total).into()).await;
    assert!(reserved(&new, use_of("ana", 50, 0), 1_000).await.is_some());
    house.advance(1_000);
    differs_in_nothing(house).await;
    follow(&*house.store, &acme()).await.expect("followed");
    assert_eq!(carry().await, Ok(before));
    assert_eq!(house.store.carried_until(&acme()).await, Ok(before));
}

/// The same used 70 times more, which no host knows of.
async fn unfollowed<S: Store>(house: &House<S>, row: &UsageRow) {
    house.advance(1);
    let at = house.at();
    let head = house.store.read(&[Need::head(acme())]).await.expect("found").remove(0).head;
    let id = |number| Uuid::from_u128(first_id_of(at).as_u128() + number);
    let usages = (1..=70).map(|number| UsageRow { id: id(number), used_at: at, ..row.clone() });
    let write = Write { usages: usages.collect(), ..Write::new(acme(), head, 7, at) };
    house.store.write(&[write]).await.remove(0).expect("written");
}

pub async fn keys_are_forgotten_in_their_time<S: Store>(house: &House<S>) {
    let setup = of_each_kind().into();
    let keyed = async |key| {
        let host = house.host(&setup).await;
        let minute = Duration::from_secs(60);
        let reserved = host.reserve(&acme(), Some(key), use_of("ana", 1, 0), minute).await;
        reserved.expect("an answer").expect("allowed").id
    };
    let old = keyed("old").await;
    house.advance(20 * DAY_MS);
    let young = keyed("young").await;
    house.advance(10 * DAY_MS);
    keep_up(house, &Retention::default()).await;
    assert_eq!([keyed("old").await, keyed("young").await], [old, young]);
    house.advance(1);
    keep_up(house, &Retention::default()).await;
    assert_eq!(keyed("young").await, young);
    assert_ne!(keyed("old").await, old);
}

pub async fn a_month_in_which_an_open_reservation_began_stays<S: Store>(house: &House<S>) {
    let host = house.host(&of_each_kind().into()).await;
    let month = |at| Month::of(at).expect("a month");
    let first = month(house.at());
    let id = reserved(&host, use_of("ana", 1, 0), 31 * DAY_MS).await.expect("allowed");
    for _ in 0..5 {
        house.advance(30 * DAY_MS);
        keep_up(house, &Retention::default()).await;
        let extend = Operation::Extend { id, more: Vec::new(), ttl_ms: 31 * DAY_MS };
        ask(&host, extend).await.expect("held longer");
    }
    keep_up(house, &two_months()).await;
    // Of months that can be dropped whole it is seen whether they were; of others by what is left.
    let stays = async |month: Month| {
        let months = house.store.months(Past::Decisions).await.expect("months");
        months.contains(&month)
            || house.store.forget(&acme(), Past::Decisions, month.span(), 1).await.expect("looked")
    };
    assert!(!stays(first.next()).await && !stays(first.next().next()).await);
    assert!(stays(first).await);
    host.settle(&acme(), None, id, use_of("ana", 1, 0).quantities).await.expect("settled");
    keep_up(house, &two_months()).await;
    assert!(!stays(first).await);
    assert!(stays(month(house.at() - 30 * DAY_MS)).await);
}

pub async fn a_host_keeps_up_by_itself<S: Store>(house: &House<S>) {
    let setup = of_each_kind().into();
    let often = Duration::from_millis(10);
    let host = house.builder(&setup).retention(two_months()).upkeep(often).start().await;
    let host = host.expect("a host");
    five_months(house, &host).await;
    while house.store.carried_until(&acme()).await != Ok(kept_from(house)) {
        tokio::task::yield_now().await;
    }
}

/// A month stays as long as one tenant's history cannot be carried.
#[test]
fn what_was_undone_stays_undone_as_long_as_its_usage_is_there() {
    run(async {
        let house = shared().await;
        let setup = of_each_kind().into();
        let host = house.host(&setup).await;
        let usage = record(&host, vec![use_of("ana", 40, 2)]).await[0].usage;
        void(&host, usage).await.expect("undone");
        let (_, row) = usages(&house).await.remove(0);
        let other: Tenant = "zen".parse().expect("a name");
        house.store.create(std::slice::from_ref(&other)).await.expect("created");
        let unreadable = UsageRow { body: b"of a later form".to_vec(), ..row };
        let head = house.store.read(&[Need::head(other.clone())]).await.expect("found")[0].head;
        let write = Write::new(other, head, 7, house.at());
        let write = Write { usages: vec![unreadable], ..write };
        house.store.write(&[write]).await.remove(0).expect("written");
        house.advance(100 * DAY_MS);
        keep_up(&house, &two_months()).await;
        let again = house.host(&setup).await;
        let ended = HostError::Ended { id: usage, how: Closure::Voided };
        assert_eq!(void(&again, usage).await, Err(ended));
        differs_in_nothing(&house).await;
    });
}

/// So that nothing stands outside of its month.
#[test]
fn months_are_made_before_a_host_serves() {
    run(async {
        let house = shared().await;
        let _host = house.host(&of_each_kind().into()).await;
        let months = house.store.months(Past::Ledger).await.expect("months");
        let names: Vec<String> = months.iter().map(Month::to_string).collect();
        assert_eq!(names, ["2001_09", "2001_10", "2001_11"]);
        assert_eq!(house.store.months(Past::Decisions).await, Ok(months));
    });
}

/// A counter is about to be filled from what goes meanwhile.
#[test]
fn a_counter_is_filled_anew_where_its_history_goes_meanwhile() {
    run(async {
        let house = shared().await;
        let total = |limit| {
            let limits = r#"[{"meter":"llm_tokens","period":"total","limit":"#;
            Arc::new(limited(&format!("{limits}{limit},\"per\":[\"user\"]}}]")))
        };
        let per_model = r#"[{"meter":"llm_tokens","period":"total","limit":50,"per":["model"]}]"#;
        let before = house.host(&total(1_000)).await;
        record(&before, vec![use_of("ana", 40, 0)]).await;
        drop(before);
        house.advance(1);
        let after = house.host(&limited(per_model).into()).await;
        let need = Need { whole: true, ..Need::head(acme()) };
        let mut locked = house.store.lock(&acme()).await.expect("locked");
        let found = locked.read(&need).await.expect("found");
        let asked =
            tokio::spawn(async move { reserved(&after, use_of("ana", 50, 0), 1_000).await });
        // It has read all there is, and waits for the head.
        let options = house.options.clone().expect("how to connect");
        let mut look = PgConnection::connect_with(&options).await.expect("a connection");
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
            AND datname = current_database())";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut look).await.expect("a look") {
            tokio::task::yield_now().await;
        }
        let (counters, accounts) = (counters(&house).await, found.accounts.clone());
        let (tenant, from, until) = (acme(), i64::MIN, house.at());
        let carry = Carry { tenant, from, until, counters, accounts };
        assert_eq!(house.store.carry(&carry).await, Ok(true));
        let gone = house.store.forget(&acme(), Past::Ledger, i64::MIN..until, 9).await;
        assert_eq!(gone, Ok(false));
        let body = Some(until.to_string().into_bytes());
        let announced = RecordRow { kind: "carried".into(), name: String::new(), body };
        let write = Write::new(acme(), found.head, 7, until);
        let write = Write { records: vec![announced], ..write };
        locked.write(&write).await.expect("written");
        assert!(asked.await.expect("an answer").is_some(), "nothing is left of what was used");
        differs_in_nothing(&house).await;
    });
}
