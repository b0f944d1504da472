//! What stands is what happened, and what is not is found.

use std::sync::Arc;

use tollgate_host::engine::{Difference, Random, verify};
use tollgate_host::store::{
    AccountRow, CounterRow, LatestKey, LatestRow, Need, Store, Total, Write,
};
use tollgate_policy_core::Decimal;

use crate::house::{House, acme, reserved, setup, tokens};

pub async fn what_stands_otherwise_than_what_happened_is_found_and_put_right<S: Store>(
    house: &House<S>,
) {
    let host = house.host(&setup(100)).await;
    let id = reserved(&host, 60).await.expect("60 of 100");
    host.settle(&acme(), None, id, tokens(40)).await.expect("settled");
    reserved(&host, 10).await.expect("10 more");
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    // One counter too low, one that nothing came to, and an account with a gift.
    let beginning = LatestKey { per: String::new(), values: String::new() };
    let stands = house.store.latest(&acme(), &beginning, 99).await.expect("totals");
    let of_tokens = |own: &&mut (i64, i64, Total)| own.2.used == 40.into();
    let find = |row: &LatestRow| {
        let mut wrong = row.clone();
        let (counter, opened, total) = wrong.totals.iter_mut().find(of_tokens)?;
        let (values, version) = ("[\"nobody\"]".into(), row.version);
        let invented =
            CounterRow { counter: *counter, values, opened: *opened, version, total: *total };
        total.used = 39.into();
        Some((wrong, invented))
    };
    let (wrong, invented) = stands.iter().find_map(find).expect("of 40 tokens");
    let need = Need { whole: true, ..Need::head(acme()) };
    let found = house.store.read(&[need]).await.expect("found").remove(0);
    let account = found.accounts[0].clone();
    let balance = account.balance.checked_add(Decimal::ONE).expect("a sum");
    let write = Write {
        latest: vec![wrong],
        counters: vec![invented],
        accounts: vec![AccountRow { balance, ..account }],
        ..Write::new(acme(), found.head, 7, found.head.at)
    };
    house.store.write(&[write]).await.remove(0).expect("written");
    let differences = verify(&*house.store, &acme(), None).await.expect("differences");
    let kinds: Vec<bool> =
        differences.iter().map(|own| matches!(own, Difference::Counter { .. })).collect();
    assert_eq!(kinds, [true, true, false], "{differences:?}");
    // It was only told.
    assert_eq!(verify(&*house.store, &acme(), None).await.as_ref(), Ok(&differences));
    let random: Random = Arc::new(|| 5);
    let mended = verify(&*house.store, &acme(), Some(&random)).await;
    assert_eq!(mended, Ok(differences));
    assert_eq!(verify(&*house.store, &acme(), None).await, Ok(Vec::new()));
    // A host that knew it as it stood before learns of it.
    assert_eq!(reserved(&host, 51).await, None);
    assert!(reserved(&host, 50).await.is_some());
}
