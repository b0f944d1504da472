//! Limits: what the settings of the standard policies say, and how near a limit is.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::anomaly::Anomaly;
use crate::contract::{Counter, Fact, Read, Reading, Status};
use crate::decimal::Decimal;
use crate::forecast::Forecast;
use crate::messages::{Language, MessageError, Messages, OwnMessages, Spoken, TENANT_LANGUAGE};
use crate::meter::{ACTIVE_RUNS, LLM_REQUESTS, LLM_TOKENS, Meter, MeterError, RESOURCES};
use crate::money::Currency;
use crate::scaling::Scaling;
use crate::window::Window;

/// From there on people are warned, where the settings do not say otherwise.
pub const STANDARD_THRESHOLD: Decimal = Decimal::hundredths(80);

/// From there on a limit counts as reached.
const AT_LIMIT: Decimal = Decimal::hundredths(95);

/// One limit that a standard policy watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is limited.
    pub meter: Meter,
    /// Over which time.
    pub window: Window,
    /// One total for each combination of these dimensions.
    pub per: Vec<String>,
    /// How much at most.
    pub limit: Decimal,
    /// The fraction of the limit from which on people are warned.
    pub warning_threshold: Decimal,
    /// Whether it grows with use.
    pub scaling: Option<Scaling>,
}

/// The row-5 settings of an agent's rate, as the seeds write them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(expecting = "an object with `max_messages` and `max_tokens`")]
pub struct RateLimits {
    /// Off: nothing of this is limited.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// `hour`, `day` or `month`.
    #[serde(default = "hour")]
    pub period: String,
    /// Messages, that is calls to a model.
    pub max_messages: Option<Decimal>,
    /// Tokens of all classes.
    pub max_tokens: Option<Decimal>,
}

/// The row-5 settings of an agent's cost, as the seeds write them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(expecting = "an object with `monthly_limit`")]
pub struct CostLimits {
    /// Off: nothing of this is limited.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// For each agent and calendar month, in the settings' currency.
    pub monthly_limit: Option<Decimal>,
    /// Whether an agent above its limit is disabled until the next month.
    #[serde(default)]
    pub auto_disable: bool,
    /// The percentage from which on people are warned.
    #[serde(default = "eighty")]
    pub alert_threshold: Decimal,
}

/// What `quota` and `alerts` understand of their settings. Keys beside these are left alone,
/// since the seeds keep them in one object with others.
#[derive(Clone, Debug)]
pub struct LimitSettings {
    /// The limits in force.
    pub limits: Vec<Limit>,
    /// An agent's cost, for each agent.
    pub cost_limits: Option<CostLimits>,
    /// Whether each agent's own record is read too.
    pub agent_settings: bool,
    /// Of the limits on cost.
    pub currency: Currency,
    /// Of messages and notices; none: the tenant's.
    pub language: Option<Language>,
    /// The texts of notices, where they are not the settings' own in every language.
    pub spoken: Spoken,
    /// Whether people are told where spending leads.
    pub forecast: Forecast,
    /// Whether they are told of sudden spending.
    pub anomaly: Option<Anomaly>,
    /// Whether a limit that cannot be judged lets the call pass.
    pub unknown_allows: bool,
}

/// What is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not JSON, or not of the schema's shape.
    #[error("settings: {0}")]
    Malformed(String),
    /// A limit that makes no sense.
    #[error("settings: limit on `{meter}`: {reason}")]
    Limit {
        /// The meter as written.
        meter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text of the settings' own that cannot be filled in.
    #[error("settings: {0}")]
    Message(#[from] MessageError),
}

impl From<serde_json::Error> for SettingsError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Written {
    limits: Option<Vec<WrittenLimit>>,
    #[serde(alias = "default_quotas")]
    quotas: Option<BTreeMap<String, WrittenLimit>>,
    max_active_runs: Option<Decimal>,
    monthly_limit: Option<Decimal>,
    rate_limits: Option<RateLimits>,
    cost_limits: Option<CostLimits>,
    defaults: Option<bool>,
    agent_settings: Option<bool>,
    warning_threshold: Option<Decimal>,
    #[serde(default = "usd")]
    currency: Currency,
    language: Option<Language>,
    #[serde(default)]
    messages: OwnMessages,
    #[serde(default)]
    forecast: Forecast,
    anomaly: Option<Anomaly>,
    #[serde(default)]
    unknown: Unknown,
}

impl Written {
    fn names_limits(&self) -> bool {
        self.limits.is_some()
            || self.quotas.is_some()
            || self.max_active_runs.is_some()
            || self.monthly_limit.is_some()
            || self.rate_limits.is_some()
            || self.cost_limits.is_some()
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unknown {
    #[default]
    Deny,
    Allow,
}

/// In `limits` with its meter, in `quotas` under the meter's name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(expecting = "an object with `limit` and `period`")]
struct WrittenLimit {
    meter: Option<String>,
    limit: Decimal,
    #[serde(alias = "window")]
    period: String,
    per: Option<OneOrMany>,
    warning_threshold: Option<Decimal>,
    scaling: Option<Scaling>,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[serde(expecting = "expected the name of a dimension, or a list of names")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn yes() -> bool {
    true
}

fn hour() -> String {
    "hour".into()
}

fn eighty() -> Decimal {
    Decimal::from(80)
}

fn usd() -> Currency {
    Currency::USD
}

impl LimitSettings {
    /// Reads the settings. The standard limits hold where no limit is named in them, and beside
    /// those named where `defaults` is true.
    pub fn parse(json: &str) -> Result<Self, SettingsError> {
        let mut object: serde_json::Map<String, Json> = serde_json::from_str(json)?;
        let resources = take_resources(&mut object)?;
        let written: Written = serde_json::from_value(Json::Object(object))?;
        let standard = !written.names_limits() && resources.is_empty();
        let warning = threshold(written.warning_threshold, STANDARD_THRESHOLD)?;

        let mut limits = Vec::new();
        for mut limit in written.limits.into_iter().flatten() {
            let meter = limit.meter.take().unwrap_or_default();
            limits.push(limit.into_limit(&meter, &[], warning)?);
        }
        for (name, limit) in written.quotas.into_iter().flatten().chain(resources) {
            limits.push(limit.into_limit(&name.to_lowercase(), &["user"], warning)?);
        }
        if let Some(limit) = written.max_active_runs {
            limits.push(Limit::new(ACTIVE_RUNS, "in-flight", &["user"], limit, warning)?);
        }
        if let Some(limit) = written.monthly_limit {
            let meter = written.currency.cost_meter();
            limits.push(Limit::new(&meter, "month", &["user"], limit, warning)?);
        }
        if written.defaults.unwrap_or(standard) {
            for limit in standard_limits(written.currency, warning)? {
                let named = |other: &Limit| {
                    (&other.meter, other.window, &other.per)
                        == (&limit.meter, limit.window, &limit.per)
                };
                if !limits.iter().any(named) {
                    limits.push(limit);
                }
            }
        }
        if let Some(rate) = &written.rate_limits {
            limits.extend(rate.limits(warning)?);
        }
        if let Some(cost) = &written.cost_limits {
            limits.extend(cost.limits(written.currency)?);
        }
        Ok(Self {
            limits,
            cost_limits: written.cost_limits,
            agent_settings: written.agent_settings.unwrap_or(standard),
            currency: written.currency,
            language: written.language,
            spoken: Spoken::new(written.messages)?,
            forecast: written.forecast,
            anomaly: written.anomaly,
            unknown_allows: written.unknown == Unknown::Allow,
        })
    }

    /// The fact that tells the tenant's language, where it matters.
    #[must_use]
    pub fn language_read(&self) -> Option<Read> {
        self.language.is_none().then(|| Read::Fact(TENANT_LANGUAGE.into()))
    }

    /// The texts in the settings' language, or else in the tenant's.
    #[must_use]
    pub fn messages(&self, facts: &[Fact]) -> &Messages {
        self.spoken.in_language(self.language.unwrap_or_else(|| Language::of_tenant(facts)))
    }
}

/// Takes the resources that stand in the settings under their own names, in either case, as in
/// `{"LLM_REQUESTS": {"limit": 1000, "period": "per_day"}}`.
fn take_resources(
    object: &mut serde_json::Map<String, Json>,
) -> Result<Vec<(String, WrittenLimit)>, SettingsError> {
    let keys: Vec<String> = object
        .keys()
        .filter(|key| RESOURCES.contains(&key.to_lowercase().as_str()))
        .cloned()
        .collect();
    let mut resources = Vec::new();
    for key in keys {
        if let Some(value) = object.remove(&key) {
            let limit = serde_json::from_value(value)
                .map_err(|error| SettingsError::limit(&key, error.to_string()))?;
            resources.push((key, limit));
        }
    }
    Ok(resources)
}

impl WrittenLimit {
    fn into_limit(
        self,
        meter: &str,
        per_default: &[&str],
        warning: Decimal,
    ) -> Result<Limit, SettingsError> {
        let warning = threshold(self.warning_threshold, warning)?;
        let mut limit = Limit::new(meter, &self.period, per_default, self.limit, warning)?;
        limit.scaling = self.scaling;
        match self.per {
            Some(OneOrMany::One(dimension)) => limit.per = vec![dimension],
            Some(OneOrMany::Many(dimensions)) => limit.per = dimensions,
            None => {}
        }
        Ok(limit)
    }
}

impl RateLimits {
    /// The limits on an agent's messages and tokens, as far as they are set.
    pub fn limits(&self, warning: Decimal) -> Result<Vec<Limit>, SettingsError> {
        let mut limits = Vec::new();
        if !matches!(self.period.as_str(), "hour" | "day" | "month") {
            let reason =
                format!("`{}` is not a period: write `hour`, `day` or `month`", self.period);
            return Err(SettingsError::limit("rate_limits", reason));
        }
        for (meter, limit) in [(LLM_REQUESTS, self.max_messages), (LLM_TOKENS, self.max_tokens)] {
            if let Some(limit) = limit.filter(|_| self.enabled) {
                limits.push(Limit::new(meter, &self.period, &["agent"], limit, warning)?);
            }
        }
        Ok(limits)
    }
}

impl CostLimits {
    /// The limit on an agent's cost, if it is set.
    pub fn limits(&self, currency: Currency) -> Result<Vec<Limit>, SettingsError> {
        let Some(limit) = self.monthly_limit.filter(|_| self.enabled) else {
            return Ok(Vec::new());
        };
        let warning = self.alert_fraction()?;
        Ok(vec![Limit::new(&currency.cost_meter(), "month", &["agent"], limit, warning)?])
    }

    /// The alert threshold as a fraction: 80 is 0.8.
    pub fn alert_fraction(&self) -> Result<Decimal, SettingsError> {
        let percentage = self.alert_threshold;
        let wrong = || {
            SettingsError::Malformed(format!(
                "`alert_threshold` {percentage} is not a percentage: write 80 for 80 %"
            ))
        };
        if percentage.is_negative() || percentage > Decimal::HUNDRED {
            return Err(wrong());
        }
        Decimal::mul_div(&[percentage], Decimal::HUNDRED, 12).map_err(|_| wrong())
    }
}

impl SettingsError {
    fn limit(meter: &str, reason: String) -> Self {
        Self::Limit { meter: meter.to_owned(), reason }
    }
}

impl Limit {
    /// A limit on a meter over a period (`day`, `per_day`) or a window (`rolling:3600`).
    pub fn new(
        meter: &str,
        period: &str,
        per: &[&str],
        limit: Decimal,
        warning_threshold: Decimal,
    ) -> Result<Self, SettingsError> {
        let wrong = |reason: String| SettingsError::limit(meter, reason);
        if limit.is_negative() {
            return Err(wrong(format!("`{limit}` lies below zero: a limit is zero or more")));
        }
        Ok(Self {
            meter: meter.parse().map_err(|error: MeterError| wrong(error.to_string()))?,
            window: Window::from_period_name(period).map_err(|error| wrong(error.to_string()))?,
            per: per.iter().map(|name| (*name).to_owned()).collect(),
            limit,
            warning_threshold,
            scaling: None,
        })
    }

    /// The counter that this limit stands on.
    #[must_use]
    pub fn counter(&self) -> Counter {
        Counter {
            meter: self.meter.clone(),
            window: self.window,
            per: self.per.clone(),
            limit: Some(self.limit),
        }
    }
}

/// How near `limit` the reading is, judged on used + held + asked; and what is left of the limit:
/// limit − used − held, at least zero.
#[must_use]
pub fn standing(
    reading: &Reading,
    limit: Decimal,
    warning_threshold: Decimal,
) -> (Status, Decimal) {
    let Ok(taken) = reading.used.checked_add(reading.held) else {
        return (Status::Unknown, Decimal::ZERO);
    };
    let remaining = limit.checked_sub(taken).map_or(Decimal::ZERO, Decimal::at_least_zero);
    let status = match taken.checked_add(reading.asked) {
        Ok(total) if !limit.is_negative() => status(total, limit, warning_threshold),
        _ => Status::Unknown,
    };
    (status, remaining)
}

fn status(total: Decimal, limit: Decimal, warning_threshold: Decimal) -> Status {
    if total.cmp_product(limit, warning_threshold.min(AT_LIMIT)).is_lt() {
        Status::WithinLimit
    } else if total > limit {
        Status::Exceeded
    } else if total.cmp_product(limit, AT_LIMIT).is_ge() {
        Status::AtLimit
    } else if total.cmp_product(limit, warning_threshold).is_ge() {
        Status::ApproachingLimit
    } else {
        Status::WithinLimit
    }
}

fn threshold(written: Option<Decimal>, otherwise: Decimal) -> Result<Decimal, SettingsError> {
    let threshold = written.unwrap_or(otherwise);
    if threshold.is_negative() || threshold > Decimal::ONE {
        return Err(SettingsError::Malformed(format!(
            "`warning_threshold` {threshold} is not a fraction: write 0.8 for 80 %"
        )));
    }
    Ok(threshold)
}

/// The limits of the standard policies, each for a user: of runs and cost, and of the eleven
/// resources.
fn standard_limits(currency: Currency, warning: Decimal) -> Result<Vec<Limit>, SettingsError> {
    let cost = currency.cost_meter();
    [
        (ACTIVE_RUNS, "in-flight", 5),
        (cost.as_str(), "month", 100),
        (LLM_REQUESTS, "day", 1_000),
        (LLM_TOKENS, "day", 1_000_000),
        ("database_queries", "day", 10_000),
        ("file_operations", "day", 5_000),
        ("network_requests", "day", 10_000),
        ("execution_time", "day", 36_000),
        ("memory_usage", "in-flight", 8_192),
        ("storage_space", "total", 10_240),
        ("concurrent_tasks", "in-flight", 10),
        ("agent_creations", "day", 20),
        ("tool_creations", "day", 50),
    ]
    .into_iter()
    .map(|(meter, period, limit)| {
        Limit::new(meter, period, &["user"], Decimal::from(limit), warning)
    })
    .collect()
}
