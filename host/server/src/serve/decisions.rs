//! Decisions that were taken, with all that they were taken by.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tollgate_host::engine::{Asked as AskedFor, DecisionRecord, Setup};
use tollgate_host::sandbox::Fault;
use uuid::Uuid;

use super::answers::{Decision, DenialBody};
use super::calls::OfId;
use super::problem::Problem;
use super::route::{Answer, Asked};
use super::shapes::{Amounts, Dimensions, Time, dimensions_of};
use crate::stores::Stores;

/// A decision.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Taken {
    /// The reservation's, or the denial's own.
    pub id: Uuid,
    pub at: Time,
    pub decision: Decision,
    /// Where more was asked for a reservation: for which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extends: Option<Uuid>,
    pub dimensions: Dimensions,
    /// What was asked for, or what was granted of it.
    pub estimate: Amounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial: Option<DenialBody>,
    /// The policies that were asked, in order.
    pub policies: Vec<PolicySaid>,
}

/// What a policy was fed beside the call, and what it said.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PolicySaid {
    pub policy: String,
    /// `*/house@3`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The component's, SHA-256.
    pub digest: String,
    /// Whether its word counted.
    pub decides: bool,
    /// What its counters stood at, and what else it was told.
    pub fed: Value,
    /// Its verdict, or its quote.
    pub said: Value,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// `GET /v1/decisions/{id}`
pub async fn get<S: Stores>(asked: Asked<S, OfId>) -> Result<Answer<Taken>, Problem> {
    let (tenant, id) = (asked.tenant()?, asked.parameters.id);
    let found = asked.service.registry.decision(tenant, id).await?;
    let (setup, decision) =
        found.ok_or_else(|| Problem::not_found(format!("there is no decision `{id}`")))?;
    Ok(Taken::of(&setup, decision).into())
}

impl Taken {
    pub fn of(setup: &Setup, decision: DecisionRecord) -> Self {
        let said = |place: usize, decides, fed, said, fault: Option<&Fault>| {
            let binding = setup.bindings.get(place);
            let digest = binding.map(|own| own.policy.admitted().digest.to_string());
            PolicySaid {
                policy: binding.map(|own| own.name.clone()).unwrap_or_default(),
                revision: binding.and_then(|own| own.revision.as_ref()).map(ToString::to_string),
                digest: digest.unwrap_or_default(),
                decides,
                fed,
                said,
                fault: fault.map(ToString::to_string),
            }
        };
        let priced = decision.priced.iter().map(|own| {
            let quote = match &own.outcome {
                Ok(Ok(quote)) => json!(quote),
                Ok(Err(refusal)) => json!({ "refused": refusal }),
                Err(_) => Value::Null,
            };
            let fed = json!({ "facts": own.facts });
            said(own.binding, own.decides, fed, quote, own.outcome.as_ref().err())
        });
        let judged = decision.judged.iter().map(|own| {
            let fed = json!({ "readings": own.readings, "facts": own.facts });
            let verdict = own.outcome.as_ref().map_or(Value::Null, |verdict| json!(verdict));
            said(own.binding, own.decides, fed, verdict, own.outcome.as_ref().err())
        });
        let policies = priced.chain(judged).collect();
        let denied = decision.denial.is_some();
        Self {
            id: decision.id,
            at: Time(decision.at),
            decision: if denied { Decision::Deny } else { Decision::Allow },
            extends: match decision.asked {
                AskedFor::Reserve => None,
                AskedFor::Extend(id) => Some(id),
            },
            dimensions: dimensions_of(&decision.call.dimensions),
            estimate: decision.call.quantities.into_iter().collect(),
            denial: decision.denial.map(Into::into),
            policies,
        }
    }
}
