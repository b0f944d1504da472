//! The document of the API, OpenAPI 3.1, made from the routes themselves, and a page to read it.

use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::problem::{MEDIA_TYPE, ProblemBody};
use super::route::Route;

const JSON: &str = "application/json";

/// The document, as it is sent.
pub struct Document(String);

impl Document {
    pub fn response(&self) -> Response {
        ([(CONTENT_TYPE, JSON)], self.0.clone()).into_response()
    }
}

/// What any route may answer in place of its answer.
const PROBLEMS: [(&str, &str); 12] = [
    ("400", "the request cannot be read"),
    ("401", "no token that counts"),
    ("403", "the token's role, or its tenant, does not allow this"),
    ("404", "there is no such thing"),
    ("408", "the request took too long to arrive"),
    ("409", "it does not go with what stands"),
    ("413", "the body is too long"),
    ("415", "the body is of another media type"),
    ("422", "it can be read, and makes no sense"),
    ("500", "something that a later version wrote cannot be read"),
    ("502", "a policy failed after the fact, where nothing can be denied any more"),
    ("503", "not now; nothing was done, or asking again with the same key tells"),
];

/// Of these routes.
pub fn of<S>(routes: &[Route<S>]) -> Document {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<ProblemBody<'_>>();
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &mut generator);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    for (path, operation) in unasked() {
        paths.insert(path.to_owned(), json!({ "get": operation }));
    }
    let problems: Map<String, Value> = PROBLEMS
        .into_iter()
        .map(|(status, words)| {
            let content = json!({ MEDIA_TYPE: { "schema": problem } });
            let mut problem = json!({ "description": words, "content": content });
            if status == UNAVAILABLE {
                problem["headers"] = headers(&[RETRY_AFTER]);
            }
            (format!("Problem{status}"), problem)
        })
        .collect();
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Decides, prices and stops the spending of AI agents. Decimals are strings.",
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": generator.take_definitions(true),
            "responses": problems,
            "headers": HEADERS.into_iter().map(|own| (own.0.to_owned(), header(own))).collect::<Map<_, _>>(),
        },
    });
    Document(document.to_string())
}

const UNAVAILABLE: &str = "503";

/// A header field of an answer: its name, what it tells, and of which type it is.
type Header = (&'static str, &'static str, &'static str);

const RATE_LIMIT: Header =
    ("RateLimit", "how much room is left, and when there is more: draft 10 of the IETF", "string");
const RATE_LIMIT_POLICY: Header =
    ("RateLimit-Policy", "the limits that these are of, under the same names", "string");
const RETRY_AFTER: Header =
    ("Retry-After", "in so many seconds it may be worth asking again", "integer");
const HEADERS: [Header; 3] = [RATE_LIMIT, RATE_LIMIT_POLICY, RETRY_AFTER];

fn header((_, words, kind): Header) -> Value {
    json!({ "description": words, "schema": { "type": kind } })
}

/// These header fields, by reference.
fn headers(own: &[Header]) -> Value {
    let reference = |(name, ..): &Header| {
        ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }))
    };
    Value::Object(own.iter().map(reference).collect())
}

/// What is answered to whoever asks, without a token.
fn unasked() -> [(&'static str, Value); 2] {
    let text = json!({ "text/plain": { "schema": { "type": "string" } } });
    let done = json!({ "description": "it does", "content": text });
    let not_now = json!({ "$ref": format!("#/components/responses/Problem{UNAVAILABLE}") });
    let operation = |id: &str, summary: &str, responses: Value| json!({ "summary": summary, "operationId": id, "security": [], "responses": responses });
    [
        ("/healthz", operation("get_healthz", "Whether the service runs.", json!({ "200": done }))),
        (
            "/readyz",
            operation(
                "get_readyz",
                "Whether calls can be judged just now, and in a moment.",
                json!({ "200": done, UNAVAILABLE: not_now }),
            ),
        ),
    ]
}

fn operation<S>(route: &Route<S>, generator: &mut SchemaGenerator) -> Value {
    let shape = &route.shape;
    let roles: Vec<&str> = route.roles.iter().map(|role| role.name()).collect();
    let mut answer = match (shape.answer, shape.answer_type) {
        (Some(answer), kind) => {
            let schema = answer(generator);
            json!({ "description": "done", "content": { kind: { "schema": schema } } })
        }
        (None, JSON) => json!({ "description": "done" }),
        (None, kind) => json!({
            "description": "done",
            "content": { kind: { "schema": { "type": "string" } } },
        }),
    };
    if shape.tells_limits {
        answer["headers"] = headers(&HEADERS);
    }
    let mut responses = Map::new();
    if shape.upgrades {
        let words = json!({ "description": "from here on it is a WebSocket" });
        responses.insert("101".into(), words);
    }
    responses.insert(shape.status.as_u16().to_string(), answer);
    for (status, _) in PROBLEMS {
        let reference = format!("#/components/responses/Problem{status}");
        responses.insert(status.into(), json!({ "$ref": reference }));
    }
    let mut operation = json!({
        "summary": route.summary,
        "description": format!("For the roles `{}`.", roles.join("`, `")),
        "operationId": operation_id(route),
        "x-roles": roles,
        "parameters": parameters(route, generator),
        "responses": responses,
    });
    if let Some(body) = shape.body {
        let schema = body(generator);
        let content: Map<String, Value> = shape
            .media_types
            .iter()
            .map(|kind| ((*kind).to_owned(), json!({ "schema": schema })))
            .collect();
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

/// `post_reservations_id_settle`
fn operation_id<S>(route: &Route<S>) -> String {
    let method = route.method.as_str().to_ascii_lowercase();
    let words = route.path.trim_start_matches("/v1/").replace(['/', '-'], "_");
    format!("{method}_{}", words.replace(['{', '}'], ""))
}

/// Those that the path names stand in it, the others in the query.
fn parameters<S>(route: &Route<S>, generator: &mut SchemaGenerator) -> Vec<Value> {
    let schema = (route.shape.parameters)(generator);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let tenant = json!({
        "name": "tollgate-tenant",
        "in": "header",
        "description": "for which tenant, where the token is of none",
        "schema": { "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" },
    });
    let named = properties.iter().map(|(name, schema)| {
        let in_path = route.path.contains(&format!("{{{name}}}"));
        json!({
            "name": name,
            "in": if in_path { "path" } else { "query" },
            "required": in_path || required.contains(&name.as_str()),
            "schema": schema,
        })
    });
    // What is asked by any name stands in the query under that name.
    let others = schema.get("additionalProperties").filter(|own| own.is_object()).map(|own| {
        json!({
            "name": "dimensions",
            "in": "query",
            "description": "values of dimensions, each under the dimension's name: `user=ana&agent=sdr`",
            "style": "form",
            "explode": true,
            "schema": { "type": "object", "additionalProperties": own },
        })
    });
    named.chain(others).chain([tenant]).collect()
}

/// A page that shows the document.
pub async fn page() -> Html<&'static str> {
    Html(include_str!("document.html"))
}
