//! Notices reach people: once, signed, however often receivers fail, and nobody waits for that.

use std::io::Write;
use std::net::TcpListener;

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tollgate_tests::run;

use crate::house::{House, Server, is_problem, town};
use crate::operating::acts;
use crate::receivers::{OWN, Receiver, SECRET, connect, silent, used};

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
        let tries = |all: &Json| -> u64 {
            let all = all["deliveries"].as_array().expect("a list").iter();
            all.map(|own| own["attempts"].as_u64().expect("a number")).max().unwrap_or_default()
        };
        for call in 0..20 {
            assert_eq!(town.acme.reserve(&format!("call-{call}"), 10).await["decision"], "allow");
        }
        let all = town.acme.done(Method::GET, "/v1/deliveries", None).await;
        // A try is given ten seconds, and the next one waits for five.
        assert!(tries(&all) <= tries(&on_their_way) + 1, "calls waited for tries");
        for deliveries in [on_their_way, all] {
            for delivery in deliveries["deliveries"].as_array().expect("a list") {
                assert_eq!(delivery["state"], "waits");
            }
        }
    });
}
