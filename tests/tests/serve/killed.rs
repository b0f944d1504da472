//! A service that is killed while it serves, and clients that ask again with their keys.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value as Json, json};
use tollgate_tests::run;

use crate::house::{Caller, House, limited, read};

const CLIENTS: usize = 16;
const CALLS: usize = 40;
const KILLS: usize = 5;

#[test]
fn a_service_that_is_killed_goes_on_and_each_effect_is_there_once_on_a_file() {
    run(async { killed(&House::sqlite()).await });
}

#[test]
fn a_service_that_is_killed_goes_on_and_each_effect_is_there_once_on_postgres() {
    run(async { killed(&House::postgres().await).await });
}

/// Where the service is just now, and how much it answered.
struct Ground {
    url: Mutex<String>,
    answers: AtomicUsize,
}

impl Ground {
    /// Asks until there is an answer, wherever the service is by then.
    async fn ask(&self, caller: &Caller, path: &str, body: &Json) -> Json {
        loop {
            let caller = Caller { url: self.url.lock().unwrap().clone(), ..caller.clone() };
            let sent = caller.request(Method::POST, path).json(body).send().await;
            // Cut off in the middle of an answer, it is asked for again as well.
            if let Ok(answer) = sent
                && let status = answer.status()
                && status != 503
                && let Ok(bytes) = answer.bytes().await
            {
                let body: Json = serde_json::from_slice(&bytes).expect("JSON");
                assert!(status.is_success(), "{path}: {status}: {body}");
                self.answers.fetch_add(1, Ordering::Relaxed);
                return body;
            }
            // As a client that has learned to wait.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// One call after the other; what was settled, with the request that did so.
    async fn work(&self, caller: &Caller, client: usize) -> Vec<(String, Json, Json)> {
        let mut settled = Vec::new();
        for call in 0..CALLS {
            let key = format!("call-{client}-{call}");
            let amounts = json!({ "llm_requests": "1", "llm_tokens.input": "10" });
            let dimensions = json!({ "user": format!("user-{client}"), "model": "gpt-4o" });
            let reserve = json!({ "key": key, "dimensions": dimensions, "estimate": amounts });
            let reserved = self.ask(caller, "/v1/reservations", &reserve).await;
            assert_eq!(reserved["decision"], "allow", "{reserved}");
            let path =
                format!("/v1/reservations/{}/settle", reserved["reservation"].as_str().unwrap());
            let settle = json!({ "key": key, "usage": amounts });
            let answer = self.ask(caller, &path, &settle).await;
            settled.push((path, settle, answer));
        }
        settled
    }
}

async fn killed(house: &House) {
    let mut server = Some(house.serve());
    let caller = limited(house, server.as_ref().unwrap(), 1_000_000).await;
    let url = Mutex::new(caller.url.clone());
    let ground = Arc::new(Ground { url, answers: AtomicUsize::new(0) });
    let clients = join_all((0..CLIENTS).map(|client| {
        let (ground, caller) = (Arc::clone(&ground), caller.clone());
        tokio::spawn(async move { ground.work(&caller, client).await })
    }));
    let killer = async {
        for kill in 1..=KILLS {
            let until = 2 * CLIENTS * CALLS * kill / (KILLS + 1);
            while ground.answers.load(Ordering::Relaxed) < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            server.take().unwrap().kill();
            let next = house.serve();
            ground.url.lock().unwrap().clone_from(&next.url);
            server = Some(next);
        }
    };
    let (done, ()) = tokio::join!(clients, killer);
    let server = server.unwrap();
    let caller = server.client(&caller.token);
    let mut usages = Vec::new();
    for (path, settle, answer) in done.into_iter().flat_map(Result::unwrap) {
        let request = caller.request(Method::POST, &path).json(&settle);
        let (_, again) = read(request.send().await.unwrap()).await;
        assert_eq!(again, answer, "asked again, it is answered as it was");
        usages.push(answer["usage"].clone());
    }
    let viewer = server.client(&house.token("read", Some("acme")));
    let mut booked = Vec::new();
    let mut path = "/v1/ledger?limit=1000".to_owned();
    loop {
        let page = viewer.done(Method::GET, &path, None).await;
        booked.extend(page["entries"].as_array().unwrap().iter().map(|own| own["usage"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/ledger?limit=1000&after={next}");
    }
    let text = |all: &mut Vec<Json>| all.sort_by_key(ToString::to_string);
    text(&mut usages);
    text(&mut booked);
    assert_eq!(usages.len(), CLIENTS * CALLS);
    assert_eq!(booked, usages, "what was acknowledged is booked once, and nothing else");
}
