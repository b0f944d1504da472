//! What hosts and their store agree on: what moves a tenant's head, when its batches are, who reads
//! them, and what stands with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use sqlx::postgres::{PgConnection, PgListener, PgPoolOptions};
use sqlx::{Connection, Executor};
use tollgate_host::engine::{
    AgentText, Author, Binding, Entry, EntryKind, Host, Limit, LimitKey, Operation, Outcome,
    Random, Report, Setup, Subject, Tariff, erase, follow, metrics, verify,
};
use tollgate_host::store::{
    CounterRow, Head, LatestKey, Need, Place, RegistryStore, Store, Total, Write, instant_of,
};
use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::{Currency, Decimal, Money};
use tollgate_tests::postgres::Cluster;
use uuid::Uuid;

use crate::binding::{bind, platform, registry, tokens_a_month};
use crate::guest::Guest;
use crate::house::{self, House, acme, ask, binding, limited, reserve_of, reserved, tokens};
use crate::operations::{DAY_MS, anas, hold, month, record, report};
use crate::{run, shared};

async fn head<S: Store>(house: &House<S>) -> Head {
    house.store.read(&[Need::head(acme())]).await.expect("found").remove(0).head
}

/// Every other host finds out that what it judges by is over.
async fn moves<S: Store, T>(house: &House<S>, what: &str, act: impl Future<Output = T>) -> T {
    let before = head(house).await;
    let done = act.await;
    let after = head(house).await;
    assert!(after.version > before.version, "{what}: {before:?}, {after:?}");
    assert_ne!(after.stamp, before.stamp, "{what}");
    done
}

/// No other host has to judge anew.
async fn stays<S: Store, T>(house: &House<S>, what: &str, act: impl Future<Output = T>) -> T {
    let before = head(house).await;
    let done = act.await;
    assert_eq!(head(house).await, before, "{what}");
    done
}

fn ana() -> Dimension {
    Dimension { name: "user".into(), value: "ana".into() }
}

/// No stamp twice.
fn random() -> Random {
    Arc::new(|| Uuid::new_v4().as_u128())
}

fn credit(amount: u32, currency: Currency) -> Operation {
    let (account, kind, reason) = (Tariff::Cost, EntryKind::Credit, "paid".into());
    let entry = Entry { account, kind, money: Money::new(amount.into(), currency), reason };
    Operation::Book { entry }
}

pub async fn all_that_decisions_depend_on_moves_the_head<S: Store>(house: &House<S>) {
    let builder = house.builder(&month(1_000).into()).sweep(Duration::from_secs(3_600));
    let host = builder.start().await.expect("a host");
    let done = async |operation| ask(&host, operation).await.expect("an answer");
    let set =
        async |subject| done(Operation::Set { subject, by: Author::Person("ops".into()) }).await;
    let held = || hold(&host, anas(10));

    let id = moves(house, "a reservation", held()).await;
    let more = anas(1).quantities;
    moves(house, "more of it", done(Operation::Extend { id, more, ttl_ms: DAY_MS })).await;
    let used = anas(7).quantities;
    moves(house, "its settlement", done(Operation::Settle { id, used })).await;
    let id = held().await;
    moves(house, "a release", done(Operation::Release { id })).await;
    let booked = moves(house, "a usage", record(&host, vec![report(5, None)])).await;
    let (usage, reason) = (booked.expect("booked")[0].usage, "told wrongly".into());
    moves(house, "that it is undone", done(Operation::Void { usage, reason })).await;
    moves(house, "a credit", done(credit(10, Currency::USD))).await;
    let run = Operation::Start { call: anas(0), ttl_ms: DAY_MS };
    let Outcome::Reserved(run) = moves(house, "a run", done(run)).await else { panic!("no run") };
    moves(house, "its end", done(Operation::Finish { id: run.id })).await;

    let key = LimitKey {
        meter: "llm_tokens".parse().expect("a meter"),
        window: "calendar:month".parse().expect("a window"),
        dimensions: vec![ana()],
    };
    let limit = Limit {
        limit: 900.into(),
        valid_from: None,
        valid_until: None,
        set_by: "ops".into(),
        is_platforms: false,
    };
    moves(house, "a limit", set(Subject::Limit(key.clone(), Some(limit)))).await;
    moves(house, "that it is lifted", set(Subject::Limit(key, None))).await;
    let stopped = || Subject::Disabled(ana(), Some(("on leave".into(), None)));
    moves(house, "a disablement", set(stopped())).await;
    stays(house, "what is so already", set(stopped())).await;
    moves(house, "that it is over", set(Subject::Disabled(ana(), None))).await;
    let agent = AgentText { name: None, settings: "{}".into(), enabled: true };
    moves(house, "an agent", set(Subject::Agent("sdr".into(), Some(agent)))).await;
    moves(house, "that it is gone", set(Subject::Agent("sdr".into(), None))).await;

    let call = || reserve_of(anas(5_000), 60_000);
    let denied = stays(house, "a denial", done(call())).await;
    assert!(matches!(denied, Outcome::Denied(_)));
    let key = || Some("a key".to_owned());
    stays(house, "a denial under a key", host.ask(&acme(), key(), call())).await.expect("denied");
    stays(house, "its answer once more", host.ask(&acme(), key(), call())).await.expect("denied");
    let checked = stays(house, "a check", host.check(&acme(), anas(1))).await.expect("checked");
    assert_eq!((checked.version, checked.denial), (head(house).await.version, None));
    stays(house, "a look at accounts", host.accounts(&acme())).await.expect("accounts");

    // Of a call that is denied, so that nothing else moves it.
    let daily = r#"[{"meter":"llm_tokens","period":"day","limit":1000,"per":["agent"]}]"#;
    let other = house.host(&limited(daily).into()).await;
    let denied = moves(house, "a counter that is new", ask(&other, call())).await;
    assert!(matches!(denied, Ok(Outcome::Denied(_))), "{denied:?}");
    let denied = stays(house, "the same counter", ask(&other, call())).await;
    assert!(matches!(denied, Ok(Outcome::Denied(_))), "{denied:?}");

    let brief = reserve_of(anas(1), 1_000);
    assert!(matches!(done(brief).await, Outcome::Reserved(_)));
    house.advance(2_000);
    moves(house, "that its time is over", done(Operation::Expire)).await;
    stays(house, "that nothing is due", done(Operation::Expire)).await;

    stays(house, "that nothing differs", verify(&*house.store, &acme(), Some(&random())))
        .await
        .expect("verified");
    invent(house).await;
    let found = moves(house, "a repair", verify(&*house.store, &acme(), Some(&random()))).await;
    assert_eq!(found.expect("verified").len(), 1);
    moves(house, "an erasure", erase(&*house.store, &acme(), &ana(), &random()))
        .await
        .expect("erased");
}

/// A stretch of a counter that stands where nothing came to it.
async fn invent<S: Store>(house: &House<S>) {
    let beginning = LatestKey { per: String::new(), values: String::new() };
    let latest = house.store.latest(&acme(), &beginning, 9).await.expect("totals").remove(0);
    let (counter, opened, _) = latest.totals[0];
    let total = Total { used: Decimal::ONE, held: Decimal::ZERO };
    let values = "[\"nobody\"]".into();
    let row = CounterRow { counter, values, opened, version: latest.version, total };
    let before = head(house).await;
    let write = Write { counters: vec![row], ..Write::new(acme(), before, 7, before.at) };
    house.store.write(&[write]).await.remove(0).expect("written");
}

/// By the store's clock, whichever way that is set.
pub async fn an_instant_never_lies_before_the_last_one<S: Store>(house: &House<S>) {
    let setup = month(1_000_000).into();
    let hosts = [house.host(&setup).await, house.host(&setup).await];
    let mut last = i64::MIN;
    for (turn, by) in [0, 5, -3_600_000, 7, -DAY_MS, 2 * DAY_MS, -1, 1].into_iter().enumerate() {
        house.advance(by);
        for host in [&hosts[turn % 2], &hosts[(turn + 1) % 2]] {
            last = last.max(house.at());
            let id = hold(host, anas(1)).await;
            assert_eq!((head(house).await.at, instant_of(id)), (last, last), "{turn}");
            // A denial is as late as what it was judged by.
            let denied = ask(host, reserve_of(anas(2_000_000), 60_000)).await.expect("an answer");
            let Outcome::Denied(denied) = denied else { panic!("{denied:?}") };
            assert_eq!(instant_of(denied.decision), last, "{turn}");
            host.release(&acme(), None, id).await.expect("released");
        }
    }
}

/// Two hosts book usage while clocks are set back, and somebody follows them meanwhile.
pub async fn who_follows_by_version_and_ordinal_skips_nothing<S: Store>(house: &House<S>) {
    const ROUNDS: usize = 25;
    let setup = month(1_000_000).into();
    let hosts = [house.host(&setup).await, house.host(&setup).await];
    let (began, is_over) = (house.at(), AtomicBool::new(false));
    let booking = async {
        for round in 0..ROUNDS {
            house.advance(if round % 3 == 0 { -2_000 } else { 700 });
            let reports = |count| vec![report(1, None); count];
            let told = (0..8).map(|place| record(&hosts[place % 2], reports(1 + place % 3)));
            for booked in join_all(told).await {
                booked.expect("booked");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let following = async {
        let (mut followed, mut after) = (Vec::new(), Place::before(i64::MIN));
        loop {
            // Asked before the page is.
            let was_over = is_over.load(Ordering::Relaxed);
            let page = house.store.usages(&acme(), after, 3).await.expect("a page");
            follow(&*house.store, &acme()).await.expect("rolled up");
            match page.last() {
                Some((place, _)) => after = *place,
                None if was_over => return followed,
                None => {}
            }
            followed.extend(page);
        }
    };
    let ((), followed) = join(booking, following).await;
    let all = house.store.usages(&acme(), Place::before(i64::MIN), 9_999).await.expect("usages");
    assert_eq!(followed.len(), ROUNDS * 15);
    assert_eq!(followed, all);
    let order: Vec<(i64, i32)> =
        all.iter().map(|(place, _)| (place.version, place.ordinal)).collect();
    assert!(order.is_sorted() && order.windows(2).all(|pair| pair[0] != pair[1]), "{order:?}");
    let period = began - DAY_MS..began + DAY_MS;
    let sums = metrics(&*house.store, &acme(), "user", &["ana"], period).await.expect("sums");
    let calls = sums.iter().find(|(meter, _)| meter.as_str() == "calls");
    assert_eq!(calls.map(|(_, calls)| *calls), Some(((ROUNDS * 15) as u32).into()));
}

/// A policy that says what it was told of the balance, as if it were a limit of its own.
fn prepaid() -> Binding {
    let configure = "(call $put (global.get $strings))
        (i32.store offset=12 (global.get $manifest) (global.get $strings))
        (i32.store offset=16 (global.get $manifest) (i32.const 1))";
    // The first of its facts: a name of eight bytes, the kind of its value, and the number at 16.
    let check = "(if (local.get 8) (then
        (i64.store (global.get $limit) (i64.load offset=16 (local.get 7)))
        (i64.store offset=8 (global.get $limit) (i64.load offset=24 (local.get 7)))))";
    let guest = Guest { configure, check, text: b"fact:balance.usd", ..Guest::default() };
    Binding::new("prepaid", house::sandbox().load(&guest.component(), "{}").expect("let in"))
}

pub async fn a_balance_is_fed_as_entries_less_open_holds<S: Store>(house: &House<S>) {
    let bindings = vec![binding("pricing", "{}"), prepaid()];
    let setup = Arc::new(Setup { bindings, ..Setup::default() });
    let hosts = [house.host(&setup).await, house.host(&setup).await];
    // A thousand tokens are half a cent.
    let call = || anas(1_000);
    let fed = async |expected: &str| {
        let expected: Decimal = expected.parse().expect("an amount");
        for host in &hosts {
            // Judged and recorded as well, and given back.
            let Outcome::Reserved(held) =
                ask(host, reserve_of(call(), 60_000)).await.expect("held")
            else {
                panic!("not allowed")
            };
            let prepaid = held.consulted.iter().find(|own| own.policy == "prepaid");
            assert_eq!(prepaid.expect("its word").findings[0].limit, Some(expected));
            host.release(&acme(), None, held.id).await.expect("released");
        }
    };
    let host = &hosts[0];
    let booked = |amount, currency| ask(host, credit(amount, currency));
    booked(3, Currency::BRL).await.expect("booked");
    booked(10, Currency::USD).await.expect("booked");
    fed("10").await;
    let (first, second) = (hold(host, call()).await, hold(&hosts[1], call()).await);
    fed("9.99").await;
    host.settle(&acme(), None, first, anas(400).quantities).await.expect("settled");
    fed("9.993").await;
    host.release(&acme(), None, second).await.expect("released");
    fed("9.998").await;
    record(host, vec![Report { call: anas(3_000_000), used_at: None }]).await.expect("booked");
    fed("-5.002").await;
    booked(6, Currency::USD).await.expect("booked");
    fed("0.998").await;
}

async fn connect<S>(house: &House<S>) -> PgConnection {
    let options = house.options.as_ref().expect("a database");
    PgConnection::connect_with(options).await.expect("a connection")
}

async fn host_of<S: Store>(house: &House<S>) -> Host {
    house.host(&month(1_000_000).into()).await
}

/// Reserves and settles, so often.
async fn calls(host: &Host, count: usize) {
    for _ in 0..count {
        let id = reserved(host, 1).await.expect("allowed");
        host.settle(&acme(), None, id, tokens(1)).await.expect("settled");
    }
}

#[test]
fn nothing_but_bindings_is_announced() {
    run(async {
        const LAST: &str = "that is all";
        let house = shared().await;
        let options = house.options.clone().expect("a database");
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await;
        let mut listener = PgListener::connect_with(&pool.expect("a pool")).await.expect("it");
        listener.listen("tollgate_bound").await.expect("it listens");
        let mut connection = connect(&*house).await;
        let mut heard = async || {
            let last = "SELECT pg_notify('tollgate_bound', 'that is all')";
            connection.execute(last).await.expect("a last word");
            let mut count = 0;
            while listener.recv().await.expect("a word").payload() != LAST {
                count += 1;
            }
            count
        };
        let host = host_of(&*house).await;
        join_all((0..20).map(|_| calls(&host, 5))).await;
        let credited = ask(&host, credit(10, Currency::USD)).await;
        credited.expect("booked");
        assert_eq!(heard().await, 0);
        let registry = registry(&*house);
        for limit in [5, 6] {
            let settings = tokens_a_month(limit);
            bind(&registry, &platform(), "house", "quota", &settings).await.expect("bound");
            assert_eq!(heard().await, 1);
        }
    });
}

/// An update that stays on its page writes to no index and leaves nothing to a vacuum.
#[test]
fn what_every_batch_updates_stays_on_its_page() {
    run(async {
        let house = shared().await;
        let host = host_of(&*house).await;
        calls(&host, 600).await;
        let version = head(&*house).await.version;
        assert!(version >= 1_200, "{version}");
        drop(host);
        let mut connection = connect(&*house).await;
        // A session tells what it did now and then, and once it ends.
        connection
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await
            .expect("ended");
        let updated = async |connection: &mut PgConnection, table: &str| -> (i64, i64) {
            sqlx::query_as(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1",
            )
            .bind(table)
            .fetch_one(connection)
            .await
            .expect("figures")
        };
        let told = async { while updated(&mut connection, "head").await.0 < version {} };
        tokio::time::timeout(Duration::from_secs(30), told).await.expect("all is told");
        for table in ["head", "latest", "account"] {
            let (updates, on_the_page) = updated(&mut connection, table).await;
            assert!(updates >= 1_000, "{table}: {updates}");
            assert!(on_the_page * 100 >= updates * 97, "{table}: {on_the_page} of {updates}");
        }
    });
}

/// However much there is to read: pages stand alone, and only a tail of it is read from a snapshot.
#[test]
fn no_transaction_spans_what_is_read_in_pages() {
    run(async {
        let (cluster, log) = Cluster::logged(&[]);
        let house = house::postgres_at(cluster.database().await).await;
        let mut connection = connect(&house).await;
        // Nobody else reads meanwhile.
        let builder = house.builder(&month(1_000_000).into()).roll_up(Duration::from_secs(3_600));
        let host = builder.start().await.expect("a host");
        calls(&host, 80).await;
        // More than two pages.
        for _ in 0..9 {
            record(&host, vec![report(1, None); 2_500]).await.expect("booked");
        }
        drop(host);
        log.told(&mut connection).await;
        assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
        let told = log.told(&mut connection).await;
        let begun = told.iter().rposition(|told| told.contains("BEGIN"));
        let (before, under) = told.split_at(begun.expect("a snapshot"));
        for table in ["usage", "entry"] {
            let reads =
                |told: &&String| told.contains(&format!("FROM {table} WHERE tenant_id = $1"));
            assert!(before.iter().filter(reads).count() >= 3, "{table}: {before:#?}");
            assert_eq!(under.iter().filter(reads).count(), 1, "{table}: its tail");
            let is_page = |told: &String| told.contains("LIMIT $5");
            assert!(told.iter().filter(reads).all(is_page), "{table}: {told:#?}");
        }
        replayed(&house).await;
        let told = log.told(&mut connection).await;
        let pages = told.iter().filter(|told| told.contains("FROM batch WHERE tenant_id = $1"));
        assert!(pages.count() >= 3, "{told:#?}");
        assert!(!told.iter().any(|told| told.contains("BEGIN")), "{told:#?}");
    });
}

async fn replayed<S: Store + RegistryStore>(house: &House<S>) {
    let registry = registry(house);
    for (_, component) in tollgate_plugins::STANDARD {
        registry.know(component);
    }
    let all = i64::MIN..i64::MAX;
    let report = registry.replay(&[acme()], all, None, |_, _| {}).await.expect("a report");
    assert_eq!((report.decisions, report.differences), (80, 0), "{report:?}");
}
