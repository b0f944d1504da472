//! The standard quota policy: limits from its settings and from each agent's own record.

use crate::contract::{
    Counter, Decision, Denial, Fact, Finding, Manifest, Quantity, Read, Reading, Request, Status,
    Value, Verdict, fact,
};
use crate::decimal::Decimal;
use crate::limits::{Limit, LimitSettings, STANDARD_THRESHOLD, SettingsError, standing};
use crate::meter::{LLM_REQUESTS, LLM_TOKENS};

/// A limit on one of the counters is passed.
pub const QUOTA_EXCEEDED: &str = "quota_exceeded";
/// A limit cannot be judged, and the settings do not let the call pass.
pub const QUOTA_UNKNOWN: &str = "quota_unknown";

/// The periods that an agent's record may choose between.
const AGENT_PERIODS: [&str; 3] = ["hour", "day", "month"];

/// The configured policy.
#[derive(Clone, Debug)]
pub struct QuotaPolicy {
    settings: LimitSettings,
    /// Those of the settings, then those that agents' records choose from.
    counters: Vec<Counter>,
    agent_limits: Vec<AgentLimit>,
}

/// A limit whose amount stands in the agent's record.
#[derive(Clone, Debug)]
struct AgentLimit {
    enabled: &'static str,
    amount: &'static str,
    /// The record's period must be this one; none: the limit has only one period.
    period: Option<&'static str>,
}

/// What a counter comes to.
struct Judged {
    finding: Finding,
    reading: Reading,
}

impl QuotaPolicy {
    /// Reads the settings (JSON).
    pub fn configure(settings: &str) -> Result<Self, SettingsError> {
        let settings = LimitSettings::parse(settings)?;
        let mut counters: Vec<Counter> = settings.limits.iter().map(Limit::counter).collect();
        let mut agent_limits = Vec::new();
        if settings.agent_settings {
            for (meter, amount) in [
                (LLM_REQUESTS, "agent.rate_limits.max_messages"),
                (LLM_TOKENS, "agent.rate_limits.max_tokens"),
            ] {
                for period in AGENT_PERIODS {
                    counters.push(agent_counter(meter, period)?);
                    let enabled = "agent.rate_limits.enabled";
                    agent_limits.push(AgentLimit { enabled, amount, period: Some(period) });
                }
            }
            counters.push(agent_counter(&settings.currency.cost_meter(), "month")?);
            agent_limits.push(AgentLimit {
                enabled: "agent.cost_limits.enabled",
                amount: "agent.cost_limits.monthly_limit",
                period: None,
            });
        }
        Ok(Self { settings, counters, agent_limits })
    }

    /// What it asks the host for.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let of_agents = (!self.agent_limits.is_empty()).then(|| Read::Fact("agent.*".into()));
        let reads = of_agents.into_iter().chain(self.settings.language_read()).collect();
        Manifest { counters: self.counters.clone(), reads, about: Vec::new() }
    }

    /// Denies where a limit is passed, or cannot be judged; else allows.
    #[must_use]
    pub fn check(&self, request: &Request) -> Verdict {
        let mut findings = Vec::with_capacity(self.counters.len());
        let mut exceeded: Vec<Judged> = Vec::new();
        let mut unknown = None;
        for judged in self.judge(request) {
            match judged.finding.status {
                Status::Exceeded => {
                    exceeded
                        .push(Judged { finding: judged.finding.clone(), reading: judged.reading });
                }
                Status::Unknown if !self.settings.unknown_allows => {
                    unknown = unknown.or(Some(judged.finding.clone()));
                }
                _ => {}
            }
            findings.push(judged.finding);
        }
        let decision = if let Some(finding) = unknown {
            Decision::Deny(Denial::new(QUOTA_UNKNOWN, self.message(&finding, &request.facts)))
        } else if exceeded.is_empty() {
            Decision::Allow
        } else if let Some(granted) = self.grant(request.partial, &exceeded) {
            Decision::Grant(granted)
        } else {
            self.deny(&exceeded, &request.facts)
        };
        Verdict { decision, findings, facts: Vec::new() }
    }

    fn judge<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = Judged> + 'a {
        let missing = Reading { limit: Some(Decimal::ONE.negated()), ..Reading::default() };
        let readings = request.readings.iter().copied().chain(std::iter::repeat(missing));
        let fixed = self
            .settings
            .limits
            .iter()
            .map(|limit| (Some(Ok(limit.limit)), limit.warning_threshold));
        let of_agent = self
            .agent_limits
            .iter()
            .map(|limit| (limit.amount(&request.facts).transpose(), STANDARD_THRESHOLD));
        (0_u32..).zip(fixed.chain(of_agent)).zip(readings).filter_map(
            |((index, (limit, warning_threshold)), reading)| {
                let limit = match reading.limit {
                    Some(limit) => Ok(limit),
                    None => limit?,
                };
                Some(Judged {
                    finding: finding(index, &reading, limit.ok(), warning_threshold),
                    reading,
                })
            },
        )
    }

    /// What is left of each exceeded meter, where something is left of all of them.
    fn grant(&self, partial: bool, exceeded: &[Judged]) -> Option<Vec<Quantity>> {
        let mut granted: Vec<Quantity> = Vec::new();
        for Judged { finding, reading } in exceeded.iter().filter(|_| partial) {
            let left = finding.remaining.filter(|left| !left.is_zero())?;
            if reading.asked.is_zero() {
                return None;
            }
            let meter = &self.counter(finding)?.meter;
            match granted.iter_mut().find(|quantity| quantity.meter == *meter) {
                Some(quantity) => quantity.amount = quantity.amount.min(left),
                None => granted.push(Quantity { meter: meter.clone(), amount: left }),
            }
        }
        (!granted.is_empty()).then_some(granted)
    }

    /// Names the first limit passed; worth asking again when the last of them has turned.
    fn deny(&self, exceeded: &[Judged], facts: &[Fact]) -> Decision {
        let hopeless = exceeded.iter().any(|judged| {
            judged.reading.closes.is_none()
                || judged.finding.limit.is_none_or(|limit| judged.reading.asked > limit)
        });
        let retry_at = exceeded.iter().filter_map(|judged| judged.reading.closes).max();
        let message = exceeded.first().map(|judged| self.message(&judged.finding, facts));
        Decision::Deny(Denial {
            code: QUOTA_EXCEEDED.into(),
            message: message.unwrap_or_default(),
            retry_at: retry_at.filter(|_| !hopeless),
        })
    }

    fn message(&self, finding: &Finding, facts: &[Fact]) -> String {
        let resource = self.counter(finding).map_or("", |counter| counter.meter.as_str());
        self.settings.messages(facts).quota(
            finding.status,
            resource,
            finding.limit.unwrap_or_default(),
            finding.remaining.unwrap_or_default(),
        )
    }

    fn counter(&self, finding: &Finding) -> Option<&Counter> {
        self.counters.get(usize::try_from(finding.counter?).ok()?)
    }
}

impl AgentLimit {
    /// The record's amount; none where it sets no such limit, an error where it makes no sense.
    fn amount(&self, facts: &[Fact]) -> Result<Option<Decimal>, ()> {
        match fact(facts, self.enabled) {
            None | Some(Value::Flag(true)) => {}
            Some(Value::Flag(false)) => return Ok(None),
            Some(_) => return Err(()),
        }
        if let Some(period) = self.period {
            match fact(facts, "agent.rate_limits.period") {
                Some(Value::Text(chosen)) if AGENT_PERIODS.contains(&chosen.as_str()) => {
                    if chosen != period {
                        return Ok(None);
                    }
                }
                None if period == "hour" => {}
                None => return Ok(None),
                Some(_) => return Err(()),
            }
        }
        match fact(facts, self.amount) {
            None => Ok(None),
            Some(Value::Number(amount)) if !amount.is_negative() => Ok(Some(*amount)),
            Some(_) => Err(()),
        }
    }
}

fn finding(index: u32, reading: &Reading, limit: Option<Decimal>, warning: Decimal) -> Finding {
    let limit = limit.filter(|limit| !limit.is_negative());
    let standing = limit.map(|limit| standing(reading, limit, warning));
    let (status, remaining) = standing.unzip();
    let status = status.unwrap_or(Status::Unknown);
    Finding { counter: Some(index), status, limit, remaining, message: None }
}

fn agent_counter(meter: &str, period: &str) -> Result<Counter, SettingsError> {
    let limit = Limit::new(meter, period, &["agent"], Decimal::ZERO, Decimal::ONE)?;
    Ok(Counter { limit: None, ..limit.counter() })
}
