//! One write at a time, and hosts that are in each other's way: what is judged on what, and under
//! which lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use tokio::task::unconstrained;
use tollgate_host::engine::{Host, HostError, verify};
use tollgate_host::store::{BatchKey, BatchRow, PostgresStore, Store, StoreError, Tenant};
use tollgate_tests::postgres::{Cluster, Log};

use crate::house::{self, House, acme, limited, reserve, reserved};
use crate::operations::{anas, month};
use crate::{run, shared};

/// So many requests are judged under a lock, and a tenant is quiet once nobody else wrote for so many
/// rounds.
const LOCKED_MAX: usize = 128;
const QUIET_ROUNDS: usize = 4;

const DEADLINE: Duration = Duration::from_secs(30);

/// Who waits for the test's own lock, and who for the lock of a head.
const AT_THE_GATE: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE datname = current_database() AND wait_event = 'advisory'";
const FOR_A_HEAD: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE datname = current_database() AND wait_event_type = 'Lock'";

async fn connect<S>(house: &House<S>) -> PgConnection {
    let options = house.options.as_ref().expect("a database");
    PgConnection::connect_with(options).await.expect("a connection")
}

/// Waits until a statement counts so many.
async fn until(connection: &mut PgConnection, statement: &'static str, wanted: i64) {
    let counted = async {
        while sqlx::query_scalar::<_, i64>(statement).fetch_one(&mut *connection).await.expect("it")
            != wanted
        {}
    };
    tokio::time::timeout(DEADLINE, counted).await.expect("as many as that");
}

/// What was decided for the tenant after so many batches, in order.
async fn decided<S: Store>(house: &House<S>, after: usize) -> Vec<BatchRow> {
    let beginning = BatchKey::before(i64::MIN);
    let mut all = house.store.batches(&acme(), beginning, 9_999).await.expect("batches");
    all.retain(|batch| !(batch.allowed.is_empty() && batch.denied.is_empty()));
    all.split_off(after)
}

/// A host of one shard, whose books of these tenants are open.
async fn opened(house: &House<PostgresStore>, limit: u32) -> Host {
    let host = house.builder(&month(limit).into()).shards(1).start().await.expect("a host");
    while host.books() < 1 {
        reserved(&host, 1).await.expect("allowed");
    }
    host
}

/// How many heads were locked, and how many writes were tried.
fn tries(told: &[String]) -> (usize, usize) {
    let of = |part: &str| told.iter().filter(|told| told.contains(part)).count();
    (of("FROM head WHERE tenant_id = $1 FOR NO KEY UPDATE"), of("FOR NO KEY UPDATE OF head SKIP"))
}

/// Each request of a batch is judged on what those before it hold, and all of them on what the write
/// that is under way will leave; that is the only one of its tenant, and nobody is answered before it
/// has landed.
#[test]
fn one_write_is_under_way_and_the_next_is_judged_on_what_it_will_leave() {
    run(async {
        let (cluster, log) = Cluster::logged(&[]);
        let house = house::postgres_at(cluster.database().await).await;
        let host = opened(&house, 100).await;
        let before = decided(&house, 0).await;
        let room = 100 - before.iter().map(|batch| batch.allowed.len()).sum::<usize>();
        let mut gate = connect(&house).await;
        // Whoever writes a batch waits until the test lets go of its lock.
        gate.execute(
            "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS \
                 'BEGIN PERFORM pg_advisory_lock_shared(7); \
                 PERFORM pg_advisory_unlock_shared(7); RETURN NEW; END'; \
             CREATE TRIGGER gate BEFORE INSERT ON batch FOR EACH ROW EXECUTE FUNCTION gate(); \
             SELECT pg_advisory_lock(7)",
        )
        .await
        .expect("the gate is shut");
        log.told(&mut gate).await;
        let answered = Arc::new(AtomicUsize::new(0));
        let asked = |host: Host, answered: Arc<AtomicUsize>| async move {
            let allowed = reserved(&host, 1).await.is_some();
            answered.fetch_add(1, Ordering::Relaxed);
            allowed
        };
        let mut asks = vec![tokio::spawn(asked(host.clone(), Arc::clone(&answered)))];
        until(&mut gate, AT_THE_GATE, 1).await;
        let more = (0..150).map(|_| tokio::spawn(asked(host.clone(), Arc::clone(&answered))));
        asks.extend(more);
        // What is judged is told by a look, which waits for nothing.
        let held = async {
            loop {
                let checked = host.check(&acme(), anas(0)).await.expect("checked");
                if checked.standings.iter().any(|own| own.held == 100.into()) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, held).await.expect("all that fits is held");
        until(&mut gate, AT_THE_GATE, 1).await;
        assert_eq!(answered.load(Ordering::Relaxed), 0);
        gate.execute("SELECT pg_advisory_unlock(7)").await.expect("the gate is open");
        let allowed = join_all(asks).await.into_iter().filter(|own| *own.as_ref().expect("it"));
        assert_eq!(allowed.count(), room);
        let after = decided(&house, before.len()).await;
        let allowed: Vec<usize> = after.iter().map(|batch| batch.allowed.len()).collect();
        assert_eq!(allowed[..2], [1, room - 1]);
        assert_eq!(after.iter().map(|batch| batch.denied.len()).sum::<usize>(), 151 - room);
        // None of them was tried in vain.
        let (locks, writes) = tries(&log.told(&mut gate).await);
        assert_eq!((locks, writes), (0, after.len()));
    });
}

async fn tried(log: &Log, connection: &mut PgConnection, host: &Host) -> (usize, usize) {
    log.told(connection).await;
    reserved(host, 1).await.expect("allowed");
    tries(&log.told(connection).await)
}

#[test]
fn a_tenant_that_missed_is_locked_first_until_it_is_quiet() {
    run(async {
        let (cluster, log) = Cluster::logged(&[]);
        let house = house::postgres_at(cluster.database().await).await;
        let (host, other) = (opened(&house, 1_000_000).await, opened(&house, 1_000_000).await);
        let mut connection = connect(&house).await;
        let quiet = async |connection: &mut PgConnection| {
            for _ in 0..=QUIET_ROUNDS {
                if tried(&log, connection, &host).await == (0, 1) {
                    return;
                }
            }
            panic!("it is locked for ever");
        };
        for _ in 0..3 {
            quiet(&mut connection).await;
            reserved(&other, 1).await.expect("allowed");
            // What it wrote it judged on what is over: the second write is made under the lock.
            assert_eq!(tried(&log, &mut connection, &host).await, (1, 2));
        }
        quiet(&mut connection).await;
        reserved(&other, 1).await.expect("allowed");
        log.told(&mut connection).await;
        // However many wait for it: nobody else writes meanwhile.
        let asks = (0..700).map(|_| reserved(&host, 1));
        assert!(join_all(asks).await.iter().all(Option::is_some));
        let (locks, writes) = tries(&log.told(&mut connection).await);
        assert!((1..=QUIET_ROUNDS).contains(&locks) && writes > locks, "{locks} of {writes}");
        assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    });
}

fn rival() -> Tenant {
    "rival".parse().expect("a name")
}

async fn allowed(host: &Host, tenant: &Tenant) -> Result<(), HostError> {
    host.ask(tenant, None, reserve(1)).await.map(drop)
}

/// All of them wait, and no one else's lock is held for longer than so many take.
#[test]
fn so_many_requests_are_judged_under_a_lock() {
    run(async {
        const MORE: usize = 2 * LOCKED_MAX + 44;
        let house = shared().await;
        let setup = Arc::new(month(1_000_000));
        let builder = house.builder(&setup).tenant(rival(), Arc::clone(&setup)).shards(1);
        let host = builder.start().await.expect("a host");
        while host.books() < 2 {
            allowed(&host, &acme()).await.expect("allowed");
            allowed(&host, &rival()).await.expect("allowed");
        }
        let before = decided(&house, 0).await.len();
        let (mut holder, mut connection) = (connect(&house).await, connect(&house).await);
        holder
            .execute("BEGIN; SELECT 1 FROM head WHERE tenant_id = 'acme' FOR UPDATE")
            .await
            .expect("locked");
        let first = tokio::spawn({
            let host = host.clone();
            async move { reserved(&host, 1).await }
        });
        until(&mut connection, FOR_A_HEAD, 1).await;
        // All are on their way before the rival's, which comes after them in the same shard.
        let more = unconstrained(join_all((0..MORE).map(|_| reserved(&host, 1))));
        let open = async {
            allowed(&host, &rival()).await.expect("allowed");
            holder.execute("COMMIT").await.expect("let go");
        };
        let (more, ()) = join(more, open).await;
        assert!(more.iter().all(Option::is_some) && first.await.expect("it").is_some());
        let rounds = decided(&house, before).await;
        let rounds: Vec<usize> = rounds.iter().map(|batch| batch.allowed.len()).collect();
        assert_eq!(rounds, [1, LOCKED_MAX, LOCKED_MAX, 44]);
    });
}

/// The rest of the connections is for everybody else.
#[test]
fn so_many_tenants_are_locked_at_a_time() {
    run(async {
        for locks in [1, 2] {
            let house = shared().await;
            let setup = Arc::new(month(1_000_000));
            let daily = r#"[{"meter":"llm_tokens","period":"day","limit":1000000}]"#;
            let before = house.builder(&setup).tenant(rival(), Arc::clone(&setup));
            let before = before.start().await.expect("a host");
            allowed(&before, &rival()).await.expect("allowed");
            // Here the rival has a counter that is new, which is filled under the lock.
            let builder = house.builder(&setup).tenant(rival(), limited(daily)).locks_max(locks);
            let host = builder.shards(1).start().await.expect("a host");
            while host.books() < 1 {
                allowed(&host, &acme()).await.expect("allowed");
            }
            let (mut holder, mut connection) = (connect(&house).await, connect(&house).await);
            holder
                .execute("BEGIN; SELECT 1 FROM head WHERE tenant_id = 'acme' FOR UPDATE")
                .await
                .expect("locked");
            let waiting = tokio::spawn({
                let host = host.clone();
                async move { allowed(&host, &acme()).await }
            });
            until(&mut connection, FOR_A_HEAD, 1).await;
            let of_the_rival = tokio::time::timeout(DEADLINE, allowed(&host, &rival())).await;
            of_the_rival.expect("an end").expect("allowed");
            // Where one may be locked, the rival came after the other had given up.
            assert_eq!(waiting.is_finished(), locks == 1);
            holder.execute("COMMIT").await.expect("let go");
            let answer = waiting.await.expect("an answer");
            match locks {
                1 => assert!(matches!(answer, Err(HostError::Store(StoreError::Unavailable(_))))),
                _ => assert_eq!(answer, Ok(())),
            }
        }
    });
}
