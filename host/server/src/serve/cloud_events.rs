//! Usage as `CloudEvents` 1.0, structured and binary, one by one and in batches: an event of any type
//! whose data is a usage. Its source and identifier are the key, so that an event that is delivered
//! twice is booked once.

use axum::http::HeaderMap;
use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::problem::Problem;
use super::route::{Body, Json, Schemed, is_json, media_type, read_json};
use super::shapes::Time;
use super::usage::{Record, Used};

/// The media types of structured events.
const EVENT: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// What was used, as it was told.
pub enum Told {
    /// In a request of its own form.
    Plain(Record),
    /// In events, each with its key.
    Events(Vec<(String, Used)>),
}

/// An event whose data is a usage.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Event {
    /// `1.0`
    pub specversion: String,
    /// With the source unique to the event.
    pub id: String,
    /// Where it happened.
    pub source: String,
    /// What happened; any.
    #[serde(rename = "type")]
    #[allow(dead_code, reason = "it must be there")]
    pub kind: String,
    /// When; it is when the usage was, unless that says so itself.
    pub time: Option<Time>,
    /// The usage.
    pub data: Used,
}

impl Event {
    fn read(self) -> Result<(String, Used), Problem> {
        let Self { specversion, id, source, time, mut data, .. } = self;
        if specversion != "1.0" {
            let words = format!("`specversion` {specversion:?}: send CloudEvents 1.0");
            return Err(Problem::bad_request(words));
        }
        if id.is_empty() || source.is_empty() {
            return Err(Problem::bad_request("an event's `id` and `source` are not empty"));
        }
        data.used_at = data.used_at.or(time);
        Ok((key(&source, &id), data))
    }
}

/// Of any length, and of no form that another pair could have.
fn key(source: &str, id: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(u64::try_from(source.len()).unwrap_or(u64::MAX).to_le_bytes());
    digest.update(source);
    digest.update(id);
    format!("cloudevent:{:x}", digest.finalize())
}

impl Body for Told {
    const SCHEMA: Option<Schemed> = Some(schema);
    const MEDIA_TYPES: &'static [&'static str] = &["application/json", EVENT, BATCH];

    fn read(headers: &HeaderMap, body: Bytes) -> Result<Self, Problem> {
        if let Some(specversion) = attribute(headers, "ce-specversion")? {
            return binary(headers, specversion, &body);
        }
        match media_type(headers) {
            kind if kind.eq_ignore_ascii_case(EVENT) => {
                Ok(Self::Events(vec![read_json::<Event>(&body)?.read()?]))
            }
            kind if kind.eq_ignore_ascii_case(BATCH) => {
                let events: Vec<Event> = read_json(&body)?;
                Ok(Self::Events(events.into_iter().map(Event::read).collect::<Result<_, _>>()?))
            }
            _ => Json::<Record>::read(headers, body).map(|Json(record)| Self::Plain(record)),
        }
    }
}

/// The attributes are header fields, and the body is the data.
fn binary(headers: &HeaderMap, specversion: String, body: &[u8]) -> Result<Told, Problem> {
    if !is_json(headers) {
        return Err(Problem::bad_request("an event's data is JSON: say so in `content-type`"));
    }
    let needed = |name: &'static str| {
        let missing = || Problem::bad_request(format!("the event has no `{name}`"));
        attribute(headers, name)?.ok_or_else(missing)
    };
    let time = attribute(headers, "ce-time")?;
    let time = time.map(|time| serde_json::from_value(time.into())).transpose();
    let event = Event {
        specversion,
        id: needed("ce-id")?,
        source: needed("ce-source")?,
        kind: needed("ce-type")?,
        time: time.map_err(|error| Problem::bad_request(format!("`ce-time`: {error}")))?,
        data: read_json(body)?,
    };
    Ok(Told::Events(vec![event.read()?]))
}

fn attribute(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Problem> {
    let text = headers.get(name).map(|value| value.to_str().map(str::to_owned)).transpose();
    let plain = || Problem::bad_request(format!("`{name}` is not plain text"));
    // What is not plain stands in percents.
    let decoded = |text: String| {
        percent_encoding::percent_decode_str(&text).decode_utf8().map(|text| text.into_owned())
    };
    text.map_err(|_| plain())?.map(decoded).transpose().map_err(|_| plain())
}

fn schema(generator: &mut SchemaGenerator) -> Schema {
    let plain = generator.subschema_for::<Record>();
    let event = generator.subschema_for::<Event>();
    json_schema!({ "anyOf": [plain, event, { "type": "array", "items": event }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (axum::http::HeaderName::from_static(name), value.parse().unwrap())
        };
        fields.iter().map(field).collect()
    }

    fn events(told: Result<Told, Problem>) -> Vec<(String, Used)> {
        match told.unwrap() {
            Told::Events(events) => events,
            Told::Plain(record) => panic!("{record:?}"),
        }
    }

    const DATA: &str = r#"{"dimensions":{"user":"ana"},"amounts":{"llm_requests":"1"}}"#;

    #[test]
    fn an_event_is_the_same_in_every_form() {
        let event = format!(
            r#"{{"specversion":"1.0","id":"7 é","source":"/a","type":"t","time":"2026-03-01T12:00:00Z","data":{DATA}}}"#
        );
        let kind = |kind| headers(&[("content-type", kind)]);
        let one = events(Told::read(&kind(EVENT), event.clone().into()));
        let many = events(Told::read(&kind(BATCH), format!("[{event}]").into()));
        let fields = headers(&[
            ("content-type", "application/json"),
            ("ce-specversion", "1.0"),
            ("ce-id", "7%20%C3%A9"),
            ("ce-source", "/a"),
            ("ce-type", "t"),
            ("ce-time", "2026-03-01T12:00:00Z"),
        ]);
        let binary = events(Told::read(&fields, DATA.into()));
        assert_eq!(one[0].1.used_at, Some(Time(1_772_366_400_000)));
        assert_eq!(format!("{one:?}"), format!("{many:?}"));
        assert_eq!(format!("{one:?}"), format!("{binary:?}"));
    }

    #[test]
    fn keys_of_two_events_never_meet() {
        assert_ne!(key("/a", "b7"), key("/ab", "7"));
        assert_eq!(key("/a", "7"), key("/a", "7"));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let kind = headers(&[("content-type", EVENT)]);
        for body in [
            "{}",
            r#"{"specversion":"0.3","id":"7 é","source":"/a","type":"t","data":{"amounts":{}}}"#,
            r#"{"specversion":"1.0","id":"","source":"/a","type":"t","data":{"amounts":{}}}"#,
            r#"{"specversion":"1.0","id":"7 é","source":"/a","type":"t","data":{"amount":{}}}"#,
        ] {
            assert!(Told::read(&kind, body.into()).is_err(), "{body}");
        }
    }
}
