//! Routes: each with who may take it, what it reads and what it answers, so that the router, the
//! document of the API and the tests go by one table.

use std::future::Future;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tollgate_host::engine::Author;
use tollgate_host::store::Tenant;
use tracing::Instrument;

use super::Service;
use super::problem::Problem;
use super::shares::{Part, Share};
use crate::access::{Caller, Role};

const JSON: &str = "application/json";

/// A route.
pub struct Route<S> {
    pub method: Method,
    /// As the router writes it: `/v1/runs/{id}`.
    pub path: &'static str,
    /// Who may take it.
    pub roles: &'static [Role],
    /// What it does, in a few words.
    pub summary: &'static str,
    pub shape: Shape,
    /// The longest that a body may be, in bytes; none: as the settings say.
    pub body_bytes: Option<usize>,
    /// Whether few are taken in at a time.
    pub takes_long: bool,
    /// Whether the tenant that is named may be one that there is not yet.
    pub for_new_tenants: bool,
    serve: Serve<S>,
}

/// What is read and answered, as the document of the API tells it.
pub struct Shape {
    /// In the path and the query.
    pub parameters: Schemed,
    /// In the body; none: there is no body.
    pub body: Option<Schemed>,
    /// In which that is sent.
    pub media_types: &'static [&'static str],
    /// The body of the answer; none: it has none.
    pub answer: Option<Schemed>,
    /// In which that is sent.
    pub answer_type: &'static str,
    /// The answer's status.
    pub status: StatusCode,
    /// Whether header fields tell beside it how much room is left, and when there may be some.
    pub tells_limits: bool,
    /// Whether the connection may become a WebSocket instead.
    pub upgrades: bool,
}

/// A schema, as it is made.
pub type Schemed = fn(&mut SchemaGenerator) -> Schema;

type Serve<S> = Box<
    dyn Fn(Arc<Service<S>>, Taken) -> BoxFuture<'static, Result<Response, Problem>> + Send + Sync,
>;

/// A request that found its route, of a caller who may take it.
pub struct Taken {
    pub caller: Caller,
    pub tenant: Option<Tenant>,
    /// Those of the path and of the query, as the query of an address.
    pub parameters: String,
    pub parts: Parts,
    pub body: Bytes,
    pub place: Place,
    /// Among the bytes of bodies, until this one is read.
    pub room: Part,
    /// Among requests of which few are taken in at a time.
    pub turn: Option<OwnedSemaphorePermit>,
}

/// Among the requests that are answered at a time, and among those of the caller's tenant.
pub type Place = (OwnedSemaphorePermit, Option<Share>);

/// The same, read.
pub struct Asked<S, P = Nothing, B = Nothing> {
    pub service: Arc<Service<S>>,
    pub caller: Caller,
    tenant: Option<Tenant>,
    /// What the path and the query say.
    pub parameters: P,
    /// The rest of what was sent.
    pub parts: Parts,
    /// What the body says.
    pub body: B,
    place: Option<Place>,
}

/// Nothing is read, or answered.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A body as a route reads it.
pub trait Body: Sized {
    /// Its shape; none: there is none.
    const SCHEMA: Option<Schemed>;
    /// In which it is sent.
    const MEDIA_TYPES: &'static [&'static str] = &[JSON];
    /// Reads it.
    fn read(headers: &HeaderMap, body: Bytes) -> Result<Self, Problem>;
}

impl Body for Nothing {
    const SCHEMA: Option<Schemed> = None;

    fn read(_: &HeaderMap, _: Bytes) -> Result<Self, Problem> {
        Ok(Self {})
    }
}

/// A body of JSON.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + JsonSchema> Body for Json<T> {
    const SCHEMA: Option<Schemed> = Some(T::json_schema_of);

    fn read(headers: &HeaderMap, body: Bytes) -> Result<Self, Problem> {
        if !is_json(headers) {
            let (status, words) =
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send `content-type: application/json`");
            return Err(Problem::new(status, "unsupported_media_type", words));
        }
        read_json(&body).map(Self)
    }
}

/// A schema by reference, where it has a name.
trait Referred: JsonSchema {
    fn json_schema_of(generator: &mut SchemaGenerator) -> Schema
    where
        Self: Sized,
    {
        generator.subschema_for::<Self>()
    }
}

impl<T: JsonSchema> Referred for T {}

/// In which a body is sent, without parameters; empty where it is not said.
pub fn media_type(headers: &HeaderMap) -> &str {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// Whether a body is said to be JSON.
pub fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).eq_ignore_ascii_case(JSON)
}

/// Reads JSON; where it does not fit, says where.
pub fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = T::deserialize(&mut reader).and_then(|read| reader.end().map(|()| read));
    read.map_err(|error| Problem::bad_request(format!("the body does not fit: {error}")))
}

/// An answer: a body, and what is said beside it.
pub struct Answer<T> {
    pub body: T,
    pub headers: HeaderMap,
}

impl<T> From<T> for Answer<T> {
    fn from(body: T) -> Self {
        Self { body, headers: HeaderMap::new() }
    }
}

/// What a handler answers.
pub trait Answers {
    /// Its shape; none: it has no body.
    const SCHEMA: Option<Schemed>;
    /// In which it is sent.
    const MEDIA_TYPE: &'static str = JSON;
    /// As it is sent.
    fn respond(self, status: StatusCode) -> Response;
}

impl Answers for () {
    const SCHEMA: Option<Schemed> = None;

    fn respond(self, status: StatusCode) -> Response {
        status.into_response()
    }
}

impl<T: Serialize + JsonSchema> Answers for Answer<T> {
    const SCHEMA: Option<Schemed> = Some(T::json_schema_of);

    fn respond(self, status: StatusCode) -> Response {
        let Self { body, headers } = self;
        let Ok(body) = serde_json::to_vec(&body) else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        let mut response = (status, headers, body).into_response();
        let json = HeaderValue::from_static(JSON);
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

impl<S, P, B> Asked<S, P, B> {
    /// For whom: the token's tenant, or the one that the header names.
    pub fn tenant(&self) -> Result<&Tenant, Problem> {
        self.tenant.as_ref().ok_or_else(|| {
            Problem::bad_request(
                "the token is of no tenant: name one in the header `tollgate-tenant`",
            )
        })
    }

    /// As the engine and audits name the caller.
    pub fn by(&self) -> Author {
        let author = self.caller.author();
        if self.caller.role.is_platforms() {
            Author::Person(author)
        } else {
            Author::Member(author)
        }
    }

    /// Leaves the request's place to others: what is left to do takes long, and is bounded by itself.
    pub fn give_place_back(&mut self) {
        drop(self.place.take());
    }

    /// The tenant, where there is one.
    pub fn tenant_if_any(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }
}

impl<S: Send + Sync + 'static> Route<S> {
    /// A route that answers 200, or what it is told to.
    pub fn new<P, B, A, F>(
        method: Method,
        path: &'static str,
        roles: &'static [Role],
        summary: &'static str,
        handler: impl Fn(Asked<S, P, B>) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        B: Body + Send + 'static,
        A: Answers,
        F: Future<Output = Result<A, Problem>> + Send + 'static,
    {
        let has_body = A::SCHEMA.is_some() || A::MEDIA_TYPE != JSON;
        let status = if has_body { StatusCode::OK } else { StatusCode::NO_CONTENT };
        let serve: Serve<S> = Box::new(move |service, taken| {
            let handler = handler.clone();
            async move {
                // They are given back once it is carried out, also where nobody waits for that.
                let Taken { caller, tenant, parameters, parts, body, place, room, turn } = taken;
                let (place, _turn) = (Some(place), turn);
                let parameters = serde_html_form::from_str(&parameters).map_err(|error| {
                    Problem::bad_request(format!("the address does not fit: {error}"))
                })?;
                let body = B::read(&parts.headers, body)?;
                drop(room);
                let asked = Asked { service, caller, tenant, parameters, parts, body, place };
                Ok(handler(asked).await?.respond(status))
            }
            .boxed()
        });
        let shape = Shape {
            parameters: P::json_schema,
            body: B::SCHEMA,
            media_types: B::MEDIA_TYPES,
            answer: A::SCHEMA,
            answer_type: A::MEDIA_TYPE,
            status,
            tells_limits: false,
            upgrades: false,
        };
        let (body_bytes, takes_long, for_new_tenants) = (None, false, false);
        Self { method, path, roles, summary, shape, body_bytes, takes_long, for_new_tenants, serve }
    }

    /// The same with bodies of so many bytes, few of them at a time.
    pub fn taking(self, body_bytes: usize) -> Self {
        Self { body_bytes: Some(body_bytes), takes_long: true, ..self }
    }

    /// The same, also for a tenant that there is not yet: what is set for it makes it one.
    pub fn for_new_tenants(self) -> Self {
        Self { for_new_tenants: true, ..self }
    }

    /// The same, with header fields that tell how much room is left.
    pub fn telling_limits(mut self) -> Self {
        self.shape.tells_limits = true;
        self
    }

    /// The same, also over a WebSocket.
    pub fn upgrading(mut self) -> Self {
        self.shape.upgrades = true;
        self
    }

    /// The same, few of them at a time.
    pub fn taking_long(self) -> Self {
        Self { takes_long: true, ..self }
    }

    /// Reads the request and answers it.
    pub async fn serve(&self, service: Arc<Service<S>>, taken: Taken) -> Response {
        let serving = (self.serve)(service, taken);
        let answer = if self.is_act() {
            let carried_out = tokio::spawn(serving.in_current_span()).await;
            carried_out.unwrap_or_else(|_| Err(Problem::unavailable("the act broke off")))
        } else {
            serving.await
        };
        answer.unwrap_or_else(Problem::into_response)
    }

    /// Whether it changes more than calls do: then it is carried out whoever hangs up, so that what
    /// became of it is written down.
    fn is_act(&self) -> bool {
        self.method != Method::GET && !self.roles.contains(&Role::Ingest)
    }
}
