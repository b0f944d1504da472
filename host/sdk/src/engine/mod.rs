//! The engine: asks the policies before each call and after it, and keeps what they are fed. In
//! this form it keeps it in memory, for one tenant and one caller.

mod feed;
mod tally;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value as Json;
use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::contract::{
    Action, Decision, Denial, Dimension, Disablement, Fact, Finding, Notice, Quantity, Quote,
    Request, Usage, Value, Verdict, dimension,
};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::prices::PriceList;
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Decimal, Meter, Money};

use crate::sandbox::{Ability, Fault, Policy};
use feed::Feed;
use tally::{Change, Subscription, Tally, TallyError};

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
#[derive(Clone, Debug)]
pub struct Call {
    /// When. Time never goes back: an earlier instant counts as the last one seen.
    pub at: Instant,
    /// Who and what it is about.
    pub dimensions: Vec<Dimension>,
    /// What it needs, or used.
    pub quantities: Vec<Quantity>,
}

/// A call that may go ahead.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// The call itself.
    pub call: Call,
    /// What its estimate costs; none where nothing prices.
    pub quote: Option<Quote>,
    /// What is held for it, by meter.
    held: HashMap<String, Decimal>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// A call that was settled.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What it cost; none where nothing prices.
    pub cost: Option<Money>,
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

/// When a counter's window opened, and whose it is.
type Period = (Instant, Vec<Dimension>);

/// The engine of one tenant.
pub struct Engine {
    setup: Setup,
    subscriptions: Vec<Subscription>,
    tally: Tally,
    now: Instant,
    disabled: HashMap<Dimension, Disablement>,
    /// Notices told: by policy, key and period.
    told: HashSet<(usize, String, Option<Period>)>,
}

impl Engine {
    /// Starts with all totals at zero.
    pub fn new(setup: Setup) -> Result<Self, EngineError> {
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
        })
    }

    /// May this call go ahead? What it needs is held until it is settled or released.
    pub fn reserve(&mut self, mut call: Call) -> Result<Answer, EngineError> {
        self.now = self.now.max(call.at);
        call.at = self.now;
        if let Some(denial) = self.disablement(&call) {
            return self.deny(&call, &HashMap::new(), denial);
        }
        let quote = match self.price(&call)? {
            Some(Ok(quote)) => Some(quote),
            Some(Err((_, denial))) => return self.deny(&call, &asks(&call, None)?, denial),
            None => None,
        };
        let asks = asks(&call, quote.as_ref())?;
        let mut findings = Vec::new();
        let mut denial = None;
        // All are asked, so that every finding is told; the first denial is the answer.
        for index in self.able(Ability::Quota) {
            let verdict = self.check(index, &call, &asks)?;
            findings.extend(verdict.findings);
            if let (None, Decision::Deny(denied)) = (&denial, verdict.decision) {
                denial = Some(denied);
            }
        }
        if let Some(denial) = denial {
            return self.deny(&call, &asks, denial);
        }
        let hold = |meter: &str| Change::Hold(amount(&asks, meter));
        self.tally.apply(&self.setup.calendar, call.at, &call.dimensions, hold)?;
        Ok(Answer::Allowed(Box::new(Reservation { call, quote, held: asks, findings })))
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
        let held = reservation.held;
        let settle =
            |meter: &str| Change::Settle { held: amount(&held, meter), used: amount(&used, meter) };
        self.tally.apply(&self.setup.calendar, call.at, &call.dimensions, settle)?;
        let cost = match &quote {
            Some(quote) => Some(Money::new(total(quote)?, quote.currency)),
            None => None,
        };
        let events = self.review(&call, "settled", &HashMap::new(), &[])?;
        Ok(Settled { cost, events })
    }

    /// Gives back what was held.
    pub fn release(&mut self, reservation: &Reservation) -> Result<(), EngineError> {
        let release = |meter: &str| Change::Release(amount(&reservation.held, meter));
        let call = &reservation.call;
        Ok(self.tally.apply(&self.setup.calendar, self.now, &call.dimensions, release)?)
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

    fn check(
        &mut self,
        index: usize,
        call: &Call,
        asks: &HashMap<String, Decimal>,
    ) -> Result<Verdict, EngineError> {
        let readings = self.tally.readings(
            &self.subscriptions[index],
            &self.setup.calendar,
            call.at,
            &call.dimensions,
            |meter| amount(asks, meter),
        )?;
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
        asks: &HashMap<String, Decimal>,
        denial: Denial,
    ) -> Result<Answer, EngineError> {
        let text =
            |name: &str, text: &str| Fact { name: name.into(), value: Value::Text(text.into()) };
        let facts = [text("denial.code", &denial.code), text("denial.message", &denial.message)];
        let events = self.review(call, "denied", asks, &facts)?;
        Ok(Answer::Denied(denial, events))
    }

    /// Lets the alerting policies look, and does what they say.
    fn review(
        &mut self,
        call: &Call,
        occasion: &str,
        asks: &HashMap<String, Decimal>,
        facts: &[Fact],
    ) -> Result<Vec<Event>, EngineError> {
        let mut events = Vec::new();
        for index in self.able(Ability::Alerting) {
            let readings = self.tally.readings(
                &self.subscriptions[index],
                &self.setup.calendar,
                call.at,
                &call.dimensions,
                |meter| amount(asks, meter),
            )?;
            let binding = &self.setup.bindings[index];
            let feed = Feed::new(&binding.policy.manifest().reads);
            let observation = tollgate_policy_core::contract::Observation {
                at: call.at,
                now: self.now,
                occasion: occasion.into(),
                dimensions: feed.dimensions(&call.dimensions),
                readings,
                facts: feed.facts(&self.setup, call, facts),
            };
            let actions =
                binding.policy.review(observation).outcome.map_err(|fault| fail(binding, fault))?;
            for action in actions {
                events.extend(self.act(index, call, action));
            }
        }
        Ok(events)
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
                let news = self.told.insert((index, notice.key.clone(), period));
                news.then_some(Event::Notice { at: call.at, notice })
            }
            Action::Resolve(key) => {
                self.told.retain(|(policy, told, _)| *policy != index || *told != key);
                None
            }
            Action::Disable(disablement) => {
                let dimension = own(&disablement.dimension)?;
                let (until, reason) = (disablement.until, disablement.reason.clone());
                let before = self.disabled.insert(dimension.clone(), disablement);
                let news = !before.is_some_and(|before| stands(&before, call.at));
                news.then_some(Event::Disabled { at: call.at, dimension, until, reason })
            }
            Action::Enable(name) => {
                self.disabled.remove(&own(&name)?);
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
