//! How policies fare: what was bound before, what candidates say, and which failed too often.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tollgate_host::engine::{self, quarantined};
use tollgate_host::registry::{Bindings, Evidence};
use tollgate_host::store::{BindingSetRow, Owner};

use super::audit::page;
use super::problem::Problem;
use super::route::{Answer, Asked, Json, Nothing};
use super::shapes::Time;
use crate::acts::Act;
use crate::components;
use crate::stores::Stores;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Whose, and how many.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichVersions {
    /// Of the platform, for tenants on this plan.
    pub plan: Option<String>,
    /// So many at the most; 100 unless said otherwise.
    #[schemars(range(min = 1, max = 1_000))]
    pub limit: Option<u32>,
}

/// What was bound as of a version.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Version {
    pub version: i64,
    pub at: Time,
    pub author: String,
    pub message: String,
    /// None: a later version of this server wrote it.
    #[schemars(with = "Option<Value>")]
    pub bound: Option<Bindings>,
}

/// What was bound, the last first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct History {
    pub versions: Vec<Version>,
}

/// Which candidates, and when.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhichCandidates {
    /// Of one policy.
    pub policy: Option<String>,
    /// Of what was decided then or later; on the last day unless said otherwise.
    pub from: Option<Time>,
    /// Of what was decided before then.
    pub to: Option<Time>,
}

/// What candidates said beside what is enforced.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShadowReport {
    /// Each with the calls on which it said the same and those on which it did not, with examples.
    #[schemars(with = "Vec<Value>")]
    pub candidates: Vec<Evidence>,
}

/// A policy that failed too often, and is asked no longer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct QuarantinedBody {
    pub policy: String,
    /// `*/house@3`
    pub revision: String,
    pub since: Time,
    /// How it failed last.
    pub reason: String,
}

/// All of them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Quarantine {
    pub quarantined: Vec<QuarantinedBody>,
}

/// Which is to be asked again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LetBack {
    pub policy: String,
}

/// `GET /v1/policies/history`
pub async fn history<S: Stores>(
    asked: Asked<S, WhichVersions>,
) -> Result<Answer<History>, Problem> {
    let WhichVersions { plan, limit } = &asked.parameters;
    let scope = asked.scope(plan.as_ref())?;
    let versions = asked.service.registry.history(&scope, page(*limit)?).await?;
    let body = |(row, bound): (BindingSetRow, Result<Bindings, _>)| Version {
        version: row.version,
        at: Time(row.signed.at),
        author: row.signed.author,
        message: row.signed.message,
        bound: bound.ok(),
    };
    Ok(History { versions: versions.into_iter().map(body).collect() }.into())
}

/// `GET /v1/policies/shadow-report`: of the tenant's calls, or of everybody's.
pub async fn shadow_report<S: Stores>(
    asked: Asked<S, WhichCandidates>,
) -> Result<Answer<ShadowReport>, Problem> {
    let WhichCandidates { policy, from, to } = &asked.parameters;
    let registry = &asked.service.registry;
    let tenants = match asked.owner()? {
        Owner::Tenant(tenant) => vec![tenant],
        Owner::Platform => registry.store().tenants().await?,
    };
    let a_day_ago = (asked.service.clock)() - DAY_MS;
    let period = from.map_or(a_day_ago, |Time(at)| at)..to.map_or(i64::MAX, |Time(at)| at);
    if period.is_empty() {
        return Err(Problem::invalid("`from` is not before `to`"));
    }
    components::know_standard(registry);
    let mut candidates = registry.evidence(&tenants, period, |_, _| {}).await?;
    let is_asked_for =
        |own: &Evidence| policy.as_ref().is_none_or(|name| *name == own.candidate.policy);
    candidates.retain(is_asked_for);
    Ok(ShadowReport { candidates }.into())
}

/// `GET /v1/policies/quarantined`
pub async fn quarantine<S: Stores>(asked: Asked<S>) -> Result<Answer<Quarantine>, Problem> {
    let all = quarantined(&**asked.service.registry.store(), asked.tenant()?).await?;
    let body = |(key, why): (engine::PolicyKey, engine::Quarantined)| QuarantinedBody {
        policy: key.policy,
        revision: key.revision,
        since: Time(why.at),
        reason: why.reason,
    };
    Ok(Quarantine { quarantined: all.into_iter().map(body).collect() }.into())
}

/// `POST /v1/policies/let-back`
pub async fn let_back<S: Stores>(asked: Asked<S, Nothing, Json<LetBack>>) -> Result<(), Problem> {
    let (tenant, store) = (asked.tenant()?, &**asked.service.registry.store());
    let Json(LetBack { policy }) = &asked.body;
    let all = quarantined(store, tenant).await?;
    let own: Vec<_> = all.into_iter().filter(|(key, _)| key.policy == *policy).collect();
    if own.is_empty() {
        return Err(Problem::not_found(format!("policy `{policy}` is in no quarantine")));
    }
    let revisions: BTreeSet<&str> = own.iter().map(|(key, _)| &*key.revision).collect();
    let act = Act {
        owner: Owner::Tenant(tenant.clone()),
        act: "policy.let_back",
        subject: policy.clone(),
        before: json!({ "quarantined": revisions }),
        after: Value::Null,
    };
    asked
        .act(act, async {
            for (key, _) in &own {
                engine::let_back(store, tenant, key, &asked.service.random).await?;
            }
            Ok(())
        })
        .await
}
