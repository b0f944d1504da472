//! The engine: asks the policies before each call and after it, and keeps what they are fed. The
//! judge does so in memory; books are a judge's state as of a tenant's head; shards own books and
//! commit for them; a host hands requests to its shards.

mod book;
mod feed;
mod host;
mod judge;
mod shard;
mod tally;

pub use host::{Host, HostError, HostSettings, Operation, Outcome, Random};
pub use judge::Engine;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tollgate_policy_core::Money;
use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::contract::{Denial, Dimension, Finding, Notice, Quantity, Quote};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::prices::PriceList;
use tollgate_policy_core::window::Instant;

use crate::sandbox::{Fault, Policy};
use tally::{Part, TallyError};

/// The call's user, agent, … is disabled.
pub const DISABLED: &str = "disabled";

/// A policy in its place.
#[derive(Clone)]
pub struct Binding {
    /// What people call it.
    pub name: String,
    /// The policy itself; it serves wherever it has the ability.
    pub policy: Policy,
}

/// What a tenant's engine is set up with.
pub struct Setup {
    /// Asked in this order; one at most may price.
    pub bindings: Vec<Binding>,
    /// The tenant's zone and week.
    pub calendar: TenantCalendar,
    /// Whose rates are handed to the pricing policy.
    pub catalog: Option<PriceList>,
    /// The records of agents: their settings, by name.
    pub agents: BTreeMap<String, Json>,
}

/// Something that an agent is about to do, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// When. Time never goes back: an earlier instant counts as the last one seen.
    pub at: Instant,
    /// Who and what it is about.
    pub dimensions: Vec<Dimension>,
    /// What it needs, or used.
    pub quantities: Vec<Quantity>,
}

/// A call that may go ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The call itself.
    pub call: Call,
    /// What its estimate costs; none where nothing prices.
    pub quote: Option<Quote>,
    /// What is held for it.
    parts: Vec<Part>,
    /// What the policies found.
    pub findings: Vec<Finding>,
}

/// The answer to a call that asks to go ahead.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It may.
    Allowed(Box<Reservation>),
    /// It may not, and why; with what follows from that.
    Denied(Denial, Vec<Event>),
}

/// Something that people are to hear of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A notice was raised, once for its key and period.
    Notice {
        /// When.
        at: Instant,
        /// What it says.
        notice: Notice,
    },
    /// A dimension's value was disabled.
    Disabled {
        /// When.
        at: Instant,
        /// Which.
        dimension: Dimension,
        /// Until when; none: until it is enabled.
        until: Option<Instant>,
        /// Why.
        reason: String,
    },
    /// An alerting policy failed. What it was to look at stands nevertheless.
    Failed {
        /// Which one.
        policy: String,
        /// How.
        fault: Fault,
    },
}

/// A call that was settled.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What it cost; none where nothing prices.
    pub cost: Option<Money>,
    /// Of which it is the sum.
    pub quote: Option<Quote>,
    /// What follows from it.
    pub events: Vec<Event>,
}

/// The engine gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Two policies would price.
    #[error("both `{0}` and `{1}` price: bind one of them")]
    TwoPrices(String, String),
    /// A policy failed. Nothing was held or booked.
    #[error("policy `{policy}`: {fault}")]
    Policy {
        /// Which one.
        policy: String,
        /// How.
        fault: Fault,
    },
    /// Usage that was settled could not be priced.
    #[error("policy `{policy}` does not price what was used: {message}")]
    Unpriced {
        /// Which one.
        policy: String,
        /// Why.
        message: String,
    },
    /// A total could not be told. Nothing moved.
    #[error(transparent)]
    Total(#[from] TallyError),
    /// An amount does not fit.
    #[error("an amount does not fit: {0}")]
    Amount(#[from] DecimalError),
}
