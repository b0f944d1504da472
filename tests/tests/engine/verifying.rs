//! What stands is what happened, and what is not is found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join;
use tollgate_host::engine::{Difference, Line, Operation, Random, Report, lines, verify};
use tollgate_host::store::{
    AccountRow, CounterRow, LatestKey, LatestRow, Locked, Need, Place, Store, Write,
};
use tollgate_policy_core::Decimal;

use crate::house::{House, acme, ask, call, limited, reserve_of, reserved, setup, tokens};

/// All that is used all in all stands one too low, something stands that nothing came to, and an account has a
/// gift.
async fn falsify<S: Store>(house: &House<S>) {
    let less = |own: Decimal| own.checked_sub(Decimal::ONE).expect("an amount");
    let all = LatestKey { per: "[]".into(), values: "[]".into() };
    let need = Need { whole: true, latest: vec![all], ..Need::head(acme()) };
    let found = house.store.read(&[need]).await.expect("found").remove(0);
    let mut wrong: LatestRow = found.latest[0].clone();
    let (counter, opened, total) = wrong.totals[0];
    let invented = CounterRow { counter, values: "[\"nobody\"]".into(), opened, version: 0, total };
    wrong.totals.iter_mut().for_each(|(.., total)| total.used = less(total.used));
    let account = found.accounts[0].clone();
    let balance = account.balance.checked_add(Decimal::ONE).expect("a sum");
    let write = Write {
        latest: vec![wrong],
        counters: vec![invented],
        accounts: vec![AccountRow { balance, ..account }],
        ..Write::new(acme(), found.head, 7, found.head.at)
    };
    house.store.write(&[write]).await.remove(0).expect("written");
}

fn random() -> Random {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    Arc::new(|| u128::from(DRAWN.fetch_add(1, Ordering::Relaxed)) * 0x1_0000_0001_0000_0001)
}

pub async fn what_stands_otherwise_than_what_happened_is_found_and_put_right<S: Store>(
    house: &House<S>,
) {
    let host = house.host(&setup(100)).await;
    let id = reserved(&host, 60).await.expect("60 of 100");
    host.settle(&acme(), None, id, tokens(40)).await.expect("settled");
    reserved(&host, 10).await.expect("10 more");
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    falsify(house).await;
    let differences = verify(&*house.store, &acme(), None).await.expect("differences");
    let kinds: Vec<bool> =
        differences.iter().map(|own| matches!(own, Difference::Counter { .. })).collect();
    assert_eq!(kinds, [true, true, true, false], "{differences:?}");
    // It was only told.
    assert_eq!(verify(&*house.store, &acme(), None).await.as_ref(), Ok(&differences));
    let mended = verify(&*house.store, &acme(), Some(&random())).await;
    assert_eq!(mended.as_ref(), Ok(&differences));
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    // There is nothing more to put right, and so nothing more is written.
    let stood = house.store.read(&[Need::head(acme())]).await.expect("found");
    assert_eq!(verify(&*house.store, &acme(), Some(&random())).await, Ok(Vec::new()));
    assert_eq!(
        house.store.read(&[Need::head(acme())]).await.expect("found")[0].head,
        stood[0].head
    );
    // A host that knew it as it stood before learns of it.
    assert_eq!(reserved(&host, 51).await, None);
    assert!(reserved(&host, 50).await.is_some());
}

pub async fn what_is_put_right_of_an_account_stands_in_the_ledger<S: Store>(house: &House<S>) {
    let host = house.host(&setup(100)).await;
    let id = reserved(&host, 60).await.expect("60 of 100");
    host.settle(&acme(), None, id, tokens(40)).await.expect("settled");
    let listed = async || {
        let page = lines(&*house.store, &acme(), Place::before(i64::MIN), 99).await;
        let lines = page.expect("a page").into_iter().filter_map(|(_, line)| line);
        lines.collect::<Vec<Line>>()
    };
    let before = listed().await;
    falsify(house).await;
    let mended = verify(&*house.store, &acme(), Some(&random())).await.expect("put right");
    let Some(Difference::Account { account, currency, stands, should }) = mended.last() else {
        panic!("{mended:?}")
    };
    let after = listed().await;
    assert_eq!(after[..before.len()], before);
    let [line] = &after[before.len()..] else { panic!("{after:?}") };
    assert_eq!((line.kind.as_str(), &line.account), ("adjustment", account));
    assert_eq!((line.money.currency.code(), line.usage), (currency.as_str(), None));
    // The entries were right.
    assert_eq!(line.money.amount, Decimal::ZERO);
    let (stood, comes_to) = (stands.used, should.used);
    let words = format!("repair: stood at {stood} with 0 held, comes to {comes_to} with 0");
    assert_eq!(line.reason, words);
}

/// Nobody is waited for: neither those who write, nor whoever verifies.
pub async fn a_tenant_is_verified_while_its_head_is_locked<S: Store>(house: &House<S>) {
    let host = house.host(&setup(100)).await;
    let id = reserved(&host, 60).await.expect("60 of 100");
    host.settle(&acme(), None, id, tokens(40)).await.expect("settled");
    reserved(&host, 10).await.expect("10 more");
    let mut locked = house.store.lock(&acme()).await.expect("locked");
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    locked.read(&Need::head(acme())).await.expect("it is locked yet");
    locked.release().await;
}

/// Whatever is used, held and reported between what is found and what is put right.
pub async fn a_repair_loses_nothing_that_is_written_meanwhile<S: Store>(house: &House<S>) {
    let limits = r#"[{"meter":"llm_tokens","period":"month","limit":1000000},
        {"meter":"seats","period":"level","limit":1000000}]"#;
    let host = house.host(&limited(limits).into()).await;
    let call = |seats| {
        let quantities = [("llm_tokens", 3), ("llm_tokens.input", 3), ("seats", seats)];
        call(&[("model", "gpt-4o")], &quantities)
    };
    let use_seats = async |seats| {
        let told = Report { call: call(seats), used_at: None };
        ask(&host, Operation::Record { reports: vec![told] }).await.expect("told");
        ask(&host, reserve_of(call(1), 60_000)).await.expect("held");
    };
    use_seats(1).await;
    for round in 0..8 {
        falsify(house).await;
        let writing = async {
            for seats in 0..8 {
                use_seats(10 * round + seats).await;
            }
        };
        let random = random();
        let (mended, ()) = join(verify(&*house.store, &acme(), Some(&random)), writing).await;
        let mended = mended.expect("put right");
        // A report puts a level right by itself.
        assert!(mended.len() == 3 || mended.len() == 4, "{mended:?}");
        assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    }
}
