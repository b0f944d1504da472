//! What a host is asked, and what it answers.

use serde::{Deserialize, Serialize};
use tollgate_policy_core::contract::{
    Counter, Denial, Dimension, Finding, Quantity, Quote, Reading, Status,
};
use tollgate_policy_core::messages::{self, Language};
use tollgate_policy_core::window::{Instant, Window};
use tollgate_policy_core::{Decimal, Meter, Money};
use uuid::Uuid;

use super::amounts::Amounts;
use super::drift::Drift;
use super::host::HostError;
use super::limit::{Limit, LimitKey};
use super::quarantine::PolicyKey;
use super::records::{AGENT, Author};
use super::tariff::{ByTariff, Tariff};
use super::{Call, Event, Layer, Setup};
use crate::sandbox::Fault;
use crate::store::RevisionId;

/// What a host is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// May this call go ahead? What it needs is held.
    Reserve {
        /// The call.
        call: Call,
        /// For how long, in ms.
        ttl_ms: i64,
        /// All of it, or what can be had.
        mode: Mode,
    },
    /// This is what a reserved call used. Booked whatever it is, also after its time.
    Settle {
        /// The reservation's.
        id: Uuid,
        /// What was used.
        used: Vec<Quantity>,
    },
    /// A reserved call does not take place.
    Release {
        /// The reservation's.
        id: Uuid,
    },
    /// A call that is under way needs more, or longer.
    Extend {
        /// The reservation's.
        id: Uuid,
        /// How much more, judged in the current windows.
        more: Vec<Quantity>,
        /// From now on, in ms.
        ttl_ms: i64,
    },
    /// What was used without asking, now or some time ago.
    Record {
        /// In order. All of it is booked, or nothing.
        reports: Vec<Report>,
    },
    /// A usage that was told wrongly is undone.
    Void {
        /// The usage's.
        usage: Uuid,
        /// Why, in words.
        reason: String,
    },
    /// A run begins: it holds its place among the active ones until it is finished, or shows no
    /// sign of life for its time. Calls that name it as their dimension `run` are its signs of
    /// life.
    Start {
        /// The run: whose it is, and what it needs, by which it is judged.
        call: Call,
        /// How long it lives without a sign of life, in ms.
        ttl_ms: i64,
    },
    /// A run is over.
    Finish {
        /// The run's.
        id: Uuid,
    },
    /// An entry that no call makes.
    Book {
        /// The entry.
        entry: Entry,
    },
    /// Sets or removes something that is known by name.
    Set {
        /// What.
        subject: Subject,
        /// Who does.
        by: Author,
    },
    /// Reservations whose time is over end. Asked by the host itself.
    Expire,
    /// Alerting policies look at these, whether anything was asked about them or not, and at the
    /// periods that opened since an instant.
    Monitor {
        /// Each by its dimensions.
        subjects: Vec<Vec<Dimension>>,
        /// Up to where that was done before.
        since: Instant,
    },
    /// People are told where providers invoiced something else than was computed, and that it is over
    /// where they no longer do.
    Reconcile {
        /// Each of a provider, a model and a day of its own.
        drifts: Vec<Drift>,
    },
}

/// How much of a call must be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All of it, or nothing.
    #[default]
    All,
    /// What can be had.
    BestEffort,
}

/// What was used, told afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// By whom and for what, and how much.
    pub call: Call,
    /// When; none: now. It lands in the windows that hold it.
    pub used_at: Option<Instant>,
}

/// An entry of the ledger that no call makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// In which account: `cost` unless said otherwise.
    #[serde(default)]
    pub account: Tariff,
    /// What it is.
    pub kind: EntryKind,
    /// How much: credits and refunds are above zero, adjustments either.
    pub money: Money,
    /// Why, in words.
    pub reason: String,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Paid in.
    Credit,
    /// Put right.
    Adjustment,
    /// Given back.
    Refund,
}

/// Something that is known by name; none of it: it is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// An agent.
    Agent(String, Option<AgentText>),
    /// A limit.
    Limit(LimitKey, Option<Limit>),
    /// What may not go on, why, and until when.
    Disabled(Dimension, Option<(String, Option<Instant>)>),
    /// A policy that failed too often, and is let back.
    LetBack(PolicyKey),
}

/// An agent, its settings as JSON text: the same request is then the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentText {
    /// As people call it.
    pub name: Option<String>,
    /// Its settings.
    pub settings: String,
    /// Whether it may run at all.
    pub enabled: bool,
}

/// What a host answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The call may go ahead, or the run has begun.
    Reserved(Reserved),
    /// It may not.
    Denied(Denied),
    /// Its use is booked.
    Settled(Recorded),
    /// What was held is given back, or the run is over.
    Released,
    /// More is held, or longer.
    Extended {
        /// By which the decision is found.
        decision: Uuid,
        /// Until then.
        expires_at: Instant,
        /// What the additional estimate costs.
        quotes: ByTariff<Quote>,
        /// Whose word counted.
        consulted: Vec<Consulted>,
        /// What follows from that.
        events: Vec<Event>,
    },
    /// What was told is booked, in the order of the reports.
    Recorded(Vec<Recorded>),
    /// The usage is undone.
    Voided {
        /// The usage that undoes it.
        usage: Uuid,
    },
    /// The entry is booked.
    Booked {
        /// The entry's.
        entry: Uuid,
        /// What its account stands at.
        balance: Money,
    },
    /// It is so now.
    Done,
    /// Alerting policies have looked.
    Monitored {
        /// What follows from what they saw.
        events: Vec<Event>,
    },
    /// People are told of invoices that drift.
    Reconciled,
}

/// A call that may go ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// By which it is settled or released.
    pub id: Uuid,
    /// Until then it is held.
    pub expires_at: Instant,
    /// What is held for it: all that it asked for, or what could be had.
    pub granted: Vec<Quantity>,
    /// What its estimate costs; none where nothing prices.
    pub quotes: ByTariff<Quote>,
    /// Whose word counted.
    pub consulted: Vec<Consulted>,
    /// What follows from that.
    pub events: Vec<Event>,
}

/// A policy whose word counted, and what it found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consulted {
    /// What people call it.
    pub policy: String,
    /// Whose it is.
    pub layer: Layer,
    /// Its revision; none: it was embedded as it is.
    pub revision: Option<RevisionId>,
    /// What it found, limit by limit.
    pub findings: Vec<LimitFinding>,
    /// How it failed. A call that goes ahead nevertheless was passed by it, as its binding says.
    pub fault: Option<Fault>,
}

/// What a policy found of one of its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitFinding {
    /// What is limited; none: opening hours, a balance, ….
    pub meter: Option<Meter>,
    /// Over which time.
    pub window: Option<Window>,
    /// How near the limit is, with this call.
    pub status: Status,
    /// Settled, before this call.
    pub used: Option<Decimal>,
    /// Held by open reservations, before this call.
    pub held: Option<Decimal>,
    /// The limit that was applied.
    pub limit: Option<Decimal>,
    /// limit − used − held, at least zero.
    pub remaining: Option<Decimal>,
    /// When its window closes, if it does.
    pub closes: Option<Instant>,
    /// In the policy's own words.
    pub message: Option<String>,
}

impl LimitFinding {
    /// A finding, with what its counter is and stood at.
    pub(super) fn of(
        finding: Finding,
        counter: Option<&Counter>,
        reading: Option<&Reading>,
    ) -> Self {
        let Finding { status, limit, remaining, message, .. } = finding;
        Self {
            meter: counter.map(|counter| counter.meter.clone()),
            window: counter.map(|counter| counter.window),
            status,
            used: reading.map(|reading| reading.used),
            held: reading.map(|reading| reading.held),
            limit,
            remaining,
            closes: reading.and_then(|reading| reading.closes),
            message,
        }
    }

    /// In words: the policy's own, or the standard ones.
    #[must_use]
    pub fn words(&self, language: Language) -> String {
        let standard = || {
            let resource = self.meter.as_ref().map_or("", Meter::as_str);
            let (limit, remaining) = (self.limit.unwrap_or_default(), self.remaining);
            let remaining = remaining.unwrap_or_default();
            messages::quota(language, self.status, resource, limit, remaining)
        };
        self.message.clone().unwrap_or_else(standard)
    }
}

/// A call that may not go ahead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// By which the decision is found.
    pub decision: Uuid,
    /// Why, for programs and in words.
    pub denial: Denial,
    /// Whose word counted.
    pub consulted: Vec<Consulted>,
    /// What follows from that.
    pub events: Vec<Event>,
    /// The policy that failed, and how, where that is why.
    pub fault: Option<(String, Fault)>,
}

/// A usage that was booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// By which it can be undone.
    pub usage: Uuid,
    /// What it cost; none where nothing prices.
    pub charged: ByTariff<Money>,
    /// Whether its reservation's time was over, or it lies in a window that closed.
    pub late: bool,
    /// Whether it is more than was held for it.
    pub overshoot: bool,
    /// What follows from it.
    pub events: Vec<Event>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its name, under which calls belong to it.
    pub id: Uuid,
    /// Who and what it is about.
    pub dimensions: Vec<Dimension>,
    /// When it began.
    pub started_at: Instant,
    /// How it stands.
    pub state: RunState,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It is under way.
    Active,
    /// It ended then.
    Ended(Instant),
}

impl Operation {
    /// Of which operation a key is.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reserve { .. } => "reserve",
            Self::Settle { .. } => "settle",
            Self::Release { .. } => "release",
            Self::Extend { .. } => "extend",
            Self::Record { .. } => "record",
            Self::Void { .. } => "void",
            Self::Start { .. } => "start",
            Self::Finish { .. } => "finish",
            Self::Book { .. } => "book",
            Self::Set { .. } => "set",
            Self::Expire => "expire",
            Self::Monitor { .. } => "monitor",
            Self::Reconcile { .. } => "reconcile",
        }
    }

    /// Whether it names this value of a dimension.
    pub(super) fn names(&self, dimension: &Dimension) -> bool {
        match self {
            Self::Reserve { call, .. } | Self::Start { call, .. } => {
                call.dimensions.contains(dimension)
            }
            Self::Record { reports } => {
                reports.iter().any(|report| report.call.dimensions.contains(dimension))
            }
            Self::Set { subject, .. } => match subject {
                Subject::Agent(name, _) => dimension.name == AGENT && dimension.value == *name,
                Subject::Limit(key, _) => key.dimensions.contains(dimension),
                Subject::Disabled(own, _) => own == dimension,
                Subject::LetBack(_) => false,
            },
            Self::Monitor { subjects, .. } => subjects.iter().any(|own| own.contains(dimension)),
            Self::Reconcile { drifts } => {
                drifts.iter().any(|drift| drift.invoiced.dimensions().contains(dimension))
            }
            _ => false,
        }
    }

    /// Refuses what no state of a tenant makes right.
    pub(super) fn check(&self, setup: &Setup) -> Result<(), HostError> {
        match self {
            Self::Reserve { call, ttl_ms, .. } | Self::Start { call, ttl_ms } => {
                check_call(call, setup)?;
                check_ttl(*ttl_ms)
            }
            Self::Settle { used, .. } => check_quantities(used, setup),
            Self::Extend { more, ttl_ms, .. } => {
                check_quantities(more, setup)?;
                check_ttl(*ttl_ms)
            }
            Self::Record { reports } => {
                reports.iter().try_for_each(|report| check_call(&report.call, setup))
            }
            Self::Void { reason, .. } => check_text("reason", reason),
            Self::Book { entry } => {
                check_text("reason", &entry.reason)?;
                let amount = entry.money.amount;
                let meter = || entry.account.meter(entry.money.currency);
                if amount.is_zero() || (amount.is_negative() && entry.kind != EntryKind::Adjustment)
                {
                    return Err(HostError::Negative { meter: meter(), amount });
                }
                Ok(())
            }
            Self::Set { subject, .. } => check_subject(subject),
            Self::Reconcile { drifts } => drifts.iter().try_for_each(check_drift),
            Self::Release { .. } | Self::Finish { .. } | Self::Expire | Self::Monitor { .. } => {
                Ok(())
            }
        }
    }
}

pub(super) fn check_call(call: &Call, setup: &Setup) -> Result<(), HostError> {
    check_count("dimensions", call.dimensions.len())?;
    for Dimension { name, value } in &call.dimensions {
        check_text("dimension", name)?;
        check_text(name, value)?;
    }
    let has = |name: &&String| {
        !call.dimensions.iter().any(|own| own.name == **name && !own.value.is_empty())
    };
    if let Some(name) = setup.required_dimensions.iter().find(has) {
        return Err(HostError::MissingDimension(name.clone()));
    }
    check_quantities(&call.quantities, setup)
}

fn check_quantities(quantities: &[Quantity], setup: &Setup) -> Result<(), HostError> {
    check_count("meters", quantities.len())?;
    for Quantity { meter, amount } in quantities {
        if amount.is_negative() {
            return Err(HostError::Negative { meter: meter.to_string(), amount: *amount });
        }
        let known = |meters: &std::collections::BTreeSet<Meter>| meters.contains(meter);
        if !setup.meters.as_ref().is_none_or(known) {
            return Err(HostError::UnknownMeter(meter.clone()));
        }
    }
    // What fits all together fits by meter as well.
    let all = quantities.iter().try_fold(Decimal::ZERO, |sum, own| sum.checked_add(own.amount));
    if all.is_err() {
        Amounts::of_call(quantities, ByTariff::default())?;
    }
    Ok(())
}

pub(super) fn check_subject(subject: &Subject) -> Result<(), HostError> {
    match subject {
        Subject::Agent(name, agent) => {
            check_text("agent", name)?;
            let is_json = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();
            if let Some(called) = agent.as_ref().and_then(|agent| agent.name.as_ref()) {
                check_text("name", called)?;
            }
            match agent {
                Some(agent) if agent.settings.len() > SETTINGS_MAX => {
                    Err(HostError::Malformed(format!(
                        "the agent's settings are longer than {SETTINGS_MAX} bytes: shorten them"
                    )))
                }
                Some(agent) if !is_json(&agent.settings) => {
                    Err(HostError::Malformed("the agent's settings are not JSON".into()))
                }
                _ => Ok(()),
            }
        }
        Subject::Limit(key, limit) => {
            for Dimension { name, value } in &key.dimensions {
                check_text("dimension", name)?;
                check_text(name, value)?;
            }
            check_count("dimensions", key.dimensions.len())?;
            if let Some(limit) = limit {
                check_text("set_by", &limit.set_by)?;
            }
            match limit {
                Some(limit) if limit.limit.is_negative() => {
                    let (meter, amount) = (key.meter.to_string(), limit.limit);
                    Err(HostError::Negative { meter, amount })
                }
                _ => Ok(()),
            }
        }
        Subject::Disabled(Dimension { name, value }, disabled) => {
            if let Some((reason, _)) = disabled {
                check_text("reason", reason)?;
            }
            check_text("dimension", name)?;
            check_text(name, value)
        }
        Subject::LetBack(PolicyKey { policy, revision, .. }) => {
            check_text("policy", policy)?;
            check_text("revision", revision)
        }
    }
}

fn check_drift(Drift { invoiced, .. }: &Drift) -> Result<(), HostError> {
    for Dimension { name, value } in &invoiced.dimensions() {
        check_text(name, value)?;
        if value.is_empty() {
            return Err(HostError::Malformed(format!(
                "the `{name}` is empty: name it as calls do"
            )));
        }
    }
    if invoiced.money.amount.is_negative() {
        let words = format!("{} is below zero: leave credits out", invoiced.money);
        return Err(HostError::Malformed(words));
    }
    Ok(())
}

/// So many dimensions, or meters, a call has at the most: each is judged, and kept with its decision.
const COUNT_MAX: usize = 64;

fn check_count(what: &str, count: usize) -> Result<(), HostError> {
    if count <= COUNT_MAX {
        return Ok(());
    }
    Err(HostError::Malformed(format!("{count} {what}: name {COUNT_MAX} at the most")))
}

/// The longest that an agent's settings may be, in bytes: policies are fed them with each of its calls.
const SETTINGS_MAX: usize = 16 * 1_024;

/// The longest that a name or a value may be, in bytes.
const TEXT_MAX: usize = 1_024;

fn check_text(what: &str, text: &str) -> Result<(), HostError> {
    if text.len() > TEXT_MAX {
        let words = format!("`{what}` is longer than {TEXT_MAX} bytes: shorten it");
        return Err(HostError::Malformed(words));
    }
    if text.contains('\0') {
        // Postgres keeps none in its texts.
        return Err(HostError::Malformed(format!("`{what}` holds a NUL: leave it out")));
    }
    Ok(())
}

/// The longest that something is held: 31 days.
const TTL_MAX_MS: i64 = 31 * 86_400_000;

fn check_ttl(ttl_ms: i64) -> Result<(), HostError> {
    if (1..=TTL_MAX_MS).contains(&ttl_ms) {
        Ok(())
    } else {
        Err(HostError::Malformed(format!(
            "a time of {ttl_ms} ms: hold for 1 ms at the least and {TTL_MAX_MS} ms at the most"
        )))
    }
}
