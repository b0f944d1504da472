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
    let problems: Map<String, Value> = PROBLEMS
        .into_iter()
        .map(|(status, words)| {
            let content = json!({ MEDIA_TYPE: { "schema": problem } });
            (format!("Problem{status}"), json!({ "description": words, "content": content }))
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
        },
    });
    Document(document.to_string())
}

fn operation<S>(route: &Route<S>, generator: &mut SchemaGenerator) -> Value {
    let shape = &route.shape;
    let roles: Vec<&str> = route.roles.iter().map(|role| role.name()).collect();
    let answer = match (shape.answer, shape.answer_type) {
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
    let mut responses = Map::new();
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
