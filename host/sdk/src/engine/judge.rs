//! The judge: asks the policies before a call and after it, against totals in memory, for one
//! tenant and one caller.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_policy_core::contract::{
    Action, Decision, Denial, Dimension, Disablement, Fact, Quantity, Quote, Reading, Request,
    Usage, Value, Verdict, dimension,
};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Decimal, Meter, Money};

use super::feed::Feed;
use super::tally::{Part, Subscription, Tally, TallyError, Values};
use super::{Answer, Binding, Call, DISABLED, EngineError, Event, Reservation, Settled, Setup};
use crate::sandbox::{Ability, Fault};
use crate::store::{CounterRow, RecordRow, Since};

/// When a counter's window opened, and whose it is.
type Period = (Instant, Vec<Dimension>);

/// A notice that was told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Told {
    policy: String,
    key: String,
    period: Option<Period>,
}

/// The kinds of records that the engine keeps.
const DISABLEMENT: &str = "disablement";
const TOLD: &str = "told";

/// The engine of one tenant.
pub struct Engine {
    setup: Arc<Setup>,
    subscriptions: Vec<Subscription>,
    tally: Tally,
    now: Instant,
    disabled: HashMap<Dimension, Disablement>,
    told: HashSet<Told>,
    /// Records that changed, by kind and name; none: gone.
    changed: BTreeMap<(&'static str, String), Option<Vec<u8>>>,
}

impl Engine {
    /// Starts with all totals at zero.
    pub fn new(setup: impl Into<Arc<Setup>>) -> Result<Self, EngineError> {
        let setup = setup.into();
        let mut pricing =
            setup.bindings.iter().filter(|binding| binding.policy.can(Ability::Pricing));
        if let (Some(first), Some(second)) = (pricing.next(), pricing.next()) {
            return Err(EngineError::TwoPrices(first.name.clone(), second.name.clone()));
        }
        let mut tally = Tally::default();
        let subscribe = |binding: &Binding| tally.subscribe(&binding.policy.manifest().counters);
        let subscriptions = setup.bindings.iter().map(subscribe).collect();
        Ok(Self {
            setup,
            subscriptions,
            tally,
            now: Instant::MIN,
            disabled: HashMap::new(),
            told: HashSet::new(),
            changed: BTreeMap::new(),
        })
    }

    /// Time goes on, and never back.
    pub(super) fn advance(&mut self, at: Instant) {
        self.now = self.now.max(at);
    }

    /// What must be learnt from a store before this can be judged.
    pub(super) fn missing(
        &self,
        at: Instant,
        dimensions: &[Dimension],
        parts: &[Part],
    ) -> Result<Vec<Since>, TallyError> {
        let values = self.tally.values(dimensions);
        self.tally.missing(&self.setup.calendar, at.max(self.now), &values, parts)
    }

    pub(super) fn learn(&mut self, wanted: Vec<Since>, rows: Vec<CounterRow>) {
        self.tally.learn(wanted, rows);
    }

    /// Takes in the records of a store. What is not read here is of a later engine's making.
    pub(super) fn restore(&mut self, records: &[RecordRow]) {
        for RecordRow { kind, name, body } in records {
            match kind.as_str() {
                DISABLEMENT => {
                    let body = body.as_deref().unwrap_or_default();
                    if let (Ok(dimension), Ok(disablement)) =
                        (serde_json::from_str(name), serde_json::from_slice(body))
                    {
                        self.disabled.insert(dimension, disablement);
                    }
                }
                TOLD => self.told.extend(serde_json::from_str::<Told>(name)),
                _ => {}
            }
        }
    }

    /// What moved since this was last asked.
    pub(super) fn take_moved(&mut self) -> (Vec<CounterRow>, Vec<RecordRow>) {
        let changed = std::mem::take(&mut self.changed);
        let record =
            |((kind, name), body): ((&str, String), _)| RecordRow { kind: kind.into(), name, body };
        (self.tally.take_moved(), changed.into_iter().map(record).collect())
    }

    fn change(&mut self, kind: &'static str, name: &impl Serialize, body: Option<Vec<u8>>) {
        // Of strings and numbers: there is nothing in it that JSON could not hold.
        let name = serde_json::to_string(name).unwrap_or_default();
        self.changed.insert((kind, name), body);
    }

    /// May this call go ahead? What it needs is held until it is settled or released.
    pub fn reserve(&mut self, mut call: Call) -> Result<Answer, EngineError> {
        self.advance(call.at);
        call.at = self.now;
        let values = self.tally.values(&call.dimensions);
        if let Some(denial) = self.disablement(&call) {
            return self.deny(&call, &values, &HashMap::new(), denial);
        }
        let quote = match self.price(&call)? {
            Some(Ok(quote)) => Some(quote),
            Some(Err((_, denial))) => {
                return self.deny(&call, &values, &asks(&call, None)?, denial);
            }
            None => None,
        };
        let asks = asks(&call, quote.as_ref())?;
        let mut findings = Vec::new();
        let mut denial = None;
        // All are asked, so that every finding is told; the first denial is the answer.
        for index in self.able(Ability::Quota) {
            let verdict = self.check(index, &call, &values, &asks)?;
            findings.extend(verdict.findings);
            if let (None, Decision::Deny(denied)) = (&denial, verdict.decision) {
                denial = Some(denied);
            }
        }
        if let Some(denial) = denial {
            return self.deny(&call, &values, &asks, denial);
        }
        let asked = |meter: &str| amount(&asks, meter);
        let parts = self.tally.hold(&self.setup.calendar, call.at, &values, asked)?;
        Ok(Answer::Allowed(Box::new(Reservation { call, quote, parts, findings })))
    }

    /// Books what the call used, in place of what was held for it.
    pub fn settle(
        &mut self,
        reservation: Reservation,
        used: Vec<Quantity>,
    ) -> Result<Settled, EngineError> {
        let call = Call { quantities: used, at: self.now, dimensions: reservation.call.dimensions };
        let quote = match self.price(&call)? {
            Some(Ok(quote)) => Some(quote),
            Some(Err((policy, denial))) => {
                return Err(EngineError::Unpriced { policy, message: denial.message });
            }
            None => None,
        };
        let used = asks(&call, quote.as_ref())?;
        let values = self.tally.values(&call.dimensions);
        let used = |meter: &str| amount(&used, meter);
        self.tally.settle(&self.setup.calendar, call.at, &values, &reservation.parts, used)?;
        let cost = match &quote {
            Some(quote) => Some(Money::new(total(quote)?, quote.currency)),
            None => None,
        };
        let events = self.review(&call, &values, "settled", &HashMap::new(), &[]);
        Ok(Settled { cost, quote, events })
    }

    /// Gives back what was held.
    pub fn release(&mut self, reservation: &Reservation) -> Result<(), EngineError> {
        Ok(self.tally.release(&reservation.parts)?)
    }

    fn able(&self, ability: Ability) -> Vec<usize> {
        let able =
            |(index, binding): (usize, &Binding)| binding.policy.can(ability).then_some(index);
        self.setup.bindings.iter().enumerate().filter_map(able).collect()
    }

    fn disablement(&self, call: &Call) -> Option<Denial> {
        let (Dimension { name, value }, disablement) =
            call.dimensions.iter().find_map(|dimension| {
                let disablement = self.disabled.get(dimension)?;
                stands(disablement, call.at).then_some((dimension, disablement))
            })?;
        Some(Denial {
            code: DISABLED.into(),
            message: format!("{name} `{value}` is disabled: {}", disablement.reason),
            retry_at: disablement.until,
        })
    }

    /// The quote; or which policy refused and the denial that follows.
    #[allow(clippy::type_complexity, reason = "used in two places, both here")]
    fn price(&self, call: &Call) -> Result<Option<Result<Quote, (String, Denial)>>, EngineError> {
        let Some(index) = self.able(Ability::Pricing).first().copied() else {
            return Ok(None);
        };
        let binding = &self.setup.bindings[index];
        let feed = Feed::new(&binding.policy.manifest().reads);
        let rates = self
            .setup
            .catalog
            .as_ref()
            .and_then(|catalog| catalog.rates(dimension(&call.dimensions, "model")).ok());
        let usage = Usage {
            at: call.at,
            dimensions: feed.dimensions(&call.dimensions),
            quantities: call.quantities.clone(),
            rates: rates.unwrap_or_default(),
            readings: Vec::new(),
            currency: None,
            facts: feed.facts(&self.setup, call, &[]),
        };
        let priced = binding.policy.price(usage).outcome.map_err(|fault| fail(binding, fault))?;
        Ok(Some(
            priced.map_err(|refusal| {
                (binding.name.clone(), Denial::new(refusal.code, refusal.message))
            }),
        ))
    }

    fn readings(
        &self,
        index: usize,
        call: &Call,
        values: &Values,
        asks: &HashMap<String, Decimal>,
    ) -> Result<Vec<Reading>, TallyError> {
        let (subscription, calendar) = (&self.subscriptions[index], &self.setup.calendar);
        let asked = |meter: &str| amount(asks, meter);
        self.tally.readings(subscription, calendar, call.at, values, asked)
    }

    fn check(
        &self,
        index: usize,
        call: &Call,
        values: &Values,
        asks: &HashMap<String, Decimal>,
    ) -> Result<Verdict, EngineError> {
        let readings = self.readings(index, call, values, asks)?;
        let binding = &self.setup.bindings[index];
        let feed = Feed::new(&binding.policy.manifest().reads);
        let request = Request {
            at: call.at,
            dimensions: feed.dimensions(&call.dimensions),
            asks: feed.asks(asks),
            readings,
            facts: feed.facts(&self.setup, call, &[]),
            partial: false,
        };
        binding.policy.check(request).outcome.map_err(|fault| fail(binding, fault))
    }

    fn deny(
        &mut self,
        call: &Call,
        values: &Values,
        asks: &HashMap<String, Decimal>,
        denial: Denial,
    ) -> Result<Answer, EngineError> {
        let text =
            |name: &str, text: &str| Fact { name: name.into(), value: Value::Text(text.into()) };
        let facts = [text("denial.code", &denial.code), text("denial.message", &denial.message)];
        let events = self.review(call, values, "denied", asks, &facts);
        Ok(Answer::Denied(denial, events))
    }

    /// Lets the alerting policies look, and does what they say. What they look at has happened, so
    /// that one of them that fails is an event and no error.
    fn review(
        &mut self,
        call: &Call,
        values: &Values,
        occasion: &str,
        asks: &HashMap<String, Decimal>,
        facts: &[Fact],
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for index in self.able(Ability::Alerting) {
            let binding = &self.setup.bindings[index];
            let readings = match self.readings(index, call, values, asks) {
                Ok(readings) => readings,
                Err(error) => {
                    let (policy, fault) = (binding.name.clone(), Fault::Host(error.to_string()));
                    events.push(Event::Failed { policy, fault });
                    continue;
                }
            };
            let feed = Feed::new(&binding.policy.manifest().reads);
            let observation = tollgate_policy_core::contract::Observation {
                at: call.at,
                now: self.now,
                occasion: occasion.into(),
                dimensions: feed.dimensions(&call.dimensions),
                readings,
                facts: feed.facts(&self.setup, call, facts),
            };
            match binding.policy.review(observation).outcome {
                Ok(actions) => {
                    for action in actions {
                        events.extend(self.act(index, call, action));
                    }
                }
                Err(fault) => events.push(Event::Failed { policy: binding.name.clone(), fault }),
            }
        }
        events
    }

    fn act(&mut self, index: usize, call: &Call, action: Action) -> Option<Event> {
        let own = |name: &str| call.dimensions.iter().find(|own| own.name == name).cloned();
        match action {
            Action::Raise(notice) => {
                let period = notice.counter.and_then(|counter| {
                    let subscription = &self.subscriptions[index];
                    self.tally.period(
                        subscription,
                        counter,
                        &self.setup.calendar,
                        call.at,
                        &call.dimensions,
                    )
                });
                let policy = self.setup.bindings[index].name.clone();
                let told = Told { policy, key: notice.key.clone(), period };
                let news = self.told.insert(told.clone());
                if news {
                    self.change(TOLD, &told, Some(Vec::new()));
                }
                news.then_some(Event::Notice { at: call.at, notice })
            }
            Action::Resolve(key) => {
                let policy = &self.setup.bindings[index].name;
                let over = |told: &Told| told.policy == *policy && told.key == key;
                for told in self.told.extract_if(over).collect::<Vec<_>>() {
                    self.change(TOLD, &told, None);
                }
                None
            }
            Action::Disable(disablement) => {
                let dimension = own(&disablement.dimension)?;
                let (until, reason) = (disablement.until, disablement.reason.clone());
                let body = serde_json::to_vec(&disablement).unwrap_or_default();
                let before = self.disabled.insert(dimension.clone(), disablement);
                self.change(DISABLEMENT, &dimension, Some(body));
                let news = !before.is_some_and(|before| stands(&before, call.at));
                news.then_some(Event::Disabled { at: call.at, dimension, until, reason })
            }
            Action::Enable(name) => {
                let dimension = own(&name)?;
                if self.disabled.remove(&dimension).is_some() {
                    self.change(DISABLEMENT, &dimension, None);
                }
                None
            }
            // There is nowhere to keep a limit of one's own yet.
            Action::ProposeLimit { .. } => None,
        }
    }
}

fn stands(disablement: &Disablement, at: Instant) -> bool {
    disablement.until.is_none_or(|until| at < until)
}

fn fail(binding: &Binding, fault: Fault) -> EngineError {
    EngineError::Policy { policy: binding.name.clone(), fault }
}

/// What a call asks for, by meter, its priced cost among it.
fn asks(call: &Call, quote: Option<&Quote>) -> Result<HashMap<String, Decimal>, DecimalError> {
    let mut asks: HashMap<String, Decimal> = HashMap::new();
    let mut add = |meter: &Meter, amount: Decimal| -> Result<(), DecimalError> {
        let sum = asks.entry(meter.as_str().to_owned()).or_default();
        *sum = sum.checked_add(amount)?;
        Ok(())
    };
    for quantity in &call.quantities {
        add(&quantity.meter, quantity.amount)?;
    }
    if let Some(quote) = quote {
        asks.insert(quote.currency.cost_meter(), total(quote)?);
    }
    Ok(asks)
}

fn amount(asks: &HashMap<String, Decimal>, meter: &str) -> Decimal {
    asks.get(meter).copied().unwrap_or_default()
}

fn total(quote: &Quote) -> Result<Decimal, DecimalError> {
    quote.lines.iter().try_fold(Decimal::ZERO, |sum, line| sum.checked_add(line.cost))
}
