//! What follows from what happened: alerting policies look at it, and the judge does what they say.

use tollgate_policy_core::contract::{Action, Denial, Fact, Observation, Value};

use super::amounts::Amounts;
use super::decided::{ReviewRecord, Said};
use super::feed::Feed;
use super::judge::Judge;
use super::limit::{Limit, LimitKey};
use super::records::{Disabled, Told};
use super::tally::Places;
use super::{Call, Event};
use crate::sandbox::{Ability, Fault};

/// What there is to look at.
pub enum Occasion<'a> {
    Settled,
    Denied(&'a Denial),
}

impl Judge {
    /// Lets the alerting policies look, and does what they say. What they look at has happened, so
    /// that one of them that fails is an event and no error.
    pub fn review(
        &mut self,
        call: &Call,
        places: &Places,
        asks: &Amounts,
        occasion: &Occasion,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let mut looked = Vec::new();
        for index in self.able(Ability::Alerting) {
            if self.is_out(index) {
                continue;
            }
            let said = self.look(index, call, places, asks, occasion);
            events.extend(self.saw(index, said.as_ref().err()));
            let decides = self.setup.decides(index, &call.dimensions);
            let is_compared =
                self.setup.bindings[index].is_candidate() || self.setup.beside(index).is_some();
            if is_compared {
                looked.push((index, decides, said.clone()));
            }
            match said {
                _ if !decides => {}
                Ok(actions) => {
                    for action in actions {
                        events.extend(self.act(index, call, action));
                    }
                }
                Err(fault) => {
                    let policy = self.setup.bindings[index].name.clone();
                    events.push(Event::Failed { policy, fault });
                }
            }
        }
        if !looked.is_empty() {
            let dimensions = call.dimensions.clone();
            let said = looked.into_iter();
            let said = said.map(|(binding, decides, said)| Said { binding, decides, said });
            self.reviewed.push(ReviewRecord { dimensions, said: said.collect() });
        }
        events
    }

    fn look(
        &self,
        index: usize,
        call: &Call,
        places: &Places,
        asks: &Amounts,
        occasion: &Occasion,
    ) -> Result<Vec<Action>, Fault> {
        let text =
            |name: &str, text: &str| Fact { name: name.into(), value: Value::Text(text.into()) };
        let (occasion, facts) = match occasion {
            Occasion::Settled => ("settled", Vec::new()),
            Occasion::Denied(Denial { code, message, .. }) => {
                ("denied", vec![text("denial.code", code), text("denial.message", message)])
            }
        };
        let readings =
            self.readings(index, places, asks).map_err(|error| Fault::Host(error.to_string()))?;
        let binding = &self.setup.bindings[index];
        let feed = Feed::new(&binding.policy.manifest().reads);
        let observation = Observation {
            at: self.now,
            now: self.now,
            occasion: occasion.into(),
            dimensions: feed.dimensions(&call.dimensions),
            readings,
            facts: feed.facts(&self.setup, self.known(), call, self.now, &facts),
        };
        binding.policy.review(observation).outcome
    }

    fn act(&mut self, index: usize, call: &Call, action: Action) -> Option<Event> {
        let own = |name: &str| call.dimensions.iter().find(|own| own.name == name).cloned();
        let at = self.now;
        let policy = self.setup.bindings[index].name.clone();
        match action {
            Action::Raise(notice) => {
                let period = notice.counter.and_then(|counter| {
                    self.tally.period(self.subscription(index), counter, at, &call.dimensions)
                });
                let told = Told { policy, key: notice.key.clone(), period };
                self.records.tell(told).then_some(Event::Notice { at, notice })
            }
            Action::Resolve(key) => {
                self.records.resolve(&policy, &key);
                None
            }
            Action::Disable(disablement) => {
                let dimension = own(&disablement.dimension)?;
                let (until, reason) = (disablement.until, disablement.reason);
                let by = self.setup.bindings[index].author();
                let disabled = Disabled { reason: reason.clone(), until, by };
                let news = self.records.disable(&dimension, disabled, at);
                news.then_some(Event::Disabled { at, dimension, until, reason })
            }
            Action::Enable(name) => {
                let dimension = own(&name)?;
                let by = self.setup.bindings[index].author();
                let lifted = self.records.enable(&dimension, &by);
                lifted.then_some(Event::Enabled { at, dimension })
            }
            Action::ProposeLimit { counter, limit } => self.propose(index, call, counter, limit),
        }
    }

    /// A policy's own limit, within the bounds that the platform sets; without bounds nothing may
    /// be proposed.
    fn propose(
        &mut self,
        index: usize,
        call: &Call,
        counter: u32,
        limit: tollgate_policy_core::Decimal,
    ) -> Option<Event> {
        let binding = &self.setup.bindings[index];
        let counter = binding.policy.manifest().counters.get(usize::try_from(counter).ok()?)?;
        let bounds = self
            .setup
            .proposals
            .iter()
            .find(|bounds| bounds.meter == counter.meter && bounds.window == counter.window)?;
        let limit = limit.max(bounds.least).min(bounds.most);
        let dimensions = call
            .dimensions
            .iter()
            .filter(|dimension| counter.per.contains(&dimension.name))
            .cloned()
            .collect();
        let (meter, window) = (counter.meter.clone(), counter.window);
        let key = LimitKey { meter, window, dimensions }.sorted();
        let set_by = format!("policy `{}`", binding.name);
        let set = Limit { limit, valid_from: None, valid_until: None, set_by };
        let before = self.records.limits().get(&key);
        // What a person set stays.
        if before.is_some_and(|before| *before == set || before.set_by != set.set_by) {
            return None;
        }
        self.records.set_limit(key.clone(), Some(set));
        self.apply_limits();
        Some(Event::Limited { at: self.now, key, limit })
    }
}
