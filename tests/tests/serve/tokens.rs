//! Tokens: what they prove, how they are changed, and that nobody hears of their secrets.

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tollgate_tests::run;

use crate::house::{Caller, House, Town, town};

/// So often something is tried that must come to an end by itself.
pub const TRIES: usize = 100_000;

/// Waits until a token counts no longer, which must count at first.
pub async fn ended(caller: &Caller) {
    for _ in 0..TRIES {
        if caller.get("/v1/balance").await.0 == StatusCode::UNAUTHORIZED {
            return;
        }
    }
    panic!("the token counts for ever");
}

pub async fn counts(caller: &Caller) {
    assert_eq!(caller.get("/v1/balance").await.0, StatusCode::OK);
}

/// Of a token's text, the part that names it.
pub fn name_of(token: &str) -> &str {
    &token["tg_".len()..][..16]
}

#[test]
fn a_token_is_rotated_by_the_api_and_by_command() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, .. } = town(&server).await;
        let old = admin.admit("read", Some("acme")).await;
        let id = name_of(&old.token).to_owned();
        let path = format!("/v1/tokens/{id}/rotate");
        let rotate = async || {
            let made = admin.done(Method::POST, &path, Some(json!({}))).await;
            assert_eq!(made["id"], id);
            server.client(made["token"].as_str().expect("a token"))
        };
        // The answer to the first is lost.
        let lost = rotate().await;
        let new = rotate().await;
        counts(&old).await;
        counts(&new).await;
        ended(&lost).await;
        let tokens = admin.done(Method::GET, "/v1/tokens", None).await;
        let all = tokens["tokens"].as_array().expect("tokens");
        let own = all.iter().find(|own| own["id"] == id).expect("the token");
        assert!(own["expires_at"].is_null() && !own["older_until"].is_null(), "{own}");

        let last = house.run(&["token", "rotate", &id, "--overlap", "1s"]);
        let last = server.client(last.trim());
        counts(&last).await;
        for before in [&old, &new] {
            ended(before).await;
        }
        admin.done(Method::DELETE, &format!("/v1/tokens/{id}"), None).await;
        ended(&last).await;
        assert_eq!(admin.post(&path, json!({})).await.0, StatusCode::NOT_FOUND);

        let acts = admin.done(Method::GET, "/v1/audit?limit=5", None).await;
        let told = |own: &Json| (own["act"].clone(), own["subject"].clone(), own["owner"].clone());
        let told: Vec<_> = acts["acts"].as_array().expect("acts").iter().map(told).collect();
        let act = |act: &str| (json!(act), json!(id), json!("acme"));
        let rotated = act("token.rotate");
        assert_eq!(
            told,
            [&rotated, &act("token.revoke"), &rotated, &rotated, &rotated].map(Clone::clone)
        );
    });
}

#[test]
fn what_proves_a_token_never_stands_in_a_log() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, .. } = town(&server).await;
        assert!(server.stop());

        let server = house.serve_aloud();
        let (admin, acme) = (server.client(&admin.token), server.client(&acme.token));
        let fresh = admin.admit("read", Some("acme")).await;
        acme.reserve("call", 10).await;
        let forged = format!("{}{}", &acme.token[..19], &fresh.token[19..]);
        for caller in [&admin, &acme, &fresh, &server.client(&forged)] {
            caller.get("/v1/balance").await;
            caller.get("/v1/audit").await;
            caller.get("/v1/nothing").await;
            caller.post("/v1/reservations", json!({ "key": 1 })).await;
        }
        let path = format!("/v1/tokens/{}", name_of(&fresh.token));
        admin.done(Method::DELETE, &path, None).await;
        ended(&fresh).await;
        let said = server.stop_and_tell();
        assert!(said.contains("listening on") && said.contains("DEBUG"), "{said}");
        for token in [&admin.token, &acme.token, &fresh.token] {
            assert!(!said.contains(&token[19..]), "{token}");
        }
    });
}
