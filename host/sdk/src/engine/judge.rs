//! The judge: what is known of a tenant in memory, and what its policies say to a call against it.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tollgate_policy_core::contract::{
    Decision, Denial, Dimension, Fact, Finding, Quantity, Quote, Reading, Request, Verdict,
};
use tollgate_policy_core::messages::Language;
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Decimal, Meter};

use super::accounts::Accounts;
use super::amounts::Amounts;
use super::decided::{DecisionRecord, ReviewRecord};
use super::feed::{Feed, Known};
use super::limit::{Limit, LimitKey};
use super::notices::Told;
use super::operation::{Consulted, LimitFinding};
use super::price::{Asking, Priced, failure, fuel, price, quoted_by, quotes, unpriced};
use super::quarantine::{FAILURES_MAX, PolicyKey, Quarantined, quarantine_notice};
use super::records::{Author, Disabled, Records};
use super::served::Current;
use super::tally::{Places, Subscription, Tally, TallyError, id_of};
use super::tariff::{ByTariff, Tariff};
use super::{Binding, Call, DISABLED, Event, Failing, Layer, Setup, matters, words};
use crate::sandbox::{Ability, Answer, Fault, Policy};

/// A call that is cut down to what policies grant is judged again; so often at the most.
const GRANTS_MAX: usize = 3;

/// What is known of a tenant, and its policies.
pub struct Judge {
    pub setup: Arc<Setup>,
    current: Arc<Current>,
    subscriptions: Vec<Subscription>,
    pub tally: Tally,
    pub records: Records,
    pub accounts: Accounts,
    /// Limits as data, by the slot that they read.
    limits: HashMap<usize, (LimitKey, Limit)>,
    pub now: Instant,
    /// What candidates among the alerting policies would have done.
    pub reviewed: Vec<ReviewRecord>,
    /// What policies took since that was last asked, in fuel.
    spent: Cell<u64>,
}

/// What was decided on a call, and from what.
#[derive(Debug)]
pub struct Judgement {
    /// What may be held, by meter, where the call may go ahead.
    pub outcome: Result<Amounts, Denial>,
    /// The call itself, or what was granted of it.
    pub call: Arc<Call>,
    /// What the pricing policies were fed and said.
    pub priced: Vec<Priced>,
    /// What the quota policies were fed and said.
    pub judged: Vec<Judged>,
}

/// What a quota policy was fed beside the call, and what it said.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Its place among the bindings.
    pub binding: usize,
    /// In the order of its manifest's counters.
    pub readings: Vec<Reading>,
    /// What else was known.
    pub facts: Vec<Fact>,
    /// Its verdict, or how it failed.
    pub outcome: Result<Verdict, Fault>,
    /// What that took.
    pub fuel: u64,
    /// Whether its word counts, or is kept beside what does.
    pub decides: bool,
}

impl Judged {
    /// Whether the same is said to the same call again, and takes as much; that it need not where
    /// something in it was erased.
    pub(super) fn is_said_again(
        &self,
        setup: &Setup,
        decision: &DecisionRecord,
        asks: &Amounts,
    ) -> bool {
        let Some(Binding { policy, .. }) = setup.bindings.get(self.binding) else { return false };
        let answer = self.answer(policy, decision, asks);
        answer.outcome == self.outcome && (decision.erased || answer.fuel == self.fuel)
    }

    /// What a policy says that is fed this.
    pub(super) fn answer(
        &self,
        policy: &Policy,
        decision: &DecisionRecord,
        asks: &Amounts,
    ) -> Answer<Verdict> {
        let DecisionRecord { call, at, partial, .. } = decision;
        policy.check(self.request(policy, call, asks, *at, *partial))
    }

    fn request(
        &self,
        policy: &Policy,
        call: &Call,
        asks: &Amounts,
        at: Instant,
        partial: bool,
    ) -> Request {
        let feed = Feed::new(&policy.manifest().reads);
        Request {
            at,
            dimensions: feed.dimensions(&call.dimensions),
            asks: feed.asks(asks),
            readings: self.readings.clone(),
            facts: self.facts.clone(),
            partial,
        }
    }
}

impl Judgement {
    /// Nobody was asked.
    fn denied(denial: Denial, call: Arc<Call>) -> Self {
        Self { outcome: Err(denial), call, priced: Vec::new(), judged: Vec::new() }
    }

    /// The quotes of what was asked, where there are any.
    pub fn quotes(&self) -> ByTariff<&Quote> {
        quotes(&self.priced)
    }

    /// Whose quotes those are, by their places.
    pub fn quoted_by(&self) -> ByTariff<u16> {
        quoted_by(&self.priced)
    }

    /// Who was asked, by their places, and how they failed, if they did.
    pub fn asked(&self) -> impl Iterator<Item = (usize, Option<&Fault>)> {
        let priced = self.priced.iter().map(|own| (own.binding, own.outcome.as_ref().err()));
        let judged = self.judged.iter().map(|own| (own.binding, own.outcome.as_ref().err()));
        priced.chain(judged)
    }

    /// What is told of it once it is written down: the quotes, and whose word counted.
    pub fn told(self, setup: &Setup) -> (ByTariff<Quote>, Vec<Consulted>) {
        let consulted = |place: usize, findings, fault| {
            let Binding { name, layer, revision, .. } = &setup.bindings[place];
            let (policy, layer, revision) = (name.clone(), *layer, revision.clone());
            Consulted { policy, layer, revision, findings, fault }
        };
        let mut all = Vec::with_capacity(self.priced.len() + self.judged.len());
        let mut quotes = ByTariff::default();
        for priced in self.priced.into_iter().filter(|priced| priced.decides) {
            let fault = priced.outcome.as_ref().err().cloned();
            all.push(consulted(priced.binding, Vec::new(), fault));
            *quotes.place(priced.tariff) = priced.outcome.ok().and_then(Result::ok);
        }
        for judged in self.judged.into_iter().filter(|judged| judged.decides) {
            let counters = &setup.bindings[judged.binding].policy.manifest().counters;
            let finding = |finding: Finding| {
                let place = finding.counter.and_then(|place| usize::try_from(place).ok());
                let counter = place.and_then(|place| counters.get(place));
                LimitFinding::of(finding, counter, place.and_then(|at| judged.readings.get(at)))
            };
            let (findings, fault) = match judged.outcome {
                Ok(verdict) => (verdict.findings.into_iter().map(finding).collect(), None),
                Err(fault) => (Vec::new(), Some(fault)),
            };
            all.push(consulted(judged.binding, findings, fault));
        }
        (quotes, all)
    }
}

impl Judge {
    /// Starts with all totals at zero.
    pub fn new(current: Arc<Current>) -> Self {
        let setup = Arc::clone(&current.setup);
        let mut tally = Tally::new(setup.calendar);
        let subscribe = |binding: &Binding| tally.subscribe(&binding.policy.manifest().counters);
        let subscriptions = setup.bindings.iter().map(subscribe).collect();
        Self {
            setup,
            current,
            subscriptions,
            tally,
            records: Records::default(),
            accounts: Accounts::default(),
            limits: HashMap::new(),
            now: Instant::MIN,
            reviewed: Vec::new(),
            spent: Cell::default(),
        }
    }

    /// Keeps what the tenant keeps, whoever needs it: what a host does not know of would stand
    /// still.
    pub fn keep_counters(&mut self) {
        self.records.forget_other_calendars(self.setup.calendar);
        let kept = self.records.counters().values().map(|kept| &kept.counter);
        self.tally.subscribe(kept);
    }

    /// Has the limits that were set read what they limit.
    pub fn apply_limits(&mut self) {
        self.limits.clear();
        for (key, limit) in self.records.limits() {
            let counter = key.counter();
            self.tally.subscribe([&counter]);
            let slot = self.tally.slot(id_of(&counter, &self.setup.calendar), &key.values());
            self.limits.insert(slot, (key.clone(), limit.clone()));
        }
    }

    pub fn known(&self) -> Known<'_> {
        Known { records: Some(&self.records), accounts: Some(&self.accounts) }
    }

    /// What policies took since that was last asked, in fuel.
    pub fn take_spent(&self) -> u64 {
        self.spent.take()
    }

    pub fn spent(&self) -> u64 {
        self.spent.get()
    }

    pub fn spend(&self, fuel: u64) {
        self.spent.set(self.spent.get().saturating_add(fuel));
    }

    /// The places of the policies that can do this, in the order in which they are asked.
    pub fn able(&self, ability: Ability) -> Vec<usize> {
        let able =
            |(index, binding): (usize, &Binding)| binding.policy.can(ability).then_some(index);
        self.setup.bindings.iter().enumerate().filter_map(able).collect()
    }

    /// What was used is booked at its cost, if it can be had: also by who is in quarantine, but for a
    /// tenant's own.
    pub fn price_used(&self, call: &Call) -> Vec<Priced> {
        let priced = price(&self.setup, self.known(), call, self.now, |place, decides| {
            let is_tenants = self.setup.bindings[place].tariff() == Tariff::Price;
            match decides {
                true if is_tenants && self.is_out(place) => Asking::Out,
                true => Asking::Ask,
                false => Asking::Skip,
            }
        });
        self.spend(fuel(&priced));
        priced
    }

    /// The prices of a call that is not allowed yet; who is in quarantine is not asked.
    fn price_first(&self, call: &Call, ahead: Option<Vec<Priced>>) -> Vec<Priced> {
        let priced = match ahead.filter(|all| !all.iter().any(|own| self.is_out(own.binding))) {
            Some(priced) => priced,
            None => price(&self.setup, self.known(), call, self.now, |place, _| {
                if self.is_out(place) { Asking::Out } else { Asking::Ask }
            }),
        };
        self.spend(fuel(&priced));
        priced
    }

    /// The policies that may be taken out.
    pub fn watched(&self) -> &[PolicyKey] {
        self.current.watch.keys()
    }

    /// Whether the policy in a place is asked no longer.
    pub fn is_out(&self, place: usize) -> bool {
        // Hardly anything ever is.
        let out = self.records.quarantined();
        !out.is_empty() && self.current.watch.key(place).is_some_and(|key| out.contains_key(key))
    }

    /// The policy in a place answered a call that is decided, or failed. Where it failed so often in
    /// a row, it is taken out. One of the platform's that may fail open is not: whoever makes it fail
    /// would be rid of it.
    pub fn saw(&mut self, place: usize, fault: Option<&Fault>) -> Option<Event> {
        let failures = self.current.watch.saw(place, fault);
        let binding = self.setup.bindings.get(place)?;
        let lifts = binding.failing == Failing::Open && binding.layer != Layer::Tenant;
        if failures < FAILURES_MAX || lifts {
            return None;
        }
        let (fault, at) = (fault?.clone(), self.now);
        let policy = self.current.watch.key(place)?.clone();
        self.records.quarantine(&policy, Quarantined { at, reason: fault.code().into() });
        let key = quarantine_notice(&policy);
        let notice = self.word(key.clone(), &matters::quarantined(&policy, &fault), Vec::new());
        self.records.notices.raise(Told::by_host(key), None, at, || notice);
        Some(Event::Quarantined { at, policy, fault })
    }

    /// May this call go ahead? Nothing moves. `priced` is its price where that was had before.
    pub fn judge(
        &self,
        mut call: Arc<Call>,
        mut priced: Option<Vec<Priced>>,
        places: &Places,
        partial: bool,
    ) -> Result<Judgement, TallyError> {
        let denial = self.disablement(&call.dimensions);
        if let Some(denial) = denial.or_else(|| self.setup.closed.clone()) {
            return Ok(Judgement::denied(denial, call));
        }
        for _ in 0..GRANTS_MAX {
            let priced = self.price_first(&call, priced.take());
            if let Some(denial) = unpriced(&priced, &self.setup) {
                return Ok(Judgement { priced, ..Judgement::denied(denial, call) });
            }
            let asks = Amounts::of_call(&call.quantities, quotes(&priced))?;
            let (judged, word) = self.ask(&call, places, &asks, partial)?;
            let outcome = match word {
                Word::Allow => Ok(asks),
                Word::Deny(denial) => Err(denial),
                Word::Grant(granted) => match cut(&call.quantities, &asks, &granted) {
                    Some(quantities) => {
                        let dimensions = call.dimensions.clone();
                        call = Arc::new(Call { dimensions, quantities });
                        continue;
                    }
                    None => {
                        Err(Denial::new(NOT_GRANTED, words::nothing_granted(self.setup.language)))
                    }
                },
            };
            return Ok(Judgement { outcome, call, priced, judged });
        }
        let denial = Denial::new(NOT_GRANTED, words::granted_in_vain(self.setup.language));
        Ok(Judgement::denied(denial, call))
    }

    /// Asks all, so that every finding is told; the first denial is the answer.
    fn ask(
        &self,
        call: &Call,
        places: &Places,
        asks: &Amounts,
        partial: bool,
    ) -> Result<(Vec<Judged>, Word), TallyError> {
        let (mut all, mut word) = (Vec::new(), Word::Allow);
        for index in self.able(Ability::Quota) {
            let judged = self.check(index, call, places, asks, partial)?;
            if judged.decides {
                word = word.and(Word::of(&self.setup.bindings[index], &judged.outcome));
            }
            all.push(judged);
        }
        // The second wall: whatever policies make of a limit that was set, it holds.
        if !self.limits.is_empty() {
            for standing in self.tally.standing(self.now, places, asks) {
                let (slot, counter, reading) = standing?;
                if let Some(limit) = self.limit(slot) {
                    word = word.and(enforce(
                        self.setup.language,
                        limit,
                        &counter.meter,
                        &reading,
                        partial,
                    ));
                }
            }
        }
        Ok((all, word))
    }

    fn check(
        &self,
        index: usize,
        call: &Call,
        places: &Places,
        asks: &Amounts,
        partial: bool,
    ) -> Result<Judged, TallyError> {
        let readings = self.readings(index, places, asks)?;
        let binding = &self.setup.bindings[index];
        let feed = Feed::new(&binding.policy.manifest().reads);
        let facts = feed.facts(&self.setup, self.known(), call, self.now, &[]);
        let unjudged = Err(Fault::Busy);
        let decides = self.setup.decides(index, &call.dimensions);
        let judged =
            Judged { binding: index, readings, facts, outcome: unjudged, fuel: 0, decides };
        let request = judged.request(&binding.policy, call, asks, self.now, partial);
        if self.is_out(index) {
            return Ok(Judged { outcome: Err(Fault::Quarantined), ..judged });
        }
        let answer = binding.policy.check(request);
        self.spend(answer.fuel);
        Ok(Judged { outcome: answer.outcome, fuel: answer.fuel, ..judged })
    }

    pub fn readings(
        &self,
        index: usize,
        places: &Places,
        asks: &Amounts,
    ) -> Result<Vec<Reading>, TallyError> {
        let Binding { policy, layer, .. } = &self.setup.bindings[index];
        let counters = &policy.manifest().counters;
        let limit = |place: usize, slot: usize| {
            let own = counters.get(place).and_then(|counter| counter.limit);
            self.limit(slot).filter(|limit| limit.is_for(*layer, own)).map(|limit| limit.limit)
        };
        self.tally.readings(&self.subscriptions[index], self.now, places, asks, limit)
    }

    /// Whose counters a policy's are.
    pub fn subscription(&self, index: usize) -> &Subscription {
        &self.subscriptions[index]
    }

    /// The limit that was set for a slot, where it stands.
    pub fn limit(&self, slot: usize) -> Option<&Limit> {
        let (_, limit) = self.limits.get(&slot)?;
        limit.stands(self.now).then_some(limit)
    }

    /// The policy that failed, where that is why a call is denied.
    pub fn fault(&self, judgement: &Judgement) -> Option<(String, Fault)> {
        let Judgement { priced, judged, .. } = judgement;
        let priced = priced.iter().filter(|own| own.decides);
        let priced = priced.map(|own| (own.binding, own.outcome.as_ref().err()));
        let judged = judged.iter().filter(|own| own.decides);
        let judged = judged.map(|own| (own.binding, own.outcome.as_ref().err()));
        priced.chain(judged).find_map(|(binding, fault)| {
            let binding = &self.setup.bindings[binding];
            let (name, fault) = (binding.name.clone(), fault?.clone());
            (binding.failing == Failing::Closed).then_some((name, fault))
        })
    }

    fn disablement(&self, dimensions: &[Dimension]) -> Option<Denial> {
        dimensions.iter().find_map(|dimension| {
            let (Dimension { name, value }, language) = (dimension, self.setup.language);
            let off = || Disabled {
                reason: words::switched_off(language).into(),
                until: None,
                by: Author::Person(String::new()),
                since: Instant::MIN,
            };
            let agent = (name == "agent").then(|| self.records.agent(value)).flatten();
            let switched_off = agent.filter(|agent| !agent.enabled).map(|_| off());
            let disabled = self.records.disabled(dimension, self.now).cloned().or(switched_off)?;
            Some(Denial {
                code: DISABLED.into(),
                message: words::disabled(language, dimension, &disabled.reason),
                retry_at: disabled.until,
            })
        })
    }

    /// What must be learnt from a store before a call can be judged.
    pub fn missing(
        &self,
        at: Instant,
        places: &Places,
        parts: &[super::part::Part],
        wanted: &mut BTreeMap<usize, Instant>,
    ) -> Result<(), TallyError> {
        self.tally.missing(at, places, parts, wanted)
    }
}

/// What policies granted comes to nothing.
const NOT_GRANTED: &str = "not_granted";

/// What is said to a call.
pub enum Word {
    Allow,
    Grant(Vec<Quantity>),
    Deny(Denial),
}

impl Word {
    pub fn of(binding: &Binding, outcome: &Result<Verdict, Fault>) -> Self {
        Self::from(&binding.name, binding.failing, outcome)
    }

    /// Of a policy of this name.
    pub fn from(name: &str, failing: Failing, outcome: &Result<Verdict, Fault>) -> Self {
        match (outcome, failing) {
            (Ok(verdict), _) => match &verdict.decision {
                Decision::Allow => Self::Allow,
                Decision::Grant(granted) => Self::Grant(granted.clone()),
                Decision::Deny(denial) => Self::Deny(denial.clone()),
            },
            (Err(fault), Failing::Closed) => Self::Deny(failure(name, fault)),
            (Err(_), Failing::Open) => Self::Allow,
        }
    }

    /// One denial denies, and the first one is told; of what several grant the least is granted.
    pub fn and(self, next: Self) -> Self {
        match (self, next) {
            (Self::Deny(denial), _) | (_, Self::Deny(denial)) => Self::Deny(denial),
            (Self::Allow, word) | (word, Self::Allow) => word,
            (Self::Grant(mut granted), Self::Grant(more)) => {
                for quantity in more {
                    match granted.iter_mut().find(|own| own.meter == quantity.meter) {
                        Some(own) => own.amount = own.amount.min(quantity.amount),
                        None => granted.push(quantity),
                    }
                }
                Self::Grant(granted)
            }
        }
    }
}

fn enforce(
    language: Language,
    limit: &Limit,
    meter: &Meter,
    reading: &Reading,
    partial: bool,
) -> Word {
    let Some(denial) = limit.denial(language, meter, reading) else {
        return Word::Allow;
    };
    let left = limit.left(reading);
    if partial && !left.is_zero() {
        Word::Grant(vec![Quantity { meter: meter.clone(), amount: left }])
    } else {
        Word::Deny(denial)
    }
}

/// What is left of a call where only so much of some meters is granted. A meter's classes shrink
/// with it; all of it does where cost is granted, since cost is no one quantity's.
fn cut(asked: &[Quantity], asks: &Amounts, granted: &[Quantity]) -> Option<Vec<Quantity>> {
    let mut left = asked.to_vec();
    for Quantity { meter, amount } in granted {
        let whole = asks.of(meter.as_str());
        if whole <= *amount || whole.is_zero() {
            continue;
        }
        let is_asked = asked.iter().any(|quantity| quantity.meter == *meter);
        for (own, asked) in std::iter::zip(&mut left, asked) {
            if own.meter == *meter {
                own.amount = own.amount.min(*amount);
            } else if !is_asked || is_class(&own.meter, meter) {
                own.amount = own.amount.min(share(asked.amount, *amount, whole)?);
            }
        }
    }
    let something = left.iter().any(|quantity| !quantity.amount.is_zero());
    (something && left != asked).then_some(left)
}

fn is_class(meter: &Meter, parent: &Meter) -> bool {
    let rest = meter.as_str().strip_prefix(parent.as_str());
    rest.is_some_and(|rest| rest.starts_with('.'))
}

/// amount × part / whole, in whole units and never more than that.
fn share(amount: Decimal, part: Decimal, whole: Decimal) -> Option<Decimal> {
    let rounded = Decimal::mul_div(&[amount, part], whole, 0).ok()?;
    let exact = Decimal::mul_div(&[amount, part], whole, 12).ok()?;
    let share = if rounded > exact { rounded.checked_sub(Decimal::ONE).ok()? } else { rounded };
    Some(share.at_least_zero())
}
