//! An agent's cost: its monthly limit, its next month, and hours that stand out.

use super::AlertPolicy;
use super::pace::{SPEND_FORECAST, Spending};
use super::told::Told;
use crate::contract::{Action, Disablement, Observation, Reading, Status, Value, dimension, fact};
use crate::decimal::Decimal;
use crate::limits::{CostLimits, standing};
use crate::messages::AgentCost;
use crate::money::Money;
use crate::window::Window;

/// An agent's cost comes near its monthly limit.
pub const THRESHOLD_WARNING: &str = "threshold_warning";
/// An agent's cost is above its monthly limit, or a call was denied by it.
pub const LIMIT_EXCEEDED: &str = "limit_exceeded";
/// An agent costs far more than usual.
pub const SPEND_ANOMALY: &str = "spend_anomaly";
/// An agent that was disabled may go on.
pub const AGENT_ENABLED: &str = "agent_enabled";

/// The monthly limit that holds for an agent.
struct AgentLimit {
    limit: Decimal,
    threshold: Decimal,
    auto_disable: bool,
}

impl AlertPolicy {
    /// A new month enables an agent, and people are told of it where that makes a difference.
    pub(super) fn open_period(&self, observation: &Observation, told: &mut Told) {
        let opened = match fact(&observation.facts, "period.window") {
            Some(Value::Text(window)) => window.parse::<Window>().ok(),
            _ => None,
        };
        let place = self.watched.len();
        if opened.is_none() || opened != self.counters.get(place).map(|own| own.window) {
            return;
        }
        told.act(Action::Enable("agent".into()));
        let was_disabled = fact(&observation.facts, "disabled.agent").is_some();
        if let (true, Some(agent), Some(reading)) =
            (was_disabled, named(observation), observation.readings.get(place))
            && let Some(AgentLimit { limit, .. }) = self.agent_limit(observation, reading)
        {
            let cost = self.cost(agent, limit, reading);
            let messages = self.settings.messages(&observation.facts);
            let words = cost.say(&messages.agent_enabled, "");
            told.raise(AGENT_ENABLED, self.agent_cost, "info", words);
        }
    }

    pub(super) fn review_agent(
        &self,
        observation: &Observation,
        reading: &Reading,
        told: &mut Told,
    ) {
        let Some(agent) = named(observation) else { return };
        let Some(AgentLimit { limit, threshold, auto_disable }) =
            self.agent_limit(observation, reading)
        else {
            for key in [LIMIT_EXCEEDED, THRESHOLD_WARNING, SPEND_FORECAST] {
                told.stands(key, false);
            }
            return;
        };
        let cost = self.cost(agent, limit, reading);
        let messages = || self.settings.messages(&observation.facts);
        let would_exceed = observation.occasion == "denied"
            && standing(reading, limit, threshold).0 == Status::Exceeded;
        let is_above = reading.used > limit || would_exceed;
        let is_near = is_above
            || (!reading.used.is_zero() && reading.used.cmp_product(limit, threshold).is_ge());
        if is_above {
            let messages = messages();
            let consequence = if auto_disable { messages.consequence } else { "" };
            let (title, body) = cost.say(&messages.limit_exceeded, consequence);
            if auto_disable {
                told.act(Action::Disable(Disablement {
                    dimension: "agent".into(),
                    reason: title.clone(),
                    until: reading.closes,
                }));
            }
            told.raise(LIMIT_EXCEEDED, self.agent_cost, "critical", (title, body));
        } else if is_near {
            let words = cost.say(&messages().threshold_warning, "");
            told.raise(THRESHOLD_WARNING, self.agent_cost, "warning", words);
        }
        if told.is_scheduled() {
            // A denial exceeds it as well, with less used than the limit: that holds on as long as little
            // is left of it.
            let is_stopped = fact(&observation.facts, "disabled.agent").is_some();
            told.stands(LIMIT_EXCEEDED, is_near || is_stopped);
            told.stands(THRESHOLD_WARNING, is_near || is_stopped);
            let spending = Spending {
                key: SPEND_FORECAST.into(),
                counter: self.agent_cost,
                wording: |messages| &messages.agent_forecast,
                agent,
                resource: &self.settings.currency.cost_meter(),
                reading,
                limit: Money::new(limit, self.settings.currency),
                threshold,
                is_near,
            };
            self.review_pace(observation, spending, told);
        }
    }

    /// The last hour against its week; the notice is of the day.
    pub(super) fn review_hour(&self, observation: &Observation, told: &mut Told) {
        let Some(anomaly) = self.settings.anomaly else { return };
        let mut behind = observation.readings.iter().skip(self.watched.len()).skip(1);
        let (Some(agent), Some(hour), Some(week)) =
            (named(observation), behind.next(), behind.next())
        else {
            return;
        };
        let usual = anomaly.usual(hour.used, week.used);
        if let Some(usual) = usual {
            let money = |amount| Money::new(amount, self.settings.currency);
            let messages = self.settings.messages(&observation.facts);
            let words = messages.spend_anomaly.say(&[
                ("agent", &agent),
                ("cost", &money(hour.used)),
                ("usual", &money(usual)),
                ("factor", &anomaly.factor),
            ]);
            let day = self.agent_cost.saturating_add(3);
            told.raise(SPEND_ANOMALY, day, "critical", words);
        }
        told.stands(SPEND_ANOMALY, usual.is_some());
    }

    fn cost<'a>(&self, agent: &'a str, limit: Decimal, reading: &Reading) -> AgentCost<'a> {
        AgentCost { agent, limit, cost: reading.used, currency: self.settings.currency }
    }

    fn agent_limit(&self, observation: &Observation, reading: &Reading) -> Option<AgentLimit> {
        let limits = self.cost_limits(observation)?;
        Some(AgentLimit {
            limit: reading.limit.or(limits.monthly_limit)?,
            threshold: limits.alert_fraction().ok()?,
            auto_disable: limits.auto_disable,
        })
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

/// What people call the observation's agent; none where it is of no agent.
pub(super) fn named(observation: &Observation) -> Option<&str> {
    let agent = dimension(&observation.dimensions, "agent");
    match fact(&observation.facts, "agent.name") {
        _ if agent.is_empty() => None,
        Some(Value::Text(name)) => Some(name),
        _ => Some(agent),
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
