//! Usage as CloudEvents.

use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tollgate_tests::run;

use crate::house::{House, Town, town};
use crate::looking::{quota, seen};

#[test]
fn an_event_is_booked_once_however_it_is_delivered() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let data = json!({
            "dimensions": { "user": "ana", "model": "gpt-4o" },
            "amounts": { "llm_requests": "1" },
        });
        let event = json!({
            "specversion": "1.0", "id": "7", "source": "/proxy", "type": "call.ended", "data": data,
        });
        let structured = acme
            .request(Method::POST, "/v1/usage")
            .header("content-type", "application/cloudevents+json")
            .body(event.to_string());
        let batched = acme
            .request(Method::POST, "/v1/usage")
            .header("content-type", "application/cloudevents-batch+json")
            .body(json!([event]).to_string());
        let binary = acme
            .request(Method::POST, "/v1/usage")
            .header("content-type", "application/json")
            .header("ce-specversion", "1.0")
            .header("ce-id", "7")
            .header("ce-source", "/proxy")
            .header("ce-type", "call.ended")
            .body(data.to_string());
        let mut answers = Vec::new();
        for request in [structured, batched, binary] {
            let (status, answer) = crate::house::read(request.send().await.unwrap()).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            answers.push(answer);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        let quotas = seen(&acme, "/v1/quotas?user=ana").await;
        assert_eq!(quota(&quotas, "llm_requests")["used"], "1");
    });
}

#[test]
fn of_events_that_come_together_each_stands_by_itself() {
    run(async {
        let house = House::sqlite();
        let server = house.serve();
        let Town { acme, .. } = town(&server).await;
        let event = |id: &str, amount: &str| {
            let data = json!({
                "dimensions": { "user": "ana", "model": "gpt-4o" },
                "amounts": { "llm_requests": amount },
            });
            json!({ "specversion": "1.0", "id": id, "source": "/a", "type": "call", "data": data })
        };
        let send = async |events: &[Json]| {
            let request = acme
                .request(Method::POST, "/v1/usage")
                .header("content-type", "application/cloudevents-batch+json")
                .body(json!(events).to_string());
            crate::house::read(request.send().await.unwrap()).await
        };
        // Under an identifier that stands for something else already.
        let (status, answer) = send(&[event("1", "5")]).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        for _ in 0..2 {
            let (status, problem) =
                send(&[event("0", "1"), event("1", "2"), event("2", "3")]).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
            let errors = problem["errors"].as_array().unwrap();
            assert_eq!(errors.len(), 1, "{problem}");
            assert_eq!(
                (&errors[0]["pointer"], &errors[0]["code"]),
                (&json!("/1"), &json!("key_reused"))
            );
            let quotas = seen(&acme, "/v1/quotas?user=ana").await;
            assert_eq!(quota(&quotas, "llm_requests")["used"], "9");
        }
    });
}
