//! What a call costs, by the policies that price: the platform's, and then the tenant's own.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_policy_core::contract::{
    Denial, Fact, Quote, Rate, Read, Refusal, Usage, Value, dimension,
};
use tollgate_policy_core::window::Instant;

use super::feed::{Feed, Known};
use super::origin::place;
use super::tariff::{ByTariff, Tariff};
use super::{Binding, Call, EngineError, Event, Setup};
use crate::sandbox::{Ability, Fault, Policy};

/// What a pricing policy was fed beside the call, and what it said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Priced {
    /// Its place among the bindings.
    pub binding: usize,
    /// By what it charges.
    pub tariff: Tariff,
    /// By the clock of whoever priced it.
    pub at: Instant,
    /// The rates that the tenant's catalog had for the model.
    pub rates: Vec<Rate>,
    /// What else was known.
    pub facts: Vec<Fact>,
    /// The quote, or why there is none.
    pub outcome: Result<Result<Quote, Refusal>, Fault>,
    /// What that took.
    pub fuel: u64,
    /// Whether its word counts, or is kept beside what does.
    pub decides: bool,
}

/// What a request was checked with before its turn came, and its prices where they were had as well.
pub struct Beforehand {
    pub setup: Arc<Setup>,
    pub priced: Option<Vec<Priced>>,
}

impl Beforehand {
    /// The prices, where the request is judged with what it was checked with: a decision is of one
    /// set of policies. None: it must be checked again.
    pub fn counts_for(self, setup: &Arc<Setup>) -> Option<Option<Vec<Priced>>> {
        Arc::ptr_eq(&self.setup, setup).then_some(self.priced)
    }
}

impl Priced {
    /// The same call's price by another policy, fed otherwise.
    pub(super) fn by(&self, policy: &Policy, call: &Call, facts: Vec<Fact>) -> Self {
        let priced = Self { facts, ..self.clone() };
        let answer = policy.price(priced.usage(&Feed::new(&policy.manifest().reads), call));
        Self { outcome: answer.outcome, fuel: answer.fuel, ..priced }
    }

    /// Whether the same is said to the same call again, and takes as much; that it need not where
    /// something in it was erased.
    pub(super) fn is_said_again(&self, setup: &Setup, call: &Call, erased: bool) -> bool {
        let Some(Binding { policy, .. }) = setup.bindings.get(self.binding) else { return false };
        let answer = policy.price(self.usage(&Feed::new(&policy.manifest().reads), call));
        answer.outcome == self.outcome && (erased || answer.fuel == self.fuel)
    }

    fn usage(&self, feed: &Feed, call: &Call) -> Usage {
        Usage {
            at: self.at,
            dimensions: feed.dimensions(&call.dimensions),
            quantities: call.quantities.clone(),
            rates: self.rates.clone(),
            readings: Vec::new(),
            currency: None,
            facts: self.facts.clone(),
        }
    }

    /// The quote, where there is one.
    #[must_use]
    pub fn quote(&self) -> Option<&Quote> {
        self.outcome.as_ref().ok()?.as_ref().ok()
    }
}

/// The quotes of those whose word counts.
pub fn quotes(priced: &[Priced]) -> ByTariff<&Quote> {
    let mut quotes = ByTariff::default();
    for own in priced.iter().filter(|own| own.decides) {
        *quotes.place(own.tariff) = own.quote();
    }
    quotes
}

/// Those whose word counts, by their places.
pub fn quoted_by(priced: &[Priced]) -> ByTariff<u16> {
    let mut places = ByTariff::default();
    for own in priced.iter().filter(|own| own.decides && own.quote().is_some()) {
        *places.place(own.tariff) = Some(place(own.binding));
    }
    places
}

/// What all of them took.
pub fn fuel(priced: &[Priced]) -> u64 {
    priced.iter().fold(0, |all, own| all.saturating_add(own.fuel))
}

/// Why a call cannot go ahead where a quote is lacking: what nobody can price nobody can limit.
pub fn unpriced(priced: &[Priced], setup: &Setup) -> Option<Denial> {
    priced.iter().filter(|own| own.decides).find_map(|own| match &own.outcome {
        Ok(Ok(_)) => None,
        Ok(Err(refusal)) => Some(Denial::new(&*refusal.code, &*refusal.message)),
        Err(fault) => {
            let name = setup.bindings.get(own.binding).map_or("", |binding| &binding.name);
            Some(failure(name, fault))
        }
    })
}

/// Why what was used has no price of the tenant's own; an error: why nothing of it can be booked
/// now. What the tenant owes the platform is booked whatever its own policy does.
pub fn lacking(priced: &[Priced], setup: &Setup) -> Result<Option<Event>, EngineError> {
    let mut event = None;
    for own in priced.iter().filter(|own| own.decides) {
        let policy = setup.bindings[own.binding].name.clone();
        let (error, passes) = match &own.outcome {
            Ok(Ok(_)) => continue,
            Ok(Err(refusal)) => {
                (EngineError::Unpriced { policy, message: refusal.message.clone() }, false)
            }
            // Of the host's own trouble it can be asked again.
            Err(fault) => {
                let passes = matches!(fault, Fault::Busy | Fault::Host(_));
                (EngineError::Policy { policy, fault: fault.clone() }, passes)
            }
        };
        if own.tariff == Tariff::Cost || passes {
            return Err(error);
        }
        let (policy, reason) = (setup.bindings[own.binding].name.clone(), error.to_string());
        event = Some(Event::Unpriced { policy, reason });
    }
    Ok(event)
}

/// The denial that a broken policy means.
pub fn failure(policy: &str, fault: &Fault) -> Denial {
    Denial::new(fault.code(), format!("policy `{policy}`: {fault}"))
}

/// The policies that price, with their places among the bindings: a price may follow from the cost.
fn pricing(setup: &Setup) -> impl Iterator<Item = (usize, &Binding)> {
    Tariff::ALL.into_iter().flat_map(|tariff| {
        let prices = move |(_, binding): &(usize, &Binding)| {
            binding.tariff() == tariff && binding.policy.can(Ability::Pricing)
        };
        setup.bindings.iter().enumerate().filter(prices)
    })
}

/// Whether a price follows from the call alone, so that it can be had before a call's turn comes.
pub fn depends_on_call_alone(setup: &Setup) -> bool {
    let stands_apart = |read: &Read| match read {
        Read::Fact(pattern) => pattern.starts_with("local.") || Tariff::Cost.has(pattern),
        Read::Dimension(_) | Read::Ask(_) => true,
    };
    pricing(setup).all(|(_, binding)| {
        let manifest = binding.policy.manifest();
        manifest.counters.is_empty() && manifest.reads.iter().all(stands_apart)
    })
}

/// Whether one that prices is asked.
pub enum Asking {
    Ask,
    /// It is not, and counts as failed.
    Out,
    /// It is not, and nobody misses it.
    Skip,
}

/// What a call costs, or cost, and then its price where it has a cost. `asking` is told the place of
/// each and whether its word counts.
pub fn price(
    setup: &Setup,
    known: Known,
    call: &Call,
    at: Instant,
    asking: impl Fn(usize, bool) -> Asking,
) -> Vec<Priced> {
    let mut all: Vec<Priced> = Vec::new();
    for (place, binding) in pricing(setup) {
        let tariff = binding.tariff();
        let lacks = |own: &Priced| own.decides && own.quote().is_none();
        if all.iter().any(|own| own.tariff != tariff && lacks(own)) {
            break;
        }
        let decides = setup.decides(place, &call.dimensions);
        let is_out = match asking(place, decides) {
            Asking::Skip => continue,
            asking => matches!(asking, Asking::Out),
        };
        let feed = Feed::new(&binding.policy.manifest().reads);
        let model = dimension(&call.dimensions, "model");
        let rates = setup.catalog.as_ref().and_then(|catalog| catalog.rates(model).ok());
        let rates = rates.unwrap_or_default();
        let more = cost_fact(&all, tariff);
        let facts = feed.facts(setup, known, call, at, more.as_slice());
        let (outcome, fuel) = (Err(Fault::Quarantined), 0);
        let mut priced =
            Priced { binding: place, tariff, at, rates, facts, outcome, fuel, decides };
        if !is_out {
            let answer = binding.policy.price(priced.usage(&feed, call));
            (priced.outcome, priced.fuel) = (answer.outcome, answer.fuel);
        }
        all.push(priced);
    }
    all
}

/// What a policy may know of what the call costs: `cost.usd`, for those who charge it on.
pub fn cost_fact(priced: &[Priced], tariff: Tariff) -> Option<Fact> {
    if tariff == Tariff::Cost {
        return None;
    }
    let money = quotes(priced).cost?.total().ok()?;
    Some(Fact { name: Tariff::Cost.meter(money.currency), value: Value::Number(money.amount) })
}
