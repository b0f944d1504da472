//! What host and policies say to each other: the records of `wit/policy.wit` as Rust types whose
//! names, windows and amounts are already parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::decimal::{Decimal, DecimalError};
use crate::meter::Meter;
use crate::money::{Currency, Money};
use crate::window::{Instant, Window};

/// So much of a meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantity {
    /// What is measured.
    pub meter: Meter,
    /// How much of it, in the meter's unit.
    pub amount: Decimal,
}

/// Who and what a call is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dimension {
    /// `user`, `agent`, `session`, `model`, `provider`, `api_key_type`, `run`, …
    pub name: String,
    /// Its value in this call.
    pub value: String,
}

/// A value of a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Words.
    Text(String),
    /// An exact number.
    Number(Decimal),
    /// Yes or no.
    Flag(bool),
    /// A point in time.
    Instant(Instant),
}

/// Something else that is known, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// In lower case, parts after dots: `agent.name`.
    pub name: String,
    /// What it is.
    pub value: Value,
}

/// A running total that a policy asks the host to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// What it adds up.
    pub meter: Meter,
    /// Over which time.
    pub window: Window,
    /// One total for each combination of these dimensions; none: one for the tenant.
    pub per: Vec<String>,
    /// The policy's limit, where it has a fixed one.
    pub limit: Option<Decimal>,
}

/// What a policy is fed beside its counters. A trailing `*` stands for any name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Read {
    /// `dimension:user`.
    Dimension(String),
    /// `ask:llm_tokens`.
    Ask(String),
    /// `fact:local.hour`.
    Fact(String),
}

/// Not something that a host can feed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be read: write `dimension:NAME`, `ask:METER` or `fact:NAME`")]
pub struct ReadError(String);

/// What a policy says of itself once it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The totals it is fed, in this order.
    pub counters: Vec<Counter>,
    /// What else it is fed.
    pub reads: Vec<Read>,
    /// Open-ended remarks.
    pub about: Vec<Fact>,
}

/// The fact by which a policy that prices says in which currency it always does: ISO 4217, or
/// [`RATES`].
pub const CURRENCY: &str = "currency";

/// In that of the rates which it is handed.
pub const RATES: &str = "rates";

/// In which currency a policy always prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priced {
    /// In this one.
    In(Currency),
    /// In that of the rates which it is handed.
    AsRates,
}

impl Manifest {
    /// In which currency it always prices, where it says so.
    #[must_use]
    pub fn currency(&self) -> Option<Priced> {
        match &self.about.iter().find(|fact| fact.name == CURRENCY)?.value {
            Value::Text(rates) if rates == RATES => Some(Priced::AsRates),
            Value::Text(currency) => currency.parse().ok().map(Priced::In),
            _ => None,
        }
    }
}

/// What a counter stands at for the call in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Settled.
    pub used: Decimal,
    /// Held by open reservations.
    pub held: Decimal,
    /// What this call would add.
    pub asked: Decimal,
    /// A limit set for these very dimension values, in place of the policy's own.
    pub limit: Option<Decimal>,
    /// The first instant that the window holds.
    pub opened: Instant,
    /// The first instant after the window; none where it does not end.
    pub closes: Option<Instant>,
}

/// A call that asks to go ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// When.
    pub at: Instant,
    /// The dimensions that the manifest reads.
    pub dimensions: Vec<Dimension>,
    /// The asked quantities that the manifest reads.
    pub asks: Vec<Quantity>,
    /// In the order of the manifest's counters.
    pub readings: Vec<Reading>,
    /// The facts that the manifest reads.
    pub facts: Vec<Fact>,
    /// The caller takes less than it asks for.
    pub partial: bool,
}

/// How near a limit is, judged on used + held + asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Below the warning threshold.
    WithinLimit,
    /// From the warning threshold on.
    ApproachingLimit,
    /// From 95 % to 100 %.
    AtLimit,
    /// Above 100 %.
    Exceeded,
    /// Cannot be told.
    Unknown,
}

/// What a policy found of one of its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Index into the manifest's counters; none: opening hours, a balance, ….
    pub counter: Option<u32>,
    /// How near the limit is.
    pub status: Status,
    /// The limit that was applied.
    pub limit: Option<Decimal>,
    /// limit − used − held, at least zero.
    pub remaining: Option<Decimal>,
    /// In words; none: the host words the standard message.
    pub message: Option<String>,
}

/// Why a call may not go ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// When it may be worth asking again.
    pub retry_at: Option<Instant>,
}

/// May the call go ahead?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// All of it.
    Allow,
    /// This much of these meters, and all of the others, where the request is partial.
    Grant(Vec<Quantity>),
    /// None of it.
    Deny(Denial),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is decided.
    pub decision: Decision,
    /// What was found, limit by limit.
    pub findings: Vec<Finding>,
    /// Open-ended remarks.
    pub facts: Vec<Fact>,
}

/// Another price for what lies above a threshold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The units above which it holds.
    pub threshold: Decimal,
    /// What is measured against it: the sum of these meters; none: the rate's own.
    #[serde(default)]
    pub of: Vec<Meter>,
    /// Once above, the whole amount takes this price and not only what lies above.
    #[serde(default)]
    pub whole: bool,
    /// In place of the rate's price.
    pub price: Decimal,
}

/// The price of one meter of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// What it prices.
    pub meter: Meter,
    /// For so many units.
    pub price: Decimal,
    /// The price's currency.
    pub currency: Currency,
    /// How many units the price is for.
    pub units: Decimal,
    /// In rising order of thresholds.
    pub tiers: Vec<Tier>,
    /// Open-ended remarks.
    pub facts: Vec<Fact>,
}

/// What was, or will be, used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// When.
    pub at: Instant,
    /// The dimensions that the manifest reads.
    pub dimensions: Vec<Dimension>,
    /// All of what was used.
    pub quantities: Vec<Quantity>,
    /// The rates that the host's catalog has for the model.
    pub rates: Vec<Rate>,
    /// In the order of the manifest's counters.
    pub readings: Vec<Reading>,
    /// The currency that the quote is wanted in; none: that of the prices.
    pub currency: Option<Currency>,
    /// The facts that the manifest reads.
    pub facts: Vec<Fact>,
}

/// One line of a quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What is paid for.
    pub meter: Meter,
    /// How much of it.
    pub amount: Decimal,
    /// The price applied.
    pub price: Decimal,
    /// For so many units.
    pub units: Decimal,
    /// In the quote's currency, rounded once, half to even.
    pub cost: Decimal,
}

/// What a usage costs: the sum of its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// Of all lines' costs.
    pub currency: Currency,
    /// One for each price applied.
    pub lines: Vec<Line>,
    /// Open-ended remarks.
    pub facts: Vec<Fact>,
}

/// Why there is no quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Something that happened, to be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// When it happened.
    pub at: Instant,
    /// When it is looked at.
    pub now: Instant,
    /// `settled`, `denied`, `scheduled`, `period-opened`; `policy-quarantined`, `limit-changed`,
    /// `provider-drift`.
    pub occasion: String,
    /// The dimensions that the manifest reads.
    pub dimensions: Vec<Dimension>,
    /// In the order of the manifest's counters; empty where the host itself saw something.
    pub readings: Vec<Reading>,
    /// The facts that the manifest reads.
    pub facts: Vec<Fact>,
}

/// Something that people are to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What it is about; told once per key and period.
    pub key: String,
    /// The counter whose window and dimensions are the period; none: until resolved.
    pub counter: Option<u32>,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// One line.
    pub title: String,
    /// The whole text.
    pub body: String,
    /// Open-ended remarks.
    pub facts: Vec<Fact>,
}

/// The observation's value of a dimension is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disablement {
    /// Which dimension.
    pub dimension: String,
    /// In words, told with each denial.
    pub reason: String,
    /// When it ends by itself; none: when it is enabled again.
    pub until: Option<Instant>,
}

/// What follows from an observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Tell people.
    Raise(Notice),
    /// The notice of this key is over.
    Resolve(String),
    /// Stop a dimension's value.
    Disable(Disablement),
    /// The observation's value of this dimension may go on.
    Enable(String),
    /// Another limit for the dimension values of a counter.
    ProposeLimit {
        /// Index into the manifest's counters.
        counter: u32,
        /// The limit that is proposed.
        limit: Decimal,
    },
}

/// Something that is going to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// In words.
    pub description: String,
    /// The dimensions that the manifest reads.
    pub dimensions: Vec<Dimension>,
    /// The facts that the manifest reads.
    pub facts: Vec<Fact>,
}

impl Denial {
    /// A denial that holds for ever.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retry_at: None }
    }
}

impl Quote {
    /// The sum of its lines.
    pub fn total(&self) -> Result<Money, DecimalError> {
        let add = |sum: Decimal, line: &Line| sum.checked_add(line.cost);
        Ok(Money::new(self.lines.iter().try_fold(Decimal::ZERO, add)?, self.currency))
    }
}

impl Refusal {
    /// A refusal in words.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

impl Read {
    /// Whether it covers `name`.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        let (Self::Dimension(pattern) | Self::Ask(pattern) | Self::Fact(pattern)) = self;
        match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        }
    }
}

impl FromStr for Read {
    type Err = ReadError;

    fn from_str(text: &str) -> Result<Self, ReadError> {
        match text.split_once(':') {
            Some((_, "")) => None,
            Some(("dimension", name)) => Some(Self::Dimension(name.to_owned())),
            Some(("ask", name)) => Some(Self::Ask(name.to_owned())),
            Some(("fact", name)) => Some(Self::Fact(name.to_owned())),
            _ => None,
        }
        .ok_or_else(|| ReadError(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Read {
    type Error = ReadError;

    fn try_from(text: String) -> Result<Self, ReadError> {
        text.parse()
    }
}

impl From<Read> for String {
    fn from(read: Read) -> Self {
        read.to_string()
    }
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dimension(name) => write!(f, "dimension:{name}"),
            Self::Ask(name) => write!(f, "ask:{name}"),
            Self::Fact(name) => write!(f, "fact:{name}"),
        }
    }
}

/// The value of a dimension, empty where the call lacks it.
#[must_use]
pub fn dimension<'a>(dimensions: &'a [Dimension], name: &str) -> &'a str {
    dimensions.iter().find(|d| d.name == name).map_or("", |d| &d.value)
}

/// The value of a fact, where it is known.
#[must_use]
pub fn fact<'a>(facts: &'a [Fact], name: &str) -> Option<&'a Value> {
    facts.iter().find(|fact| fact.name == name).map(|fact| &fact.value)
}
