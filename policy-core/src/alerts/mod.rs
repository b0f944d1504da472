//! The standard alerting policy: warns as limits come near, and stops agents above theirs.

mod agent;
mod pace;
mod told;

use crate::contract::{
    Action, Counter, Manifest, Notice, Observation, Read, Reading, Status, Value, fact,
};
use crate::decimal::Decimal;
use crate::limits::{Limit, LimitSettings, SettingsError, standing};
use crate::matter::Matter;
use crate::money::{Currency, Money};
use crate::quota::QUOTA_EXCEEDED;
use crate::scaling::Scaling;
use crate::window::{Calendar, Period, Window};

use agent::named;
pub use agent::{AGENT_ENABLED, LIMIT_EXCEEDED, SPEND_ANOMALY, THRESHOLD_WARNING};
pub use pace::SPEND_FORECAST;
use pace::Spending;
use told::Told;

/// What is told of a limit, from the least status on. What is limited follows after a colon.
const OF_STATUS: [(&str, &str); 3] = [
    ("quota_approaching", "warning"),
    ("quota_at_limit", "warning"),
    ("quota_exceeded", "critical"),
];

/// The configured policy.
#[derive(Clone, Debug)]
pub struct AlertPolicy {
    settings: LimitSettings,
    /// The limits of the settings but for those on agents' cost, which have texts of their own.
    watched: Vec<Watched>,
    scaled: Vec<Scaled>,
    counters: Vec<Counter>,
    /// Index of the agents' monthly cost, behind those of the limits.
    agent_cost: u32,
}

#[derive(Clone, Debug)]
struct Watched {
    limit: Limit,
    /// What is limited, as keys name it: `llm_requests:calendar:day:user`.
    subject: String,
    /// Of a cost whose pace is forecast.
    currency: Option<Currency>,
}

/// A limit that grows with use.
#[derive(Clone, Debug)]
struct Scaled {
    counter: u32,
    limit: Decimal,
    scaling: Scaling,
}

impl AlertPolicy {
    /// Reads the settings (JSON), the same that the quota policy takes.
    pub fn configure(settings: &str) -> Result<Self, SettingsError> {
        let mut settings = LimitSettings::parse(settings)?;
        let cost_meter = settings.currency.cost_meter();
        let of_agent = |period| {
            Limit::new(&cost_meter, period, &["agent"], Decimal::ZERO, Decimal::ONE)
                .map(|limit| Counter { limit: None, ..limit.counter() })
        };
        let cost = of_agent("month")?;
        if let Some(cost_limits) = &settings.cost_limits {
            cost_limits.alert_fraction()?;
        }
        let (of_agents, limits): (Vec<&Limit>, Vec<&Limit>) =
            settings.limits.iter().partition(|limit| {
                settings.cost_limits.is_some()
                    && limit.meter == cost.meter
                    && limit.window == cost.window
                    && limit.per == cost.per
            });
        let agent_cost = u32::try_from(limits.len())
            .map_err(|_| SettingsError::Malformed("too many limits".into()))?;
        let counted = (0..).zip(&limits).chain(of_agents.iter().map(|own| (agent_cost, own)));
        let scaled = counted
            .filter_map(|(counter, own)| {
                Some(Scaled { counter, limit: own.limit, scaling: own.scaling? })
            })
            .collect();
        let mut counters: Vec<Counter> = limits.iter().map(|limit| limit.counter()).collect();
        let limit = settings.cost_limits.as_ref().and_then(|cost| cost.monthly_limit);
        counters.push(Counter { limit, ..cost });
        if settings.anomaly.is_some() {
            // The last hour, the week that it stands out from, and the day that it is told once in.
            for period in ["rolling:3600", "rolling:604800", "day"] {
                counters.push(of_agent(period)?);
            }
        }
        let watched: Vec<Watched> = limits.into_iter().map(Watched::new).collect();
        // Forecasts read the time, which is not to be fed for nothing.
        settings.forecast.enabled &= settings.agent_settings
            || settings.cost_limits.is_some()
            || watched.iter().any(|watched| watched.currency.is_some());
        Ok(Self { settings, watched, scaled, counters, agent_cost })
    }

    /// What it asks the host for.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        let mut reads = vec![
            Read::Dimension("agent".into()),
            Read::Fact("agent.*".into()),
            Read::Fact("denial.code".into()),
            Read::Fact("period.window".into()),
            Read::Fact("disabled.agent".into()),
        ];
        if self.settings.forecast.enabled {
            reads.push(Read::Fact("local.*".into()));
        }
        reads.extend(Matter::READS.map(|facts| Read::Fact(facts.into())));
        reads.extend(self.settings.language_read());
        Manifest { counters: self.counters.clone(), reads, about: Vec::new() }
    }

    /// Says what people are to be told, and whether the agent is stopped; and what is over, where
    /// nothing but time has passed.
    #[must_use]
    pub fn review(&self, observation: &Observation) -> Vec<Action> {
        if let Some(matter) = Matter::observed(&observation.occasion, &observation.facts) {
            return vec![self.word(&matter, observation)];
        }
        let mut told = Told::new(observation.occasion == "scheduled");
        let is_denied = observation.occasion == "denied";
        if observation.occasion == "period-opened" {
            self.open_period(observation, &mut told);
        } else if !is_denied || is_by_limit(observation) {
            let limits = (0..).zip(&self.watched).zip(&observation.readings);
            for ((counter, watched), reading) in limits {
                self.review_limit(counter, watched, observation, reading, &mut told);
            }
            if let Some(reading) = observation.readings.get(self.watched.len()) {
                self.review_agent(observation, reading, &mut told);
            }
            if !is_denied {
                self.review_hour(observation, &mut told);
                self.scale(observation, &mut told);
            }
        }
        told.into_actions()
    }

    /// What the host itself has people told, in the settings' words.
    fn word(&self, matter: &Matter, observation: &Observation) -> Action {
        let (title, body) = matter.say(self.settings.messages(&observation.facts));
        let (key, severity) = (matter.kind().into(), matter.severity().into());
        Action::Raise(Notice { key, counter: None, severity, title, body, facts: Vec::new() })
    }

    fn review_limit(
        &self,
        counter: u32,
        watched: &Watched,
        observation: &Observation,
        reading: &Reading,
        told: &mut Told,
    ) {
        let Watched { limit, subject, currency } = watched;
        let amount = reading.limit.unwrap_or(limit.limit);
        let (status, remaining) = standing(reading, amount, limit.warning_threshold);
        // So many notices hold: a worse one does not end a lesser one.
        let held = match status {
            Status::WithinLimit if !told.is_scheduled() => return,
            Status::WithinLimit => 0,
            Status::ApproachingLimit => 1,
            Status::AtLimit => 2,
            Status::Exceeded => 3,
            // Neither told nor over.
            Status::Unknown => return,
        };
        let messages = self.settings.messages(&observation.facts);
        let wordings =
            [&messages.quota_approaching, &messages.quota_at_limit, &messages.quota_exceeded];
        for (rank, ((kind, severity), wording)) in (1..).zip(OF_STATUS.iter().zip(wordings)) {
            let key = || format!("{kind}:{subject}");
            if rank == held {
                let words = wording.say(&[
                    ("resource", &limit.meter),
                    ("limit", &amount),
                    ("remaining", &remaining),
                ]);
                told.raise(key(), counter, severity, words);
            }
            if told.is_scheduled() {
                told.stands(key(), rank <= held);
            }
        }
        if let (true, Some(currency)) = (told.is_scheduled(), *currency) {
            let is_of_agent = limit.per.iter().any(|name| name == "agent");
            let spending = Spending {
                key: format!("{SPEND_FORECAST}:{subject}"),
                counter,
                wording: |messages| &messages.limit_forecast,
                agent: named(observation).filter(|_| is_of_agent).unwrap_or_default(),
                resource: limit.meter.as_str(),
                reading,
                limit: Money::new(amount, currency),
                threshold: limit.warning_threshold,
                is_near: held > 0,
            };
            self.review_pace(observation, spending, told);
        }
    }

    /// Proposes more where enough of a limit is used.
    fn scale(&self, observation: &Observation, told: &mut Told) {
        for Scaled { counter, limit, scaling } in &self.scaled {
            let place = usize::try_from(*counter).ok();
            let reading = place.and_then(|place| observation.readings.get(place));
            let raised =
                reading.and_then(|own| scaling.raised(own.used, own.limit.unwrap_or(*limit)));
            if let Some(limit) = raised {
                told.act(Action::ProposeLimit { counter: *counter, limit });
            }
        }
    }
}

impl Watched {
    fn new(limit: &Limit) -> Self {
        let mut subject = format!("{}:{}", limit.meter, limit.window);
        if !limit.per.is_empty() {
            subject = format!("{subject}:{}", limit.per.join("+"));
        }
        let is_long = match limit.window {
            Window::Calendar(Calendar { period, .. }) => {
                matches!(period, Period::Week(_) | Period::Month(_) | Period::Year(_))
            }
            _ => false,
        };
        let cost = limit.meter.as_str().strip_prefix("cost.").filter(|_| is_long);
        let currency = cost.and_then(|currency| currency.parse().ok());
        Self { limit: limit.clone(), subject, currency }
    }
}

/// Whether a limit denied the call, and nothing else.
fn is_by_limit(observation: &Observation) -> bool {
    match fact(&observation.facts, "denial.code") {
        Some(Value::Text(code)) => code == QUOTA_EXCEEDED,
        _ => false,
    }
}
