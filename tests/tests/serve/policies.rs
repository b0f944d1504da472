//! Policies over the API: what is bound, in which order, signed by whom, and how it fares.

use ed25519_dalek::{Signer, SigningKey};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tollgate_tests::run;

use crate::guest::{Guest, later};
use crate::house::{Caller, House, Town, town};

async fn bind(caller: &Caller, revision: &str) -> Json {
    let bind = json!({ "do": "bind", "revision": revision });
    caller.done(Method::POST, "/v1/policies", Some(bind)).await
}

async fn unbind(caller: &Caller, policy: &str) {
    let unbind = json!({ "do": "unbind", "policy": policy });
    caller.done(Method::POST, "/v1/policies", Some(unbind)).await;
}

/// A standard component with these settings.
async fn revise(caller: &Caller, policy: &str, component: &str, settings: Json) -> Json {
    let revision = json!({ "policy": policy, "component": component, "settings": settings });
    caller.done(Method::POST, "/v1/revisions", Some(revision)).await
}

fn requests_a_day(limit: u32) -> Json {
    json!({ "limits": [{ "meter": "llm_requests", "period": "day", "limit": limit }] })
}

fn names(bound: &Json) -> Vec<&str> {
    let policies = bound["bound"]["policies"].as_array().expect("policies").iter();
    policies.map(|own| own["policy"].as_str().expect("a name")).collect()
}

/// As whoever looks after it all asks for a tenant.
async fn of(caller: &Caller, tenant: &str, method: Method, path: &str, body: Json) -> Json {
    let request = caller.request(method, path).header("tollgate-tenant", tenant).json(&body);
    let (status, answer) = crate::house::read(request.send().await.expect("an answer")).await;
    assert!(status.is_success(), "{path}: {status}: {answer}");
    answer
}

#[test]
fn the_first_denial_is_the_answer_in_the_order_that_is_set() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        for name in ["one", "two"] {
            revise(&acme, name, "quota", requests_a_day(0)).await;
            bind(&acme, name).await;
        }
        let denied_by = async |key: &str| {
            let denied = acme.reserve(key, 1).await;
            let mut findings = denied["findings"].as_array().expect("findings").iter();
            let exceeded = findings.find(|own| own["status"] == "exceeded");
            exceeded.expect("what denies")["policy"].clone()
        };
        assert_eq!(denied_by("a").await, "one");
        let order = json!({ "do": "order", "policies": ["two", "one"], "message": "by use" });
        let bound = acme.done(Method::POST, "/v1/policies", Some(order)).await;
        assert_eq!(names(&bound), ["two", "one"]);
        assert_eq!(denied_by("b").await, "two");
        let (status, problem) =
            acme.post("/v1/policies", json!({ "do": "order", "policies": ["two"] })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        // What was bound is listed, the last first.
        let listed = acme.done(Method::GET, "/v1/policies/history?limit=2", None).await;
        let versions = listed["versions"].as_array().expect("versions");
        assert_eq!(versions.len(), 2);
        assert_eq!(versions[0]["version"], bound["version"]);
        assert_eq!(
            (names(&versions[0]), names(&versions[1])),
            (vec!["two", "one"], vec!["one", "two"])
        );
        assert_eq!(versions[0]["message"], "by use");
    });
}

#[test]
fn a_signature_is_asked_for_and_counts() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, rival } = town(&server).await;
        let ana = SigningKey::from_bytes(&[7; 32]);
        let hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let public = hex(ana.verifying_key().as_bytes());
        let keys = json!([{ "name": "ana", "public": public }]);
        let signing = json!({ "required": true, "keys": keys });
        let bound = of(&admin, "acme", Method::PUT, "/v1/policies/signing", signing.clone()).await;
        assert_eq!(bound["bound"]["signing"], signing);
        // A tenant's own people do not say whose word counts.
        let (status, _) = acme.send(Method::PUT, "/v1/policies/signing", Some(json!({}))).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        let component = tollgate_plugins::standard("quota").expect("quota");
        let digest = tollgate_host::sandbox::digest(component);
        let sign = |text: String| hex(&ana.sign(text.as_bytes()).to_bytes());
        let push = async |signature: Option<String>| {
            let revision = json!({ "policy": "own", "component": "quota", "signature": signature });
            acme.post("/v1/revisions", revision).await
        };
        for signature in [None, Some(sign("sha256:other".into())), Some("not hex".into())] {
            let (status, problem) = push(signature).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        }
        let (status, pushed) = push(Some(sign(format!("sha256:{digest}")))).await;
        assert!(status.is_success(), "{pushed}");
        let listed = acme.done(Method::GET, "/v1/revisions", None).await;
        assert_eq!(listed["revisions"][0]["signer"], "ana", "{listed}");
        bind(&acme, "own").await;
        // Others go by their own keys.
        revise(&rival, "own", "quota", json!({})).await;
        for wrong in [json!("ana"), json!([{ "name": "ana", "public": "00" }])] {
            let put = admin.request(Method::PUT, "/v1/policies/signing");
            let put = put.json(&json!({ "keys": wrong })).send().await.expect("an answer");
            assert!(put.status().is_client_error(), "{wrong}");
        }
    });
}

#[test]
fn what_a_tenant_is_can_be_set_as_a_whole() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, .. } = town(&server).await;
        revise(&admin, "few", "quota", requests_a_day(0)).await;
        let bind = json!({ "do": "bind", "revision": "few" });
        admin.done(Method::POST, "/v1/policies?plan=small", Some(bind)).await;
        assert_eq!(acme.reserve("a", 1).await["decision"], "allow");
        let settings = json!({ "plan": "small", "prices": "current", "language": "pt" });
        let whole = json!({ "settings": settings, "expect": 1 });
        let bound = of(&admin, "acme", Method::PUT, "/v1/policies/tenant", whole.clone()).await;
        assert_eq!(bound["bound"]["tenant"]["plan"], "small", "{bound}");
        assert_eq!(acme.reserve("b", 1).await["decision"], "deny");
        for (wrong, status, words) in [
            (whole, StatusCode::CONFLICT, "version 1 was to change and 2 stands"),
            (
                json!({ "settings": { "time_zone": "Mars/Olympus" } }),
                StatusCode::UNPROCESSABLE_ENTITY,
                "Mars/Olympus",
            ),
            (json!({ "settings": { "plna": "x" } }), StatusCode::UNPROCESSABLE_ENTITY, "plna"),
        ] {
            let put = admin.request(Method::PUT, "/v1/policies/tenant");
            let put = put.header("tollgate-tenant", "acme").json(&wrong).send().await;
            let problem = crate::house::is_problem(put.unwrap(), status, &wrong.to_string()).await;
            assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
        }
        let acts = acme.done(Method::GET, "/v1/audit?limit=4", None).await;
        let set = acts["acts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|own| own["act"] == "tenant.set" && own["outcome"] == "done");
        let set = set.expect("it is written down");
        assert_eq!(
            (&set["before"]["plan"], &set["after"]["plan"]),
            (&Json::Null, &json!("small")),
            "{set}"
        );
    });
}

#[test]
fn what_no_longer_goes_with_the_platforms_is_named_to_whom_it_is() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, rival } = town(&server).await;
        let dollars = json!({ "limits": [{ "meter": "cost.usd", "period": "day", "limit": 5 }] });
        revise(&acme, "dollars", "quota", dollars).await;
        let bound = bind(&acme, "dollars").await;
        assert_eq!(bound["troubles"], json!([]));
        let rates = json!({ "prices": { "name": "ours", "currency": "EUR", "models": {
            "gpt-4o": { "prices": { "llm_tokens.input": "1" } } } } });
        revise(&admin, "pricing", "pricing", rates).await;
        // The standard limits are on dollars as well.
        unbind(&admin, "quota").await;
        let bound = bind(&admin, "pricing").await;
        assert_eq!(bound["troubles"][0]["tenant"], "acme", "{bound}");
        let why = bound["troubles"][0]["why"].as_str().expect("words");
        assert!(why.contains("`dollars` counts `cost.usd`") && why.contains("EUR"), "{why}");
        let own = acme.done(Method::GET, "/v1/policies", None).await;
        assert_eq!(own["troubles"], bound["troubles"]);
        let others = rival.done(Method::GET, "/v1/policies", None).await;
        assert_eq!(others["troubles"], json!([]));
        // What it cannot be asked about is denied, and nobody else is.
        let denied = acme.reserve("a", 1).await;
        assert_eq!(denied["denial"]["code"], "policies_unfit", "{denied}");
        assert_eq!(rival.reserve("a", 1).await["decision"], "allow");
        bind(&admin, "pricing@1").await;
        let own = acme.done(Method::GET, "/v1/policies", None).await;
        assert_eq!(own["troubles"], json!([]));
        assert_eq!(acme.reserve("b", 1).await["decision"], "allow");
    });
}

#[test]
fn what_candidates_say_and_what_failed_is_told() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { admin, acme, rival } = town(&server).await;
        revise(&admin, "house", "quota", requests_a_day(2)).await;
        bind(&admin, "house").await;
        revise(&admin, "house", "quota", requests_a_day(1)).await;
        let shadow = json!({ "do": "bind", "revision": "house", "mode": "shadow" });
        admin.done(Method::POST, "/v1/policies", Some(shadow)).await;
        for (caller, key) in [(&acme, "1"), (&acme, "2"), (&rival, "1")] {
            assert_eq!(caller.reserve(key, 1).await["decision"], "allow");
        }
        let report = async |caller: &Caller, query: &str| {
            let path = format!("/v1/policies/shadow-report{query}");
            let told = caller.done(Method::GET, &path, None).await;
            let of_house = told["candidates"].as_array().expect("candidates").first().cloned();
            of_house.map(|own| (own["agreed"].clone(), own["diverged"].clone()))
        };
        assert_eq!(report(&admin, "").await, Some((json!(2), json!(1))));
        assert_eq!(report(&acme, "?policy=house").await, Some((json!(1), json!(1))));
        assert_eq!(report(&rival, "").await, Some((json!(1), json!(0))));
        assert_eq!(report(&admin, "?policy=other").await, None);
        assert_eq!(
            report(&admin, "?to=2020-01-01T00:00:00Z&from=2019-01-01T00:00:00Z").await,
            None
        );
        let wrong = acme.get("/v1/policies/shadow-report?to=2020-01-01T00:00:00Z").await;
        assert_eq!(wrong.0, StatusCode::UNPROCESSABLE_ENTITY, "{}", wrong.1);

        unbind(&admin, "house").await;
        let trap = Guest { check: &later("(unreachable)"), ..Guest::default() }.component();
        let pushed = acme.request(Method::POST, "/v1/components?policy=trap");
        let pushed = pushed.header("content-type", "application/wasm").body(trap).send().await;
        assert!(pushed.expect("an answer").status().is_success());
        bind(&acme, "trap").await;
        for key in 0..10 {
            let denied = acme.reserve(&format!("trap {key}"), 1).await;
            assert_eq!(denied["denial"]["code"], "policy_trapped", "{denied}");
        }
        let out = acme.done(Method::GET, "/v1/policies/quarantined", None).await;
        let out = out["quarantined"].as_array().expect("policies");
        assert_eq!(out.len(), 1);
        assert_eq!(
            (&out[0]["policy"], &out[0]["revision"]),
            (&json!("trap"), &json!("acme/trap@1"))
        );
        assert_eq!(acme.reserve("out", 1).await["denial"]["code"], "policy_quarantined");
        let let_back = json!({ "policy": "trap" });
        let (status, _) = rival.post("/v1/policies/let-back", let_back.clone()).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        acme.done(Method::POST, "/v1/policies/let-back", Some(let_back)).await;
        let out = acme.done(Method::GET, "/v1/policies/quarantined", None).await;
        assert_eq!(out, json!({ "quarantined": [] }));
        assert_eq!(acme.reserve("back", 1).await["denial"]["code"], "policy_trapped");
    });
}
