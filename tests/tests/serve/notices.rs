//! What people are told: whom it is about, in whose language, and what follows from it.

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use sqlx::{Connection, PgConnection};
use tollgate_tests::run;

use crate::house::{House, town};
use crate::receivers::{OWN, Receiver, connect, used};

#[test]
fn what_is_disabled_by_command_is_denied_and_may_go_on_again() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let town = town(&server).await;
        let reserve = async |key: &str| {
            let body = json!({ "key": key, "dimensions": { "agent": "sdr" } });
            town.acme.done(Method::POST, "/v1/reservations", Some(body)).await
        };
        assert_eq!(reserve("1").await["decision"], "allow");
        let store = ["--store", &house.store, "--tenant", "acme"];
        let said = house.run(
            &[&["disable", "sdr", "--reason", "it loops", "--for", "12h"], &store[..]].concat(),
        );
        assert!(said.starts_with("agent `sdr` is disabled until "), "{said}");
        for _ in 0..2 {
            house.run(&[&["disable", "ben", "--reason", "a pause"], &store[..]].concat());
        }
        let denied = reserve("2").await;
        assert_eq!(denied["denial"]["code"], "disabled");
        assert!(denied["denial"]["message"].as_str().expect("words").contains("it loops"));
        assert!(denied["denial"]["retry_at"].is_string(), "{denied}");
        house.run(&[&["enable", "sdr"], &store[..]].concat());
        assert_eq!(reserve("3").await["decision"], "allow");
        let again = house.command(&[&["enable", "sdr"], &store[..]].concat()).output();
        let again = again.expect("a run");
        assert!(String::from_utf8_lossy(&again.stderr).contains("is not disabled"));
        let looked = house.run(&["monitor", "--once", "--json", "--store", &house.store]);
        let acme = looked.lines().find(|line| line.contains("acme")).expect("a line");
        let acme: Json = serde_json::from_str(acme).expect("JSON");
        assert_eq!(acme, json!({ "tenant": "acme", "events": [] }));
    });
}

/// Whoever keeps a cron is told what failed, and all else was done.
#[test]
fn a_tenant_that_fails_keeps_no_other_from_being_looked_at_and_nothing_from_being_delivered() {
    run(async {
        let house = House::postgres().await;
        let server = house.serve_with(OWN);
        let town = town(&server).await;
        let receiver = Receiver::answering(&[500, 204]);
        connect(&town.rival, "ops", receiver.channel()).await;
        used(&town.rival, "bob", 8_500).await;
        receiver.next();
        server.stop();
        let mut connection = PgConnection::connect(&house.store).await.expect("a connection");
        for statement in [
            "UPDATE delivery SET due_at = 0",
            "ALTER TABLE duty ADD CONSTRAINT broken CHECK (tenant_id <> 'acme') NOT VALID",
        ] {
            sqlx::query(statement).execute(&mut connection).await.expect("done");
        }
        let look =
            || house.command(&["monitor", "--once", "--own-network"]).output().expect("a run");
        let looked = look();
        let said = String::from_utf8_lossy(&looked.stdout);
        let failed = String::from_utf8_lossy(&looked.stderr);
        assert!(!looked.status.success(), "{said}{failed}");
        assert!(said.contains("acme: failed\nrival: 0 notices"), "{said}");
        assert!(failed.contains("acme: ") && !failed.contains("rival: "), "{failed}");
        assert_eq!(receiver.next().verified()["data"]["tenant"], "rival");
        // Whom nothing serves, nobody is at.
        let later =
            r#"UPDATE binding_set SET body = '{"of a later version":1}' WHERE tenant_id = '*'"#;
        sqlx::query(later).execute(&mut connection).await.expect("done");
        let looked = look();
        let said = String::from_utf8_lossy(&looked.stdout);
        assert!(said.contains("rival: it cannot be served"), "{said}");
        assert!(!looked.status.success() && !said.contains("another one"), "{said}");
    });
}

#[test]
fn a_service_looks_at_its_tenants_by_itself() {
    run(async {
        let house = House::postgres().await;
        let server = house.serve();
        town(&server).await;
        server.stop();
        // At its start and from then on by the hour.
        let _server = house.serve();
        let mut connection = PgConnection::connect(&house.store).await.expect("a connection");
        loop {
            let looked: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM duty WHERE name = 'monitor' AND done_at > 0",
            )
            .fetch_one(&mut connection)
            .await
            .expect("the duties");
            if looked == 2 {
                break;
            }
        }
    });
}

#[test]
fn what_the_platform_hears_is_its_own_affair() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(OWN);
        let town = town(&server).await;
        let platform = Receiver::answering(&[410, 200]);
        connect(&town.admin, "all", platform.channel()).await;
        used(&town.acme, "ana", 8_500).await;
        platform.next();
        let acme = ("tollgate-tenant", "acme");
        loop {
            let request = town.admin.request(Method::GET, "/v1/deliveries").header(acme.0, acme.1);
            let (_, all) = crate::house::read(request.send().await.expect("an answer")).await;
            if all["deliveries"][0]["state"] == "given_up" {
                assert_eq!(all["deliveries"][0]["is_platforms"], true);
                break;
            }
        }
        let own = town.acme.done(Method::GET, "/v1/deliveries", None).await;
        assert_eq!(own["deliveries"], json!([]));
        let replayed = town.acme.done(Method::POST, "/v1/deliveries/replay", None).await;
        assert_eq!(replayed["deliveries"], 0);
        let request =
            town.admin.request(Method::POST, "/v1/deliveries/replay").header(acme.0, acme.1);
        let (_, replayed) = crate::house::read(request.send().await.expect("an answer")).await;
        assert_eq!(replayed["deliveries"], 1);
        platform.next();
        // A tenant's channels are few, and not the operator's log or mail.
        for number in 0..20 {
            let name = format!("own-{number}");
            connect(&town.acme, &name, platform.channel()).await;
        }
        let wrong =
            town.acme.send(Method::PUT, "/v1/channels/more", Some(platform.channel())).await;
        assert_eq!(wrong.0, StatusCode::UNPROCESSABLE_ENTITY, "{}", wrong.1);
        connect(&town.acme, "own-7", platform.channel()).await;
        connect(&town.admin, "log", json!({ "to": { "kind": "log" } })).await;
        let log = json!({ "to": { "kind": "log" } });
        let wrong = town.rival.send(Method::PUT, "/v1/channels/log", Some(log)).await;
        assert_eq!(wrong.0, StatusCode::UNPROCESSABLE_ENTITY, "{}", wrong.1);
    });
}

/// Whoever looks after the platform brings what a provider invoiced; people are told of a drift once.
#[test]
fn an_invoice_that_drifts_is_told_once_and_is_the_platforms_to_bring() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let town = town(&server).await;
        let used = json!({
            "dimensions": { "model": "gpt-4o", "provider": "openai" },
            "amounts": { "llm_requests": "1", "llm_tokens.input": "100000" },
        });
        let usage = json!({ "key": "1", "usage": [used] });
        town.acme.done(Method::POST, "/v1/usage", Some(usage)).await;
        let entries = town.acme.done(Method::GET, "/v1/ledger", None).await;
        let day = &entries["entries"][0]["at"].as_str().expect("a time")[..10];
        let invoice = |amount: &str| json!({ "provider": "openai", "day": day, "amount": amount, "currency": "usd" });
        let compare = async |invoice: Json| {
            let request = town.admin.request(Method::POST, "/v1/invoices").json(&invoice);
            let request = request.header("tollgate-tenant", "acme");
            crate::house::read(request.send().await.expect("an answer")).await
        };
        let (status, drift) = compare(invoice("0")).await;
        assert_eq!((status, &drift["exceeds"]), (StatusCode::OK, &json!(true)), "{drift}");
        assert_eq!(drift["invoiced"], json!({ "amount": "0", "currency": "USD" }));
        assert_eq!(compare(invoice("0")).await.1, drift);
        let told = async || town.acme.done(Method::GET, "/v1/notices", None).await;
        let first = told().await;
        assert_eq!(first["notices"].as_array().expect("a list").len(), 1, "{first}");
        assert_eq!(first["notices"][0]["kind"], "provider_drift");
        assert_eq!(first["notices"][0]["over_at"], Json::Null);
        let cost = drift["computed"]["amount"].as_str().expect("a number");
        assert_eq!(compare(invoice(cost)).await.1["exceeds"], false);
        assert!(told().await["notices"][0]["over_at"].is_string());
        let mut strict = invoice(cost);
        strict["threshold"] = json!("0");
        assert_eq!(compare(strict).await.1["exceeds"], false);
        let mut wrong = invoice(cost);
        wrong["day"] = json!("yesterday");
        assert_eq!(compare(wrong).await.0, StatusCode::UNPROCESSABLE_ENTITY);

        assert_eq!(town.acme.post("/v1/invoices", invoice("1")).await.0, StatusCode::FORBIDDEN);
        let acts = town.acme.done(Method::GET, "/v1/audit", None).await;
        let act = &acts["acts"][0];
        assert_eq!((&act["act"], &act["outcome"]), (&json!("invoice.compare"), &json!("done")));
        assert_eq!(act["subject"], format!("openai:*:{day}"));
    });
}

/// Whoever bound the policies, a tenant reads what they and the host say in its own language.
#[test]
fn a_tenant_is_told_in_its_own_language() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let town = town(&server).await;
        let settings = json!({ "settings": { "language": "pt", "prices": "current" } });
        let set = town.admin.request(Method::PUT, "/v1/policies/tenant").json(&settings);
        let set = set.header("tollgate-tenant", "acme").send().await.expect("an answer");
        assert!(set.status().is_success(), "{}", set.status());
        for (caller, notice, finding) in [
            (
                &town.acme,
                "Cota próxima do limite para database_queries. Restante: 1500/10000",
                "Cota OK para llm_requests.",
            ),
            (
                &town.rival,
                "Quota approaching limit for database_queries. Remaining: 1500/10000",
                "Quota OK for llm_requests.",
            ),
        ] {
            used(caller, "ana", 8_500).await;
            let told = caller.done(Method::GET, "/v1/notices", None).await;
            assert_eq!(told["notices"][0]["title"], notice, "{told}");
            let reserved = caller.reserve("call", 10).await;
            let findings = reserved["findings"].as_array().expect("findings");
            let words = |own: &Json| own["message"].as_str().expect("words").starts_with(finding);
            assert!(findings.iter().any(words), "{reserved}");
        }
    });
}
