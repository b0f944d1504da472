//! Posts to receivers that are not trusted: to public addresses alone, in bounded time, reading little of
//! what they answer, and following them nowhere. The client knows neither redirects nor proxies.

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::Failure;
use super::guard::{Lookup, Names, Reach, Refused};
use super::line::line;

/// So much is read of an answer, in bytes.
const ANSWER_BYTES: usize = 4 << 10;

/// So much of it is told, in characters.
const TOLD: usize = 200;

/// The longest part of a URL that is not taken for a secret, in bytes.
const OPEN_BYTES: usize = 7;

/// A receiver is not waited for any longer, in seconds.
const DAY: u64 = 24 * 60 * 60;

/// How long receivers are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Until there is a connection.
    pub connect: Duration,
    /// Until all is over.
    pub total: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(10) }
    }
}

/// A client for receivers.
pub struct Web {
    client: Client<HttpsConnector<HttpConnector<Names>>, Full<Bytes>>,
    reach: Reach,
    times: Times,
}

impl Web {
    /// Trusts whom browsers trust.
    #[must_use]
    pub fn new(reach: Reach, lookup: Lookup, times: Times) -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self::trusting(roots, reach, lookup, times)
    }

    /// Trusts those who are named.
    pub(super) fn trusting(
        roots: RootCertStore,
        reach: Reach,
        lookup: Lookup,
        times: Times,
    ) -> Self {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("`ring` speaks these versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new_with_resolver(Names { reach, lookup });
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(times.connect));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let https = https.enable_http1().wrap_connector(tcp);
        // No connection outlives its request: each one is judged anew.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https);
        Self { client, reach, times }
    }

    /// Reads a URL that may be posted to.
    pub fn read(&self, url: &str) -> Result<Uri, Refused> {
        self.reach.read(url)
    }

    /// Posts JSON; `now` is in ms since 1970.
    pub async fn post(
        &self,
        url: &Uri,
        headers: HeaderMap,
        body: String,
        now: i64,
    ) -> Result<(), Failure> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = url.clone();
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("tollgate"));
        let exchange = async {
            match self.client.request(request).await {
                Ok(answer) => judge(url, answer, now).await,
                Err(error) => Err(unreachable(url, &error)),
            }
        };
        let silent = |_| {
            let words = format!("`{}` did not answer within {:?}", host(url), self.times.total);
            Failure::later(words)
        };
        timeout(self.times.total, exchange).await.map_err(silent)?
    }
}

/// What may be shown of a URL.
fn host(url: &Uri) -> &str {
    url.host().unwrap_or_default()
}

async fn judge(url: &Uri, answer: Response<Incoming>, now: i64) -> Result<(), Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let asked = answer.headers().get(RETRY_AFTER).and_then(|asked| asked.to_str().ok());
    let after_seconds = asked.and_then(|asked| seconds(asked, now));
    let mut words = format!("`{}` answered `{status}`", host(url));
    if status.is_redirection() {
        words.push_str(": redirects are not followed, name the address itself");
        return Err(Failure::Final(words));
    }
    let told = told(url, answer.into_body()).await;
    if !told.is_empty() {
        words = format!("{words}: {told}");
    }
    Err(match status {
        StatusCode::GONE => Failure::Final(words),
        // A receiver that is set up badly gets it once that is mended.
        _ => Failure::Later { words, after_seconds },
    })
}

/// How long to wait, which is told in seconds or as a time of day.
fn seconds(asked: &str, now: i64) -> Option<u64> {
    let seconds = asked.parse().ok().or_else(|| {
        let at = DateTime::parse_from_rfc2822(asked).ok()?.timestamp();
        Some(u64::try_from(at.saturating_sub(now.div_euclid(1_000))).unwrap_or(0))
    });
    seconds.map(|seconds: u64| seconds.min(DAY))
}

/// What a receiver says, fit to be shown: it may repeat the secret that it was asked by.
async fn told(url: &Uri, mut body: Incoming) -> String {
    let mut read = Vec::new();
    while read.len() < ANSWER_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        read.extend(frame.data_ref().into_iter().flatten().take(ANSWER_BYTES - read.len()));
    }
    let asked = url.path_and_query().map_or("", |asked| asked.as_str());
    let parts = asked.split(['/', '?', '&', '=']).filter(|part| part.len() > OPEN_BYTES);
    let told = String::from_utf8_lossy(&read).into_owned();
    line(&parts.fold(told, |told, part| told.replace(part, "…")), TOLD)
}

fn unreachable(url: &Uri, error: &legacy::Error) -> Failure {
    let first: &(dyn Error + 'static) = error;
    let causes = successors(Some(first), |&cause| cause.source());
    if let Some(refused) = causes.clone().find_map(|cause| cause.downcast_ref::<Refused>()) {
        return Failure::Final(refused.to_string());
    }
    let cause = causes.last().map(ToString::to_string).unwrap_or_default();
    Failure::later(format!("`{}` cannot be reached: {}", host(url), line(&cause, TOLD)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_say_when_to_come_again() {
        let now = 784_111_777_000;
        assert_eq!(seconds("120", now), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:51:37 GMT", now), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT", now + 1_000), Some(0));
        assert_eq!(seconds("Wed, 06 Nov 2999 08:49:37 GMT", now), Some(DAY));
        assert_eq!(seconds("99999999", now), Some(DAY));
        for asked in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(seconds(asked, now), None, "{asked}");
        }
    }
}
