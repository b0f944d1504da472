//! The standard alerting policy: warns as limits come near, and stops agents above theirs.

use crate::contract::{
    Action, Counter, Disablement, Manifest, Notice, Observation, Read, Reading, Status, Value,
    dimension, fact,
};
use crate::decimal::Decimal;
use crate::limits::{CostLimits, Limit, LimitSettings, SettingsError, standing};
use crate::messages::{self, AgentCost};
use crate::quota::QUOTA_EXCEEDED;

/// An agent's cost comes near its monthly limit.
pub const THRESHOLD_WARNING: &str = "threshold_warning";
/// An agent's cost is above its monthly limit, or a call was denied by it.
pub const LIMIT_EXCEEDED: &str = "limit_exceeded";

/// The configured policy.
#[derive(Clone, Debug)]
pub struct AlertPolicy {
    settings: LimitSettings,
    /// The limits of the settings but for those on agents' cost, which have texts of their own.
    limits: Vec<Limit>,
    counters: Vec<Counter>,
    /// Index of the agents' monthly cost, behind those of the limits.
    agent_cost: u32,
}

impl AlertPolicy {
    /// Reads the settings (JSON), the same that the quota policy takes.
    pub fn configure(settings: &str) -> Result<Self, SettingsError> {
        let settings = LimitSettings::parse(settings)?;
        let cost_meter = settings.currency.cost_meter();
        let cost = Limit::new(&cost_meter, "month", &["agent"], Decimal::ZERO, Decimal::ONE)?;
        if let Some(cost_limits) = &settings.cost_limits {
            cost_limits.alert_fraction()?;
        }
        let of_agents = |limit: &Limit| {
            settings.cost_limits.is_some()
                && limit.meter == cost.meter
                && limit.window == cost.window
                && limit.per == cost.per
        };
        let limits: Vec<Limit> =
            settings.limits.iter().filter(|limit| !of_agents(limit)).cloned().collect();
        let agent_cost = u32::try_from(limits.len())
            .map_err(|_| SettingsError::Malformed("too many limits".into()))?;
        let mut counters: Vec<Counter> = limits.iter().map(Limit::counter).collect();
        let limit = settings.cost_limits.as_ref().and_then(|cost| cost.monthly_limit);
        counters.push(Counter { limit, ..cost.counter() });
        Ok(Self { settings, limits, counters, agent_cost })
    }

    /// What it asks the host for.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let reads = vec![
            Read::Dimension("agent".into()),
            Read::Fact("agent.*".into()),
            Read::Fact("denial.code".into()),
        ];
        Manifest { counters: self.counters.clone(), reads, about: Vec::new() }
    }

    /// Says what people are to be told, and whether the agent is stopped.
    #[must_use]
    pub fn review(&self, observation: &Observation) -> Vec<Action> {
        let mut actions = Vec::new();
        if observation.occasion == "period-opened" {
            actions.push(Action::Enable("agent".into()));
            return actions;
        }
        let by_limit = match fact(&observation.facts, "denial.code") {
            Some(Value::Text(code)) => code == QUOTA_EXCEEDED,
            _ => false,
        };
        if observation.occasion == "denied" && !by_limit {
            return actions;
        }
        for ((index, limit), reading) in (0_u32..).zip(&self.limits).zip(&observation.readings) {
            actions.extend(self.limit_notice(index, limit, reading));
        }
        if let Some(reading) = observation.readings.get(self.limits.len()) {
            self.review_agent(observation, reading, &mut actions);
        }
        actions
    }

    fn limit_notice(&self, index: u32, limit: &Limit, reading: &Reading) -> Option<Action> {
        let amount = reading.limit.unwrap_or(limit.limit);
        let (status, remaining) = standing(reading, amount, limit.warning_threshold);
        let (key, severity) = match status {
            Status::WithinLimit | Status::Unknown => return None,
            Status::ApproachingLimit => ("quota_approaching", "warning"),
            Status::AtLimit => ("quota_at_limit", "warning"),
            Status::Exceeded => ("quota_exceeded", "critical"),
        };
        let body = messages::quota(
            self.settings.language,
            status,
            limit.meter.as_str(),
            amount,
            remaining,
        );
        Some(Action::Raise(Notice {
            key: key.into(),
            counter: Some(index),
            severity: severity.into(),
            title: body.clone(),
            body,
            facts: Vec::new(),
        }))
    }

    fn review_agent(
        &self,
        observation: &Observation,
        reading: &Reading,
        actions: &mut Vec<Action>,
    ) {
        let agent = dimension(&observation.dimensions, "agent");
        let Some(limits) = self.cost_limits(observation) else {
            return;
        };
        let (Some(limit), Ok(threshold)) =
            (reading.limit.or(limits.monthly_limit), limits.alert_fraction())
        else {
            return;
        };
        if agent.is_empty() {
            return;
        }
        let name = match fact(&observation.facts, "agent.name") {
            Some(Value::Text(name)) => name,
            _ => agent,
        };
        let cost =
            AgentCost { agent: name, limit, cost: reading.used, currency: self.settings.currency };
        let language = self.settings.language;
        let notice = |key: &str, severity: &str, (title, body): (String, String)| {
            Action::Raise(Notice {
                key: key.into(),
                counter: Some(self.agent_cost),
                severity: severity.into(),
                title,
                body,
                facts: Vec::new(),
            })
        };
        let would_exceed = standing(reading, limit, threshold).0 == Status::Exceeded;
        if reading.used > limit || (observation.occasion == "denied" && would_exceed) {
            let (title, body) = cost.limit_exceeded(language, limits.auto_disable);
            if limits.auto_disable {
                actions.push(Action::Disable(Disablement {
                    dimension: "agent".into(),
                    reason: title.clone(),
                    until: reading.closes,
                }));
            }
            actions.push(notice(LIMIT_EXCEEDED, "critical", (title, body)));
        } else if !reading.used.is_zero() && reading.used.cmp_product(limit, threshold).is_ge() {
            actions.push(notice(THRESHOLD_WARNING, "warning", cost.threshold_warning(language)));
        }
    }

    /// The lower of the settings' and the agent's own, as its record has them where records are
    /// read: what the quotas enforce.
    fn cost_limits(&self, observation: &Observation) -> Option<CostLimits> {
        let record = self.settings.agent_settings.then(|| of_record(observation)).flatten();
        [self.settings.cost_limits.clone(), record]
            .into_iter()
            .flatten()
            .filter(|limits| limits.enabled && limits.monthly_limit.is_some())
            .min_by_key(|limits| limits.monthly_limit)
    }
}

/// What an agent's record says of its cost, where it names a limit. A threshold that makes no
/// sense must not silence the limit: the standard one stands in.
fn of_record(observation: &Observation) -> Option<CostLimits> {
    let number = |name: &str| match fact(&observation.facts, name) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    };
    let flag = |name: &str, otherwise: bool| match fact(&observation.facts, name) {
        Some(Value::Flag(flag)) => *flag,
        _ => otherwise,
    };
    let monthly_limit =
        number("agent.cost_limits.monthly_limit").filter(|limit| !limit.is_negative())?;
    let alert_threshold = number("agent.cost_limits.alert_threshold")
        .filter(|percentage| !percentage.is_negative() && *percentage <= Decimal::HUNDRED)
        .unwrap_or(Decimal::from(80));
    Some(CostLimits {
        enabled: flag("agent.cost_limits.enabled", true),
        monthly_limit: Some(monthly_limit),
        auto_disable: flag("agent.cost_limits.auto_disable", false),
        alert_threshold,
    })
}
