//! What was used without asking, and what was told wrongly.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_host::engine::{Operation, Outcome, Report};
use uuid::Uuid;

use super::answers::Booked;
use super::calls::{OfId, in_run, latency};
use super::cloud_events::Told;
use super::problem::Problem;
use super::route::{Answer, Asked, Json, Nothing};
use super::shapes::{Amounts, Dimensions, Time};
use crate::stores::Stores;

/// So much usage is told at a time at the most.
const REPORTS_MAX: usize = 1_000;

/// What was used: all of it is booked, or nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Chosen by the caller: told again with the same one, it is booked once.
    #[schemars(length(min = 1, max = 255))]
    pub key: String,
    /// In order.
    #[schemars(length(min = 1, max = 1_000))]
    pub usage: Vec<Used>,
}

/// One usage.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Used {
    /// Who and what it is about: `user`, `agent`, `session`, `model`, `provider`, …
    #[serde(default)]
    pub dimensions: Dimensions,
    /// The run that it belongs to.
    pub run: Option<Uuid>,
    /// By meter.
    pub amounts: Amounts,
    /// How long it took.
    pub latency_ms: Option<u32>,
    /// When; none: now.
    pub used_at: Option<Time>,
}

/// What is booked, in the order in which it was told.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BookedAll {
    pub usage: Vec<Booked>,
}

/// A usage was told wrongly.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Void {
    /// Chosen by the caller.
    #[schemars(length(min = 1, max = 255))]
    pub key: String,
    /// Why, in words.
    pub reason: String,
}

/// A usage is undone.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Voided {
    /// The usage that undoes it.
    pub usage: Uuid,
}

impl Used {
    fn report(self) -> Result<Report, Problem> {
        let Self { dimensions: about, run, amounts, latency_ms, used_at } = self;
        let mut call = super::shapes::call(in_run(about, run)?, amounts)?;
        call.quantities.extend(latency_ms.map(latency).transpose()?);
        Ok(Report { call, used_at: used_at.map(|Time(at)| at) })
    }
}

/// `POST /v1/usage`: JSON, or `CloudEvents`. Each event is booked by itself, under its own source and
/// identifier.
pub async fn record<S: Stores>(
    asked: Asked<S, Nothing, Told>,
) -> Result<Answer<BookedAll>, Problem> {
    let tenant = asked.tenant()?.clone();
    let batches = match asked.body {
        Told::Plain(Record { key, usage }) => vec![(key, usage)],
        Told::Events(events) => events.into_iter().map(|(key, used)| (key, vec![used])).collect(),
    };
    let told: usize = batches.iter().map(|(_, usage)| usage.len()).sum();
    if !(1..=REPORTS_MAX).contains(&told) {
        let words = format!("{told} usages: tell 1 to {REPORTS_MAX} at a time");
        return Err(Problem::invalid(words));
    }
    let operations = batches.into_iter().map(|(key, usage)| {
        let reports = usage.into_iter().map(Used::report).collect::<Result<_, _>>()?;
        Ok((key, Operation::Record { reports }))
    });
    // What cannot be read at all is found before anything is booked.
    let operations = operations.collect::<Result<Vec<_>, Problem>>()?;
    let ask = |(key, operation)| asked.service.host.ask(&tenant, Some(key), operation);
    let (mut usage, mut refused) = (Vec::with_capacity(told), Vec::new());
    let outcomes = futures_util::future::join_all(operations.into_iter().map(ask)).await;
    let several = outcomes.len();
    for (place, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(Outcome::Recorded(recorded)) => usage.extend(recorded.into_iter().map(Booked::from)),
            Ok(_) => refused.push((place, Problem::unavailable("the host is going down"))),
            Err(error) => refused.push((place, error.into())),
        }
    }
    match (refused.len(), several) {
        (0, _) => Ok(BookedAll { usage }.into()),
        (_, 1) => Err(refused.swap_remove(0).1),
        _ => Err(Problem::of_some(refused, several)),
    }
}

/// `POST /v1/usage/{id}/void`
pub async fn void<S: Stores>(asked: Asked<S, OfId, Json<Void>>) -> Result<Answer<Voided>, Problem> {
    let tenant = asked.tenant()?.clone();
    let Json(Void { key, reason }) = asked.body;
    let operation = Operation::Void { usage: asked.parameters.id, reason };
    match asked.service.host.ask(&tenant, Some(key), operation).await? {
        Outcome::Voided { usage } => Ok(Voided { usage }.into()),
        _ => Err(Problem::unavailable("the host is going down")),
    }
}
