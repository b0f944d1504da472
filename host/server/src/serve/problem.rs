//! What is answered where there is no answer: problem details (RFC 9457).

use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tollgate_host::engine::{EngineError, HostError};
use tollgate_host::registry::{RegistryError, Trouble};
use tollgate_host::store::StoreError;

/// A problem. Programs go by its `type`, people read its `detail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The last part of its `type`, `urn:tollgate:problem:CODE`.
    pub code: &'static str,
    /// In words, and what to do.
    pub detail: String,
    /// When it may be worth asking again.
    pub retry_after_seconds: Option<u32>,
    /// Of what was sent together and stands by itself, what was not done; the rest is.
    pub errors: Vec<Refused>,
}

/// One of several things that were sent together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Refused {
    /// Which, as a JSON pointer: `/3`.
    pointer: String,
    /// The last part of its `type`.
    code: &'static str,
    /// What is wrong, and what to do.
    detail: String,
}

/// As it is sent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct ProblemBody<'a> {
    /// `urn:tollgate:problem:CODE`
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What is wrong, and what to do.
    detail: &'a str,
    /// Of what was sent together and stands by itself, what was not done; the rest is.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [Refused]>,
}

/// The media type of problem details.
pub const MEDIA_TYPE: &str = "application/problem+json";

impl Problem {
    /// A problem in words.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, code, detail, retry_after_seconds: None, errors: Vec::new() }
    }

    /// Some of what was sent together was not done, by its place, and the rest is. What may go well
    /// the next time counts for more than what makes no sense: so all is sent again.
    pub fn of_some(refused: Vec<(usize, Self)>, of: usize) -> Self {
        let detail = format!(
            "{} of {of} are not booked, for the reasons under `errors`: send them again as these say",
            refused.len()
        );
        let is_servers = |(_, own): &&(usize, Self)| own.status.is_server_error();
        let first = refused.iter().find(is_servers).or(refused.first());
        let (status, code, retry_after_seconds) = match first {
            Some((_, own)) => (own.status, own.code, own.retry_after_seconds),
            None => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", None),
        };
        let refused = refused.into_iter().map(|(place, own)| {
            let (pointer, Self { code, detail, .. }) = (format!("/{place}"), own);
            Refused { pointer, code, detail }
        });
        Self { status, code, detail, retry_after_seconds, errors: refused.collect() }
    }

    /// The request cannot be read.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// There is no such thing, or none that the caller may see.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// It can be read, and makes no sense.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }

    /// Nobody is known who asks.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// Whoever asks may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// It does not go with what stands.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// Not now; nothing was done.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self { retry_after_seconds: Some(1), ..Self::new(status, "unavailable", detail) }
    }

    /// It cannot be served, whoever asks for it.
    fn internal(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, detail)
    }
}

/// What makes no sense, in the words of whoever found that.
pub fn invalid(error: impl fmt::Display) -> Problem {
    Problem::invalid(error.to_string())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: format!("urn:tollgate:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
            errors: Some(self.errors.as_slice()).filter(|errors| !errors.is_empty()),
        };
        // Of strings and a number: there is nothing in it that JSON could not hold.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let words = error.to_string();
        match error {
            // What became of a write that was lost is found out by asking again with the same key.
            StoreError::Unavailable(_) | StoreError::Lost(_) | StoreError::NotDurable(_) => {
                tracing::warn!(error = words, "the store gave no answer");
                Self::unavailable("the store gave no answer: ask again with the same key")
            }
            StoreError::Refused(_) => {
                tracing::error!(error = words, "the store refuses");
                Self::invalid("the store refuses this, and would refuse it again")
            }
            StoreError::UnknownTenant(_) => Self::not_found(words),
        }
    }
}

impl From<HostError> for Problem {
    fn from(error: HostError) -> Self {
        let words = error.to_string();
        match error {
            HostError::Store(error) => error.into(),
            HostError::Engine(EngineError::Policy { .. }) => {
                Self::new(StatusCode::BAD_GATEWAY, "policy_failed", words)
            }
            HostError::Engine(EngineError::Unpriced { .. }) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unpriced", words)
            }
            HostError::Engine(EngineError::Total(_) | EngineError::Amount(_))
            | HostError::Negative { .. }
            | HostError::UnknownMeter(_)
            | HostError::MissingDimension(_)
            | HostError::Malformed(_)
            | HostError::Future(_) => Self::invalid(words),
            HostError::UnknownTenant(_)
            | HostError::UnknownReservation(_)
            | HostError::UnknownUsage(_) => Self::not_found(words),
            HostError::KeyReused(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", words)
            }
            HostError::InFlight(_) => {
                Self { retry_after_seconds: Some(1), ..Self::conflict("in_flight", words) }
            }
            HostError::Ended { .. } => Self::conflict("ended", words),
            HostError::IsARun(_) | HostError::NotARun(_) => Self::conflict("other_kind", words),
            HostError::Charges { .. } => Self::conflict("other_currency", words),
            HostError::Erasing(_) | HostError::StillOpen(_) => Self::conflict("erasing", words),
            HostError::Platforms => Self::conflict("platforms", words),
            HostError::NoEstimate => Self::conflict("no_estimate", words),
            HostError::Setup(_) => Self::conflict("setup", words),
            HostError::Stopped => Self::unavailable(words),
            HostError::Unreadable(_) => Self::internal("unreadable", words),
        }
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Registry(error) => error.into(),
            Trouble::Host(error) => error.into(),
        }
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let words = error.to_string();
        match error {
            RegistryError::Store(error) => error.into(),
            RegistryError::Refused { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", words)
            }
            RegistryError::Digest { .. }
            | RegistryError::NotVouched { .. }
            | RegistryError::Name(_)
            | RegistryError::Unpriced { .. }
            | RegistryError::OtherCurrency { .. }
            | RegistryError::Order(_)
            | RegistryError::Amount(_) => Self::invalid(words),
            RegistryError::UnknownRevision(_)
            | RegistryError::NoVersion(_)
            | RegistryError::NothingBound
            | RegistryError::NotBound(_)
            | RegistryError::NoCandidate(_)
            | RegistryError::UnknownComponent(_) => Self::not_found(words),
            RegistryError::Compiling(_) => Self::unavailable(words),
            RegistryError::NotYours { .. } => Self::forbidden(words),
            RegistryError::Moved { .. } => Self::conflict("moved", words),
            RegistryError::Setup(_) => Self::conflict("setup", words),
            RegistryError::Unreadable(_) => Self::internal("unreadable", words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_yet_is_asked_after_again() {
        let problem = Problem::from(HostError::InFlight("call-1".into()));
        assert_eq!((problem.status, problem.code), (StatusCode::CONFLICT, "in_flight"));
        assert_eq!(problem.retry_after_seconds, Some(1));
    }

    #[test]
    fn what_the_store_says_of_itself_stays_inside() {
        let secret = StoreError::Unavailable("password authentication failed for `root`".into());
        let problem = Problem::from(HostError::Store(secret));
        assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(problem.retry_after_seconds, Some(1));
        assert!(!problem.detail.contains("root"), "{}", problem.detail);
    }
}
