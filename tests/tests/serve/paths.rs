//! What a new user does first.

use std::io::{Read, Write};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tollgate_tests::run;

use crate::house::{House, head, town};

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

#[test]
fn the_settings_that_are_printed_are_a_file_that_serves() {
    run(async {
        let house = House::sqlite();
        let printed = house.run(&["serve", "--print-config"]);
        assert!(printed.contains("\nrequests_max = 1024\n"), "{printed}");
        let file = house.path().join("tollgate.toml");
        let said = printed.replace("requests_max = 1024", "requests_max = 1")
            + "mail_domain = [\"example.com\", \"example.org\"]\n";
        std::fs::write(&file, said).unwrap();
        let file = file.display().to_string();
        let server = house.serve_with(&["--config", &file]);
        let acme = town(&server).await.acme;
        // One at a time.
        let mut slow = server.connect();
        let more = "expect: 100-continue\r\ncontent-length: 2";
        slow.write_all(head(&acme, "POST /v1/check", more).as_bytes()).unwrap();
        slow.read_exact(&mut [0; 12]).unwrap();
        assert_eq!(acme.get("/v1/balance").await.0, StatusCode::SERVICE_UNAVAILABLE);
        let looked = house.run(&["doctor", "--config", &file, "--cache", "kept"]);
        assert!(looked.contains("`kept` can be written to"), "{looked}");
    });
}
