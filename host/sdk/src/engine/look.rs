//! Questions that change nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::contract::{Counter, Denial, Finding, Quote, Reading, Status, dimension};
use tollgate_policy_core::messages::Language;
use tollgate_policy_core::window::{Instant, Window};
use tollgate_policy_core::{Decimal, Meter, Money};

use super::Call;
use super::amounts::Amounts;
use super::ask::{Look, Seen};
use super::book::Book;
use super::host::HostError;
use super::operation::{LimitFinding, Mode, check_call};
use super::price::Beforehand;
use super::tariff::ByTariff;

/// What would become of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// As of which version of the tenant, at most a second old.
    pub version: i64,
    /// When.
    pub at: Instant,
    /// Why it may not go ahead; none: it may.
    pub denial: Option<Denial>,
    /// What its estimate costs; none where nothing prices.
    pub quotes: ByTariff<Quote>,
    /// How near each limit is, with this call.
    pub standings: Vec<Standing>,
}

/// How near a limit is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whose limit: a policy's name, or who set it.
    pub by: String,
    /// What is limited; none: it is no counter's.
    pub meter: Option<Meter>,
    /// Over which time.
    pub window: Option<Window>,
    /// Whom it limits.
    pub dimensions: Vec<Dimension>,
    /// Whether the call fits under it.
    pub allowed: bool,
    /// How near.
    pub status: Status,
    /// The limit that was applied.
    pub limit: Option<Decimal>,
    /// Settled.
    pub used: Decimal,
    /// Held by open reservations.
    pub held: Decimal,
    /// limit − used − held, at least zero.
    pub remaining: Option<Decimal>,
    /// When its window closes, if it does.
    pub closes: Option<Instant>,
    /// In words.
    pub message: String,
}

/// An account of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// `cost`, or `price`: a tariff's.
    pub name: String,
    /// The sum of its entries: charges lie below zero.
    pub balance: Money,
    /// What open reservations hold against it.
    pub held: Money,
}

impl Book {
    pub fn look(&mut self, look: &Look, beforehand: Option<Beforehand>) -> Result<Seen, HostError> {
        match look {
            Look::Check(call, mode) => {
                Ok(Seen::Checked(Box::new(self.check(call, *mode, beforehand)?)))
            }
            Look::Accounts => Ok(Seen::Accounts(self.judge.accounts.iter().map(account).collect())),
        }
    }

    /// The same, where the books know enough and were seen to be true a moment ago.
    pub fn glance(
        &mut self,
        look: &Look,
        beforehand: &mut Option<Beforehand>,
        at: Instant,
    ) -> Option<Result<Seen, HostError>> {
        if !self.knows_enough(look.dimensions(), at) {
            return None;
        }
        // A batch may have begun, and all of it happens at its own instant.
        let now = self.judge.now;
        self.judge.now = now.max(at);
        let seen = self.look(look, beforehand.take());
        self.judge.now = now;
        Some(seen)
    }

    fn check(
        &mut self,
        call: &Call,
        mode: Mode,
        beforehand: Option<Beforehand>,
    ) -> Result<Checked, HostError> {
        let priced = match beforehand.and_then(|own| own.counts_for(&self.judge.setup)) {
            Some(priced) => priced,
            None => check_call(call, &self.judge.setup).map(|()| None)?,
        };
        if let Some(name) = self.judge.records.erasing(&call.dimensions) {
            return Err(HostError::Erasing(name.to_owned()));
        }
        let places = self.places(&call.dimensions);
        let partial = mode == Mode::BestEffort;
        let judgement = self.judge.judge(Arc::new(call.clone()), priced, &places, partial)?;
        let mut standings = Vec::new();
        let language = self.judge.setup.language;
        for judged in judgement.judged.iter().filter(|judged| judged.decides) {
            let Ok(verdict) = &judged.outcome else { continue };
            let binding = &self.judge.setup.bindings[judged.binding];
            let counters = &binding.policy.manifest().counters;
            for finding in &verdict.findings {
                let place = finding.counter.and_then(|counter| usize::try_from(counter).ok());
                let counter = place.and_then(|place| counters.get(place));
                let reading = place.and_then(|place| judged.readings.get(place));
                standings.push(standing(language, &binding.name, call, finding, counter, reading));
            }
        }
        let judge = &self.judge;
        let quotes = judgement.quotes();
        let asks = Amounts::of_call(&judgement.call.quantities, quotes)?;
        for own in judge.tally.standing(judge.now, &places, &asks) {
            let (slot, counter, reading) = own?;
            if let Some(limit) = judge.limit(slot) {
                let (status, remaining) = tollgate_policy_core::limits::standing(
                    &reading,
                    limit.limit,
                    tollgate_policy_core::limits::STANDARD_THRESHOLD,
                );
                let finding = Finding {
                    counter: None,
                    status,
                    limit: Some(limit.limit),
                    remaining: Some(remaining),
                    message: None,
                };
                standings.push(standing(
                    language,
                    &limit.set_by,
                    call,
                    &finding,
                    Some(counter),
                    Some(&reading),
                ));
            }
        }
        let quotes = quotes.cloned();
        Ok(Checked {
            version: self.head.version,
            at: judge.now,
            denial: judgement.outcome.err(),
            quotes,
            standings,
        })
    }
}

fn standing(
    language: Language,
    by: &str,
    call: &Call,
    finding: &Finding,
    counter: Option<&Counter>,
    reading: Option<&Reading>,
) -> Standing {
    let found = LimitFinding::of(finding.clone(), counter, reading);
    let per = counter.map(|counter| counter.per.as_slice()).unwrap_or_default();
    let value = |name: &String| Dimension {
        name: name.clone(),
        value: dimension(&call.dimensions, name).to_owned(),
    };
    Standing {
        by: by.to_owned(),
        dimensions: per.iter().map(value).collect(),
        allowed: !matches!(found.status, Status::Exceeded | Status::Unknown),
        message: found.words(language),
        meter: found.meter,
        window: found.window,
        status: found.status,
        limit: found.limit,
        used: found.used.unwrap_or_default(),
        held: found.held.unwrap_or_default(),
        remaining: found.remaining,
        closes: found.closes,
    }
}

fn account(
    (name, currency, account): (&str, tollgate_policy_core::Currency, super::accounts::Account),
) -> Account {
    Account {
        name: name.to_owned(),
        balance: Money::new(account.balance, currency),
        held: Money::new(account.held, currency),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::served::Current;
    use crate::store::{Found, Head};

    /// Identifiers begin with the batch's instant, and what a reservation holds follows from it.
    #[test]
    fn a_look_leaves_a_batch_that_has_begun_at_its_instant() {
        let found = Found {
            head: Head { version: 0, stamp: 0, at: 0 },
            now: 1_000,
            counters: Vec::new(),
            latest: Vec::new(),
            holds: Vec::new(),
            keys: Vec::new(),
            usages: Vec::new(),
            due: Vec::new(),
            next_expiry: None,
            records: Vec::new(),
            accounts: Vec::new(),
        };
        let current = Arc::new(Current::of(Arc::default()).unwrap());
        let mut book = Book::open("acme".parse().unwrap(), &current, found);
        let random: crate::engine::Random = Arc::new(|| 7);
        book.begin(1_000, &random);
        let look = Look::Check(Call::default(), Mode::All);
        let Some(Ok(Seen::Checked(checked))) = book.glance(&look, &mut None, 1_500) else {
            panic!("it knows enough");
        };
        assert_eq!(checked.at, 1_500);
        book.begin(1_600, &random);
        assert_eq!(book.at(), 1_000);
    }
}
