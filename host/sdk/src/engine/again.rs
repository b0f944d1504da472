//! Recorded decisions are judged again, fed as they were: by the same policies, or with another one
//! among them.

use std::iter;

use tollgate_policy_core::Money;
use tollgate_policy_core::contract::{
    Counter, Decision, Denial, Fact, Manifest, Quantity, Quote, Read, Reading, Verdict,
};

use super::amounts::Amounts;
use super::decided::DecisionRecord;
use super::feed::{Feed, Known};
use super::judge::{Judged, Word};
use super::price::{Priced, cost_fact, quotes, unpriced};
use super::tariff::{ByTariff, Tariff};
use super::{Binding, Failing, Layer, Setup};
use crate::sandbox::{Ability, Fault, Policy};
use crate::store::Owner;

/// A policy that takes the place of the one of its name, or comes after all others where there is
/// none.
pub struct Candidate {
    /// What people call it.
    pub name: String,
    /// Whose revision it is: it takes the place of revisions of the same owner's; none: of any.
    pub owner: Option<Owner>,
    /// The policy itself.
    pub policy: Policy,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All of it goes ahead.
    Allowed,
    /// This much of these meters goes ahead.
    Granted(Vec<Quantity>),
    /// None of it does.
    Denied(Denial),
}

/// A decision, judged with a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejudged {
    /// What became of the call.
    pub before: Fate,
    /// What would have.
    pub after: Fate,
    /// What the call was to cost, as far as it could be priced.
    pub charged_before: ByTariff<Money>,
    /// What it would have been.
    pub charged_after: ByTariff<Money>,
}

/// Why a decision cannot be judged with a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unjudged {
    /// No policy was asked: something in it was disabled, or could not be priced.
    Unasked,
    /// The host cut a policy short, or did not ask it.
    Forced,
    /// Nothing that was asked then read this counter.
    Unrecorded(Box<Counter>),
}

impl Fate {
    /// For programs: `allowed`, `granted`, or the denial's code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Allowed => "allowed",
            Self::Granted(_) => "granted",
            Self::Denied(denial) => &denial.code,
        }
    }

    /// What a verdict says.
    #[must_use]
    pub fn said(verdict: &Verdict) -> Self {
        match &verdict.decision {
            Decision::Allow => Self::Allowed,
            Decision::Grant(granted) => Self::Granted(granted.clone()),
            Decision::Deny(denial) => Self::Denied(denial.clone()),
        }
    }

    /// For people.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Allowed => "allowed".into(),
            Self::Granted(granted) => {
                let granted =
                    granted.iter().map(|own| format!("{} of `{}`", own.amount, own.meter));
                format!("granted {}", granted.collect::<Vec<_>>().join(", "))
            }
            Self::Denied(denial) => denial.message.clone(),
        }
    }

    fn of(word: Word) -> Self {
        match word {
            Word::Allow => Self::Allowed,
            Word::Grant(granted) => Self::Granted(granted),
            Word::Deny(denial) => Self::Denied(denial),
        }
    }

    /// Whether none of it goes ahead.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Denied(_))
    }
}

impl Candidate {
    /// What it reads and nobody who was asked then did: it is judged without that.
    #[must_use]
    pub fn unfed(&self, setup: &Setup) -> Vec<Read> {
        let reads = |binding: &Binding| binding.policy.manifest().reads.clone();
        let read: Vec<Read> = setup.bindings.iter().flat_map(reads).collect();
        let prices = self.policy.can(Ability::Pricing) && self.tariff(setup) == Tariff::Price;
        let is_fed = |own: &&Read| match own {
            Read::Dimension(_) | Read::Ask(_) => true,
            Read::Fact(pattern) if prices && Tariff::Cost.has(pattern) => true,
            Read::Fact(pattern) => {
                let covers = |other: &Read| matches!(other, Read::Fact(_)) && other.covers(pattern);
                pattern.starts_with("local.") || read.iter().any(covers)
            }
        };
        self.policy.manifest().reads.iter().filter(|own| !is_fed(own)).cloned().collect()
    }

    /// By what it charges: as its owner does, or the one of its name.
    fn tariff(&self, setup: &Setup) -> Tariff {
        let is_its = |own: &&Binding| self.takes_the_place_of(own, Ability::Pricing);
        let mut bindings = setup.bindings.iter().filter(|own| own.policy.can(Ability::Pricing));
        match (bindings.find(is_its), &self.owner) {
            (Some(binding), _) => binding.tariff(),
            (None, Some(Owner::Tenant(_))) => Tariff::Price,
            (None, Some(Owner::Platform) | None) => Tariff::Cost,
        }
    }

    fn takes_the_place_of(&self, binding: &Binding, ability: Ability) -> bool {
        let is_its = match (&binding.revision, &self.owner) {
            (_, None) => true,
            (Some(revision), Some(owner)) => revision.owner == *owner,
            // It was embedded as it is.
            (None, Some(Owner::Tenant(_))) => binding.layer == Layer::Tenant,
            (None, Some(Owner::Platform)) => binding.layer != Layer::Tenant,
        };
        binding.name == self.name && is_its && self.policy.can(ability)
    }
}

impl DecisionRecord {
    /// Judges it again, fed as it was: the places of the policies that now answer otherwise. What
    /// the host itself cut short says nothing.
    #[must_use]
    pub fn judge_again(&self, setup: &Setup) -> Vec<usize> {
        let mut others = Vec::new();
        for priced in &self.priced {
            let is_hosts = priced.outcome.as_ref().is_err_and(Fault::is_hosts);
            if !(is_hosts || priced.is_said_again(setup, &self.call, self.erased)) {
                others.push(priced.binding);
            }
        }
        let asks = self.asks(quotes(&self.priced));
        for judged in &self.judged {
            let is_hosts = judged.outcome.as_ref().is_err_and(Fault::is_hosts);
            if !(is_hosts || judged.is_said_again(setup, self, &asks)) {
                others.push(judged.binding);
            }
        }
        others
    }

    /// Whether the policies' words come to what was decided. Beyond them the host itself denies: what
    /// is disabled, and what exceeds a limit that was set as data.
    #[must_use]
    pub fn follows(&self, setup: &Setup) -> bool {
        match self.word(setup) {
            Ok(Word::Deny(denial)) => self.denial.as_ref() == Some(&denial),
            Ok(Word::Grant(_)) => self.denial.is_some(),
            Ok(Word::Allow) => true,
            Err(denial) => self.denial.as_ref() == Some(&denial),
        }
    }

    /// Judges it with a candidate.
    pub fn judge_with(&self, setup: &Setup, candidate: &Candidate) -> Result<Rejudged, Unjudged> {
        let deciding = || self.judged.iter().filter(|own| own.decides);
        let faults = deciding().map(|own| own.outcome.as_ref().err());
        let priced = self.priced.iter().filter(|own| own.decides);
        let mut faults = faults.chain(priced.map(|own| own.outcome.as_ref().err()));
        if faults.any(|fault| fault.is_some_and(Fault::is_hosts)) {
            return Err(Unjudged::Forced);
        }
        let prices = candidate.policy.can(Ability::Pricing);
        // What had no price, its quota policies were never asked.
        if self.denial.is_some() && self.judged.is_empty() {
            return Err(Unjudged::Unasked);
        }
        let before = self.denial.clone().map_or(Fate::Allowed, Fate::Denied);
        let charged_before = charged(quotes(&self.priced));
        let repriced = if prices { Some(self.price_with(setup, candidate)) } else { None };
        let priced = repriced.as_ref().unwrap_or(&self.priced);
        if priced.iter().any(|own| own.outcome.as_ref().is_err_and(Fault::is_hosts)) {
            return Err(Unjudged::Forced);
        }
        let quotes = quotes(priced);
        let charged_after = charged(quotes);
        if let Some(denial) = unpriced(priced, setup) {
            let after = Fate::Denied(denial);
            return Ok(Rejudged { before, after, charged_before, charged_after });
        }
        let asks = self.asks(quotes);
        let mut word = Word::Allow;
        let mut replaced = false;
        for judged in deciding() {
            let Some(binding) = setup.bindings.get(judged.binding) else { continue };
            word = word.and(if candidate.takes_the_place_of(binding, Ability::Quota) {
                replaced = true;
                self.ask(setup, candidate, &asks, binding.failing)?
            } else if prices {
                let judged = judged.asking(setup, &asks);
                let outcome = unforced(judged.answer(&binding.policy, self, &asks).outcome)?;
                Word::of(binding, &outcome)
            } else {
                Word::of(binding, &judged.outcome)
            });
        }
        if !replaced && candidate.policy.can(Ability::Quota) {
            word = word.and(self.ask(setup, candidate, &asks, Failing::Closed)?);
        }
        let mut after = Fate::of(word);
        // What the host itself denied it would deny again.
        let is_hosts =
            before.is_denied() && matches!(self.word(setup), Ok(Word::Allow | Word::Grant(_)));
        if is_hosts && !after.is_denied() {
            after.clone_from(&before);
        }
        Ok(Rejudged { before, after, charged_before, charged_after })
    }

    /// What the candidate says to it.
    fn ask(
        &self,
        setup: &Setup,
        candidate: &Candidate,
        asks: &Amounts,
        failing: Failing,
    ) -> Result<Word, Unjudged> {
        let Candidate { name, policy, .. } = candidate;
        let readings = self.readings(setup, policy.manifest(), asks)?;
        let facts = self.facts(setup, policy.manifest(), &[]);
        let (outcome, binding) = (Err(Fault::Busy), setup.bindings.len());
        let judged = Judged { binding, readings, facts, outcome, fuel: 0, decides: true };
        let answer = judged.answer(policy, self, asks);
        Ok(Word::from(name, failing, &unforced(answer.outcome)?))
    }

    /// What the counters of a manifest stood at, as far as anybody was fed that.
    fn readings(
        &self,
        setup: &Setup,
        manifest: &Manifest,
        asks: &Amounts,
    ) -> Result<Vec<Reading>, Unjudged> {
        let fed = |counter: &Counter| {
            self.judged.iter().find_map(|judged| {
                let own = &setup.bindings.get(judged.binding)?.policy.manifest().counters;
                let is_same = |other: &Counter| {
                    (&other.meter, &other.window, &other.per)
                        == (&counter.meter, &counter.window, &counter.per)
                };
                judged.readings.get(own.iter().position(is_same)?).copied()
            })
        };
        let reading = |counter: &Counter| {
            let fed = fed(counter).ok_or_else(|| Unjudged::Unrecorded(counter.clone().into()))?;
            Ok(Reading { asked: asks.of(counter.meter.as_str()), ..fed })
        };
        manifest.counters.iter().map(reading).collect()
    }

    /// Of these facts, of those that anybody was fed, and of the local time, what a manifest reads.
    fn facts(&self, setup: &Setup, manifest: &Manifest, more: &[Fact]) -> Vec<Fact> {
        let priced = self.priced.iter().flat_map(|own| &own.facts);
        let mut fed: Vec<Fact> = more.to_vec();
        for fact in priced.chain(self.judged.iter().flat_map(|own| &own.facts)) {
            // What a call costs is told to some alone, anew.
            let is_own = fact.name.starts_with("local.") || Tariff::Cost.has(&fact.name);
            if !is_own && fed.iter().all(|own| own.name != fact.name) {
                fed.push(fact.clone());
            }
        }
        let feed = Feed::new(&manifest.reads);
        feed.facts(setup, Known::default(), &self.call, self.at, &fed)
    }

    /// Its prices, with a candidate's among them. One that follows from the cost is told the new one.
    fn price_with(&self, setup: &Setup, candidate: &Candidate) -> Vec<Priced> {
        let mut all: Vec<Priced> = Vec::with_capacity(self.priced.len());
        let charges_by = candidate.tariff(setup);
        for tariff in Tariff::ALL {
            if unpriced(&all, setup).is_some() {
                break;
            }
            let own = self.priced.iter().find(|own| own.decides && own.tariff == tariff);
            let fact = cost_fact(&all, tariff);
            if tariff == charges_by {
                let facts = self.facts(setup, candidate.policy.manifest(), fact.as_slice());
                let before = own.cloned().unwrap_or_else(|| self.unpriced(setup, tariff));
                all.push(before.by(&candidate.policy, &self.call, facts));
            } else if let Some(own) = own
                && let Some(Binding { policy, .. }) = setup.bindings.get(own.binding)
            {
                let told = own.facts.iter().filter(|fact| Tariff::Cost.has(&fact.name));
                let reads = Feed::new(&policy.manifest().reads).reads(fact.as_slice());
                // What it would be told is what it was told, so that it says the same.
                if told.eq(&reads) {
                    all.push(own.clone());
                    continue;
                }
                let rest = own.facts.iter().filter(|fact| !Tariff::Cost.has(&fact.name));
                let facts = rest.cloned().chain(reads).collect();
                all.push(own.by(policy, &self.call, facts));
            }
        }
        all
    }

    /// What nobody charged by this tariff would have been fed.
    fn unpriced(&self, setup: &Setup, tariff: Tariff) -> Priced {
        let rates = self.priced.first().map(|own| own.rates.clone()).unwrap_or_default();
        let (facts, outcome, fuel) = (Vec::new(), Err(Fault::Busy), 0);
        let (binding, at, decides) = (setup.bindings.len(), self.at, true);
        Priced { binding, tariff, at, rates, facts, outcome, fuel, decides }
    }

    fn asks(&self, quotes: ByTariff<&Quote>) -> Amounts {
        // It was judged once, so that it fits.
        Amounts::of_call(&self.call.quantities, quotes).unwrap_or_default()
    }

    /// What the policies said all together; an error: it could not be priced.
    fn word(&self, setup: &Setup) -> Result<Word, Denial> {
        if let Some(denial) = unpriced(&self.priced, setup) {
            return Err(denial);
        }
        let deciding = self.judged.iter().filter(|own| own.decides);
        let words = deciding
            .filter_map(|own| Some(Word::of(setup.bindings.get(own.binding)?, &own.outcome)));
        Ok(words.fold(Word::Allow, Word::and))
    }
}

fn charged(quotes: ByTariff<&Quote>) -> ByTariff<Money> {
    let total = |quote: Option<&Quote>| quote.and_then(|quote| quote.total().ok());
    ByTariff { cost: total(quotes.cost), price: total(quotes.price) }
}

/// What the host cuts short now says nothing, either.
fn unforced<T>(outcome: Result<T, Fault>) -> Result<Result<T, Fault>, Unjudged> {
    match outcome {
        Err(fault) if fault.is_hosts() => Err(Unjudged::Forced),
        outcome => Ok(outcome),
    }
}

impl Judged {
    /// The same, were so much asked for.
    fn asking(&self, setup: &Setup, asks: &Amounts) -> Self {
        let mut judged = self.clone();
        let binding = setup.bindings.get(self.binding);
        let counters = binding.map(|own| own.policy.manifest().counters.as_slice());
        let counters = counters.unwrap_or_default();
        for (reading, counter) in iter::zip(&mut judged.readings, counters) {
            reading.asked = asks.of(counter.meter.as_str());
        }
        judged
    }
}
