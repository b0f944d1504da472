//! `GET /metrics`: what the service does, for Prometheus. Tenants are no labels: there may be any number
//! of them.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::problem::Problem;
use super::route::{Answers, Asked, Schemed};
use crate::stores::Stores;

/// In seconds.
const BOUNDS: [f64; 12] = [0.001, 0.002_5, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Family<Path, Histogram>,
    decisions: Family<Code, Counter>,
    refused: Counter,
    books: Gauge,
    troubles: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    path: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Path {
    path: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tollgate");
        let (requests, decisions) = (Family::default(), Family::default());
        let (refused, books, troubles) = (Counter::default(), Gauge::default(), Gauge::default());
        let seconds =
            Family::new_with_constructor((|| Histogram::new(BOUNDS)) as fn() -> Histogram);
        registry.register("http_requests", "requests that were answered", requests.clone());
        let words = "how long answers took, in seconds";
        registry.register("http_request_seconds", words, seconds.clone());
        registry.register("decisions", "what was decided on calls", decisions.clone());
        let words = "requests told to come again, since too many were under way";
        registry.register("http_refused", words, refused.clone());
        registry.register("books", "tenants held in memory", books.clone());
        let words = "tenants judged by what was bound before, since what is bound does not load";
        registry.register("troubles", words, troubles.clone());
        Self { registry, requests, seconds, decisions, refused, books, troubles }
    }
}

impl Metrics {
    /// A request was answered.
    pub fn answered(&self, method: &str, path: &'static str, status: StatusCode, took: Duration) {
        let (method, status) = (method.to_owned(), status.as_u16());
        self.requests.get_or_create(&Request { method, path, status }).inc();
        self.seconds.get_or_create(&Path { path }).observe(took.as_secs_f64());
    }

    /// A call was decided on.
    pub fn decided(&self, is_allowed: bool) {
        let code = if is_allowed { "allow" } else { "deny" };
        self.decisions.get_or_create(&Code { code }).inc();
    }

    /// A request was told to come again.
    pub fn refused(&self) {
        self.refused.inc();
    }
}

/// The text of all metrics.
pub struct Text(String);

impl Answers for Text {
    const SCHEMA: Option<Schemed> = None;
    const MEDIA_TYPE: &'static str = MEDIA_TYPE;

    fn respond(self, _: StatusCode) -> Response {
        ([(axum::http::header::CONTENT_TYPE, MEDIA_TYPE)], self.0).into_response()
    }
}

/// `GET /metrics`: for tokens of no tenant.
pub async fn metrics<S: Stores>(asked: Asked<S>) -> Result<Text, Problem> {
    if asked.caller.tenant.is_some() {
        return Err(Problem::forbidden("the metrics are the platform's"));
    }
    let (service, metrics) = (&asked.service, &asked.service.metrics);
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    metrics.books.set(count(service.host.books()));
    metrics.troubles.set(count(service.registry.troubles().len()));
    let mut text = String::new();
    encode(&mut text, &metrics.registry)
        .map_err(|_| Problem::unavailable("the metrics cannot be written"))?;
    Ok(Text(text))
}
