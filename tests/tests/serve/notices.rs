//! Notices reach people: once, signed, however often receivers fail, and nobody whom they must not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use sha2::Sha256;
use sqlx::{Connection, PgConnection};
use tollgate_tests::run;

use crate::house::{Caller, House, Server, is_problem, town};
use crate::operating::acts;

/// However slow the machine is, a notice is delivered by then, also the second time it is tried.
const DELIVERED: Duration = Duration::from_secs(60);

/// 24 bytes of a secret.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Somebody who is posted to, and answers with these statuses, the last one for ever.
struct Receiver {
    url: String,
    posts: mpsc::Receiver<Post>,
}

/// What was posted.
struct Post {
    headers: Vec<(String, String)>,
    body: String,
}

impl Receiver {
    fn answering(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("its address"));
        let (tell, posts) = mpsc::channel();
        std::thread::spawn(move || {
            let statuses = statuses.iter().chain(statuses.last().into_iter().cycle());
            for (stream, status) in listener.incoming().zip(statuses) {
                let mut stream = stream.expect("a connection");
                let mut reader = BufReader::new(stream.try_clone().expect("the same"));
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).expect("a line");
                    match line.trim_end() {
                        "" => break,
                        line => lines.push(line.to_owned()),
                    }
                }
                let headers: Vec<(String, String)> = lines
                    .iter()
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                    .collect();
                let length = headers.iter().find(|own| own.0 == "content-length");
                let length = length.expect("a length").1.parse().expect("a number");
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body");
                let body = String::from_utf8(body).expect("text");
                let answer = format!("HTTP/1.1 {status} so\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).expect("an answer");
                if tell.send(Post { headers, body }).is_err() {
                    return;
                }
            }
        });
        Self { url, posts }
    }

    fn next(&self) -> Post {
        self.posts.recv_timeout(DELIVERED).expect("it is delivered")
    }

    fn channel(&self) -> Json {
        json!({ "to": { "kind": "webhook", "url": self.url, "secret": SECRET } })
    }
}

impl Post {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|own| own.0 == name);
        found.map_or_else(|| panic!("no `{name}`"), |own| own.1.as_str())
    }

    /// What was signed must be what came.
    fn verified(&self) -> Json {
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let key = BASE64_STANDARD.decode(SECRET.trim_start_matches("whsec_")).expect("a key");
        let mut hmac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
        hmac.update(format!("{id}.{timestamp}.{}", self.body).as_bytes());
        let signature = format!("v1,{}", BASE64_STANDARD.encode(hmac.finalize().into_bytes()));
        assert_eq!(self.header("webhook-signature"), signature);
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// A user has made so many queries more; of the standard limit of 10,000 a day.
async fn used(caller: &Caller, user: &str, queries: u32) {
    let usage = json!({
        "key": format!("{user} {queries}"),
        "usage": [{
            "dimensions": { "user": user },
            "amounts": { "database_queries": queries.to_string() },
        }],
    });
    caller.done(Method::POST, "/v1/usage", Some(usage)).await;
}

async fn connect(caller: &Caller, name: &str, channel: Json) {
    caller.done(Method::PUT, &format!("/v1/channels/{name}"), Some(channel)).await;
}

const OWN: &[&str] = &["--own-network"];

#[test]
fn a_notice_reaches_its_channel_once_and_is_signed() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(OWN);
        let town = town(&server).await;
        let receiver = Receiver::answering(&[204]);
        connect(&town.acme, "ops", receiver.channel()).await;
        // Another tenant's notices are not theirs.
        used(&town.rival, "bob", 8_500).await;
        used(&town.acme, "ana", 8_500).await;
        used(&town.acme, "ana", 100).await;
        used(&town.acme, "ana", 1_000).await;
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let event = receiver.next().verified();
            assert_eq!(
                (&event["type"], &event["data"]["tenant"]),
                (&json!("notice.raised"), &json!("acme"))
            );
            assert_eq!(event["data"]["dimensions"], json!({ "user": "ana" }));
            kinds.push(event["data"]["kind"].as_str().expect("a kind").to_owned());
        }
        kinds.sort();
        assert_eq!(kinds, ["quota_approaching", "quota_at_limit"]);
        let listed = town.acme.done(Method::GET, "/v1/notices", None).await;
        let listed = listed["notices"].as_array().expect("a list");
        assert_eq!(listed.len(), 2);
        assert_eq!(
            listed[1]["body"],
            "Quota approaching limit for database_queries. Remaining: 1500/10000"
        );
        // The platform hears of all tenants.
        let platform = Receiver::answering(&[200]);
        connect(&town.admin, "all", platform.channel()).await;
        used(&town.rival, "bob", 1_500).await;
        let event = platform.next().verified();
        assert_eq!(event["data"]["tenant"], "rival");
        // Who has seen one says so, once, and it is written down.
        let path = format!("/v1/notices/{}/acknowledge", listed[1]["id"].as_str().expect("an id"));
        for _ in 0..2 {
            town.acme.done(Method::POST, &path, None).await;
        }
        let open = town.acme.done(Method::GET, "/v1/notices?open=true", None).await;
        assert_eq!(open["notices"].as_array().map(Vec::len), Some(1));
        let (status, _) = town.rival.send(Method::POST, &path, None).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        let acts = town.acme.done(Method::GET, "/v1/audit", None).await.to_string();
        assert!(acts.contains("notice.acknowledge") && acts.contains("channel.connect"), "{acts}");
        assert!(!acts.contains("whsec_") && !acts.contains("/hook"), "{acts}");
    });
}

#[test]
fn a_receiver_that_fails_gets_the_same_message_later() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(OWN);
        let town = town(&server).await;
        let receiver = Receiver::answering(&[500, 200]);
        connect(&town.acme, "ops", receiver.channel()).await;
        used(&town.acme, "ana", 8_500).await;
        let (first, second) = (receiver.next(), receiver.next());
        assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
        assert_eq!(first.verified(), second.verified());
        let delivered = loop {
            let all = town.acme.done(Method::GET, "/v1/deliveries", None).await;
            if all["deliveries"][0]["state"] == "delivered" {
                break all;
            }
        };
        assert_eq!(delivered["deliveries"][0]["attempts"], 2);
    });
}

#[test]
fn what_was_given_up_is_listed_and_tried_again_when_it_is_asked_for() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(OWN);
        let town = town(&server).await;
        let receiver = Receiver::answering(&[410, 200]);
        connect(&town.acme, "ops", receiver.channel()).await;
        used(&town.acme, "ana", 8_500).await;
        let first = receiver.next();
        let store = ["--store", &house.store, "--tenant", "acme"];
        let listed = loop {
            let listed = house.run(&[&["notices", "undelivered"], &store[..]].concat());
            if !listed.is_empty() {
                break listed;
            }
        };
        assert!(listed.contains("410") && listed.contains("ops"), "{listed}");
        let said = house.run(&[&["notices", "replay"], &store[..]].concat());
        assert_eq!(said, "1 are tried again\n");
        assert_eq!(receiver.next().header("webhook-id"), first.header("webhook-id"));
        let listed = house.run(&[&["notices", "list"], &store[..]].concat());
        assert!(listed.contains("Quota approaching limit for database_queries"), "{listed}");
        let id = listed.split_whitespace().next().expect("an id");
        house.run(&[&["notices", "ack", id], &store[..]].concat());
        let open = house.run(&[&["notices", "list", "--open"], &store[..]].concat());
        assert_eq!(open, "");
        let done = |act: &str| (act.to_owned(), "done".to_owned());
        assert_eq!(acts(&house)[..2], [done("notice.acknowledge"), done("delivery.replay")]);
    });
}

/// With two places, of which a tenant's tokens take one.
#[test]
fn whoever_tries_a_channel_that_is_slow_takes_no_place_from_others() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(&["--own-network", "--requests-max", "2"]);
        let town = town(&server).await;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("its address"));
        let slow = json!({ "to": { "kind": "webhook", "url": url } });
        connect(&town.acme, "slow", slow).await;
        let quick = Receiver::answering(&[204]);
        connect(&town.rival, "quick", quick.channel()).await;

        let acme = town.acme.clone();
        let trial =
            tokio::spawn(
                async move { acme.done(Method::POST, "/v1/channels/slow/test", None).await },
            );
        let accepted = tokio::task::spawn_blocking(move || listener.accept());
        let (mut stream, _) = accepted.await.expect("a thread").expect("a connection");
        // It waits for an answer, and its tenant asks for other things.
        town.acme.done(Method::GET, "/v1/channels", None).await;
        let again = town.acme.request(Method::POST, "/v1/channels/slow/test").send().await;
        let again = again.expect("an answer");
        assert!(again.headers().contains_key("retry-after"));
        is_problem(again, StatusCode::SERVICE_UNAVAILABLE, "one at a time").await;
        let other = town.rival.done(Method::POST, "/v1/channels/quick/test", None).await;
        assert_eq!(other["delivered"], true, "{other}");
        stream.write_all(b"HTTP/1.1 204 so\r\n\r\n").expect("an answer");
        assert_eq!(trial.await.expect("a trial")["delivered"], true);
        let acts = town.acme.done(Method::GET, "/v1/audit", None).await;
        let acts: Vec<&Json> = acts["acts"].as_array().expect("acts").iter().collect();
        let is_trial = |own: &&&Json| own["act"] == "channel.test";
        let trials: Vec<_> = acts.iter().filter(is_trial).collect();
        assert_eq!(trials.len(), 1, "{acts:?}");
        assert_eq!(
            (&trials[0]["subject"], &trials[0]["outcome"]),
            (&json!("slow"), &json!("done"))
        );
    });
}

#[test]
fn several_servers_deliver_each_notice_once() {
    run(async {
        let house = House::postgres().await;
        let first = house.serve_with(OWN);
        let _others: Vec<Server> = (0..2).map(|_| house.serve_with(OWN)).collect();
        let town = town(&first).await;
        let receiver = Receiver::answering(&[200]);
        connect(&town.acme, "ops", receiver.channel()).await;
        let users: Vec<String> = (0..40).map(|user| format!("user {user}")).collect();
        for user in &users {
            used(&town.acme, user, 8_500).await;
        }
        let mut told: Vec<String> = users
            .iter()
            .map(|_| receiver.next().verified()["data"]["dimensions"]["user"].to_string())
            .collect();
        told.sort();
        told.dedup();
        assert_eq!(told.len(), users.len());
        // All are known to be delivered, and nothing came twice.
        loop {
            let all = town.acme.done(Method::GET, "/v1/deliveries", None).await;
            let all = all["deliveries"].as_array().expect("a list").clone();
            let is_done = |own: &Json| own["state"] == "delivered" && own["attempts"] == 1;
            if all.len() == users.len() && all.iter().all(is_done) {
                break;
            }
        }
        assert!(receiver.posts.try_recv().is_err());
    });
}

#[test]
fn no_channel_leads_to_where_only_the_service_can_go() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let town = town(&server).await;
        let receiver = Receiver::answering(&[200]);
        let port = receiver.url.rsplit(':').next().expect("a port").to_owned();
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "0.0.0.0",
        ] {
            for url in [format!("https://{host}:{port}"), format!("http://{host}:{port}")] {
                let channel = json!({ "to": { "kind": "webhook", "url": url } });
                let (status, answer) =
                    town.acme.send(Method::PUT, "/v1/channels/ops", Some(channel)).await;
                assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{url}: {answer}");
            }
        }
        // A name says where it leads only when it is asked.
        let channel =
            json!({ "to": { "kind": "webhook", "url": format!("https://localhost:{port}") } });
        connect(&town.acme, "ops", channel).await;
        let trial = town.acme.done(Method::POST, "/v1/channels/ops/test", None).await;
        assert_eq!(trial["delivered"], false);
        let error = trial["error"].as_str().expect("words");
        assert!(error.contains("`localhost`") && error.contains("public"), "{error}");
        assert!(receiver.posts.try_recv().is_err());
        for wrong in [
            json!({ "to": { "kind": "email", "to": "ana@example.com" } }),
            json!({ "to": { "kind": "webhook", "url": "https://a.example", "secret": "whsec_!" } }),
            json!({ "to": { "kind": "webhook", "url": "https://ana:pw@a.example" } }),
        ] {
            let (status, answer) =
                town.acme.send(Method::PUT, "/v1/channels/other", Some(wrong.clone())).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {answer}");
        }
    });
}

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

/// Somebody who takes every connection, and never answers on it.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        let mut taken = Vec::new();
        for stream in listener.incoming() {
            taken.push(stream.expect("a connection"));
        }
    });
    url
}

/// However many notices wait for a receiver that never answers, callers hear at once.
#[test]
fn no_call_waits_for_a_delivery() {
    run(async {
        let house = House::sqlite();
        let server = house.serve_with(OWN);
        let town = town(&server).await;
        let channel = json!({ "to": { "kind": "webhook", "url": silent(), "secret": SECRET } });
        connect(&town.acme, "silent", channel).await;
        for user in 0..50 {
            used(&town.acme, &format!("user-{user}"), 8_500).await;
        }
        let raised = town.acme.done(Method::GET, "/v1/notices?open=true", None).await;
        assert_eq!(raised["notices"].as_array().expect("a list").len(), 50);
        // They are on their way by now, or soon are.
        let on_their_way = loop {
            let all = town.acme.done(Method::GET, "/v1/deliveries", None).await;
            if all["deliveries"].as_array().expect("a list").len() == 50 {
                break all;
            }
        };
        for call in 0..20 {
            assert_eq!(town.acme.reserve(&format!("call-{call}"), 10).await["decision"], "allow");
        }
        let all = town.acme.done(Method::GET, "/v1/deliveries", None).await;
        for deliveries in [on_their_way, all] {
            for delivery in deliveries["deliveries"].as_array().expect("a list") {
                assert_eq!(delivery["state"], "waits");
            }
        }
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
