//! What a call costs, by the policy that prices.

use std::iter;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_policy_core::contract::{Denial, Fact, Quote, Rate, Read, Refusal, Usage, dimension};
use tollgate_policy_core::window::Instant;

use super::feed::{Feed, Known};
use super::{Binding, Call, EngineError, Setup};
use crate::sandbox::{Ability, Fault, Policy};

/// What a pricing policy was fed beside the call, and what it said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Priced {
    /// Its place among the bindings.
    pub binding: usize,
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
    /// The same of the policy that prices beside the one that counts.
    pub beside: Option<Box<Priced>>,
}

/// What a request was checked with before its turn came, and its price where that was had as well.
pub struct Beforehand {
    pub setup: Arc<Setup>,
    pub priced: Option<Priced>,
}

impl Beforehand {
    /// The price, where the request is judged with what it was checked with: a decision is of one
    /// set of policies. None: it must be checked again.
    pub fn counts_for(self, setup: &Arc<Setup>) -> Option<Option<Priced>> {
        Arc::ptr_eq(&self.setup, setup).then_some(self.priced)
    }
}

impl Priced {
    /// This one, and the one beside it.
    pub(super) fn both(&self) -> impl Iterator<Item = &Self> {
        iter::once(self).chain(self.beside.as_deref())
    }

    /// Who prices is in quarantine.
    pub(super) fn not_asked(binding: usize, at: Instant) -> Self {
        let (rates, facts, outcome) = (Vec::new(), Vec::new(), Err(Fault::Quarantined));
        Self { binding, at, rates, facts, outcome, fuel: 0, beside: None }
    }

    /// The same call's price by another policy, in the same place.
    pub(super) fn by(&self, policy: &Policy, call: &Call, facts: Vec<Fact>) -> Self {
        let priced = Self { facts, beside: None, ..self.clone() };
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

    /// The quote, or why a call cannot go ahead without one: what nobody can price nobody can
    /// limit.
    pub fn quote(&self, setup: &Setup) -> Result<&Quote, Denial> {
        let name = || setup.bindings.get(self.binding).map_or("", |binding| &binding.name);
        match &self.outcome {
            Ok(Ok(quote)) => Ok(quote),
            Ok(Err(refusal)) => Err(Denial::new(&*refusal.code, &*refusal.message)),
            Err(fault) => Err(failure(name(), fault)),
        }
    }

    /// The quote of what was used, which nobody can deny any more.
    pub fn booked(&self, setup: &Setup) -> Result<&Quote, EngineError> {
        let policy = || setup.bindings[self.binding].name.clone();
        match &self.outcome {
            Ok(Ok(quote)) => Ok(quote),
            Ok(Err(refusal)) => {
                let message = refusal.message.clone();
                Err(EngineError::Unpriced { policy: policy(), message })
            }
            Err(fault) => Err(EngineError::Policy { policy: policy(), fault: fault.clone() }),
        }
    }
}

/// The denial that a broken policy means.
pub fn failure(policy: &str, fault: &Fault) -> Denial {
    Denial::new(fault.code(), format!("policy `{policy}`: {fault}"))
}

/// The policies that price, by their places among the bindings: one, or two of which one counts.
fn pricing(setup: &Setup) -> impl Iterator<Item = (usize, &Binding)> {
    let can = |(_, binding): &(usize, &Binding)| binding.policy.can(Ability::Pricing);
    setup.bindings.iter().enumerate().filter(can)
}

/// Whose price counts for a call, by its place.
pub fn deciding(setup: &Setup, call: &Call) -> Option<usize> {
    let decides = |place: &usize| setup.decides(*place, &call.dimensions);
    pricing(setup).map(|(place, _)| place).find(decides)
}

/// Whether a price follows from the call alone, so that it can be had before a call's turn comes.
pub fn depends_on_call_alone(setup: &Setup) -> bool {
    let stands_apart = |read: &Read| match read {
        Read::Fact(pattern) => pattern.starts_with("local."),
        Read::Dimension(_) | Read::Ask(_) => true,
    };
    pricing(setup).all(|(_, binding)| {
        let manifest = binding.policy.manifest();
        manifest.counters.is_empty() && manifest.reads.iter().all(stands_apart)
    })
}

/// What a call costs, or cost; none where nothing prices.
pub fn price(setup: &Setup, known: Known, call: &Call, at: Instant) -> Option<Priced> {
    let (mut own, mut beside) = (None, None);
    for (place, binding) in pricing(setup) {
        let priced = Some(price_by(place, binding, setup, known, call, at));
        match setup.decides(place, &call.dimensions) {
            true => own = priced,
            false => beside = priced,
        }
    }
    Some(Priced { beside: beside.map(Box::new), ..own? })
}

fn price_by(
    place: usize,
    binding: &Binding,
    setup: &Setup,
    known: Known,
    call: &Call,
    at: Instant,
) -> Priced {
    let feed = Feed::new(&binding.policy.manifest().reads);
    let model = dimension(&call.dimensions, "model");
    let rates = setup.catalog.as_ref().and_then(|catalog| catalog.rates(model).ok());
    let rates = rates.unwrap_or_default();
    let facts = feed.facts(setup, known, call, at, &[]);
    let unpriced = Err(Fault::Busy);
    let (outcome, beside) = (unpriced, None);
    let priced = Priced { binding: place, at, rates, facts, outcome, fuel: 0, beside };
    let answer = binding.policy.price(priced.usage(&feed, call));
    Priced { outcome: answer.outcome, fuel: answer.fuel, ..priced }
}
