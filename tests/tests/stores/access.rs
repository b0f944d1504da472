//! Who is let in, and what was done by whom.

use futures_util::future::join_all;
use tollgate_host::store::{
    AccessStore, AuditRow, OlderSecret, Owner, RotationRow, StoreError, Tenant, TokenRow,
};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

/// What would show if texts were anything but told.
const WORDS: &str = "O'Brien's \"no\"; -- größer, 日本語, 🦀\r\n\t\\ $1 ?1 {} %s";

fn tenant(name: &str) -> Tenant {
    name.parse().expect("a name")
}

fn owner(name: &str) -> Owner {
    Owner::Tenant(tenant(name))
}

fn token(id: &str, of: Option<&str>, created_at: Instant) -> TokenRow {
    TokenRow {
        id: id.into(),
        digest: [7; 32],
        tenant: of.map(tenant),
        role: "operator".into(),
        name: "nightly".into(),
        created_at,
        created_by: "ana".into(),
        expires_at: None,
        revoked_at: None,
        older: None,
    }
}

fn act(number: u128, owner: Owner, at: Instant) -> AuditRow {
    AuditRow {
        id: Uuid::from_u128(number),
        owner,
        at,
        who: "ana".into(),
        act: "limit.set".into(),
        subject: "monthly".into(),
        before: None,
        after: Some(r#"{"amount":"5"}"#.into()),
        outcome: None,
    }
}

pub async fn a_token_is_kept_once_and_found_by_its_identifier<S: AccessStore>(store: &S) {
    let full = TokenRow {
        digest: std::array::from_fn(|place| u8::MAX - u8::try_from(place).expect("a byte")),
        role: WORDS.into(),
        name: WORDS.into(),
        created_by: WORDS.into(),
        expires_at: Some(Instant::MAX),
        revoked_at: Some(Instant::MIN),
        ..token(WORDS, None, -1)
    };
    for own in [token("t1", Some("acme"), 5), full] {
        assert_eq!(store.token(&own.id).await, Ok(None));
        assert_eq!(store.put_token(&own).await, Ok(true));
        let other = token(&own.id, Some("zen"), 9);
        assert_eq!(store.put_token(&other).await, Ok(false));
        let found = store.token(&own.id).await;
        assert_eq!(found, Ok(Some(own)));
    }
    for unknown in ["", "t", "T1", "t1 "] {
        assert_eq!(store.token(unknown).await, Ok(None), "{unknown}");
    }
}

pub async fn a_token_is_revoked_once_and_by_no_other_tenant<S: AccessStore>(store: &S) {
    let all = [("t1", Some("acme")), ("t2", None), ("t3", Some("acme"))];
    for (id, of) in all {
        assert_eq!(store.put_token(&token(id, of, 1)).await, Ok(true));
    }
    let (acme, zen) = (tenant("acme"), tenant("zen"));
    for (by, id) in [(&zen, "t1"), (&zen, "t2"), (&acme, "t2"), (&acme, "t9")] {
        assert_eq!(store.revoke_token(Some(by), id, 10).await, Ok(false), "{by} {id}");
    }
    assert_eq!(store.revoke_token(None, "t9", 10).await, Ok(false));
    let left = store.tokens(None).await.expect("tokens");
    assert!(left.iter().all(|token| token.revoked_at.is_none()), "{left:?}");
    assert_eq!(store.revoke_token(Some(&acme), "t1", 20).await, Ok(true));
    assert_eq!(store.revoke_token(Some(&acme), "t1", 21).await, Ok(false));
    assert_eq!(store.revoke_token(None, "t1", 22).await, Ok(false));
    assert_eq!(store.revoke_token(None, "t2", 30).await, Ok(true));
    // Of two that do so at once one did.
    let done = join_all([40, 41].map(|at| store.revoke_token(None, "t3", at))).await;
    let won = done.iter().position(|done| *done == Ok(true)).expect("one of them");
    assert_eq!(done[1 - won], Ok(false));
    // They stay in the lists.
    let revoked = |at, (id, of)| TokenRow { revoked_at: Some(at), ..token(id, of, 1) };
    let expected = vec![
        revoked(20, all[0]),
        revoked(30, all[1]),
        revoked(if won == 0 { 40 } else { 41 }, all[2]),
    ];
    assert_eq!(store.tokens(None).await, Ok(expected));
}

pub async fn a_token_is_given_another_secret_as_long_as_it_counts<S: AccessStore>(store: &S) {
    let (acme, zen) = (tenant("acme"), tenant("zen"));
    let (own, ending) = (token("own", Some("acme"), 1), token("ending", None, 2));
    let ending = TokenRow { expires_at: Some(50), ..ending };
    for row in [&own, &ending] {
        assert_eq!(store.put_token(row).await, Ok(true));
    }
    let rotation = |byte: u8, at, expires_at, older_until| RotationRow {
        digest: [byte; 32],
        at,
        expires_at,
        older_until,
    };
    // Of another tenant, of what is not there, of what has ended.
    for (by, id, at) in [
        (Some(&zen), "own", 10),
        (Some(&acme), "ending", 10),
        (None, "o", 10),
        (None, "ending", 50),
    ] {
        let refused = store.rotate_token(by, id, &rotation(8, at, None, 99)).await;
        assert_eq!(refused, Ok(false), "{by:?} {id}");
    }
    let older = |rotated_at, until| Some(OlderSecret { rotated_at, digest: [7; 32], until });
    assert_eq!(store.rotate_token(Some(&acme), "own", &rotation(8, 10, None, 20)).await, Ok(true));
    let own = TokenRow { digest: [8; 32], older: older(10, 20), ..own };
    assert_eq!(store.token("own").await, Ok(Some(own.clone())));
    // Again while the older one counts: that one is in use, and counts no longer than it did.
    assert_eq!(store.rotate_token(None, "own", &rotation(9, 19, None, 90)).await, Ok(true));
    let own = TokenRow { digest: [9; 32], older: older(19, 20), ..own };
    assert_eq!(store.token("own").await, Ok(Some(own.clone())));
    assert_eq!(store.rotate_token(None, "own", &rotation(10, 19, None, 19)).await, Ok(true));
    assert_eq!(store.token("own").await.expect("an answer").expect("a token").older, older(19, 19));
    // After that the one that followed it is the older one.
    assert_eq!(store.rotate_token(None, "own", &rotation(11, 20, None, 90)).await, Ok(true));
    let last = OlderSecret { rotated_at: 20, digest: [10; 32], until: 90 };
    let own = TokenRow { digest: [11; 32], older: Some(last), ..own };
    // One that ends by itself does so, and the next one has a time of its own.
    assert_eq!(store.rotate_token(None, "ending", &rotation(8, 10, Some(58), 90)).await, Ok(true));
    let ending = TokenRow { digest: [8; 32], expires_at: Some(58), older: older(10, 50), ..ending };
    assert_eq!(store.tokens(None).await, Ok(vec![own, ending]));
    assert_eq!(store.revoke_token(None, "own", 21).await, Ok(true));
    assert_eq!(store.rotate_token(None, "own", &rotation(12, 22, None, 90)).await, Ok(false));
}

fn ids(tokens: Result<Vec<TokenRow>, StoreError>) -> Vec<String> {
    tokens.expect("tokens").into_iter().map(|token| token.id).collect()
}

pub async fn tokens_are_listed_in_the_order_in_which_they_were_made<S: AccessStore>(store: &S) {
    assert_eq!(store.tokens(None).await, Ok(Vec::new()));
    let all = [
        ("b", Some("acme"), 10),
        ("c", None, 5),
        ("a", Some("zen"), 7),
        ("d", Some("acme"), 6),
        ("E", Some("acme"), 6),
    ];
    for (id, of, at) in all {
        assert_eq!(store.put_token(&token(id, of, at)).await, Ok(true));
    }
    assert_eq!(ids(store.tokens(None).await), ["c", "E", "d", "a", "b"]);
    assert_eq!(ids(store.tokens(Some(&tenant("acme"))).await), ["E", "d", "b"]);
    assert_eq!(ids(store.tokens(Some(&tenant("zen"))).await), ["a"]);
    assert_eq!(store.tokens(Some(&tenant("other"))).await, Ok(Vec::new()));
}

async fn numbers<S: AccessStore>(store: &S, owner: Option<&Owner>, limit: u32) -> Vec<u128> {
    let mut all: Vec<AuditRow> = Vec::new();
    loop {
        let before = all.last().map(|act| (act.at, act.id));
        let page = store.audits(owner, before, limit).await.expect("a page");
        assert!(u32::try_from(page.len()).is_ok_and(|length| length <= limit), "{page:?}");
        if page.is_empty() {
            return all.iter().map(|act| act.id.as_u128()).collect();
        }
        all.extend(page);
    }
}

pub async fn acts_are_read_from_the_last_one_back_page_by_page<S: AccessStore>(store: &S) {
    let (acme, zen) = (owner("acme"), owner("zen"));
    assert_eq!(store.audits(None, None, 9).await, Ok(Vec::new()));
    for (number, owner, at) in [
        (2, &Owner::Platform, 10),
        (4, &zen, Instant::MAX),
        (1, &acme, 10),
        (u128::MAX, &acme, 10),
        (9, &acme, Instant::MIN),
        (3, &acme, 10),
    ] {
        assert_eq!(store.audit(&act(number, owner.clone(), at)).await, Ok(()));
    }
    for limit in 1..=7 {
        assert_eq!(numbers(store, None, limit).await, [4, u128::MAX, 3, 2, 1, 9], "{limit}");
        assert_eq!(numbers(store, Some(&acme), limit).await, [u128::MAX, 3, 1, 9], "{limit}");
        assert_eq!(numbers(store, Some(&zen), limit).await, [4], "{limit}");
        assert_eq!(numbers(store, Some(&Owner::Platform), limit).await, [2], "{limit}");
        assert!(numbers(store, Some(&owner("other")), limit).await.is_empty(), "{limit}");
    }
    // Before what need not be there.
    let before = Some((10, Uuid::nil()));
    let left = store.audits(Some(&acme), before, 9).await;
    assert_eq!(left, Ok(vec![act(9, acme, Instant::MIN)]));
    assert_eq!(store.audits(None, None, 0).await, Ok(Vec::new()));
}

pub async fn an_act_is_kept_as_it_was_told<S: AccessStore>(store: &S) {
    let json = r#"{ "b" : 1.50, "a": "\"größer\" 🦀", "a":null} "#;
    let first = AuditRow {
        who: WORDS.into(),
        act: WORDS.into(),
        subject: WORDS.into(),
        before: Some(json.into()),
        after: Some("null".into()),
        outcome: Some(WORDS.into()),
        ..act(1, owner("acme"), 1)
    };
    let second = AuditRow {
        who: String::new(),
        subject: String::new(),
        after: None,
        outcome: Some(String::new()),
        ..act(2, Owner::Platform, 2)
    };
    for own in [&first, &second] {
        assert_eq!(store.audit(own).await, Ok(()));
    }
    // Written once, and never over.
    let other = AuditRow { who: "ben".into(), ..first.clone() };
    let again = store.audit(&other).await;
    assert!(matches!(again, Err(StoreError::Refused(_))), "{again:?}");
    assert_eq!(store.audits(None, None, 9).await, Ok(vec![second, first]));
}

pub async fn what_became_of_an_act_is_told_once<S: AccessStore>(store: &S) {
    let acme = owner("acme");
    let [first, second, third] = [1, 2, 3].map(|number| act(number, acme.clone(), 7));
    for own in [&first, &second] {
        assert_eq!(store.audit(own).await, Ok(()));
    }
    let refused = AuditRow { outcome: Some("refused".into()), ..third };
    assert_eq!(store.audit(&refused).await, Ok(()));
    // Neither another's, nor what is not there.
    for (of, id) in
        [(owner("zen"), first.id), (Owner::Platform, first.id), (acme.clone(), Uuid::nil())]
    {
        assert_eq!(store.audited(&of, id, "done").await, Ok(()));
    }
    let all = vec![refused.clone(), second.clone(), first.clone()];
    assert_eq!(store.audits(Some(&acme), None, 9).await, Ok(all));
    for (id, outcome) in [(first.id, WORDS), (first.id, "late"), (refused.id, "done")] {
        assert_eq!(store.audited(&acme, id, outcome).await, Ok(()));
    }
    let done = AuditRow { outcome: Some(WORDS.into()), ..first };
    assert_eq!(store.audits(Some(&acme), None, 9).await, Ok(vec![refused, second, done]));
}
