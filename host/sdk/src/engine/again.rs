//! Recorded decisions are judged again, fed as they were: by the same policies, or with another one
//! among them.

use std::iter;

use tollgate_policy_core::Money;
use tollgate_policy_core::contract::{
    Counter, Decision, Denial, Fact, Manifest, Quantity, Quote, Read, Reading, Verdict,
};

use super::amounts::{Amounts, cost};
use super::decided::DecisionRecord;
use super::feed::{Feed, Known};
use super::judge::{Judged, Word};
use super::price::Priced;
use super::{Binding, Failing, Setup};
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
    /// What the call was to cost; none: it could not be priced, or nothing priced.
    pub cost_before: Option<Money>,
    /// What it would have been.
    pub cost_after: Option<Money>,
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
        let is_fed = |own: &&Read| match own {
            Read::Dimension(_) | Read::Ask(_) => true,
            Read::Fact(pattern) => {
                let covers = |other: &Read| matches!(other, Read::Fact(_)) && other.covers(pattern);
                pattern.starts_with("local.") || read.iter().any(covers)
            }
        };
        self.policy.manifest().reads.iter().filter(|own| !is_fed(own)).cloned().collect()
    }

    fn takes_the_place_of(&self, binding: &Binding, ability: Ability) -> bool {
        let of = binding.revision.as_ref().map(|revision| &revision.owner);
        let is_its = of.is_none() || self.owner.is_none() || of == self.owner.as_ref();
        binding.name == self.name && is_its && self.policy.can(ability)
    }
}

impl DecisionRecord {
    /// Judges it again, fed as it was: the places of the policies that now answer otherwise. What
    /// the host itself cut short says nothing.
    #[must_use]
    pub fn judge_again(&self, setup: &Setup) -> Vec<usize> {
        let mut others = Vec::new();
        for priced in self.priced.iter().flat_map(Priced::both) {
            let is_hosts = priced.outcome.as_ref().is_err_and(Fault::is_hosts);
            if !(is_hosts || priced.is_said_again(setup, &self.call, self.erased)) {
                others.push(priced.binding);
            }
        }
        let asks = self.asks(self.quote());
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
        let mut faults = faults.chain(self.priced.iter().map(|own| own.outcome.as_ref().err()));
        if faults.any(|fault| fault.is_some_and(Fault::is_hosts)) {
            return Err(Unjudged::Forced);
        }
        let prices = candidate.policy.can(Ability::Pricing);
        // What had no price, its quota policies were never asked.
        if self.denial.is_some() && self.judged.is_empty() {
            return Err(Unjudged::Unasked);
        }
        let total = |quote: &Quote| cost(quote).ok();
        let before = self.denial.clone().map_or(Fate::Allowed, Fate::Denied);
        let cost_before = self.quote().and_then(total);
        let priced = if prices { self.price_with(setup, candidate) } else { self.priced.clone() };
        if priced.as_ref().is_some_and(|own| own.outcome.as_ref().is_err_and(Fault::is_hosts)) {
            return Err(Unjudged::Forced);
        }
        let quote = match priced.as_ref().map(|own| own.quote(setup)).transpose() {
            Ok(quote) => quote,
            Err(denial) => {
                let after = Fate::Denied(denial);
                return Ok(Rejudged { before, after, cost_before, cost_after: None });
            }
        };
        let asks = self.asks(quote);
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
        Ok(Rejudged { before, after, cost_before, cost_after: quote.and_then(total) })
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
        let facts = self.facts(setup, policy.manifest());
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

    /// Of the facts that anybody was fed, and the local time, what a manifest reads.
    fn facts(&self, setup: &Setup, manifest: &Manifest) -> Vec<Fact> {
        let priced = self.priced.iter().flat_map(|own| &own.facts);
        let mut fed: Vec<Fact> = Vec::new();
        for fact in priced.chain(self.judged.iter().flat_map(|own| &own.facts)) {
            if !fact.name.starts_with("local.") && fed.iter().all(|own| own.name != fact.name) {
                fed.push(fact.clone());
            }
        }
        let feed = Feed::new(&manifest.reads);
        feed.facts(setup, Known::default(), &self.call, self.at, &fed)
    }

    /// Its price by a candidate.
    fn price_with(&self, setup: &Setup, candidate: &Candidate) -> Option<Priced> {
        let before = self.priced.as_ref()?;
        let facts = self.facts(setup, candidate.policy.manifest());
        Some(before.by(&candidate.policy, &self.call, facts))
    }

    /// What it was to cost, where that is known.
    pub(crate) fn quote(&self) -> Option<&Quote> {
        self.priced.as_ref()?.outcome.as_ref().ok()?.as_ref().ok()
    }

    fn asks(&self, quote: Option<&Quote>) -> Amounts {
        // It was judged once, so that it fits.
        Amounts::of_call(&self.call.quantities, quote).unwrap_or_default()
    }

    /// What the policies said all together; an error: it could not be priced.
    fn word(&self, setup: &Setup) -> Result<Word, Denial> {
        self.priced.as_ref().map(|own| own.quote(setup)).transpose()?;
        let deciding = self.judged.iter().filter(|own| own.decides);
        let words = deciding
            .filter_map(|own| Some(Word::of(setup.bindings.get(own.binding)?, &own.outcome)));
        Ok(words.fold(Word::Allow, Word::and))
    }
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
