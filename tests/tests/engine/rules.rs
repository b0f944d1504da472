//! What holds on every store.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tollgate_host::engine::{
    Denied, Expiring, HostError, Operation, Outcome, Recorded, Reserved, Setup,
};
use tollgate_host::store::{Closure, Locked, Store};
use tollgate_policy_core::{Currency, Money};
use uuid::Uuid;

use crate::house::{
    House, acme, ask, call, limited, reserve, reserve_for, reserved, setup, tokens,
};

const DAY_MS: i64 = 86_400_000;

fn settle(id: Uuid, amount: u32) -> Operation {
    Operation::Settle { id, used: tokens(amount) }
}

pub async fn what_is_reserved_is_held_until_it_is_settled<S: Store>(house: &House<S>) {
    let host = house.host(&setup(100)).await;
    let id = reserved(&host, 60).await.expect("60 of 100");
    assert_eq!(reserved(&host, 41).await, None, "101 of 100");
    let settled = ask(&host, settle(id, 30)).await.expect("settled");
    let Outcome::Settled(Recorded { charged, late, .. }) = settled else { panic!("{settled:?}") };
    let cost_wanted = Money::new("0.00015".parse().expect("an amount"), Currency::USD);
    assert_eq!((charged.cost, late), (Some(cost_wanted), false));
    assert!(reserved(&host, 70).await.is_some(), "30 are used, 70 are left");
    assert_eq!(reserved(&host, 1).await, None);
}

pub async fn what_is_released_is_given_back<S: Store>(house: &House<S>) {
    let host = house.host(&setup(100)).await;
    let id = reserved(&host, 100).await.expect("100 of 100");
    assert_eq!(reserved(&host, 1).await, None);
    assert_eq!(ask(&host, Operation::Release { id }).await, Ok(Outcome::Released));
    assert!(reserved(&host, 100).await.is_some());
}

pub async fn a_reservation_ends_once<S: Store>(house: &House<S>) {
    let setup = setup(1_000);
    let host = house.host(&setup).await;
    let released = reserved(&host, 10).await.expect("reserved");
    ask(&host, Operation::Release { id: released }).await.expect("released");
    let settled = reserved(&host, 10).await.expect("reserved");
    ask(&host, settle(settled, 5)).await.expect("settled");
    // Another host knows it too.
    for host in [&host, &house.host(&setup).await] {
        for (id, how) in [(released, Closure::Released), (settled, Closure::Settled)] {
            for operation in [settle(id, 5), Operation::Release { id }] {
                assert_eq!(ask(host, operation).await, Err(HostError::Ended { id, how }));
            }
        }
        let id = Uuid::from_u128(7);
        assert_eq!(ask(host, settle(id, 5)).await, Err(HostError::UnknownReservation(id)));
    }
}

pub async fn the_same_key_gives_the_same_answer_and_another_body_is_refused<S: Store>(
    house: &House<S>,
) {
    let setup = setup(100);
    let host = house.host(&setup).await;
    let key = || Some("a key".to_owned());
    let first = host.ask(&acme(), key(), reserve(60)).await.expect("reserved");
    let denied = host.ask(&acme(), Some("other".into()), reserve(60)).await.expect("denied");
    assert!(matches!(denied, Outcome::Denied(_)));
    for host in [&host, &house.host(&setup).await] {
        assert_eq!(host.ask(&acme(), key(), reserve(60)).await.as_ref(), Ok(&first));
        let again = host.ask(&acme(), Some("other".into()), reserve(60)).await;
        assert_eq!(again.as_ref(), Ok(&denied));
        let other = host.ask(&acme(), key(), reserve(61)).await;
        assert_eq!(other, Err(HostError::KeyReused("a key".into())));
    }
    // Of another operation it is another key.
    let Outcome::Reserved(Reserved { id, .. }) = first else { panic!("{first:?}") };
    assert!(host.ask(&acme(), key(), settle(id, 60)).await.is_ok());
}

pub async fn more_may_be_due_than_is_read_at_a_time<S: Store>(house: &House<S>) {
    let setup = setup(600);
    let host = house.host(&setup).await;
    for _ in 0..3 {
        let holds = (0..200).map(|_| reserved(&host, 1));
        let held = futures_util::future::join_all(holds).await;
        assert!(held.iter().all(Option::is_some));
    }
    assert_eq!(reserved(&host, 1).await, None, "600 of 600");
    house.advance(60_000);
    let host = house.host(&setup).await;
    for _ in 0..3 {
        reserved(&host, 1).await.expect("some are given back each time");
    }
    assert!(reserved(&host, 597).await.is_some(), "all were given back");
}

pub async fn what_fails_writes_no_answer_under_its_key<S: Store>(house: &House<S>) {
    let host = house.host(&setup(100)).await;
    let start = Operation::Start { call: call(&[("agent", "sdr")], &[]), ttl_ms: 60_000 };
    let Ok(Outcome::Reserved(Reserved { id: run, .. })) = ask(&host, start).await else {
        panic!("a run");
    };
    let call = reserved(&host, 10).await.expect("10 of 100");
    let key = || Some("a key".to_owned());
    for _ in 0..2 {
        let settled = host.ask(&acme(), key(), settle(run, 1)).await;
        assert_eq!(settled, Err(HostError::IsARun(run)));
    }
    let settled = host.ask(&acme(), key(), settle(call, 10)).await.expect("settled");
    assert_eq!(host.ask(&acme(), key(), settle(call, 10)).await, Ok(settled));
    let other = host.ask(&acme(), key(), settle(run, 1)).await;
    assert_eq!(other, Err(HostError::KeyReused("a key".into())));
}

pub async fn a_key_asked_64_times_at_once_has_one_effect<S: Store>(house: &House<S>) {
    let setup = setup(100);
    let hosts = [house.host(&setup).await, house.host(&setup).await];
    for round in 0..5 {
        let asks = (0..64).map(|number| {
            let host = &hosts[number % 2];
            async move { host.ask(&acme(), Some(format!("key {round}")), reserve(20)).await }
        });
        let answers = futures_util::future::join_all(asks).await;
        let first = answers[0].as_ref().expect("reserved");
        assert!(matches!(first, Outcome::Reserved(_)), "{first:?}");
        assert!(answers.iter().all(|answer| answer.as_ref() == Ok(first)));
    }
    assert_eq!(reserved(&hosts[0], 1).await, None, "5 times 20 of 100");
}

pub async fn who_is_told_to_ask_again_hears_what_became_of_it<S: Store>(house: &House<S>) {
    let setup = setup(100);
    let host = house.builder(&setup).answer_within(Duration::from_millis(50));
    let host = host.start().await.expect("a host");
    assert!(reserved(&host, 1).await.is_some());
    let ask = async || host.ask(&acme(), Some("a key".into()), reserve(60)).await;
    let under_way = Err(HostError::InFlight("a key".into()));
    let held = house.store.lock(&acme()).await.expect("the head");
    for _ in 0..2 {
        assert_eq!(ask().await, under_way);
    }
    held.release().await;
    let mut answer = ask().await;
    for _ in 0..200 {
        if answer != under_way {
            break;
        }
        answer = ask().await;
    }
    assert!(matches!(answer, Ok(Outcome::Reserved(_))), "{answer:?}");
    let other = house.host(&setup).await;
    assert_eq!(other.ask(&acme(), Some("a key".into()), reserve(60)).await, answer);
    assert_eq!(reserved(&other, 40).await, None, "61 of 100");
    assert!(reserved(&other, 39).await.is_some());
}

pub async fn what_stood_stands_for_the_next_host<S: Store>(house: &House<S>) {
    let setup = setup(100);
    let host = house.host(&setup).await;
    let id = reserved(&host, 60).await.expect("60 of 100");
    let used = reserved(&host, 20).await.expect("80 of 100");
    ask(&host, settle(used, 15)).await.expect("settled");
    drop(host);
    let host = house.host(&setup).await;
    assert_eq!(reserved(&host, 26).await, None, "60 are held and 15 used");
    let more = reserved(&host, 25).await.expect("100 of 100");
    ask(&host, settle(id, 60)).await.expect("settled by another host");
    assert_eq!(reserved(&host, 1).await, None);
    ask(&host, Operation::Release { id: more }).await.expect("released");
    assert!(reserved(&host, 25).await.is_some());
}

pub async fn what_expires_is_settled_in_the_same_batch<S: Store>(house: &House<S>) {
    for expiring in [Expiring::GiveBack, Expiring::Charge] {
        let setup = Arc::new(Setup { expiring, ..(*setup(1_000)).clone() });
        let host = house.host(&setup).await;
        let id = reserved(&host, 60).await.expect("allowed");
        house.advance(60_000);
        let settled = ask(&host, settle(id, 30)).await.expect("settled");
        assert!(matches!(settled, Outcome::Settled(Recorded { late: true, .. })), "{settled:?}");
        let again = ask(&host, settle(id, 30)).await;
        assert_eq!(again, Err(HostError::Ended { id, how: Closure::Settled }));
    }
}

pub async fn a_settlement_after_its_time_is_booked_and_late<S: Store>(house: &House<S>) {
    let setup = setup(100);
    let host = house.host(&setup).await;
    let id = reserved(&host, 60).await.expect("60 of 100");
    house.advance(60_000);
    // Its time is over: what it held is given back, whoever asks.
    for host in [&host, &house.host(&setup).await] {
        let all = reserved(host, 100).await.expect("100 of 100");
        ask(host, Operation::Release { id: all }).await.expect("released");
        let release = ask(host, Operation::Release { id }).await;
        assert_eq!(release, Err(HostError::Ended { id, how: Closure::Expired }));
    }
    let settled = ask(&host, settle(id, 30)).await.expect("settled");
    let Outcome::Settled(Recorded { late, overshoot, .. }) = settled else { panic!("{settled:?}") };
    assert_eq!((late, overshoot), (true, false));
    assert_eq!(reserved(&host, 71).await, None, "30 are used");
    for host in [&host, &house.host(&setup).await] {
        let again = ask(host, settle(id, 30)).await;
        assert_eq!(again, Err(HostError::Ended { id, how: Closure::Settled }));
    }
    assert!(reserved(&host, 70).await.is_some());
}

pub async fn a_cancelled_caller_cancels_nothing<S: Store>(house: &House<S>) {
    let host = house.host(&setup(1_000)).await;
    for number in 0..20 {
        let key = || Some(format!("key {number}"));
        let tenant = acme();
        let mut asked = Box::pin(host.ask(&tenant, key(), reserve(50)));
        // It is on its way once it was polled.
        let polled = std::future::poll_fn(|context| Poll::Ready(asked.as_mut().poll(context)));
        // The shard may have answered meanwhile; mostly it has not.
        let _ = polled.await;
        drop(asked);
        let again = host.ask(&acme(), key(), reserve(50)).await.expect("reserved");
        assert!(matches!(again, Outcome::Reserved(_)), "{again:?}");
    }
    assert_eq!(reserved(&host, 1).await, None, "20 times 50 of 1000");
}

/// Callers that are gone, of a host that is about to be.
pub async fn a_host_that_is_drained_left_nothing_undone<S: Store>(house: &House<S>) {
    let setup = setup(1_000);
    let host = house.host(&setup).await;
    let tenant = acme();
    for _ in 0..20 {
        let mut asked = Box::pin(host.ask(&tenant, None, reserve(50)));
        // It is on its way once it was polled.
        let polled = std::future::poll_fn(|context| Poll::Ready(asked.as_mut().poll(context)));
        let _ = polled.await;
    }
    host.drained().await;
    let next = house.host(&setup).await;
    assert_eq!(reserved(&next, 1).await, None, "20 times 50 of 1000");
}

/// Whoever only asks makes no host remember without end.
pub async fn books_that_only_looks_fill_are_closed<S: Store>(house: &House<S>) {
    const USERS_MAX: usize = 1_000;
    let limits = r#"[{"meter":"llm_tokens","period":"day","limit":9,"per":["user"]}]"#;
    let builder = house.builder(&limited(limits).into()).counters_max(100);
    let host = builder.start().await.expect("a host");
    let mut are_open = false;
    for user in 0..USERS_MAX {
        let user = format!("user-{user}");
        host.check(&acme(), call(&[("user", &user)], &[])).await.expect("an answer");
        // The first may be judged where other hosts are expected, beside the books that they fill.
        let were_open = std::mem::replace(&mut are_open, host.books() == 1);
        if were_open && !are_open {
            return;
        }
    }
    panic!("{USERS_MAX} users are remembered");
}

pub async fn a_request_that_fails_harms_no_other<S: Store>(house: &House<S>) {
    let host = house.host(&setup(1_000)).await;
    let asks = (0..40).map(|number| {
        let host = &host;
        let unknown = Operation::Release { id: Uuid::from_u128(number) };
        async move { ask(host, if number % 4 == 0 { unknown } else { reserve(10) }).await }
    });
    let answers = futures_util::future::join_all(asks).await;
    for (number, answer) in answers.iter().enumerate() {
        match number % 4 {
            0 => assert!(matches!(answer, Err(HostError::UnknownReservation(_))), "{answer:?}"),
            _ => assert!(matches!(answer, Ok(Outcome::Reserved(_))), "{answer:?}"),
        }
    }
    assert!(reserved(&host, 700).await.is_some(), "30 times 10 of 1000");
    assert_eq!(reserved(&host, 1).await, None);
}

pub async fn an_agent_that_is_disabled_stays_so_for_the_next_host<S: Store>(house: &House<S>) {
    let setup = setup(1_000_000);
    let host = house.host(&setup).await;
    // 3,000 tokens cost 0.015 dollars.
    let id = reserved(&host, 3_000).await.expect("reserved");
    let settled = ask(&host, settle(id, 3_000)).await.expect("settled");
    let Outcome::Settled(Recorded { events, .. }) = settled else { panic!("{settled:?}") };
    assert_eq!(events.len(), 2, "disabled, and told: {events:?}");
    for host in [&host, &house.host(&setup).await] {
        let outcome = ask(host, reserve(1)).await.expect("an answer");
        let Outcome::Denied(Denied { denial, events, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!((denial.code.as_str(), events.len()), ("disabled", 0));
        let other = ask(host, reserve_for("other", 1)).await.expect("an answer");
        assert!(matches!(other, Outcome::Reserved(_)));
    }
}

pub async fn a_tenant_that_is_not_set_up_is_named<S: Store>(house: &House<S>) {
    let host = house.host(&setup(100)).await;
    let nobody = "nobody".parse().expect("a name");
    let error = host.ask(&nobody, None, reserve(1)).await.expect_err("an error");
    assert!(error.to_string().contains("`nobody`"), "{error}");
    house.store.create(std::slice::from_ref(&nobody)).await.expect("created");
    let error = host.ask(&nobody, None, reserve(1)).await.expect_err("an error");
    assert_eq!(error, HostError::UnknownTenant(nobody));
}

pub async fn an_amount_below_zero_makes_no_room<S: Store>(house: &House<S>) {
    let host = house.host(&setup(100)).await;
    let id = reserved(&host, 100).await.expect("100 of 100");
    let negative = |operation| match operation {
        Operation::Reserve { mut call, ttl_ms, mode } => {
            call.quantities[0].amount = call.quantities[0].amount.negated();
            Operation::Reserve { call, ttl_ms, mode }
        }
        Operation::Settle { id, mut used } => {
            used[0].amount = used[0].amount.negated();
            Operation::Settle { id, used }
        }
        operation => operation,
    };
    for operation in [reserve(50), settle(id, 50)] {
        let refused = ask(&host, negative(operation)).await;
        assert!(matches!(refused, Err(HostError::Negative { .. })), "{refused:?}");
    }
    assert_eq!(reserved(&host, 1).await, None);
    assert!(ask(&host, settle(id, 100)).await.is_ok(), "it is still open");
}

/// A month turns while a call is under way that was held for the one before.
pub async fn use_beyond_a_hold_lands_where_it_is_settled<S: Store>(house: &House<S>) {
    let host = house.host(&setup(100)).await;
    let Operation::Reserve { call, mode, .. } = reserve(60) else { panic!("another operation") };
    let long = Operation::Reserve { call, mode, ttl_ms: 30 * DAY_MS };
    let Outcome::Reserved(Reserved { id, .. }) = ask(&host, long).await.expect("60 of 100") else {
        panic!("denied")
    };
    house.advance(25 * DAY_MS);
    let settled = ask(&host, settle(id, 90)).await.expect("settled");
    assert!(matches!(settled, Outcome::Settled(Recorded { overshoot: true, late: false, .. })));
    assert_eq!(reserved(&host, 71).await, None, "30 landed in this month");
    assert!(reserved(&host, 70).await.is_some());
}
