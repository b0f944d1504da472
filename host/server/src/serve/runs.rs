//! Runs: they hold their place among the active ones, and group calls.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_host::engine::{Operation, Run, RunState, metrics, runs};
use tollgate_host::store::{RunQuery, instant_of};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::answers::Decided;
use super::audit::page;
use super::calls::{OfId, Release, ttl_ms};
use super::problem::Problem;
use super::route::{Answer, Asked, Json, Nothing};
use super::shapes::{Amounts, Dimensions, Time, call, dimensions_of};
use crate::stores::Stores;

/// A run is to begin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Chosen by the caller: asked again with the same one, the answer is the same.
    #[schemars(length(min = 1, max = 255))]
    pub key: String,
    /// Whose it is, and what it is about.
    #[serde(default)]
    pub dimensions: Dimensions,
    /// What it needs as a run, by meter.
    #[serde(default)]
    pub estimate: Amounts,
    /// How long it lives without a sign of life; 300 unless said otherwise. Calls that name it are
    /// signs of life.
    #[schemars(range(min = 1, max = 2_678_400))]
    pub ttl_seconds: Option<u32>,
}

/// Which runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Whose; none: everybody's.
    pub user: Option<String>,
    /// That began then or later.
    pub from: Option<Time>,
    /// That began before then.
    pub to: Option<Time>,
    /// Only those after this one: what the page before named as its `next`.
    pub after: Option<Uuid>,
    /// So many at the most; 100 unless said otherwise.
    #[schemars(range(min = 1, max = 1_000))]
    pub limit: Option<u32>,
}

/// Whose runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfUser {
    /// Whose; none: everybody's.
    pub user: Option<String>,
    /// Only those after this one: what the page before named as its `next`.
    pub after: Option<Uuid>,
    /// So many at the most; 100 unless said otherwise.
    #[schemars(range(min = 1, max = 1_000))]
    pub limit: Option<u32>,
}

/// A run.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Run")]
pub struct RunBody {
    pub id: Uuid,
    pub dimensions: Dimensions,
    pub started_at: Time,
    /// None: it is under way.
    pub ended_at: Option<Time>,
}

/// A page of runs, in the order in which they began.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Runs {
    pub runs: Vec<RunBody>,
    /// How many these are.
    pub count: usize,
    /// After which one the next page begins; none: this is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Uuid>,
}

/// A page of runs that are under way.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ActiveRuns {
    #[serde(flatten)]
    pub page: Runs,
    /// How many there are on all pages.
    pub total: u64,
}

/// A run, and what its calls came to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunMetrics {
    #[serde(flatten)]
    pub run: RunBody,
    /// By meter, with what it cost among them; `calls` is how many there were.
    pub metrics: Amounts,
}

impl From<Run> for RunBody {
    fn from(run: Run) -> Self {
        let ended_at = match run.state {
            RunState::Active => None,
            RunState::Ended(at) => Some(Time(at)),
        };
        let dimensions = dimensions_of(&run.dimensions);
        Self { id: run.id, dimensions, started_at: Time(run.started_at), ended_at }
    }
}

/// `POST /v1/runs`
pub async fn start<S: Stores>(
    asked: Asked<S, Nothing, Json<Start>>,
) -> Result<Answer<Decided>, Problem> {
    let tenant = asked.tenant()?.clone();
    let Json(Start { key, dimensions, estimate, ttl_seconds }) = asked.body;
    let call = call(dimensions, estimate)?;
    let operation = Operation::Start { call, ttl_ms: ttl_ms(ttl_seconds) };
    let outcome = asked.service.host.ask(&tenant, Some(key), operation).await?;
    asked.service.told(outcome, &tenant)
}

/// `POST /v1/runs/{id}/finish`
pub async fn finish<S: Stores>(asked: Asked<S, OfId, Json<Release>>) -> Result<(), Problem> {
    let tenant = asked.tenant()?.clone();
    let Json(Release { key }) = asked.body;
    let operation = Operation::Finish { id: asked.parameters.id };
    asked.service.host.ask(&tenant, Some(key), operation).await?;
    Ok(())
}

/// `GET /v1/runs`
pub async fn list<S: Stores>(asked: Asked<S, Which>) -> Result<Answer<Runs>, Problem> {
    let Which { user, from, to, after, limit } = &asked.parameters;
    let query = RunQuery {
        user: user.clone(),
        began: from.map_or(0, |Time(at)| at)..to.map_or(Instant::MAX, |Time(at)| at),
        after: after.unwrap_or_default(),
        ..RunQuery::first(page(*limit)?)
    };
    Ok(listed(&asked, &query).await?.into())
}

/// `GET /v1/runs/active`
pub async fn active<S: Stores>(asked: Asked<S, OfUser>) -> Result<Answer<ActiveRuns>, Problem> {
    let OfUser { user, after, limit } = &asked.parameters;
    let query = RunQuery {
        user: user.clone(),
        is_active: true,
        after: after.unwrap_or_default(),
        ..RunQuery::first(page(*limit)?)
    };
    let page = listed(&asked, &query).await?;
    let store = asked.service.registry.store();
    let total = store.active_runs(asked.tenant()?, user.as_deref()).await?;
    Ok(ActiveRuns { page, total }.into())
}

async fn listed<S: Stores, P>(asked: &Asked<S, P>, query: &RunQuery) -> Result<Runs, Problem> {
    let store = asked.service.registry.store();
    let runs = runs(&**store, asked.tenant()?, query).await?;
    let is_full = u32::try_from(runs.len()).is_ok_and(|count| count >= query.limit);
    let next = runs.last().map(|run| run.id).filter(|_| is_full);
    let runs: Vec<RunBody> = runs.into_iter().map(RunBody::from).collect();
    Ok(Runs { count: runs.len(), runs, next })
}

/// `GET /v1/runs/{id}`
pub async fn get<S: Stores>(asked: Asked<S, OfId>) -> Result<Answer<RunMetrics>, Problem> {
    let (tenant, id) = (asked.tenant()?, asked.parameters.id);
    let store = &**asked.service.registry.store();
    // It began when its identifier was made.
    let began = instant_of(id);
    let after = Uuid::from_u128(id.as_u128().saturating_sub(1));
    let found = runs(store, tenant, &RunQuery { after, ..RunQuery::first(1) }).await?;
    let run = found.into_iter().find(|run| run.id == id);
    let run = run.ok_or_else(|| Problem::not_found(format!("there is no run `{id}`")))?;
    let grain = tollgate_host::engine::GRAINS_MS[1];
    let opened = began.div_euclid(grain).saturating_mul(grain);
    let name = id.to_string();
    let sums = metrics(store, tenant, "run", &[&name], opened..Instant::MAX).await?;
    Ok(RunMetrics { run: run.into(), metrics: sums.into_iter().collect() }.into())
}
