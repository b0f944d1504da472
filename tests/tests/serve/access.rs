//! Who may do what, at every address there is.

use reqwest::header::{ALLOW, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value as Json, json};
use tollgate_tests::run;

use crate::house::{Caller, House, Server, Town, is_problem, read, town};
use crate::tokens::{counts, ended, name_of};

/// Who may do what, as it was agreed: `METHOD PATH: ROLES`. Whoever adds a route, or lets others take
/// it, says so here as well.
const AGREED: &str = include_str!("access.txt");

/// The identifier of nothing.
const NOTHING: &str = "00000000-0000-4000-8000-000000000000";

/// An operation, as the service tells of it.
pub struct Operation {
    method: Method,
    path: String,
    roles: Vec<String>,
}

/// All there are that ask for a token.
pub async fn operations(server: &Server) -> Vec<Operation> {
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
pub fn words(line: &str) -> (&str, &str) {
    let (name, _) = line.split_once(": ").expect("roles");
    let (method, path) = name.split_once(' ').expect("a path");
    (path, method)
}

impl Operation {
    pub fn line(&self) -> String {
        let roles = if self.roles.is_empty() { "whoever asks" } else { &self.roles.join(" ") };
        format!("{}: {roles}", self.name())
    }

    pub fn is_for(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }

    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub fn address(&self) -> String {
        let path = self.path.replace("{id}", NOTHING).replace("{meter}", "llm_requests");
        let query = match self.path.as_str() {
            "/v1/agents/{id}/stats" => "?from=2026-01-01T00:00:00Z",
            "/v1/components" => "?policy=own",
            _ => "",
        };
        format!("{path}{query}")
    }

    /// What a caller could well send.
    pub fn body(&self) -> Json {
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
    pub fn request(&self, caller: &Caller, authorization: Option<&str>) -> RequestBuilder {
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
    pub fn of(&self, caller: &Caller, tenant: Option<&str>) -> RequestBuilder {
        let request = self.request(caller, Some(&format!("Bearer {}", caller.token)));
        match tenant {
            Some(tenant) => request.header("tollgate-tenant", tenant),
            None => request,
        }
    }
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
