//! What is another tenant's is not there, and nobody hears of it.

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tollgate_tests::run;

use crate::access::operations;
use crate::house::{Caller, House, Town, is_problem, town};

#[test]
fn a_tenants_token_does_nothing_for_another_tenant() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, .. } = town(&server).await;
        let ingest = admin.admit("ingest", Some("acme")).await;
        let reader = admin.admit("read", Some("acme")).await;
        for operation in operations(&server).await {
            for caller in [&acme, &ingest, &reader] {
                let request = operation.of(caller, Some("rival"));
                let answer = request.send().await.expect("an answer");
                is_problem(answer, StatusCode::FORBIDDEN, &operation.name()).await;
            }
        }
        let own = acme.request(Method::GET, "/v1/balance").header("tollgate-tenant", "acme");
        assert_eq!(own.send().await.expect("an answer").status(), StatusCode::OK);
    });
}

#[test]
fn nobody_hears_of_anothers_policies_and_what_cannot_be_bound_is_told() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, rival, .. } = town(&server).await;
        let own = json!({ "policy": "own", "component": "quota", "settings": {} });
        rival.done(Method::POST, "/v1/revisions", Some(own)).await;
        let change = async |caller: &Caller, mut change: Json, expect: Option<i64>| {
            change["expect"] = json!(expect);
            caller.post("/v1/policies", change).await
        };
        let bind = |name: &str, mode: Json| json!({ "do": "bind", "revision": name, "mode": mode });
        let mut told = Vec::new();
        for name in ["rival/own", "rival/own@1", "rival/none", "rival/own@7", "nobody/own"] {
            let (status, problem) = change(&acme, bind(name, json!("enforce")), None).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{name}: {problem}");
            told.push(problem["detail"].as_str().unwrap().replace(name, "it"));
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{told:?}");
        // Its own.
        let canary = json!({ "canary": { "percent": 101, "by": "user" } });
        let (status, problem) = change(&rival, bind("own", canary), None).await;
        assert!(status.is_client_error() && problem.to_string().contains("101"), "{problem}");
        let (status, bound) = change(&rival, bind("own", json!("enforce")), None).await;
        assert_eq!(status, StatusCode::OK, "{bound}");
        let version = bound["version"].as_i64().unwrap();
        let back = json!({ "do": "roll_back" });
        let (status, problem) = change(&rival, back.clone(), Some(version - 1)).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
        let (status, bound) = change(&rival, back, Some(version)).await;
        assert_eq!(status, StatusCode::OK, "{bound}");
        assert_eq!(bound["bound"]["policies"], json!([]), "{bound}");
    });
}

#[test]
fn what_is_another_tenants_is_not_there() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, rival, .. } = town(&server).await;
        let text = |id: &Json| id.as_str().expect("an identifier").to_owned();
        let call = text(&acme.reserve("call", 10).await["reservation"]);
        let about = json!({ "user": "ana", "model": "gpt-4o" });
        let used = json!({ "dimensions": about, "amounts": { "llm_requests": "1" } });
        let body = json!({ "key": "told", "usage": [used] });
        let told = acme.done(Method::POST, "/v1/usage", Some(body)).await;
        let usage = text(&told["usage"][0]["usage"]);
        let body = json!({ "key": "run", "dimensions": { "user": "ana" } });
        let started = acme.done(Method::POST, "/v1/runs", Some(body)).await;
        let run = text(&started["reservation"]);

        let looks = [format!("/v1/runs/{run}"), format!("/v1/decisions/{call}")];
        let settled = json!({ "key": "1", "usage": { "llm_requests": "1" } });
        let does = [
            (format!("/v1/reservations/{call}/extend"), json!({ "key": "0" })),
            (format!("/v1/reservations/{call}/settle"), settled),
            (format!("/v1/usage/{usage}/void"), json!({ "key": "2", "reason": "a test" })),
            (format!("/v1/runs/{run}/finish"), json!({ "key": "3" })),
        ];
        let release = (format!("/v1/reservations/{call}/release"), json!({ "key": "4" }));
        for (path, body) in does.iter().chain([&release]) {
            let (status, problem) = rival.post(path, body.clone()).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {problem}");
        }
        for path in &looks {
            let (status, problem) = rival.get(path).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {problem}");
            acme.done(Method::GET, path, None).await;
        }
        for (path, body) in does {
            acme.done(Method::POST, &path, Some(body)).await;
        }
    });
}

#[test]
fn nobody_hears_of_anothers_notices_and_of_where_they_go() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, rival } = town(&server).await;
        // It leads nowhere, so that the notice is on its way for long.
        let channel = json!({ "to": { "kind": "webhook", "url": "https://hook.invalid/acme" } });
        acme.done(Method::PUT, "/v1/channels/ops", Some(channel)).await;
        let amounts = json!({ "database_queries": "8500" });
        let used = json!({ "dimensions": { "user": "ana" }, "amounts": amounts });
        let body = json!({ "key": "told", "usage": [used] });
        acme.done(Method::POST, "/v1/usage", Some(body)).await;
        let notice = loop {
            let told = acme.done(Method::GET, "/v1/deliveries", None).await;
            if let Some(notice) = told["deliveries"][0]["notice"].as_str() {
                break notice.to_owned();
            }
        };
        let look = format!("/v1/notices/{notice}");
        let acknowledge = format!("{look}/acknowledge");
        let replay = format!("/v1/deliveries/replay?notice={notice}");
        let whose = [(&rival, None), (&admin, Some("rival")), (&admin, Some("acmee"))];
        for (caller, tenant) in whose {
            let asked = [
                (Method::GET, look.as_str()),
                (Method::POST, &acknowledge),
                (Method::DELETE, "/v1/channels/ops"),
                (Method::POST, "/v1/channels/ops/test"),
                (Method::POST, &replay),
            ];
            for (method, path) in asked {
                let mut request = caller.request(method, path);
                if let Some(tenant) = tenant {
                    request = request.header("tollgate-tenant", tenant);
                }
                let answer = request.send().await.expect("an answer");
                is_problem(answer, StatusCode::NOT_FOUND, path).await;
            }
        }
        for (path, key) in [
            ("/v1/notices", "notices"),
            ("/v1/deliveries", "deliveries"),
            ("/v1/channels", "channels"),
        ] {
            assert_eq!(rival.done(Method::GET, path, None).await[key], json!([]), "{path}");
            assert_ne!(acme.done(Method::GET, path, None).await[key], json!([]), "{path}");
        }
        acme.done(Method::POST, &acknowledge, None).await;
        acme.done(Method::POST, &replay, None).await;
        acme.done(Method::DELETE, "/v1/channels/ops", None).await;
    });
}

#[test]
fn a_tenant_sees_its_own_affairs_alone() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, rival } = town(&server).await;
        for (caller, name) in [(&acme, "acme"), (&rival, "rival")] {
            let limit = json!({ "meter": "llm_requests", "window": "calendar:day", "limit": "9",
                "dimensions": { "user": name } });
            caller.done(Method::PUT, "/v1/limits", Some(limit)).await;
            let agent = json!({ "settings": { "note": name } });
            caller.done(Method::PUT, &format!("/v1/agents/{name}"), Some(agent)).await;
            let policy = json!({ "policy": format!("of-{name}"), "component": "quota" });
            caller.done(Method::POST, "/v1/revisions", Some(policy)).await;
            let run = json!({ "key": name, "dimensions": { "user": name } });
            caller.done(Method::POST, "/v1/runs", Some(run)).await;
        }
        let policy = json!({ "policy": "house", "component": "quota" });
        admin.done(Method::POST, "/v1/revisions", Some(policy)).await;

        for path in ["/v1/tokens", "/v1/tenants"] {
            assert_eq!(acme.get(path).await.0, StatusCode::FORBIDDEN, "{path}");
        }
        assert_eq!(acme.get("/v1/agents/rival").await.0, StatusCode::NOT_FOUND);
        for path in ["/v1/limits", "/v1/audit", "/v1/revisions", "/v1/runs", "/v1/runs/active"] {
            let seen = acme.done(Method::GET, path, None).await.to_string();
            assert!(seen.contains("acme"), "{path}: {seen}");
            assert!(!seen.contains("rival") && !seen.contains("house"), "{path}: {seen}");
        }
        let acts = acme.done(Method::GET, "/v1/audit", None).await;
        let mut acts = acts["acts"].as_array().expect("acts").iter();
        assert!(acts.all(|act| act["owner"] == "acme"));
        let all = admin.done(Method::GET, "/v1/audit?limit=1000", None).await["acts"].clone();
        let words = all.to_string();
        assert!(["acme", "rival", "house"].iter().all(|own| words.contains(own)), "{words}");
        let printed = |arguments: &[&str]| -> Json {
            let lines = house.run(arguments);
            lines.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON")).collect()
        };
        assert_eq!(printed(&["audit"]), all);
        let own = printed(&["audit", "--tenant", "acme"]);
        assert!(own.as_array().is_some_and(|own| own.iter().all(|act| act["owner"] == "acme")));
        assert!(own != json!([]));
    });
}
