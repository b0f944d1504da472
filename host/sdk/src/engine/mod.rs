//! The engine: asks the policies before each call and after it, and keeps what they are fed. The
//! judge does so in memory; a book is a judge's state as of a tenant's head; shards own books and
//! commit for them; a host hands requests to its shards.

mod accounts;
mod acts;
mod again;
mod alerts;
mod amend;
mod amounts;
mod ask;
mod backfill;
mod body;
mod book;
mod booking;
mod builder;
mod carry;
mod context;
mod decided;
mod drift;
mod erase;
mod erasure;
mod feed;
mod forget;
mod host;
mod judge;
mod limit;
mod listing;
mod locked;
mod look;
mod matters;
mod monitor;
mod needs;
mod notices;
mod operation;
mod origin;
mod pace;
mod part;
mod price;
mod quarantine;
mod records;
mod repair;
mod rollout;
mod rollup;
mod served;
mod shard;
mod stands;
mod sums;
mod tally;
mod tariff;
mod upkeep;
mod verify;
mod words;

pub use again::{Candidate, Fate, Rejudged, Unjudged};
pub use amend::{disable, enable, let_back};
pub use builder::{HostBuilder, Random};
pub use carry::carry;
pub use context::{Context, ContextPolicy};
pub use decided::{Asked, DecisionRecord, ReviewRecord, Said, context_of, decisions, reviews};
pub use drift::{Drift, Invoiced, drift};
pub use erase::{erase, finish_erasures};
pub use host::{Host, HostError};
pub use judge::Judged;
pub use limit::{Limit, LimitKey};
pub use listing::{Directory, Line, Used, directory, lines, runs, usages};
pub use look::{Account, Checked, Standing};
pub use monitor::{monitor, next_look};
pub use notices::{NoticeBody, NoticeRecord, notices};
pub use operation::{
    AgentText, Consulted, Denied, Entry, EntryKind, LimitFinding, Mode, Operation, Outcome,
    Recorded, Report, Reserved, Run, RunState, Subject,
};
pub use origin::Revisions;
pub use price::Priced;
pub(crate) use price::quotes;
pub use quarantine::{PolicyKey, Quarantined, quarantined};
pub use records::{Agent, Author, Disabled};
pub use rollout::{BindingMode, Canary, NotAShare, Percent};
pub use rollup::{GRAINS_MS, GROUPINGS, LATENCY_BOUNDS_MS, LATENCY_MS, follow, metrics};
pub use tally::TallyError;
pub use tariff::{ByTariff, Tariff};
pub use upkeep::{Retention, upkeep};
pub use verify::{Difference, verify};
pub(crate) use words::unfit;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::contract::{Denial, Dimension, Notice, Quantity, Read};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::messages::Language;
use tollgate_policy_core::meter::MeterError;
use tollgate_policy_core::prices::PriceList;
use tollgate_policy_core::window::{Instant, Window};
use tollgate_policy_core::{Decimal, Meter};

use crate::sandbox::{Ability, Fault, Policy};
use crate::store::RevisionId;

/// The call's user, agent, … is disabled.
pub const DISABLED: &str = "disabled";

/// A policy in its place.
#[derive(Clone)]
pub struct Binding {
    /// What people call it.
    pub name: String,
    /// The policy itself; it serves wherever it has the ability.
    pub policy: Policy,
    /// What it means that it fails.
    pub failing: Failing,
    /// Whose policy it is.
    pub layer: Layer,
    /// Its revision; none: it was embedded as it is.
    pub revision: Option<RevisionId>,
    /// How much its word counts.
    pub mode: BindingMode,
}

impl Binding {
    /// A policy of the platform's whose failing denies.
    #[must_use]
    pub fn new(name: impl Into<String>, policy: Policy) -> Self {
        let (name, failing, layer) = (name.into(), Failing::Closed, Layer::Platform);
        Self { name, policy, failing, layer, revision: None, mode: BindingMode::Enforce }
    }

    /// By what it charges, where it prices.
    #[must_use]
    pub fn tariff(&self) -> Tariff {
        Tariff::of(self.layer)
    }

    /// As people are told of it: two layers may have one name.
    fn told_as(&self) -> String {
        match self.layer {
            Layer::Platform | Layer::Plan => format!("*/{}", self.name),
            Layer::Tenant => self.name.clone(),
        }
    }

    /// Who does what it says.
    fn author(&self) -> Author {
        match self.layer {
            Layer::Platform | Layer::Plan => Author::Platform(self.name.clone()),
            Layer::Tenant => Author::Policy(self.name.clone()),
        }
    }
}

/// Whose a policy is, in the order in which they are asked.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The platform's, for all tenants.
    #[default]
    Platform,
    /// The platform's, for tenants on a plan.
    Plan,
    /// The tenant's own: it tightens what the others allow, and never loosens it.
    Tenant,
}

/// What a quota policy that fails means for the call. What cannot be priced is always denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failing {
    /// It is denied.
    #[default]
    Closed,
    /// It goes ahead as far as this policy is concerned.
    Open,
}

/// What becomes of a reservation whose time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiring {
    /// What was held is given back.
    #[default]
    GiveBack,
    /// What was held is charged: a client that hung up is still billed by its provider.
    Charge,
}

/// Within what a policy may propose limits on a counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// What the limit is on.
    pub meter: Meter,
    /// Over which time.
    pub window: Window,
    /// No lower.
    pub least: Decimal,
    /// No higher.
    pub most: Decimal,
}

/// What a tenant is set up with.
#[derive(Clone, Default)]
pub struct Setup {
    /// Asked in this order; one of the platform's at most may price, and one of the tenant's own.
    pub bindings: Vec<Binding>,
    /// Whatever is asked is denied with this.
    pub closed: Option<Denial>,
    /// The tenant's zone and week.
    pub calendar: TenantCalendar,
    /// Whose rates are handed to the pricing policy.
    pub catalog: Option<Arc<PriceList>>,
    /// What becomes of reservations whose time is over.
    pub expiring: Expiring,
    /// What every call must name: `user`, `model`.
    pub required_dimensions: Vec<String>,
    /// The meters that may be asked for and told; none: any.
    pub meters: Option<BTreeSet<Meter>>,
    /// Within what policies may propose limits; on other counters they may not.
    pub proposals: Vec<Bounds>,
    /// Of what the host itself tells people.
    pub language: Language,
}

/// A tenant cannot be set up like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Two policies would price.
    #[error("both `{0}` and `{1}` price: bind one of them")]
    TwoPrices(String, String),
    /// A price follows from a cost that nothing tells it.
    #[error(
        "`{0}` prices by what a call costs, which nothing tells it: it is for a tenant's own prices, \
         where a policy of the platform's prices"
    )]
    CostUntold(String),
    /// A candidate's prices have nothing beside them.
    #[error("`{0}` would price beside nothing: bind it to be enforced")]
    PricesAlone(String),
    /// For whom a candidate decides, nobody would do what it cannot.
    #[error(
        "`{candidate}` cannot do `{ability}`, which what it stands beside does: bind it in shadow"
    )]
    Lacks {
        /// Which one.
        candidate: String,
        /// What it lacks.
        ability: String,
    },
    /// It is not clear what takes the place of what.
    #[error("more than one candidate stands beside `{0}`: bind one at a time")]
    TwoCandidates(String),
}

impl Setup {
    /// Under which name batches say that they were judged with it.
    #[must_use]
    pub fn context_name(&self) -> String {
        Context::of(self).named().0
    }

    pub(crate) fn check(&self) -> Result<(), SetupError> {
        let prices = |binding: &&Binding| binding.policy.can(Ability::Pricing);
        for tariff in Tariff::ALL {
            let charges = |own: &&Binding| own.tariff() == tariff && !own.is_candidate();
            let mut enforced = self.bindings.iter().filter(charges).filter(prices);
            if let (Some(first), Some(second)) = (enforced.next(), enforced.next()) {
                return Err(SetupError::TwoPrices(first.name.clone(), second.name.clone()));
            }
        }
        let told = |own: &Binding| {
            let costs = |other: &Binding| {
                other.tariff() == Tariff::Cost && !other.is_candidate() && prices(&other)
            };
            own.tariff() == Tariff::Price && self.bindings.iter().any(costs)
        };
        let reads_cost = |own: &&Binding| {
            let mut reads = own.policy.manifest().reads.iter();
            reads.any(|read| matches!(read, Read::Fact(pattern) if Tariff::Cost.has(pattern)))
        };
        if let Some(own) =
            self.bindings.iter().filter(prices).filter(reads_cost).find(|own| !told(own))
        {
            return Err(SetupError::CostUntold(own.name.clone()));
        }
        for (place, own) in self.bindings.iter().enumerate().filter(|(_, own)| own.is_candidate()) {
            let is_named = |other: &&Binding| (other.layer, &other.name) == (own.layer, &own.name);
            let beside = self.beside(place).and_then(|place| self.bindings.get(place));
            if self.bindings.iter().filter(is_named).count() > 1 + usize::from(beside.is_some()) {
                return Err(SetupError::TwoCandidates(own.name.clone()));
            }
            let lacks = |other: &Binding| {
                Ability::ALL.into_iter().find(|all| other.policy.can(*all) && !own.policy.can(*all))
            };
            if let BindingMode::Canary(_) = own.mode
                && let Some(ability) = beside.and_then(lacks)
            {
                let ability = ability.name().to_owned();
                return Err(SetupError::Lacks { candidate: own.name.clone(), ability });
            }
            if prices(&own) && !beside.as_ref().is_some_and(prices) {
                return Err(SetupError::PricesAlone(own.name.clone()));
            }
        }
        Ok(())
    }
}

/// Something that an agent is about to do, or did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Who and what it is about.
    pub dimensions: Vec<Dimension>,
    /// What it needs, or used.
    pub quantities: Vec<Quantity>,
}

impl Call {
    /// About these dimensions; it asks for nothing yet.
    pub fn of<'a>(dimensions: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let dimension =
            |(name, value): (&str, &str)| Dimension { name: name.into(), value: value.into() };
        let dimensions = dimensions.into_iter().map(dimension).collect();
        Self { dimensions, quantities: Vec::new() }
    }

    /// So much of a meter more.
    pub fn asking(mut self, meter: &str, amount: impl Into<Decimal>) -> Result<Self, MeterError> {
        self.quantities.push(Quantity { meter: meter.parse()?, amount: amount.into() });
        Ok(self)
    }
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
    /// A dimension's value was enabled again.
    Enabled {
        /// When.
        at: Instant,
        /// Which.
        dimension: Dimension,
    },
    /// A policy's limit was set to what it proposed, within its bounds.
    Limited {
        /// When.
        at: Instant,
        /// On what.
        key: LimitKey,
        /// How much.
        limit: Decimal,
    },
    /// A policy failed so often that it is asked no longer.
    Quarantined {
        /// When.
        at: Instant,
        /// Which one.
        policy: PolicyKey,
        /// How it failed last.
        fault: Fault,
    },
    /// What was used is booked without the tenant's own price, which could not be had.
    Unpriced {
        /// Which policy.
        policy: String,
        /// Why, in words.
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

/// The engine gave no answer. Nothing was held or booked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A policy failed after the fact, where nothing can be denied any more.
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
    /// A total could not be told.
    #[error(transparent)]
    Total(#[from] TallyError),
    /// An amount does not fit.
    #[error("an amount does not fit: {0}")]
    Amount(#[from] DecimalError),
}
