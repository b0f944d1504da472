//! Notices as messages, and as programs read them.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tollgate_host::engine::{NoticeBody, NoticeRecord, Random};
use tollgate_host::store::{Owner, Tenant};
use tollgate_policy_core::contract::{Dimension, Fact, Value};
use tollgate_policy_core::messages::Language;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::Message;
use super::channel::Severity;

/// Something that people were told.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Notice")]
pub struct Notice {
    /// Its own; identifiers are in the order of instants.
    pub id: Uuid,
    pub at: Time,
    /// Whom it is about.
    pub tenant: String,
    /// By which policy; none: by the host itself.
    pub policy: Option<String>,
    /// What kind it is, as its key begins: `limit_exceeded`.
    pub kind: String,
    /// What it is about; told once per key and period.
    pub key: String,
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The whole text.
    pub body: String,
    /// Whom it is about, by dimension.
    pub dimensions: BTreeMap<String, String>,
    /// The period that it is of; none: it stands until it is over.
    pub period: Option<NoticePeriod>,
    /// Remarks of its policy.
    pub facts: BTreeMap<String, Json>,
    /// When it was over; none: it is not.
    pub over_at: Option<Time>,
    /// When somebody said that they have seen it.
    pub acknowledged_at: Option<Time>,
    /// Who.
    pub acknowledged_by: Option<String>,
}

/// From when until when.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NoticePeriod {
    pub opened: Time,
    pub closes: Option<Time>,
}

/// RFC 3339, in UTC.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct Time(#[schemars(extend("format" = "date-time"))] String);

impl Time {
    fn of(at: Instant) -> Self {
        let time = DateTime::from_timestamp_millis(at);
        let text = time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true));
        Self(text.unwrap_or_else(|| at.to_string()))
    }
}

impl Notice {
    /// As it is told of a tenant.
    pub fn of(tenant: &Tenant, record: NoticeRecord) -> Self {
        let NoticeRecord { id, at, notice, over_at, acknowledged } = record;
        let NoticeBody { policy, key, severity, title, body, dimensions, period, facts } = notice;
        let period = period.map(|(opened, closes)| NoticePeriod {
            opened: Time::of(opened),
            closes: closes.map(Time::of),
        });
        let (acknowledged_at, acknowledged_by) = acknowledged.unzip();
        Self {
            id,
            at: Time::of(at),
            tenant: tenant.as_str().to_owned(),
            policy: Some(policy).filter(|policy| !policy.is_empty()),
            kind: key.split(':').next().unwrap_or_default().to_owned(),
            key,
            severity: Severity::read(&severity),
            title,
            body,
            dimensions: dimensions
                .into_iter()
                .map(|Dimension { name, value }| (name, value))
                .collect(),
            period,
            facts: facts.into_iter().map(|Fact { name, value }| (name, fact(value))).collect(),
            over_at: over_at.map(Time::of),
            acknowledged_at: acknowledged_at.map(Time::of),
            acknowledged_by,
        }
    }

    /// As one message. The platform hears whom it is about as well.
    pub fn message(&self, to: &Owner) -> Message {
        let Self { tenant, title, body, severity, .. } = self;
        let title = match to {
            Owner::Platform => format!("[{tenant}] {title}"),
            Owner::Tenant(_) => title.clone(),
        };
        Message {
            id: self.id.to_string(),
            title,
            severity: severity.name().to_owned(),
            text: body.clone(),
            json: event("notice.raised", &self.at, json!(self)),
        }
    }
}

fn fact(value: Value) -> Json {
    match value {
        Value::Text(text) => json!(text),
        Value::Number(number) => json!(number.to_string()),
        Value::Flag(flag) => json!(flag),
        Value::Instant(at) => json!(Time::of(at)),
    }
}

/// Some notices as one message. Told again it is known as the same.
pub fn digest(notices: &[Notice], to: &Owner, language: Language, now: Instant) -> Message {
    let messages: Vec<Message> = notices.iter().map(|own| own.message(to)).collect();
    if let [one] = &messages[..] {
        return one.clone();
    }
    let mut ids: Vec<String> = notices.iter().map(|own| own.id.to_string()).collect();
    ids.sort();
    let digest = Sha256::digest(ids.concat());
    let id: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    // All titles first: receivers may cut what is long.
    let titles: String = messages.iter().map(|own| format!("• {}\n", own.title)).collect();
    let texts = messages.iter().map(|own| format!("{}\n\n{}", own.title, own.text));
    let parts = [titles].into_iter().chain(texts);
    let severity = notices.iter().map(|own| own.severity).max().unwrap_or_default();
    let title = match language {
        Language::English => format!("{} notices", notices.len()),
        Language::Portuguese => format!("{} avisos", notices.len()),
    };
    Message {
        id: format!("digest-{id}"),
        title,
        severity: severity.name().to_owned(),
        text: parts.collect::<Vec<_>>().join("\n---\n\n"),
        json: event("notices.digest", &Time::of(now), json!({ "notices": notices })),
    }
}

/// A message that says nothing but that it came.
pub fn trial(random: &Random, channel: &str, language: Language, now: Instant) -> Message {
    let (title, text) = match language {
        Language::English => (
            "Tollgate: a trial message",
            format!("This is a trial of the channel `{channel}`. Nothing is wrong."),
        ),
        Language::Portuguese => (
            "Tollgate: uma mensagem de teste",
            format!("Este é um teste do canal `{channel}`. Não há nada de errado."),
        ),
    };
    Message {
        id: format!("trial-{:032x}", random()),
        title: title.into(),
        severity: Severity::Info.name().to_owned(),
        text,
        json: event("notice.trial", &Time::of(now), json!({ "channel": channel })),
    }
}

/// As Standard Webhooks has events.
fn event(kind: &str, timestamp: &Time, data: Json) -> Json {
    json!({ "type": kind, "timestamp": timestamp, "data": data })
}
