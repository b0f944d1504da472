//! What a simulation came to, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value as Json, json};
use tollgate_host::engine::{Event, Recorded};
use tollgate_policy_core::contract::{Denial, Dimension};
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Currency, Decimal};

/// The sums of a simulation.
#[derive(Default)]
pub struct Report {
    /// How long all of it took.
    pub elapsed: Duration,
    requests: u64,
    allowed: u64,
    /// By code: how many, and the words of the first.
    denied: BTreeMap<String, (u64, String)>,
    input: Decimal,
    output: Decimal,
    cost: BTreeMap<Currency, Decimal>,
    by_model: BTreeMap<(String, Currency), (Decimal, u64)>,
    events: Vec<Event>,
    decisions: Vec<Duration>,
}

impl Report {
    /// A decision was made.
    pub fn decision_took(&mut self, duration: Duration) {
        self.requests += 1;
        self.decisions.push(duration);
    }

    /// It was a denial.
    pub fn denied(&mut self, denial: &Denial, events: Vec<Event>) {
        let (count, _) =
            self.denied.entry(denial.code.clone()).or_insert_with(|| (0, denial.message.clone()));
        *count += 1;
        self.events.extend(events);
    }

    /// The call went ahead and was settled.
    pub fn allowed(
        &mut self,
        model: &str,
        input: Decimal,
        output: Decimal,
        settled: Recorded,
    ) -> Result<()> {
        self.allowed += 1;
        self.input = self.input.checked_add(input)?;
        self.output = self.output.checked_add(output)?;
        if let Some(cost) = settled.charged.cost {
            let sum = self.cost.entry(cost.currency).or_default();
            *sum = sum.checked_add(cost.amount)?;
            let (sum, requests) =
                self.by_model.entry((model.to_owned(), cost.currency)).or_default();
            *sum = sum.checked_add(cost.amount)?;
            *requests += 1;
        }
        self.events.extend(settled.events);
        Ok(())
    }

    /// One object; amounts are strings.
    pub fn json(&self) -> Result<String> {
        let denied_by: Map<String, Json> =
            self.denied.iter().map(|(code, (count, _))| (code.clone(), json!(count))).collect();
        let cost: Vec<Json> = self
            .cost
            .iter()
            .map(|(currency, amount)| json!({ "currency": currency, "amount": amount }))
            .collect();
        let cost_by_model: Vec<Json> = self
            .by_model
            .iter()
            .map(|((model, currency), (amount, requests))| {
                json!({ "model": model, "currency": currency, "amount": amount, "requests": requests })
            })
            .collect();
        let notices: Vec<Json> = self.notices().collect();
        let disabled: Vec<Json> = self.disabled().collect();
        Ok(serde_json::to_string_pretty(&json!({
            "requests": self.requests,
            "allowed": self.allowed,
            "denied": self.requests - self.allowed,
            "denied_by": denied_by,
            "input_tokens": whole(self.input),
            "output_tokens": whole(self.output),
            "cost": cost,
            "cost_by_model": cost_by_model,
            "notices": notices,
            "disabled": disabled,
            "decision_us": { "p50": self.decision_us(50), "p99": self.decision_us(99) },
            "decisions_per_second": self.decisions_per_second(),
        }))?)
    }

    fn notices(&self) -> impl Iterator<Item = Json> {
        self.events.iter().filter_map(|event| match event {
            Event::Notice { at, notice } => Some(json!({
                "key": notice.key,
                "severity": notice.severity,
                "title": notice.title,
                "body": notice.body,
                "at": instant(*at),
            })),
            _ => None,
        })
    }

    fn disabled(&self) -> impl Iterator<Item = Json> {
        self.events.iter().filter_map(|event| match event {
            Event::Disabled { at, dimension, until, .. } => Some(json!({
                "dimensions": { &dimension.name: dimension.value },
                "at": instant(*at),
                "until": until.map(instant),
            })),
            _ => None,
        })
    }

    /// Microseconds, to a tenth.
    fn decision_us(&self, percentile: usize) -> f64 {
        let mut sorted = self.decisions.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percentile).div_ceil(100).saturating_sub(1);
        let duration = sorted.get(index).copied().unwrap_or_default();
        (duration.as_secs_f64() * 1e7).round() / 10.0
    }

    fn decisions_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { (self.requests as f64 / seconds).round() } else { 0.0 }
    }
}

/// Tokens are whole numbers.
fn whole(amount: Decimal) -> i128 {
    amount.units() / Decimal::ONE.units()
}

fn instant(at: Instant) -> String {
    DateTime::from_timestamp_millis(at)
        .map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
        .unwrap_or_default()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "calls      {:>12}", self.requests)?;
        writeln!(f, "allowed    {:>12}", self.allowed)?;
        writeln!(f, "denied     {:>12}", self.requests - self.allowed)?;
        for (code, (count, message)) in &self.denied {
            writeln!(f, "{count:>23}  {code}, first: {message}")?;
        }
        writeln!(f, "tokens in  {:>12}", self.input)?;
        writeln!(f, "tokens out {:>12}", self.output)?;
        for (currency, amount) in &self.cost {
            writeln!(f, "cost       {amount:>12} {currency}")?;
        }
        for ((model, currency), (amount, requests)) in &self.by_model {
            writeln!(f, "{amount:>23} {currency}  {model}, {requests} calls")?;
        }
        let count =
            |kind: fn(&Event) -> bool| self.events.iter().filter(|event| kind(event)).count();
        writeln!(f, "notices    {:>12}", count(|event| matches!(event, Event::Notice { .. })))?;
        writeln!(f, "disabled   {:>12}", count(|event| matches!(event, Event::Disabled { .. })))?;
        for event in &self.events {
            match event {
                Event::Notice { at, notice } => {
                    writeln!(f, "  {}  {}: {}", instant(*at), notice.severity, notice.title)?;
                }
                Event::Quarantined { at, policy, fault } => {
                    let policy = &policy.policy;
                    writeln!(
                        f,
                        "  {}  policy `{policy}` is asked no longer: {fault}",
                        instant(*at)
                    )?;
                }
                Event::Unpriced { policy, reason } => {
                    writeln!(f, "  no price by `{policy}`: {reason}")?;
                }
                Event::Failed { policy, fault } => writeln!(f, "  policy `{policy}`: {fault}")?,
                Event::Disabled { at, dimension, until, .. } => {
                    let until = until.map_or("enabled again".into(), instant);
                    let (name, value) = (&dimension.name, &dimension.value);
                    writeln!(f, "  {}  {name} `{value}` disabled until {until}", instant(*at))?;
                }
                Event::Enabled { at, dimension: Dimension { name, value } } => {
                    writeln!(f, "  {}  {name} `{value}` enabled", instant(*at))?;
                }
                Event::Limited { at, key, limit } => {
                    writeln!(f, "  {}  `{}` limited to {limit}", instant(*at), key.meter)?;
                }
            }
        }
        let (p50, p99) = (self.decision_us(50), self.decision_us(99));
        writeln!(f, "a decision takes {p50} µs (median), {p99} µs (99th percentile)")?;
        writeln!(
            f,
            "{} decisions a second, each priced, reserved and settled",
            self.decisions_per_second()
        )
    }
}
