//! Tasks are estimated, checked and reserved.

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tollgate_tests::run;

use crate::house::{Caller, House, Town, town};

async fn needs(caller: &Caller) -> Json {
    let task = json!({ "description": "search the web" });
    caller.done(Method::POST, "/v1/tasks/estimate", Some(task)).await
}

/// It is the task that is the same, and not what a revision makes of it.
#[test]
fn a_task_that_is_reserved_again_is_answered_as_it_was() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let task = |words: &str| {
            json!({
                "key": "k",
                "dimensions": { "user": "ana", "model": "gpt-4o" },
                "task": { "description": words },
            })
        };
        let reserve = async |words| acme.post("/v1/reservations", task(words)).await;
        let (status, first) = reserve("search the web").await;
        assert_eq!((status, &first["decision"]), (StatusCode::OK, &json!("allow")), "{first}");
        let before = needs(&acme).await;
        let file = house.path().join("estimate.json");
        std::fs::write(&file, r#"{"base":{"llm_requests":"7"}}"#).unwrap();
        let file = file.display().to_string();
        house.run(&[
            "policy",
            "push",
            "estimate",
            "estimate",
            "--settings",
            &file,
            "--store",
            &house.store,
        ]);
        house.run(&["policy", "bind", "estimate", "--store", &house.store]);
        while needs(&acme).await == before {}
        assert_eq!(reserve("search the web").await, (StatusCode::OK, first));
        let (_, problem) = reserve("write a report").await;
        assert_eq!(problem["type"], "urn:tollgate:problem:key_reused", "{problem}");
    });
}

#[test]
fn a_task_that_was_reserved_is_answered_as_it_was_though_nobody_estimates_any_more() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, .. } = town(&server).await;
        let reserve = async |key: &str, words: &str| {
            let task = json!({
                "key": key,
                "dimensions": { "user": "ana", "model": "gpt-4o" },
                "task": { "description": words },
            });
            acme.post("/v1/reservations", task).await
        };
        let first = reserve("k", "search the web").await;
        assert_eq!(first.1["decision"], "allow", "{}", first.1);
        let unbind = json!({ "do": "unbind", "policy": "estimate" });
        admin.done(Method::POST, "/v1/policies", Some(unbind)).await;
        assert_eq!(reserve("k", "search the web").await, first);
        let kind = async |key, words| reserve(key, words).await.1["type"].clone();
        assert_eq!(kind("k", "write a report").await, "urn:tollgate:problem:key_reused");
        for _ in 0..2 {
            assert_eq!(kind("other", "search the web").await, "urn:tollgate:problem:no_estimate");
        }
    });
}

#[test]
fn a_task_is_checked_by_what_it_will_need() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let task = json!({
            "description": "search the web and write a report",
            "dimensions": { "user": "ana", "model": "gpt-4o" },
        });
        let estimated = acme.done(Method::POST, "/v1/tasks/estimate", Some(task.clone())).await;
        let needs = estimated["estimate"]["network_requests"].as_str().unwrap();
        let limit = json!({
            "meter": "network_requests", "window": "calendar:day", "limit": "0",
        });
        let checked = acme.done(Method::POST, "/v1/tasks/check", Some(task.clone())).await;
        assert_eq!(checked["all_allowed"], true, "{checked}");
        assert_eq!(checked["resources"]["network_requests"]["used"], "0");
        assert_ne!(needs, "0");
        acme.done(Method::PUT, "/v1/limits", Some(limit)).await;
        // What is only looked at may be a second old.
        let checked = loop {
            let checked = acme.done(Method::POST, "/v1/tasks/check", Some(task.clone())).await;
            if checked["all_allowed"] == false {
                break checked;
            }
        };
        assert_eq!(checked["resources"]["network_requests"]["allowed"], false, "{checked}");
        assert_eq!(checked["resources"]["llm_requests"]["allowed"], true, "{checked}");
        assert_eq!(checked["resources"]["cost.usd"]["limit"], "100", "{checked}");
    });
}
