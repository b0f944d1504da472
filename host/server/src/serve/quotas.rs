//! How near limits are, limits that are set for somebody, and what tasks need.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tollgate_host::engine::{Limit, LimitKey, Subject, Tariff, directory};
use tollgate_host::store::Owner;
use tollgate_policy_core::window::Window;
use tollgate_policy_core::{Decimal, Meter};

use super::answers::{CheckedBody, DenialBody, Quota, StatusName};
use super::calls::TaskBody;
use super::problem::{Problem, invalid};
use super::route::{Answer, Asked, Json, Nothing};
use super::shapes::{
    Amounts, DecimalText, Dimensions, MeterName, Time, WindowText, call, dimensions, dimensions_of,
};
use crate::acts::Act;
use crate::stores::Stores;

/// Whose quotas: values of dimensions, `user`, `agent` and any others.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Whose {
    /// Any dimension by its name.
    #[serde(flatten)]
    pub dimensions: Dimensions,
}

/// The same, of one meter.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct OfMeter {
    #[schemars(with = "MeterName")]
    pub meter: String,
    /// Any dimension by its name.
    #[serde(flatten)]
    pub dimensions: Dimensions,
}

/// How near limits are.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Quotas {
    pub quotas: Vec<Quota>,
    /// As of when.
    pub at: Time,
}

/// A limit for somebody.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitBody {
    #[schemars(with = "MeterName")]
    pub meter: Meter,
    /// Over which time.
    #[schemars(with = "WindowText")]
    pub window: Window,
    /// Whom it limits; none: the tenant.
    #[serde(default)]
    pub dimensions: Dimensions,
    /// How much.
    #[schemars(with = "DecimalText")]
    pub limit: Decimal,
    /// From then on; none: at once.
    pub valid_from: Option<Time>,
    /// Until then; none: until it is lifted.
    pub valid_until: Option<Time>,
    /// Chosen by the caller: asked again with the same one, it is done once.
    #[schemars(length(min = 1, max = 255))]
    pub key: Option<String>,
}

/// Which limit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichLimit {
    #[schemars(with = "MeterName")]
    pub meter: Meter,
    /// Over which time.
    #[schemars(with = "WindowText")]
    pub window: Window,
    /// Whom it limits; none: the tenant.
    #[serde(default)]
    pub dimensions: Dimensions,
    /// Chosen by the caller: asked again with the same one, it is done once.
    #[schemars(length(min = 1, max = 255))]
    pub key: Option<String>,
}

/// A limit that stands.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Limit")]
pub struct SetLimit {
    #[schemars(with = "MeterName")]
    pub meter: Meter,
    #[schemars(with = "WindowText")]
    pub window: Window,
    /// Whom it limits; none: the tenant.
    pub dimensions: Dimensions,
    #[schemars(with = "DecimalText")]
    pub limit: Decimal,
    pub valid_from: Option<Time>,
    pub valid_until: Option<Time>,
    /// Who set it.
    pub set_by: String,
}

/// All limits that were set.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Limits {
    pub limits: Vec<SetLimit>,
}

/// A task of somebody's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskOf {
    /// In words.
    pub description: String,
    /// Whose.
    #[serde(default)]
    pub dimensions: Dimensions,
}

/// What a task needs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Estimated {
    pub estimate: Amounts,
}

/// Whether there is room for a task.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TaskChecked {
    /// Whether there is room for all that it needs.
    pub all_allowed: bool,
    /// Where it may not go ahead: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial: Option<DenialBody>,
    /// What it needs.
    pub estimate: Amounts,
    /// By meter: of its limits the one that is nearest.
    pub resources: BTreeMap<String, Resource>,
}

/// How near the nearest limit of a meter is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Resource {
    pub allowed: bool,
    pub status: StatusName,
    #[schemars(with = "Option<DecimalText>")]
    pub limit: Option<Decimal>,
    #[schemars(with = "DecimalText")]
    pub used: Decimal,
    #[schemars(with = "Option<DecimalText>")]
    pub remaining: Option<Decimal>,
    /// In words.
    pub message: String,
}

/// `GET /v1/quotas`
pub async fn list<S: Stores>(asked: Asked<S, Whose>) -> Result<Answer<Quotas>, Problem> {
    let call = call(asked.parameters.dimensions.clone(), Amounts::default())?;
    let checked = CheckedBody::of(asked.service.host.check(asked.tenant()?, call).await?)?;
    Ok(Quotas { quotas: checked.quotas, at: checked.at }.into())
}

/// `GET /v1/quotas/{meter}`
pub async fn of_meter<S: Stores>(asked: Asked<S, OfMeter>) -> Result<Answer<Quotas>, Problem> {
    let OfMeter { meter, dimensions } = &asked.parameters;
    let meter: Meter = meter.parse().map_err(invalid)?;
    let call = call(dimensions.clone(), Amounts::default())?;
    let checked = CheckedBody::of(asked.service.host.check(asked.tenant()?, call).await?)?;
    let of = |quota: &Quota| quota.meter.as_ref() == Some(&meter);
    let quotas: Vec<Quota> = checked.quotas.into_iter().filter(of).collect();
    if quotas.is_empty() {
        return Err(Problem::not_found(format!("nothing limits `{meter}` here")));
    }
    Ok(Quotas { quotas, at: checked.at }.into())
}

/// `GET /v1/limits`
pub async fn limits<S: Stores>(asked: Asked<S>) -> Result<Answer<Limits>, Problem> {
    let known = directory(&**asked.service.registry.store(), asked.tenant()?).await?;
    let limits = known.limits.iter().map(|(key, limit)| set_limit(key, limit)).collect();
    Ok(Limits { limits }.into())
}

/// `PUT /v1/limits`
pub async fn set<S: Stores>(
    asked: Asked<S, Nothing, Json<LimitBody>>,
) -> Result<Answer<SetLimit>, Problem> {
    let Json(LimitBody { meter, window, dimensions: whom, limit, valid_from, valid_until, key }) =
        &asked.body;
    let which = which(meter, *window, whom);
    let limit = Limit {
        limit: *limit,
        valid_from: valid_from.map(|Time(at)| at),
        valid_until: valid_until.map(|Time(at)| at),
        set_by: asked.caller.author(),
        is_platforms: false,
    };
    change(&asked, &which, Some(limit.clone()), key.as_ref()).await?;
    Ok(set_limit(&which, &limit).into())
}

/// `DELETE /v1/limits`
pub async fn lift<S: Stores>(asked: Asked<S, Nothing, Json<WhichLimit>>) -> Result<(), Problem> {
    let Json(WhichLimit { meter, window, dimensions: whom, key }) = &asked.body;
    change(&asked, &which(meter, *window, whom), None, key.as_ref()).await
}

async fn change<S: Stores, B>(
    asked: &Asked<S, Nothing, B>,
    which: &LimitKey,
    limit: Option<Limit>,
    key: Option<&String>,
) -> Result<(), Problem> {
    let tenant = asked.tenant()?;
    let known = directory(&**asked.service.registry.store(), tenant).await?;
    let before = known.limits.get(which);
    // With a key it may be done already.
    if limit.is_none() && before.is_none() && key.is_none() {
        return Err(Problem::not_found("no such limit was set"));
    }
    let shown = |limit: Option<&Limit>| limit.map_or(Value::Null, |limit| json!(limit));
    let act = Act {
        owner: Owner::Tenant(tenant.clone()),
        act: if limit.is_some() { "limit.set" } else { "limit.lift" },
        subject: serde_json::to_string(which).unwrap_or_default(),
        before: shown(before),
        after: shown(limit.as_ref()),
    };
    asked.set(act, Subject::Limit(which.clone(), limit), key).await
}

fn which(meter: &Meter, window: Window, whom: &Dimensions) -> LimitKey {
    LimitKey { meter: meter.clone(), window, dimensions: dimensions(whom.clone()) }.sorted()
}

fn set_limit(key: &LimitKey, limit: &Limit) -> SetLimit {
    SetLimit {
        meter: key.meter.clone(),
        window: key.window,
        dimensions: dimensions_of(&key.dimensions),
        limit: limit.limit,
        valid_from: limit.valid_from.map(Time),
        valid_until: limit.valid_until.map(Time),
        set_by: limit.set_by.clone(),
    }
}

/// `POST /v1/tasks/estimate`
pub async fn estimate<S: Stores>(
    asked: Asked<S, Nothing, Json<TaskOf>>,
) -> Result<Answer<Estimated>, Problem> {
    let tenant = asked.tenant()?.clone();
    let Json(TaskOf { description, dimensions }) = asked.body;
    let estimate = asked.service.estimate(&tenant, &dimensions, &TaskBody { description }).await?;
    Ok(Estimated { estimate }.into())
}

/// `POST /v1/tasks/check`
pub async fn check_task<S: Stores>(
    asked: Asked<S, Nothing, Json<TaskOf>>,
) -> Result<Answer<TaskChecked>, Problem> {
    let tenant = asked.tenant()?.clone();
    let Json(TaskOf { description, dimensions: whose }) = asked.body;
    let estimate = asked.service.estimate(&tenant, &whose, &TaskBody { description }).await?;
    let call = call(whose, estimate.clone().with_classes()?)?;
    let checked = CheckedBody::of(asked.service.host.check(&tenant, call).await?)?;
    let mut resources: BTreeMap<String, Resource> = BTreeMap::new();
    for quota in checked.quotas {
        let Quota { meter: Some(meter), allowed, status, limit, used, remaining, message, .. } =
            quota
        else {
            continue;
        };
        // What a task costs follows from what it needs.
        let is_money = Tariff::ALL.iter().any(|tariff| tariff.has(meter.as_str()));
        if !(estimate.names(&meter) || is_money) {
            continue;
        }
        let resource = Resource { allowed, status, limit, used, remaining, message };
        match resources.get(meter.as_str()) {
            Some(other) if other.nearness() >= resource.nearness() => {}
            _ => {
                resources.insert(meter.to_string(), resource);
            }
        }
    }
    let all_allowed = checked.denial.is_none();
    Ok(TaskChecked { all_allowed, denial: checked.denial, estimate, resources }.into())
}

impl Resource {
    /// What it is that a task fails at first.
    fn nearness(&self) -> (bool, StatusName) {
        (!self.allowed, self.status)
    }
}
