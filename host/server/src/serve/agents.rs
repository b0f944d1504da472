//! Agents: their settings, whether they may go on, and what they cost.

use std::collections::BTreeMap;

use chrono::{Datelike, NaiveDate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tollgate_host::engine::{
    AgentText, Call, Standing, Subject, Tariff, Used, directory, metrics, usages,
};
use tollgate_host::store::{Owner, Place, Scope, Tenant};
use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::contract::{Dimension, Quantity, Status, dimension};
use tollgate_policy_core::messages::{self, Language};
use tollgate_policy_core::meter::{LLM_REQUESTS, LLM_TOKENS};
use tollgate_policy_core::window::{Instant, Window};
use tollgate_policy_core::{Currency, Decimal};

use super::Service;
use super::problem::{Problem, invalid};
use super::route::{Answer, Asked, Json};
use super::shapes::{DecimalText, MoneyBody, Time};
use crate::acts::Act;
use crate::stores::Stores;

/// So many usages are read at a time.
const PAGE: u32 = 1_000;

/// An agent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentBody {
    /// As people call it; none: by its identifier.
    #[schemars(length(max = 1_024))]
    pub name: Option<String>,
    /// What policies read of it; what none reads is left alone.
    #[serde(default)]
    pub settings: serde_json::Map<String, Value>,
    /// Whether it may run at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Chosen by the caller: asked again with the same one, it is done once.
    #[schemars(length(min = 1, max = 255))]
    pub key: Option<String>,
}

fn yes() -> bool {
    true
}

/// An agent that is known.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Agent")]
pub struct KnownAgent {
    pub id: String,
    /// As people call it.
    pub name: String,
    pub settings: Value,
    /// Whether it may run at all.
    pub enabled: bool,
    /// Why it may not go on just now, whatever its settings say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
}

/// Why something may not go on.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Disabled {
    pub reason: String,
    /// When that ends by itself; none: when it is enabled again.
    pub until: Option<Time>,
}

/// An agent by its name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfAgent {
    pub id: String,
}

/// Whether an agent may process a message.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CanProcess {
    pub allowed: bool,
    /// Why not, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which month.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OfMonth {
    pub id: String,
    /// `2026-03`; none: this one.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}$"))]
    pub month: Option<String>,
}

/// What an agent cost, by currency.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AgentCost {
    pub agent: String,
    /// `2026-03`; none: of all time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    pub costs: Vec<MoneyBody>,
}

/// Of which time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Between {
    pub id: String,
    /// From then on.
    pub from: Time,
    /// Until then; none: until now.
    pub to: Option<Time>,
    /// Of which currency the costs are; USD unless said otherwise.
    #[schemars(regex(pattern = r"^[A-Za-z]{3}$"))]
    pub currency: Option<String>,
}

/// What an agent's conversations came to; a conversation is a session.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Stats {
    pub total_conversations: u64,
    #[schemars(with = "DecimalText")]
    pub total_cost: Decimal,
    #[schemars(with = "DecimalText")]
    pub avg_cost_per_conversation: Decimal,
    #[schemars(with = "DecimalText")]
    pub total_tokens: Decimal,
    #[schemars(with = "DecimalText")]
    pub avg_tokens_per_conversation: Decimal,
    #[schemars(with = "DecimalText")]
    pub min_cost: Decimal,
    #[schemars(with = "DecimalText")]
    pub max_cost: Decimal,
}

/// So many digits after the point has an average.
const AVERAGE_DECIMALS: u32 = 9;

/// `PUT /v1/agents/{id}`
pub async fn put<S: Stores>(
    asked: Asked<S, OfAgent, Json<AgentBody>>,
) -> Result<Answer<KnownAgent>, Problem> {
    let (tenant, name) = (asked.tenant()?, &asked.parameters.id);
    let Json(AgentBody { name: called, settings, enabled, key }) = &asked.body;
    let known = directory(&**asked.service.registry.store(), tenant).await?;
    let act = Act {
        owner: Owner::Tenant(tenant.clone()),
        act: "agent.set",
        subject: name.clone(),
        before: known.agents.get(name).map_or(Value::Null, |agent| json!(agent)),
        after: json!({ "name": called, "settings": settings, "enabled": enabled }),
    };
    let settings = Value::Object(settings.clone()).to_string();
    let agent = AgentText { name: called.clone(), settings, enabled: *enabled };
    let subject = Subject::Agent(name.clone(), Some(agent));
    asked.set(act, subject, key.as_ref()).await?;
    Ok(asked.service.agent(tenant, name).await?.into())
}

/// `GET /v1/agents/{id}`
pub async fn get<S: Stores>(asked: Asked<S, OfAgent>) -> Result<Answer<KnownAgent>, Problem> {
    let agent = asked.service.agent(asked.tenant()?, &asked.parameters.id).await?;
    Ok(agent.into())
}

/// `GET /v1/agents/{id}/can-process`: whether there is room for one message more.
pub async fn can_process<S: Stores>(
    asked: Asked<S, OfAgent>,
) -> Result<Answer<CanProcess>, Problem> {
    let call = Call::of([("agent", asked.parameters.id.as_str())]);
    let tenant = asked.tenant()?;
    let checked = asked.service.host.check(tenant, call).await?;
    let language = asked.service.language(tenant);
    let full = checked.standings.iter().find_map(|standing| full(standing, language));
    let reason = checked.denial.map(|denial| denial.message).or(full);
    Ok(CanProcess { allowed: reason.is_none(), reason }.into())
}

/// Why a limit leaves no room for a message. What that will take and cost is not known yet, but it is
/// one message, and not free.
fn full(standing: &Standing, language: Language) -> Option<String> {
    let (meter, limit, left) =
        (standing.meter.as_ref()?.as_str(), standing.limit?, standing.remaining?);
    let of_tokens = meter == LLM_TOKENS || meter.starts_with(TOKEN_CLASSES);
    let is_full = match meter {
        LLM_REQUESTS => left < Decimal::ONE,
        _ => (of_tokens || Tariff::Cost.has(meter)) && left.is_zero(),
    };
    is_full.then(|| messages::quota(language, Status::Exceeded, meter, limit, left))
}

const TOKEN_CLASSES: &str = "llm_tokens.";

/// `GET /v1/agents/{id}/cost`
pub async fn cost<S: Stores>(asked: Asked<S, OfMonth>) -> Result<Answer<AgentCost>, Problem> {
    let (tenant, OfMonth { id, month }) = (asked.tenant()?, &asked.parameters);
    let calendar = asked.service.calendar(tenant).await?;
    let now = asked.service.registry.store().now().await?;
    let at = match month {
        Some(month) => within(month)?,
        None => now,
    };
    let window = Window::from_period_name("month").map_err(invalid)?;
    let span = calendar.span(&window, at).map_err(invalid)?;
    let local = calendar.local(at).map_err(invalid)?.date;
    let closes = span.closes.unwrap_or(Instant::MAX);
    let costs = asked.service.costs(tenant, id, span.opened..closes).await?;
    let month = Some(format!("{:04}-{:02}", local.year(), local.month()));
    Ok(AgentCost { agent: id.clone(), month, costs }.into())
}

/// `GET /v1/agents/{id}/cost/total`
pub async fn total_cost<S: Stores>(asked: Asked<S, OfAgent>) -> Result<Answer<AgentCost>, Problem> {
    let (tenant, id) = (asked.tenant()?, &asked.parameters.id);
    let costs = asked.service.costs(tenant, id, 0..Instant::MAX).await?;
    Ok(AgentCost { agent: id.clone(), month: None, costs }.into())
}

/// The middle of a month, which lies in it in every time zone.
fn within(month: &str) -> Result<Instant, Problem> {
    let day = NaiveDate::parse_from_str(&format!("{month}-15"), "%Y-%m-%d");
    let day = day.map_err(|_| Problem::invalid("`month` is not a month: write `2026-03`"))?;
    Ok(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis())
}

/// `GET /v1/agents/{id}/stats`
pub async fn stats<S: Stores>(asked: Asked<S, Between>) -> Result<Answer<Stats>, Problem> {
    let (tenant, Between { id, from, to, currency }) = (asked.tenant()?, &asked.parameters);
    let currency: Currency = currency.as_deref().unwrap_or("USD").parse().map_err(invalid)?;
    let used = from.0..to.map_or(Instant::MAX, |Time(to)| to);
    // What was used at some time is booked then or later.
    let mut after = Place::before(from.0);
    let mut sessions: BTreeMap<String, (Decimal, Decimal)> = BTreeMap::new();
    // What is booked from now on is left to another time.
    let now = asked.service.registry.store().now().await?;
    while after.at <= now {
        let page = usages(&**asked.service.registry.store(), tenant, after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        for (_, own) in page {
            let Some(own) = own else { continue };
            if used.contains(&own.used_at) && dimension(&own.dimensions, "agent") == id {
                add(&mut sessions, &own, currency)?;
            }
        }
    }
    Ok(Stats::of(&sessions)?.into())
}

fn add(
    sessions: &mut BTreeMap<String, (Decimal, Decimal)>,
    used: &Used,
    currency: Currency,
) -> Result<(), Problem> {
    let session = dimension(&used.dimensions, "session").to_owned();
    let (cost, tokens) = sessions.entry(session).or_default();
    let meter = Tariff::Cost.meter(currency);
    for Quantity { meter: own, amount } in &used.amounts {
        if own.as_str() == meter {
            *cost = cost.checked_add(*amount).map_err(invalid)?;
        } else if own.as_str() == LLM_TOKENS {
            *tokens = tokens.checked_add(*amount).map_err(invalid)?;
        }
    }
    Ok(())
}

impl Stats {
    /// A session of which everything was undone was none.
    fn of(sessions: &BTreeMap<String, (Decimal, Decimal)>) -> Result<Self, Problem> {
        let is_one = |own: &&(Decimal, Decimal)| !(own.0.is_zero() && own.1.is_zero());
        let sessions: Vec<&(Decimal, Decimal)> = sessions.values().filter(is_one).collect();
        let mut stats = Self::default();
        for (cost, tokens) in &sessions {
            stats.total_cost = stats.total_cost.checked_add(*cost).map_err(invalid)?;
            stats.total_tokens = stats.total_tokens.checked_add(*tokens).map_err(invalid)?;
        }
        let costs = || sessions.iter().map(|(cost, _)| *cost);
        stats.min_cost = costs().min().unwrap_or_default();
        stats.max_cost = costs().max().unwrap_or_default();
        let count = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
        stats.total_conversations = count.into();
        if count > 0 {
            let average =
                |sum| Decimal::mul_div(&[sum], count.into(), AVERAGE_DECIMALS).map_err(invalid);
            stats.avg_cost_per_conversation = average(stats.total_cost)?;
            stats.avg_tokens_per_conversation = average(stats.total_tokens)?;
        }
        Ok(stats)
    }
}

impl<S: Stores> Service<S> {
    /// By whose days and months a tenant lives.
    pub async fn calendar(&self, tenant: &Tenant) -> Result<TenantCalendar, Problem> {
        let scope = Scope { owner: Owner::Tenant(tenant.clone()), plan: String::new() };
        let (_, bindings) = self.registry.bound(&scope).await?;
        let settings = bindings.tenant;
        let first_day_of_week = settings.first_day_of_week;
        Ok(TenantCalendar { zone: settings.time_zone.unwrap_or_default(), first_day_of_week })
    }

    async fn agent(&self, tenant: &Tenant, id: &str) -> Result<KnownAgent, Problem> {
        let known = directory(&**self.registry.store(), tenant).await?;
        let agent = known.agents.get(id);
        let agent = agent.ok_or_else(|| Problem::not_found(format!("there is no agent `{id}`")))?;
        let is_it = |own: &&(Dimension, _)| own.0.name == "agent" && own.0.value == id;
        let disabled = known
            .disabled
            .iter()
            .find(is_it)
            .map(|(_, own)| Disabled { reason: own.reason.clone(), until: own.until.map(Time) });
        let (settings, enabled) = (agent.settings.clone(), agent.enabled);
        let name = agent.name.clone().unwrap_or_else(|| id.to_owned());
        Ok(KnownAgent { id: id.to_owned(), name, settings, enabled, disabled })
    }

    /// What an agent cost in a stretch of time, by currency.
    async fn costs(
        &self,
        tenant: &Tenant,
        agent: &str,
        used: std::ops::Range<Instant>,
    ) -> Result<Vec<MoneyBody>, Problem> {
        let sums = metrics(&**self.registry.store(), tenant, "agent", &[agent], used).await?;
        let cost = |(meter, amount): (tollgate_policy_core::Meter, Decimal)| {
            let currency = Tariff::Cost.currency(meter.as_str())?;
            Some(MoneyBody { amount, currency: currency.to_string() })
        };
        Ok(sums.into_iter().filter_map(cost).collect())
    }
}
