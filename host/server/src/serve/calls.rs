//! Before a call, and after it.

use schemars::JsonSchema;
use serde::Deserialize;
use tollgate_host::engine::{HostError, LATENCY_MS, Mode, Operation, Outcome};
use tollgate_host::store::{Tenant, instant_of};
use tollgate_policy_core::contract::{Quantity, Task};
use tollgate_policy_core::messages::Language;
use uuid::Uuid;

use super::Service;
use super::answers::{Balance, Booked, CheckedBody, Decided, decided};
use super::problem::Problem;
use super::route::{Answer, Asked, Json, Nothing};
use super::shapes::{Amounts, Dimensions, Time, call, dimensions};
use crate::stores::Stores;

/// How long a call is held, where nobody says.
const TTL_SECONDS: u32 = 300;

/// May this call go ahead?
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    /// Chosen by the caller: asked again with the same one, the answer is the same.
    #[schemars(length(min = 1, max = 255))]
    pub key: String,
    /// Who and what it is about: `user`, `agent`, `session`, `model`, `provider`, …
    #[serde(default)]
    pub dimensions: Dimensions,
    /// The run that it belongs to.
    pub run: Option<Uuid>,
    /// What it will need, by meter.
    pub estimate: Option<Amounts>,
    /// What it is to do, in words, in place of an estimate.
    pub task: Option<TaskBody>,
    /// All of it, or what can be had.
    #[serde(default)]
    pub mode: ModeName,
    /// For how long it is held; 300 unless said otherwise.
    #[schemars(range(min = 1, max = 2_678_400))]
    pub ttl_seconds: Option<u32>,
}

/// A task in words, for a policy that can tell what it needs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Task")]
pub struct TaskBody {
    pub description: String,
}

/// How much of a call must be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Mode")]
pub enum ModeName {
    /// All of it, or nothing.
    #[default]
    All,
    /// What can be had.
    BestEffort,
}

impl From<ModeName> for Mode {
    fn from(mode: ModeName) -> Self {
        match mode {
            ModeName::All => Self::All,
            ModeName::BestEffort => Self::BestEffort,
        }
    }
}

/// What a reserved call used.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// Chosen by the caller: told again with the same one, it is booked once.
    #[schemars(length(min = 1, max = 255))]
    pub key: String,
    /// By meter.
    pub usage: Amounts,
    /// How long the call took.
    pub latency_ms: Option<u32>,
    /// When it was over: told instead of how long it took, it took from its reservation until then.
    pub finished_at: Option<Time>,
}

/// A reserved call does not take place.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Chosen by the caller.
    #[schemars(length(min = 1, max = 255))]
    pub key: String,
}

/// A call under way needs more, or longer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// Chosen by the caller.
    #[schemars(length(min = 1, max = 255))]
    pub key: String,
    /// How much more, by meter.
    #[serde(default)]
    pub estimate: Amounts,
    /// From now on; 300 unless said otherwise.
    #[schemars(range(min = 1, max = 2_678_400))]
    pub ttl_seconds: Option<u32>,
}

/// What would become of a call?
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Who and what it is about.
    #[serde(default)]
    pub dimensions: Dimensions,
    /// The run that it belongs to.
    pub run: Option<Uuid>,
    /// What it will need, by meter.
    #[serde(default)]
    pub estimate: Amounts,
}

/// One thing of a kind, by its identifier.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfId {
    pub id: Uuid,
}

/// `POST /v1/reservations`
pub async fn reserve<S: Stores>(
    asked: Asked<S, Nothing, Json<Reserve>>,
) -> Result<Answer<Decided>, Problem> {
    let tenant = asked.tenant()?.clone();
    let Json(Reserve { key, dimensions: whose, run, estimate, task, mode, ttl_seconds }) =
        asked.body;
    let about = in_run(whose, run)?;
    let (ttl_ms, mode) = (ttl_ms(ttl_seconds), mode.into());
    let host = &asked.service.host;
    let outcome = match (estimate, task) {
        (Some(_), Some(_)) => {
            let words = "an `estimate` and a `task` say the same: send one of them";
            return Err(Problem::invalid(words));
        }
        (estimate, None) => {
            let call = call(about, estimate.unwrap_or_default())?;
            host.ask(&tenant, Some(key), Operation::Reserve { call, ttl_ms, mode }).await?
        }
        (None, Some(task)) => {
            // Another revision may tell that it needs something else.
            let request = ("task", &task.description, dimensions(about.clone()), ttl_ms, mode);
            let amounts = asked.service.estimate(&tenant, &about, &task).await;
            let amounts = amounts.and_then(Amounts::with_classes);
            let estimated = amounts.and_then(|amounts| call(about, amounts));
            let reserve = |call| Operation::Reserve { call, ttl_ms, mode };
            match estimated {
                Ok(call) => host.ask_for(&tenant, key, &request, reserve(call)).await?,
                Err(problem) => {
                    // It may have been answered while somebody could tell what it needs.
                    let (nothing, why) =
                        (call(Dimensions::default(), Amounts::default())?, HostError::NoEstimate);
                    let outcome =
                        host.refuse_for(&tenant, key, &request, reserve(nothing), why).await;
                    outcome.map_err(|error| match error {
                        HostError::NoEstimate => problem,
                        error => error.into(),
                    })?
                }
            }
        }
    };
    asked.service.metrics.decided(!matches!(outcome, Outcome::Denied(_)));
    asked.service.told(outcome, &tenant)
}

/// Says in the request's trace which decision it is about.
fn trace(tenant: &Tenant, decision: Uuid) {
    let span = tracing::Span::current();
    span.record("tollgate.tenant", tenant.as_str());
    span.record("tollgate.decision", tracing::field::display(decision));
}

/// `POST /v1/reservations/{id}/settle`
pub async fn settle<S: Stores>(
    asked: Asked<S, OfId, Json<Settle>>,
) -> Result<Answer<Booked>, Problem> {
    let tenant = asked.tenant()?.clone();
    let (id, Json(Settle { key, usage, latency_ms, finished_at })) =
        (asked.parameters.id, asked.body);
    trace(&tenant, id);
    let took = finished_at.map(|Time(at)| at.saturating_sub(instant_of(id)));
    // What was used is booked whatever the caller's clock says.
    let latency_ms = latency_ms.or(took.and_then(|ms| u32::try_from(ms.max(0)).ok()));
    let mut used = usage.into_quantities()?;
    used.extend(latency_ms.map(latency).transpose()?);
    let operation = Operation::Settle { id, used };
    match asked.service.host.ask(&tenant, Some(key), operation).await? {
        Outcome::Settled(recorded) => Ok(Booked::from(recorded).into()),
        _ => Err(Problem::unavailable("the host is going down")),
    }
}

/// How long a call took, as a meter.
pub fn latency(ms: u32) -> Result<Quantity, Problem> {
    let meter = LATENCY_MS.parse().map_err(|_| Problem::invalid("`latency_ms` is no meter"))?;
    Ok(Quantity { meter, amount: ms.into() })
}

/// `POST /v1/reservations/{id}/release`
pub async fn release<S: Stores>(asked: Asked<S, OfId, Json<Release>>) -> Result<(), Problem> {
    let tenant = asked.tenant()?.clone();
    let (id, Json(Release { key })) = (asked.parameters.id, asked.body);
    trace(&tenant, id);
    Ok(asked.service.host.release(&tenant, Some(&key), id).await?)
}

/// `POST /v1/reservations/{id}/extend`
pub async fn extend<S: Stores>(
    asked: Asked<S, OfId, Json<Extend>>,
) -> Result<Answer<Decided>, Problem> {
    let tenant = asked.tenant()?.clone();
    let Json(Extend { key, estimate, ttl_seconds }) = asked.body;
    let (id, more) = (asked.parameters.id, estimate.into_quantities()?);
    let operation = Operation::Extend { id, more, ttl_ms: ttl_ms(ttl_seconds) };
    let outcome = asked.service.host.ask(&tenant, Some(key), operation).await?;
    asked.service.told(outcome, &tenant)
}

/// `POST /v1/check`
pub async fn check<S: Stores>(
    asked: Asked<S, Nothing, Json<Check>>,
) -> Result<Answer<CheckedBody>, Problem> {
    let tenant = asked.tenant()?.clone();
    let Json(Check { dimensions, run, estimate }) = asked.body;
    let call = call(in_run(dimensions, run)?, estimate)?;
    Ok(CheckedBody::of(asked.service.host.check(&tenant, call).await?)?.into())
}

/// `GET /v1/balance`
pub async fn balance<S: Stores>(asked: Asked<S>) -> Result<Answer<Balance>, Problem> {
    let accounts = asked.service.host.accounts(asked.tenant()?).await?;
    Ok(Balance { accounts: accounts.into_iter().map(Into::into).collect() }.into())
}

/// Calls that belong to a run name it as their dimension `run`.
pub fn in_run(mut about: Dimensions, run: Option<Uuid>) -> Result<Dimensions, Problem> {
    if let Some(run) = run
        && about.insert("run".into(), run.to_string()).is_some_and(|named| named != run.to_string())
    {
        return Err(Problem::invalid("`run` and the dimension `run` name two runs"));
    }
    Ok(about)
}

/// How long something is held, in ms.
pub fn ttl_ms(seconds: Option<u32>) -> i64 {
    i64::from(seconds.unwrap_or(TTL_SECONDS)).saturating_mul(1_000)
}

impl<S: Stores> Service<S> {
    /// What was decided, in the tenant's language. It is said in the request's trace as well.
    pub fn told(&self, outcome: Outcome, tenant: &Tenant) -> Result<Answer<Decided>, Problem> {
        let answer = decided(outcome, (self.clock)(), self.language(tenant))?;
        trace(tenant, answer.body.decision_id);
        Ok(answer)
    }

    /// In which a tenant is told what the host itself says.
    pub fn language(&self, tenant: &Tenant) -> Language {
        self.host.setup(tenant).map_or(Language::English, |setup| setup.language)
    }

    /// What a task needs, by the first policy that can tell.
    pub async fn estimate(
        &self,
        tenant: &Tenant,
        about: &Dimensions,
        task: &TaskBody,
    ) -> Result<Amounts, Problem> {
        let (description, dimensions) = (task.description.clone(), dimensions(about.clone()));
        let task = Task { description, dimensions, facts: Vec::new() };
        match self.host.estimate(tenant, task).await? {
            Ok(amounts) => Ok(amounts.into_iter().collect()),
            Err(words) => Err(Problem::invalid(words)),
        }
    }
}
