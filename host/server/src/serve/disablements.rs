//! What may not go on: an agent, a user, a session, …, until a time or until it is enabled again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tollgate_host::engine::{Subject, directory};
use tollgate_host::store::Owner;
use tollgate_policy_core::contract::Dimension;

use super::problem::Problem;
use super::route::{Answer, Asked, Json, Nothing};
use super::shapes::Time;
use crate::acts::Act;
use crate::stores::Stores;

/// Something may not go on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disable {
    /// `agent`, `user`, `session`, …
    pub dimension: String,
    /// Which one.
    pub value: String,
    /// In words: whoever is denied is told.
    pub reason: String,
    /// Until then; none: until it is enabled again.
    pub until: Option<Time>,
    /// Chosen by the caller: asked again with the same one, it is done once.
    #[schemars(length(min = 1, max = 255))]
    pub key: Option<String>,
}

/// Which may go on again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enable {
    /// `agent`, `user`, `session`, …
    pub dimension: String,
    /// Which one.
    pub value: String,
    /// Chosen by the caller: asked again with the same one, it is done once.
    #[schemars(length(min = 1, max = 255))]
    pub key: Option<String>,
}

/// What may not go on, and why.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Disablement {
    pub dimension: String,
    pub value: String,
    pub reason: String,
    /// None: until it is enabled again.
    pub until: Option<Time>,
    /// Who did it: a person, a policy of the platform's, or one of the tenant's.
    pub by: Value,
}

/// All that may not go on just now.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Disablements {
    pub disabled: Vec<Disablement>,
}

/// `GET /v1/disablements`
pub async fn list<S: Stores>(asked: Asked<S>) -> Result<Answer<Disablements>, Problem> {
    let known = directory(&**asked.service.registry.store(), asked.tenant()?).await?;
    let disabled = known.disabled.into_iter().map(|(dimension, own)| Disablement {
        dimension: dimension.name,
        value: dimension.value,
        reason: own.reason,
        until: own.until.map(Time),
        by: json!(own.by),
    });
    Ok(Disablements { disabled: disabled.collect() }.into())
}

/// `POST /v1/disablements`
pub async fn disable<S: Stores>(asked: Asked<S, Nothing, Json<Disable>>) -> Result<(), Problem> {
    let Json(Disable { dimension, value, reason, until, key }) = &asked.body;
    let dimension = Dimension { name: dimension.clone(), value: value.clone() };
    let disabled = Some((reason.clone(), until.map(|Time(at)| at)));
    set(&asked, dimension, disabled, key.as_ref()).await
}

/// `DELETE /v1/disablements`
pub async fn enable<S: Stores>(asked: Asked<S, Nothing, Json<Enable>>) -> Result<(), Problem> {
    let Json(Enable { dimension, value, key }) = &asked.body;
    let dimension = Dimension { name: dimension.clone(), value: value.clone() };
    set(&asked, dimension, None, key.as_ref()).await
}

async fn set<S: Stores, B>(
    asked: &Asked<S, Nothing, B>,
    dimension: Dimension,
    disabled: Option<(String, Option<i64>)>,
    key: Option<&String>,
) -> Result<(), Problem> {
    let tenant = asked.tenant()?;
    let known = directory(&**asked.service.registry.store(), tenant).await?;
    let before = known.disabled.iter().find(|(own, _)| *own == dimension).map(|(_, own)| own);
    // With a key it may be done already.
    if disabled.is_none() && before.is_none() && key.is_none() {
        return Err(Problem::not_found("this is not disabled"));
    }
    let after =
        disabled.as_ref().map(|(reason, until)| json!({ "reason": reason, "until": until }));
    let act = Act {
        owner: Owner::Tenant(tenant.clone()),
        act: if disabled.is_some() { "dimension.disable" } else { "dimension.enable" },
        subject: format!("{}={}", dimension.name, dimension.value),
        before: before.map_or(Value::Null, |own| json!(own)),
        after: after.unwrap_or_default(),
    };
    asked.set(act, Subject::Disabled(dimension, disabled), key).await
}
