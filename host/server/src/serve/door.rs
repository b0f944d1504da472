//! From a request to whoever may take its route: who asks, for which tenant, and how much is read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::RequestPartsExt;
use axum::body::{HttpBody, to_bytes};
use axum::extract::{RawPathParams, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;
use tollgate_host::store::{AccessStore, Clock, Tenant};
use tollgate_policy_core::window::Instant;

use super::Service;
use super::problem::Problem;
use super::route::{Route, Taken};
use crate::access::{Caller, Token};
use crate::stores::Stores;

/// Of which tenant a request is, where the token is of none.
pub const TENANT_HEADER: &str = "tollgate-tenant";

/// A token that was found good is asked after again so much later: it is revoked as soon, on any
/// host.
const TRUSTED_MS: i64 = 1_000;

/// So many tokens are remembered at the most.
const REMEMBERED_MAX: usize = 10_000;

/// The tokens that were seen of late.
#[derive(Default)]
pub struct Tokens(Mutex<HashMap<[u8; 32], (Instant, Caller)>>);

impl Tokens {
    fn recall(&self, digest: &[u8; 32], at: Instant) -> Option<Caller> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, caller) = seen.get(digest)?;
        (at < *until).then(|| caller.clone())
    }

    fn remember(&self, digest: [u8; 32], until: Instant, caller: Caller) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX {
            seen.clear();
        }
        seen.insert(digest, (until, caller));
    }

    /// Who shows this token.
    pub async fn caller<S: AccessStore>(
        &self,
        store: &S,
        clock: &Clock,
        headers: &HeaderMap,
    ) -> Result<Caller, Problem> {
        let unknown = || Problem::unauthorized("the token is not known: ask for a new one");
        let token = Token::read(bearer(headers)?).ok_or_else(unknown)?;
        let (digest, at) = (token.digest(), clock());
        if let Some(caller) = self.recall(&digest, at) {
            return Ok(caller);
        }
        let row = store.token(token.id()).await?;
        let proof = row.and_then(|row| token.proves(&row).map(|until| (row, until)));
        let (row, until) = proof.ok_or_else(unknown)?;
        let caller = Caller::of(&row, until, at)
            .map_err(|error| Problem::unauthorized(error.to_string()))?;
        self.remember(digest, at.saturating_add(TRUSTED_MS).min(until), caller.clone());
        Ok(caller)
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing =
        || Problem::unauthorized("name a token in the header `authorization: Bearer TOKEN`");
    let header = headers.get(AUTHORIZATION).ok_or_else(missing)?.to_str().map_err(|_| missing())?;
    let (scheme, token) = header.split_once(' ').ok_or_else(missing)?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).ok_or_else(missing)
}

/// For which tenant a caller asks: a tenant's token for that one only.
fn tenant(caller: &Caller, headers: &HeaderMap) -> Result<Option<Tenant>, Problem> {
    let named = match headers.get(TENANT_HEADER) {
        Some(name) => {
            let name = name.to_str().unwrap_or_default();
            let name: Result<Tenant, _> = name.parse();
            Some(name.map_err(|error| Problem::bad_request(error.to_string()))?)
        }
        None => None,
    };
    match (&caller.tenant, named) {
        (Some(own), Some(named)) if *own != named => {
            Err(Problem::forbidden("the token is another tenant's"))
        }
        (Some(own), _) => Ok(Some(own.clone())),
        (None, named) => Ok(named),
    }
}

/// Lets a request in to its route, or tells why not.
pub async fn enter<S: Stores>(
    service: Arc<Service<S>>,
    route: &Route<S>,
    request: Request,
    place: OwnedSemaphorePermit,
) -> Response {
    match take(&service, route, request, place).await {
        Ok(taken) => route.serve(service, taken).await,
        Err(problem) => problem.into_response(),
    }
}

async fn take<S: Stores>(
    service: &Service<S>,
    route: &Route<S>,
    request: Request,
    place: OwnedSemaphorePermit,
) -> Result<Taken, Problem> {
    let (store, headers) = (&**service.registry.store(), request.headers());
    let caller = service.tokens.caller(store, &service.clock, headers).await?;
    if !route.roles.contains(&caller.role) {
        let words = format!("a token with the role `{}` may not do this", caller.role.name());
        return Err(Problem::forbidden(words));
    }
    let tenant = tenant(&caller, headers)?;
    // Nobody's requests take the places of all, also while they arrive.
    let share = match &caller.tenant {
        Some(own) => {
            let most = service.limits.requests_max.div_ceil(2);
            Some(service.shares.take(own, 1, most).ok_or_else(|| {
                service.metrics.refused();
                Problem::unavailable("too much is asked by this tenant just now: come again")
            })?)
        }
        None => None,
    };
    if let Some(tenant) = tenant.as_ref().filter(|_| !route.for_new_tenants) {
        service.know(tenant).await?;
    }
    // Few at a time, from before they are read, and nobody waits for a turn in a place that others
    // could have.
    let turn = match route.takes_long {
        true => Some(Arc::clone(&service.turns).try_acquire_owned().map_err(|_| busy())?),
        false => None,
    };
    let limit = route.body_bytes.unwrap_or(service.limits.body_bytes);
    let (mut parts, body) = request.into_parts();
    let parameters = parameters(&mut parts).await?;
    // What it says it comes to, or else what it may come to.
    let bytes = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.unwrap_or(limit).min(limit);
    let room = service.bodies.take(bytes, caller.tenant.as_ref()).ok_or_else(|| {
        service.metrics.refused();
        Problem::unavailable("too much is sent just now: come again")
    })?;
    let in_time = Duration::from_secs(service.limits.arrival_seconds);
    let body = tokio::time::timeout(in_time, to_bytes(body, limit)).await;
    let body = body.map_err(|_| late())?.map_err(|error| unread(&error, limit))?;
    // Only once it is read, so that whoever sends it hears of it.
    let is_packed = |own: &HeaderValue| own != "identity";
    if parts.headers.get(CONTENT_ENCODING).is_some_and(is_packed) {
        let (status, words) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body unpacked");
        return Err(Problem::new(status, "unsupported_media_type", words));
    }
    Ok(Taken { caller, tenant, parameters, parts, body, place: (place, share), room, turn })
}

/// What the path says comes before the query, so that none of it is said twice.
async fn parameters(parts: &mut Parts) -> Result<String, Problem> {
    let path = parts.extract::<RawPathParams>().await;
    let path = path.map_err(|error| Problem::bad_request(error.to_string()))?;
    let path: Vec<(&str, &str)> = path.iter().collect();
    let path = serde_html_form::to_string(path).unwrap_or_default();
    let query = parts.uri.query().unwrap_or_default();
    if path.contains("%00") || query.contains("%00") {
        return Err(Problem::invalid("the address holds a NUL: leave it out"));
    }
    Ok(match (path.is_empty(), query.is_empty()) {
        (true, _) => query.to_owned(),
        (false, true) => path,
        (false, false) => format!("{path}&{query}"),
    })
}

fn busy() -> Problem {
    Problem::unavailable("something else that takes long is under way: come again")
}

fn late() -> Problem {
    let words = "the body took too long to arrive";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", words)
}

fn unread(error: &axum::Error, limit: usize) -> Problem {
    use std::error::Error;
    let is_limit =
        error.source().is_some_and(|cause| cause.is::<http_body_util::LengthLimitError>());
    if is_limit {
        let words = format!("the body is longer than {limit} bytes: send less at a time");
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", words);
    }
    Problem::bad_request("the body did not arrive whole")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;

    fn caller(tenant: Option<&str>) -> Caller {
        let tenant = tenant.map(|name| name.parse().unwrap());
        Caller { id: "0".into(), name: "ana".into(), role: Role::Ingest, tenant }
    }

    fn naming(name: &str) -> HeaderMap {
        let name = name.parse().unwrap();
        HeaderMap::from_iter([(TENANT_HEADER.parse().unwrap(), name)])
    }

    #[test]
    fn a_tenants_token_is_for_that_tenant_only() {
        let (acme, all) = (caller(Some("acme")), caller(None));
        let named = |tenant: &str| Some(tenant.parse().unwrap());
        assert_eq!(tenant(&acme, &HeaderMap::new()), Ok(named("acme")));
        assert_eq!(tenant(&acme, &naming("acme")), Ok(named("acme")));
        assert_eq!(tenant(&acme, &naming("rival")).unwrap_err().status, StatusCode::FORBIDDEN);
        assert_eq!(tenant(&all, &naming("rival")), Ok(named("rival")));
        assert_eq!(tenant(&all, &HeaderMap::new()), Ok(None));
        assert_eq!(tenant(&all, &naming("a b")).unwrap_err().status, StatusCode::BAD_REQUEST);
    }
}
