//! What a new user does first.

use reqwest::{Method, StatusCode};
use serde_json::json;
use tollgate_tests::run;

use crate::house::House;

#[test]
fn a_new_user_reserves_settles_and_finds_it_after_a_restart() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let admin = server.client(server.first_token());
        let tenant = json!({ "name": "acme", "time_zone": "America/Sao_Paulo" });
        admin.done(Method::POST, "/v1/tenants", Some(tenant)).await;
        let (token, url) = (house.token("ingest", Some("acme")), server.url.clone());
        let caller = server.client(&token);

        let reserved = caller.reserve("call-1", 1_000).await;
        assert_eq!(reserved["decision"], "allow", "{reserved}");
        assert_eq!(reserved["cost"]["currency"], "USD", "{reserved}");
        assert!(reserved["revisions"].as_array().unwrap().contains(&json!("*/quota@1")));
        let finding = &reserved["findings"][0];
        assert_eq!(finding["used"], "0", "{finding}");
        assert_eq!(
            caller.reserve("call-1", 1_000).await,
            reserved,
            "the same key, the same answer"
        );

        let path = format!("/v1/reservations/{}/settle", reserved["reservation"].as_str().unwrap());
        let usage = json!({ "llm_requests": "1", "llm_tokens.input": "900" });
        let body = json!({ "key": "call-1", "usage": usage, "latency_ms": 250 });
        let settled = caller.done(Method::POST, &path, Some(body.clone())).await;
        assert!(!settled["late"].as_bool().unwrap());
        assert!(server.stop(), "it ends well");

        let server = house.serve();
        assert!(server.said.is_empty(), "{:?}", server.said);
        assert_ne!(server.url, url);
        let caller = server.client(&token);
        assert_eq!(caller.done(Method::POST, &path, Some(body)).await, settled);
        let again = json!({ "key": "call-2", "usage": {} });
        let (status, problem) = caller.post(&path, again).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(problem["type"], "urn:tollgate:problem:ended");
        let admin = server.client(&house.token("read", Some("acme")));
        let balance = admin.done(Method::GET, "/v1/balance", None).await;
        let cost = settled["cost"]["amount"].as_str().unwrap();
        assert_eq!(balance["accounts"][0]["balance"], format!("-{cost}"));
    });
}
