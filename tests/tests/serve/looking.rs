//! What callers look at, and what they set: quotas, limits, agents, runs, the ledger, decisions.

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tollgate_tests::run;

use crate::house::{Caller, House, Town, limited, town};

/// A call that costs 0.0025 USD, in one conversation of an agent's.
async fn one_call(caller: &Caller, key: &str, session: &str) -> (Json, Json) {
    let amounts = json!({ "llm_requests": "1", "llm_tokens.input": "1000" });
    let dimensions =
        json!({ "user": "ana", "agent": "sdr", "session": session, "model": "gpt-4o" });
    let body = json!({ "key": key, "dimensions": dimensions, "estimate": amounts });
    let reserved = caller.done(Method::POST, "/v1/reservations", Some(body)).await;
    assert_eq!(reserved["decision"], "allow", "{reserved}");
    let path = format!("/v1/reservations/{}/settle", reserved["reservation"].as_str().unwrap());
    let body = json!({ "key": key, "usage": amounts, "latency_ms": 100 });
    let settled = caller.done(Method::POST, &path, Some(body)).await;
    (reserved, settled)
}

pub async fn seen(caller: &Caller, path: &str) -> Json {
    caller.done(Method::GET, path, None).await
}

/// Of the quotas the one of a meter.
pub fn quota<'a>(quotas: &'a Json, meter: &str) -> &'a Json {
    let all = quotas["quotas"].as_array().unwrap();
    all.iter().find(|own| own["meter"] == meter).unwrap_or_else(|| panic!("{quotas}"))
}

#[test]
fn a_limit_that_is_set_counts_at_once_and_is_lifted_again() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        one_call(&acme, "1", "a").await;
        let whom = json!({ "user": "ana" });
        let limit = json!({
            "meter": "llm_tokens", "window": "calendar:month", "dimensions": whom, "limit": "1500",
        });
        acme.done(Method::PUT, "/v1/limits", Some(limit)).await;
        let quotas = seen(&acme, "/v1/quotas?user=ana").await;
        let own = quotas["quotas"].as_array().unwrap().iter().find(|own| own["limit"] == "1500");
        let own = own.unwrap_or_else(|| panic!("{quotas}"));
        // Tokens that were told by their class are tokens.
        assert_eq!((&own["used"], &own["remaining"]), (&json!("1000"), &json!("500")), "{own}");
        let asked = json!({
            "key": "2", "dimensions": { "user": "ana", "model": "gpt-4o" },
            "estimate": { "llm_tokens.output": "501" },
        });
        let denied = acme.done(Method::POST, "/v1/reservations", Some(asked.clone())).await;
        assert_eq!(denied["denial"]["code"], "quota_exceeded", "{denied}");
        let which =
            json!({ "meter": "llm_tokens", "window": "calendar:month", "dimensions": whom });
        acme.done(Method::DELETE, "/v1/limits", Some(which.clone())).await;
        let (status, _) = acme.send(Method::DELETE, "/v1/limits", Some(which)).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let checked = json!({ "dimensions": asked["dimensions"], "estimate": asked["estimate"] });
        let checked = acme.done(Method::POST, "/v1/check", Some(checked)).await;
        assert_eq!(checked["decision"], "allow", "{checked}");
        let acts = seen(&acme, "/v1/audit").await;
        let acts: Vec<_> = acts["acts"].as_array().unwrap().iter().collect();
        let told = |own: &&Json| (own["act"].clone(), own["outcome"].clone());
        let told: Vec<_> = acts.iter().map(told).collect();
        assert_eq!(
            told[..2],
            [(json!("limit.lift"), json!("done")), (json!("limit.set"), json!("done")),]
        );
        assert_eq!(acts[0]["before"]["limit"], "1500");
        assert_eq!(acts[0]["after"], Json::Null);
    });
}

#[test]
fn what_is_set_with_a_key_is_set_once() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let which = json!({ "meter": "llm_tokens", "window": "calendar:month" });
        let with = |more: Json| {
            let mut body = which.clone();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Some(body)
        };
        let set = with(json!({ "limit": "5", "key": "set" }));
        let first = acme.done(Method::PUT, "/v1/limits", set.clone()).await;
        // Somebody else changes it, and then the first one is asked again.
        acme.done(Method::PUT, "/v1/limits", with(json!({ "limit": "7" }))).await;
        assert_eq!(acme.done(Method::PUT, "/v1/limits", set).await, first);
        let limit = async || seen(&acme, "/v1/limits").await["limits"][0]["limit"].clone();
        assert_eq!(limit().await, "7");
        let other = with(json!({ "limit": "6", "key": "set" }));
        let (status, problem) = acme.send(Method::PUT, "/v1/limits", other).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem["type"], "urn:tollgate:problem:key_reused", "{problem}");
        for _ in 0..2 {
            let lift = with(json!({ "key": "lift" }));
            acme.done(Method::DELETE, "/v1/limits", lift).await;
            assert_eq!(limit().await, Json::Null);
        }
        let agent = json!({ "name": "Ada", "key": "ada" });
        acme.done(Method::PUT, "/v1/agents/ada", Some(agent.clone())).await;
        acme.done(Method::PUT, "/v1/agents/ada", Some(json!({ "name": "Lovelace" }))).await;
        let known = acme.done(Method::PUT, "/v1/agents/ada", Some(agent)).await;
        assert_eq!(known["name"], "Lovelace");
        let ada = json!({ "dimension": "agent", "value": "ada", "key": "stop", "reason": "loops" });
        acme.done(Method::POST, "/v1/disablements", Some(ada.clone())).await;
        for _ in 0..2 {
            let again = json!({ "dimension": "agent", "value": "ada", "key": "go" });
            acme.done(Method::DELETE, "/v1/disablements", Some(again)).await;
            acme.done(Method::POST, "/v1/disablements", Some(ada.clone())).await;
            assert_eq!(seen(&acme, "/v1/disablements").await["disabled"], json!([]));
        }
    });
}

#[test]
fn an_agent_may_process_until_its_own_settings_or_a_person_say_no() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let limits = json!({ "agent_settings": true });
        let revision = json!({ "policy": "agents", "component": "quota", "settings": limits });
        acme.done(Method::POST, "/v1/revisions", Some(revision)).await;
        let bind = json!({ "do": "bind", "revision": "agents" });
        acme.done(Method::POST, "/v1/policies", Some(bind)).await;
        let rates = json!({ "enabled": true, "period": "hour", "max_messages": 1 });
        let agent = json!({ "settings": { "rate_limits": rates, "unknown": [1, 2] } });
        let known = acme.done(Method::PUT, "/v1/agents/sdr", Some(agent.clone())).await;
        assert_eq!(known["settings"], agent["settings"]);
        assert_eq!(seen(&acme, "/v1/agents/sdr").await, known);
        let can = async || seen(&acme, "/v1/agents/sdr/can-process").await;
        assert_eq!(can().await, json!({ "allowed": true }));
        one_call(&acme, "1", "a").await;
        let not = can().await;
        assert_eq!(not["allowed"], false);
        assert!(not["reason"].as_str().unwrap().contains("llm_requests"), "{not}");

        let other = json!({ "dimension": "agent", "value": "other", "reason": "spends at night" });
        acme.done(Method::POST, "/v1/disablements", Some(other)).await;
        let not = seen(&acme, "/v1/agents/other/can-process").await;
        assert!(not["reason"].as_str().unwrap().contains("spends at night"), "{not}");
        let listed = seen(&acme, "/v1/disablements").await;
        assert_eq!(listed["disabled"][0]["value"], "other", "{listed}");
        let again = json!({ "dimension": "agent", "value": "other" });
        acme.done(Method::DELETE, "/v1/disablements", Some(again)).await;
        let can = seen(&acme, "/v1/agents/other/can-process").await;
        assert_eq!(can, json!({ "allowed": true }));
    });
}

#[test]
fn what_an_agent_cost_is_told_by_month_in_all_and_by_conversation() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        for (key, session) in [("1", "a"), ("2", "a"), ("3", "b")] {
            one_call(&acme, key, session).await;
        }
        // Sums follow what was booked, a moment behind it.
        let costs = json!([{ "amount": "0.0075", "currency": "USD" }]);
        while seen(&acme, "/v1/agents/sdr/cost").await["costs"] != costs {}
        assert_eq!(seen(&acme, "/v1/agents/sdr/cost/total").await["costs"], costs);
        let past = seen(&acme, "/v1/agents/sdr/cost?month=2001-02").await;
        assert_eq!(past, json!({ "agent": "sdr", "month": "2001-02", "costs": [] }));
        let stats = seen(&acme, "/v1/agents/sdr/stats?from=2001-01-01T00:00:00Z").await;
        assert_eq!(
            stats,
            json!({
                "total_conversations": 2,
                "total_cost": "0.0075",
                "avg_cost_per_conversation": "0.00375",
                "total_tokens": "3000",
                "avg_tokens_per_conversation": "1500",
                "min_cost": "0.0025",
                "max_cost": "0.005",
            })
        );
        let (status, _) = acme.get("/v1/agents/sdr/cost?month=2001-13").await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    });
}

#[test]
fn a_run_is_active_until_it_is_finished_and_tells_what_its_calls_came_to() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let start = json!({ "key": "run", "dimensions": { "user": "ana" } });
        let begun = acme.done(Method::POST, "/v1/runs", Some(start)).await;
        let run = begun["reservation"].as_str().unwrap();
        let active = seen(&acme, "/v1/runs/active?user=ana").await;
        assert_eq!((&active["count"], &active["runs"][0]["id"]), (&json!(1), &json!(run)));
        assert_eq!(seen(&acme, "/v1/runs/active?user=ben").await["count"], 0);
        let used = json!({
            "key": "usage", "usage": [{
                "dimensions": { "user": "ana", "model": "gpt-4o" }, "run": run,
                "amounts": { "llm_tokens.input": "1000" },
            }],
        });
        acme.done(Method::POST, "/v1/usage", Some(used)).await;
        let path = format!("/v1/runs/{run}");
        let metrics = loop {
            let metrics = seen(&acme, &path).await["metrics"].clone();
            if metrics["calls"] == "1" {
                break metrics;
            }
        };
        assert_eq!(
            (&metrics["llm_tokens"], &metrics["cost.usd"]),
            (&json!("1000"), &json!("0.0025"))
        );
        let over = json!({ "key": "over" });
        acme.done(Method::POST, &format!("{path}/finish"), Some(over)).await;
        assert_eq!(seen(&acme, "/v1/runs/active").await["count"], 0);
        assert!(seen(&acme, &path).await["ended_at"].is_string());
        let listed = seen(&acme, "/v1/runs?user=ana&from=2001-01-01T00:00:00Z").await;
        assert_eq!(listed["count"], 1);
        assert_eq!(seen(&acme, "/v1/runs?to=2001-01-01T00:00:00Z").await["count"], 0);
        let start = json!({ "key": "another", "dimensions": { "user": "ana" } });
        let another = acme.done(Method::POST, "/v1/runs", Some(start)).await;
        let first = seen(&acme, "/v1/runs?limit=1").await;
        assert_eq!((&first["runs"][0]["id"], &first["next"]), (&json!(run), &json!(run)));
        let next = seen(&acme, &format!("/v1/runs?limit=1&after={run}")).await;
        assert_eq!(next["runs"][0]["id"], another["reservation"]);
    });
}

#[test]
fn the_ledger_is_read_page_by_page_and_a_decision_with_all_it_was_taken_by() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, .. } = town(&server).await;
        let credit = json!({ "key": "c", "amount": "20", "currency": "usd", "reason": "prepaid" });
        let mut credited = admin.request(Method::POST, "/v1/credits").json(&credit);
        credited = credited.header("tollgate-tenant", "acme");
        assert_eq!(credited.send().await.unwrap().status(), StatusCode::OK);
        let mut booked = Vec::new();
        let mut reserved = Json::Null;
        for key in ["1", "2", "3"] {
            let (answer, settled) = one_call(&acme, key, "a").await;
            booked.push(settled["usage"].clone());
            reserved = answer;
        }
        let mut read = Vec::new();
        let mut path = "/v1/ledger?limit=2".to_owned();
        loop {
            let page = seen(&acme, &path).await;
            read.extend(page["entries"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/v1/ledger?limit=2&after={next}");
        }
        assert_eq!((&read[0]["kind"], &read[0]["reason"]), (&json!("credit"), &json!("prepaid")));
        let charged: Vec<_> = read[1..].iter().map(|own| own["usage"].clone()).collect();
        assert_eq!(charged, booked);
        let balance = seen(&acme, "/v1/balance").await;
        assert_eq!(balance["accounts"][0]["balance"], "19.9925", "{balance}");

        let id = reserved["reservation"].as_str().unwrap();
        let decision = seen(&acme, &format!("/v1/decisions/{id}")).await;
        assert_eq!((&decision["id"], &decision["decision"]), (&json!(id), &json!("allow")));
        let pricing = &decision["policies"][0];
        assert_eq!(pricing["revision"], "*/pricing@1");
        assert_eq!(pricing["said"]["lines"][0]["cost"], "0.0025");
        // It was used as it was estimated, and charged line by line.
        assert_eq!(read[3]["quote"], pricing["said"], "{read:?}");
        assert_eq!(read[0].get("quote"), None);
        let revisions = |entry: &Json| (entry["priced_by"].clone(), entry["allowed_by"].clone());
        assert_eq!(revisions(&read[3]), (json!(["*/pricing@1"]), json!(["*/quota@1"])));
        assert_eq!(revisions(&read[0]), (json!([]), json!([])));

        let denied = acme.reserve("too much", 2_000_000_000).await;
        let id = denied["decision_id"].as_str().unwrap();
        let decision = seen(&acme, &format!("/v1/decisions/{id}")).await;
        assert_eq!((&decision["id"], &decision["decision"]), (&json!(id), &json!("deny")));
    });
}

/// Whoever asks for a tenant that another one makes just then asks for one that is there.
#[test]
fn a_tenant_is_made_once_however_many_ask_for_it() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let admin = server.client(server.first_token());
        let tenant = json!({ "name": "acme", "time_zone": "America/Sao_Paulo" });
        let ask = |_| admin.post("/v1/tenants", tenant.clone());
        for (status, answer) in futures_util::future::join_all((0..8).map(ask)).await {
            assert_eq!(status, StatusCode::OK, "{answer}");
        }
        let bound = admin.request(Method::GET, "/v1/policies").header("tollgate-tenant", "acme");
        let (_, bound) = crate::house::read(bound.send().await.unwrap()).await;
        assert_eq!(bound["version"], 1, "{bound}");
        let other = json!({ "name": "acme", "time_zone": "Asia/Kolkata" });
        let (status, answer) = admin.post("/v1/tenants", other).await;
        assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    });
}

#[test]
fn header_fields_tell_how_much_room_is_left_and_when_there_is_some_again() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let caller = limited(&house, &server, 1).await;
        let reserve = async |key: &str| {
            let body = json!({ "key": key, "dimensions": { "user": "ana", "model": "gpt-4o" },
                "estimate": { "llm_requests": "1" } });
            let request = caller.request(Method::POST, "/v1/reservations").json(&body);
            let answer = request.send().await.expect("an answer");
            let field = |name: &str| {
                let value = answer.headers().get(name)?;
                Some(value.to_str().expect("text").to_owned())
            };
            let fields = ["ratelimit", "ratelimit-policy", "retry-after"].map(field);
            (fields, crate::house::read(answer).await.1)
        };
        let ([limits, policies, retry_after], allowed) = reserve("1").await;
        assert_eq!((&allowed["decision"], retry_after), (&json!("allow"), None), "{allowed}");
        let (limits, policies) = (limits.expect("limits"), policies.expect("policies"));
        let own = "\"calls/llm_requests/calendar:day\"";
        assert!(limits.contains(&format!("{own};r=1;t=")), "{limits}");
        assert!(policies.contains(&format!("{own};q=1;qu=\"llm_requests\"")), "{policies}");
        // Each limit is found in the other field by its name.
        let names = |field: &str| {
            let names = field.split(", ").map(|own| own.split(';').next().unwrap().to_owned());
            names.collect::<Vec<String>>()
        };
        assert_eq!(names(&limits), names(&policies));
        let unique: std::collections::BTreeSet<String> = names(&limits).into_iter().collect();
        assert_eq!(unique.len(), names(&limits).len(), "{limits}");

        let ([limits, _, retry_after], denied) = reserve("2").await;
        assert_eq!(denied["decision"], "deny", "{denied}");
        assert!(denied["denial"]["retry_at"].is_string(), "{denied}");
        assert!(limits.is_some_and(|limits| limits.contains(&format!("{own};r=0;t="))));
        let seconds: u32 = retry_after.expect("a time").parse().expect("seconds");
        assert!((1..=86_400).contains(&seconds), "{seconds}");

        let document = caller.done(Method::GET, "/v1/openapi.json", None).await;
        let told = |path: &str| -> Vec<String> {
            let headers = &document["paths"][path]["post"]["responses"]["200"]["headers"];
            headers.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
        };
        for path in ["/v1/reservations", "/v1/reservations/{id}/extend", "/v1/runs"] {
            assert_eq!(told(path), ["RateLimit", "RateLimit-Policy", "Retry-After"], "{path}");
        }
        assert!(told("/v1/check").is_empty());
        let stream = &document["paths"]["/v1/stream"]["get"]["responses"];
        assert!(stream["101"].is_object(), "{stream}");
    });
}

#[test]
fn a_page_of_active_runs_tells_how_many_there_are_on_all_pages() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, rival, .. } = town(&server).await;
        for (key, user) in [("1", "ana"), ("2", "ben"), ("3", "ana")] {
            let start = json!({ "key": key, "dimensions": { "user": user } });
            acme.done(Method::POST, "/v1/runs", Some(start)).await;
        }
        for (query, count, total) in [("limit=1", 1, 3), ("limit=1&user=ana", 1, 2), ("", 3, 3)] {
            let active = seen(&acme, &format!("/v1/runs/active?{query}")).await;
            assert_eq!((&active["count"], &active["total"]), (&json!(count), &json!(total)));
        }
        assert_eq!(seen(&rival, "/v1/runs/active").await["total"], 0);
    });
}

#[test]
fn what_is_done_is_written_down_whether_by_the_api_or_by_command() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        limited(&house, &server, 5).await;
        let admin = server.client(server.first_token());
        let acts = seen(&admin, "/v1/audit").await;
        let told = |own: &Json| {
            let text = |name: &str| own[name].as_str().unwrap().to_owned();
            (text("act"), text("subject"), text("owner"), text("outcome"))
        };
        let mut told: Vec<_> = acts["acts"].as_array().unwrap().iter().map(told).collect();
        told.reverse();
        let act = |act: &str, subject: &str| {
            (act.to_owned(), subject.to_owned(), "acme".to_owned(), "done".to_owned())
        };
        assert_eq!(
            told,
            [
                act("tenant.create", "acme"),
                act("policy.push", "calls"),
                act("policy.bind", "calls"),
                act("token.create", "ingest"),
            ]
        );
    });
}

#[test]
fn a_component_may_be_longer_than_other_bodies() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let pushed = acme
            .request(Method::POST, "/v1/components?policy=big")
            .header("content-type", "application/wasm")
            .body(vec![0; 3 << 20]);
        let (status, answer) = crate::house::read(pushed.send().await.unwrap()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        assert_eq!(answer["type"], "urn:tollgate:problem:refused");
    });
}
