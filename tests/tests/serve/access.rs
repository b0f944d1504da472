//! Who may do what, at every address there is.

use reqwest::header::{ALLOW, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value as Json, json};
use tollgate_tests::run;

use crate::house::{Caller, House, Server, Town, is_problem, read, town};

/// Who may do what, as it was agreed: `METHOD PATH: ROLES`. Whoever adds a route, or lets others take
/// it, says so here as well.
const AGREED: &str = include_str!("access.txt");

/// So often something is tried that must come to an end by itself.
const TRIES: usize = 100_000;

/// The identifier of nothing.
const NOTHING: &str = "00000000-0000-4000-8000-000000000000";

/// An operation, as the service tells of it.
struct Operation {
    method: Method,
    path: String,
    roles: Vec<String>,
}

/// All there are that ask for a token.
async fn operations(server: &Server) -> Vec<Operation> {
    let document = server.client("").done(Method::GET, "/v1/openapi.json", None).await;
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            // Whoever asks, where no token is asked for.
            let roles = match operation["security"].as_array() {
                Some(none) if none.is_empty() => Vec::new(),
                _ => operation["x-roles"].as_array().expect("roles").clone(),
            };
            let role = |role: &Json| role.as_str().expect("a role").to_owned();
            let roles = roles.iter().map(role).collect();
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            all.push(Operation { method, path: path.clone(), roles });
        }
    }
    let mut told: Vec<String> = all.iter().map(Operation::line).collect();
    told.sort_by(|one, other| words(one).cmp(&words(other)));
    assert_eq!(told, AGREED.lines().collect::<Vec<_>>(), "`access.txt` says who may do what");
    all.retain(|own| !own.roles.is_empty());
    all
}

/// A line of the table is found by its path, and then by its method.
fn words(line: &str) -> (&str, &str) {
    let (name, _) = line.split_once(": ").expect("roles");
    let (method, path) = name.split_once(' ').expect("a path");
    (path, method)
}

impl Operation {
    fn line(&self) -> String {
        let roles = if self.roles.is_empty() { "whoever asks" } else { &self.roles.join(" ") };
        format!("{}: {roles}", self.name())
    }

    fn is_for(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn address(&self) -> String {
        let path = self.path.replace("{id}", NOTHING).replace("{meter}", "llm_requests");
        let query = match self.path.as_str() {
            "/v1/agents/{id}/stats" => "?from=2026-01-01T00:00:00Z",
            "/v1/components" => "?policy=own",
            _ => "",
        };
        format!("{path}{query}")
    }

    /// What a caller could well send.
    fn body(&self) -> Json {
        let key = self.name();
        let about = json!({ "user": "ana", "model": "gpt-4o" });
        match self.path.as_str() {
            "/v1/reservations" | "/v1/runs" => json!({ "key": key, "dimensions": about }),
            "/v1/reservations/{id}/settle" => json!({ "key": key, "usage": {} }),
            "/v1/reservations/{id}/release"
            | "/v1/reservations/{id}/extend"
            | "/v1/runs/{id}/finish" => json!({ "key": key }),
            "/v1/usage" => {
                let used = json!({ "dimensions": about, "amounts": { "llm_requests": "1" } });
                json!({ "key": key, "usage": [used] })
            }
            "/v1/usage/{id}/void" => json!({ "key": key, "reason": "a test" }),
            "/v1/tenants" => json!({ "name": "acme" }),
            "/v1/credits" => {
                json!({ "key": key, "amount": "1", "currency": "USD", "reason": "a test" })
            }
            "/v1/invoices" => {
                json!({ "provider": "openai", "day": "2025-11-03", "amount": "1", "currency": "USD" })
            }
            "/v1/limits" if self.method == Method::PUT => {
                json!({ "meter": "llm_requests", "window": "calendar:day", "limit": "1000" })
            }
            "/v1/limits" => json!({ "meter": "llm_requests", "window": "calendar:day" }),
            "/v1/tasks/estimate" | "/v1/tasks/check" => json!({ "description": "a letter" }),
            "/v1/revisions" => json!({ "policy": "own", "component": "quota" }),
            "/v1/policies" => json!({ "do": "unbind", "policy": "nothing" }),
            "/v1/policies/signing" => json!({ "required": false }),
            "/v1/policies/tenant" => json!({ "settings": { "prices": "current" } }),
            "/v1/policies/let-back" => json!({ "policy": "nothing" }),
            "/v1/tokens" => json!({ "name": "another", "role": "read" }),
            _ => json!({}),
        }
    }

    /// As whoever shows this asks; none: who shows nothing.
    fn request(&self, caller: &Caller, authorization: Option<&str>) -> RequestBuilder {
        let address = format!("{}{}", caller.url, self.address());
        let mut request = caller.client.request(self.method.clone(), address);
        if self.method != Method::GET {
            request = request.json(&self.body());
        }
        match authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    /// As this caller asks, for a tenant that it names.
    fn of(&self, caller: &Caller, tenant: Option<&str>) -> RequestBuilder {
        let request = self.request(caller, Some(&format!("Bearer {}", caller.token)));
        match tenant {
            Some(tenant) => request.header("tollgate-tenant", tenant),
            None => request,
        }
    }
}

/// Waits until a token counts no longer, which must count at first.
async fn ended(caller: &Caller) {
    for _ in 0..TRIES {
        if caller.get("/v1/balance").await.0 == StatusCode::UNAUTHORIZED {
            return;
        }
    }
    panic!("the token counts for ever");
}

async fn counts(caller: &Caller) {
    assert_eq!(caller.get("/v1/balance").await.0, StatusCode::OK);
}

/// Of a token's text, the part that names it.
fn name_of(token: &str) -> &str {
    &token["tg_".len()..][..16]
}

#[test]
fn nobody_is_let_in_anywhere_without_a_token_that_counts() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, rival } = town(&server).await;

        // Long enough to be shown once before it ends, however slow the machine is.
        let body = json!({ "name": "b", "role": "read", "tenant": "acme", "ttl_seconds": 2 });
        let made = admin.done(Method::POST, "/v1/tokens", Some(body)).await;
        let brief = server.client(made["token"].as_str().unwrap());
        counts(&brief).await;
        let revoked = admin.admit("read", Some("acme")).await;
        counts(&revoked).await;
        let path = format!("/v1/tokens/{}", name_of(&revoked.token));
        admin.done(Method::DELETE, &path, None).await;
        ended(&revoked).await;
        ended(&brief).await;

        let (named, proof) = acme.token.split_at("tg_".len() + 16);
        let (_, other) = rival.token.split_at("tg_".len() + 16);
        let shown = [
            None,
            Some(String::new()),
            Some("Bearer".into()),
            Some("Bearer tg_".into()),
            Some(acme.token.clone()),
            Some(format!("Basic {}", acme.token)),
            Some(format!("Bearer {}0", acme.token)),
            Some(format!("Bearer {}", acme.token.to_uppercase())),
            Some(format!("Bearer tg_{}{proof}", "0".repeat(16))),
            Some(format!("Bearer {named}{}", "0".repeat(64))),
            Some(format!("Bearer {named}{other}")),
            Some(format!("Bearer {}", revoked.token)),
            Some(format!("Bearer {}", brief.token)),
        ];
        for operation in operations(&server).await {
            for shown in &shown {
                let about = format!("{}: {shown:?}", operation.name());
                let request = operation.request(&acme, shown.as_deref());
                let answer = request.send().await.expect("an answer");
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{about}");
                assert_eq!(answer.headers()[WWW_AUTHENTICATE], "Bearer", "{about}");
                is_problem(answer, StatusCode::UNAUTHORIZED, &about).await;
            }
        }
        counts(&acme).await;
    });
}

#[test]
fn every_role_goes_where_it_may_and_nowhere_else() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, .. } = town(&server).await;
        let operator = admin.admit("operator", None).await;
        let ingest = admin.admit("ingest", Some("acme")).await;
        let reader = admin.admit("read", Some("acme")).await;
        let callers = [
            ("admin", admin, Some("acme")),
            ("operator", operator, Some("acme")),
            ("tenant", acme, None),
            ("ingest", ingest, None),
            ("read", reader, None),
        ];
        for operation in operations(&server).await {
            for (role, caller, tenant) in &callers {
                let about = format!("{role}: {}", operation.name());
                let answer = operation.of(caller, *tenant).send().await.expect("an answer");
                let status = answer.status();
                // Its own route says that they are the platform's, and this reader is a tenant's.
                let is_platforms = operation.name() == "GET /metrics" && *role == "read";
                if operation.is_for(role) && !is_platforms {
                    assert_ne!(status, StatusCode::UNAUTHORIZED, "{about}");
                    assert_ne!(status, StatusCode::FORBIDDEN, "{about}");
                    assert!(!status.is_server_error(), "{about}: {status}");
                } else {
                    is_problem(answer, StatusCode::FORBIDDEN, &about).await;
                }
            }
        }
    });
}

/// What makes a tenant, and what may be set for it before it is one.
const FOR_NEW_TENANTS: [(&str, &str); 10] = [
    ("GET", "/v1/tenants"),
    ("POST", "/v1/tenants"),
    ("POST", "/v1/components"),
    ("POST", "/v1/revisions"),
    ("GET", "/v1/revisions"),
    ("GET", "/v1/policies"),
    ("GET", "/v1/policies/history"),
    ("PUT", "/v1/policies/signing"),
    ("PUT", "/v1/policies/tenant"),
    ("POST", "/v1/policies"),
];

#[test]
fn a_tenant_that_is_misspelt_is_not_there() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, .. } = town(&server).await;
        let is_for_new = |own: &Operation| {
            FOR_NEW_TENANTS.iter().any(|new| *new == (own.method.as_str(), own.path.as_str()))
        };
        let (new, others): (Vec<_>, Vec<_>) =
            operations(&server).await.into_iter().partition(is_for_new);
        assert_eq!(new.len(), FOR_NEW_TENANTS.len());
        for operation in others {
            let answer = operation.of(&admin, Some("acmee")).send().await.expect("an answer");
            let problem = is_problem(answer, StatusCode::NOT_FOUND, &operation.name()).await;
            assert!(problem["detail"].as_str().unwrap().contains("`acmee`"), "{problem}");
        }
        let token = json!({ "name": "ana", "role": "read", "tenant": "acmee" });
        let (status, problem) = admin.post("/v1/tokens", token.clone()).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
        for operation in new {
            let answer = operation.of(&admin, Some("acmee")).send().await.expect("an answer");
            let (status, answer) = read(answer).await;
            let words = answer.to_string();
            assert!(!words.contains("there is no tenant"), "{}: {status}", operation.name());
        }
        // What was set for it made it one.
        admin.done(Method::POST, "/v1/tokens", Some(token)).await;
    });
}

#[test]
fn a_tenant_is_there_on_every_server_at_once() {
    run(async {
        let house = House::postgres().await;
        let (one, other) = (house.serve(), house.serve());
        let admin = one.client(one.first_token());
        let elsewhere = other.client(&admin.token);
        for number in 0..10 {
            let name = format!("tenant-{number}");
            admin.done(Method::POST, "/v1/tenants", Some(json!({ "name": name }))).await;
            let token = json!({ "name": "ana", "role": "read", "tenant": name });
            elsewhere.done(Method::POST, "/v1/tokens", Some(token)).await;
        }
    });
}

/// What the table says is held by the walks; this is what it must say.
#[test]
fn the_table_lets_readers_change_nothing_and_admins_alone_hand_out_tokens() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        for operation in operations(&server).await {
            let (name, path) = (operation.name(), operation.path.as_str());
            assert!(operation.is_for("admin"), "{name}");
            let only_looks = operation.method == Method::GET
                || matches!(path, "/v1/check" | "/v1/tasks/estimate" | "/v1/tasks/check");
            assert!(only_looks || !operation.is_for("read"), "{name}");
            if path.starts_with("/v1/tokens") {
                assert_eq!(operation.roles, ["admin"], "{name}");
            }
            // What a tenant is, and whose signatures count for it, is not its own people's to say.
            let is_platforms = [
                "/v1/tenants",
                "/v1/credits",
                "/v1/invoices",
                "/v1/policies/signing",
                "/v1/policies/tenant",
            ];
            let is_platforms = is_platforms.iter().any(|own| path.starts_with(own));
            if is_platforms {
                assert_eq!(operation.roles, ["admin", "operator"], "{name}");
            }
            let decides = ["/v1/limits", "/v1/agents", "/v1/policies", "/v1/revisions"];
            let decides = decides.iter().any(|own| path.starts_with(own));
            if (decides && !only_looks && !is_platforms)
                || path == "/v1/components"
                || path == "/v1/audit"
            {
                assert_eq!(operation.roles, ["admin", "operator", "tenant"], "{name}");
            }
        }
    });
}

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

#[test]
fn what_is_not_there_is_a_problem_like_any_other() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        for path in ["/v1/nothing", "/v1/balance/", "/V1/balance", "/v1", "/%", "//v1/balance"] {
            let answer = acme.request(Method::GET, path).send().await.expect("an answer");
            let problem = is_problem(answer, StatusCode::NOT_FOUND, path).await;
            assert_eq!(problem["type"], "urn:tollgate:problem:not_found", "{path}");
        }
        for (method, path) in [
            (Method::GET, "/v1/reservations"),
            (Method::DELETE, "/v1/balance"),
            (Method::PATCH, "/v1/limits"),
            (Method::OPTIONS, "/v1/runs"),
            (Method::TRACE, "/v1/usage"),
            (Method::POST, "/"),
        ] {
            let answer = acme.request(method, path).send().await.expect("an answer");
            assert!(answer.headers().contains_key(ALLOW), "{path}");
            is_problem(answer, StatusCode::METHOD_NOT_ALLOWED, path).await;
        }
    });
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
