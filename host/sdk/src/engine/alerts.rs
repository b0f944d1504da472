//! What follows from what happened: alerting policies look at it, and the judge does what they say.

use tollgate_policy_core::contract::{
    Action, Denial, Dimension, Fact, Notice, Observation, Value, dimension,
};
use tollgate_policy_core::window::{Instant, Window};

use super::amounts::Amounts;
use super::decided::{ReviewRecord, Said};
use super::feed::Feed;
use super::judge::Judge;
use super::limit::{Limit, LimitKey};
use super::notices::{NoticeBody, TITLE_MAX, Told, one_line};
use super::quarantine::{QUARANTINED, quarantine_notice};
use super::records::Disabled;
use super::tally::{Period, Places};
use super::{Call, Event, matters};
use crate::sandbox::{Ability, Fault};

const DAY_MS: i64 = 86_400_000;

/// What there is to look at.
pub enum Occasion<'a> {
    Settled,
    Denied(&'a Denial),
    /// Time has passed.
    Scheduled,
    /// A period opened then.
    Opened(Window, Instant),
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
            if self.is_out(index) || !self.is_concerned(index, occasion) {
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
                        events.extend(self.act(index, call, occasion, action));
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
            Occasion::Scheduled => {
                let stands = |own: &Dimension| self.records.disabled(own, self.now);
                ("scheduled", self.stopped(index, call, stands))
            }
            Occasion::Opened(window, opened) => {
                let mut facts = vec![text("period.window", &window.to_string())];
                let ended = |own: &Dimension| self.records.disabled_before(own, *opened);
                facts.extend(self.stopped(index, call, ended));
                ("period-opened", facts)
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
        let answer = binding.policy.review(observation);
        self.spend(answer.fuel);
        answer.outcome
    }

    /// What was told of periods that are over is over, and of policies in quarantine that are bound no
    /// longer.
    pub fn end_notices(&mut self, at: Instant) {
        self.records.notices.end_periods(at);
        let bound: Vec<String> = self.watched().iter().map(quarantine_notice).collect();
        self.records.notices.resolve_others(QUARANTINED, &bound);
    }

    /// A period matters to those who count by it.
    fn is_concerned(&self, index: usize, occasion: &Occasion) -> bool {
        let Occasion::Opened(window, _) = occasion else { return true };
        let counters = &self.setup.bindings[index].policy.manifest().counters;
        counters.iter().any(|counter| counter.window == *window)
    }

    /// What of the call this very policy stopped: `disabled.agent`, and why.
    fn stopped<'a>(
        &'a self,
        index: usize,
        call: &Call,
        disabled: impl Fn(&Dimension) -> Option<&'a Disabled>,
    ) -> Vec<Fact> {
        let by = self.setup.bindings[index].author();
        let fact = |own: &Dimension| {
            let disabled = disabled(own)?;
            (by == disabled.by).then(|| Fact {
                name: format!("disabled.{}", own.name),
                value: Value::Text(disabled.reason.clone()),
            })
        };
        call.dimensions.iter().filter_map(fact).collect()
    }

    fn act(
        &mut self,
        index: usize,
        call: &Call,
        occasion: &Occasion,
        action: Action,
    ) -> Option<Event> {
        let own = |name: &str| call.dimensions.iter().find(|own| own.name == name).cloned();
        let at = self.now;
        let policy = self.setup.bindings[index].told_as();
        match action {
            Action::Raise(notice) => {
                let raised = self.raise(index, call, policy, &notice);
                raised.then_some(Event::Notice { at, notice })
            }
            Action::Resolve(key) => {
                self.records.notices.resolve(&policy, &key, &call.dimensions);
                None
            }
            Action::Disable(disablement) => {
                let dimension = own(&disablement.dimension)?;
                let (until, reason) = (disablement.until, one_line(&disablement.reason, TITLE_MAX));
                let by = self.setup.bindings[index].author();
                let disabled = Disabled { reason: reason.clone(), until, by, since: at };
                let news = self.records.disable(&dimension, disabled, at);
                news.then_some(Event::Disabled { at, dimension, until, reason })
            }
            Action::Enable(name) => {
                let dimension = own(&name)?;
                let by = self.setup.bindings[index].author();
                if let Occasion::Opened(_, opened) = occasion {
                    // What was stopped in this very period stays so, and what others stopped.
                    let before = self.records.disabled_before(&dimension, *opened)?;
                    (before.by == by).then_some(())?;
                }
                let lifted = self.records.enable(&dimension, &by);
                lifted.then_some(Event::Enabled { at, dimension })
            }
            Action::ProposeLimit { counter, limit } => self.propose(index, call, counter, limit),
        }
    }

    /// Whether it was not told before.
    fn raise(&mut self, index: usize, call: &Call, policy: String, notice: &Notice) -> bool {
        let period = notice.counter.and_then(|counter| {
            self.tally.period(self.subscription(index), counter, self.now, &call.dimensions)
        });
        let (mut closes, mut span, mut own) = (None, None, None);
        if let Some(Period { opened, closes: until, whose }) = period {
            let ends = opened != Instant::MIN;
            (closes, span) = (until, ends.then_some((opened, until)));
            own = Some((opened, whose));
        }
        let told = Told { policy: policy.clone(), key: notice.key.clone(), period: own.clone() };
        let feed = Feed::new(&self.setup.bindings[index].policy.manifest().reads);
        let whose = own.map(|(_, whose)| whose).unwrap_or_default();
        let body = || {
            let mut dimensions = feed.dimensions(&call.dimensions);
            dimensions.retain(|own| dimension(&whose, &own.name).is_empty());
            dimensions.extend(whose.into_iter().filter(|own| !own.value.is_empty()));
            let Notice { key, severity, title, body, facts, .. } = notice.clone();
            NoticeBody { policy, key, severity, title, body, dimensions, period: span, facts }
                .bounded()
        };
        self.records.notices.raise(told, closes, self.now, body)
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
        // Of whom the call does not name it would limit all.
        let named = |name: &String| call.dimensions.iter().find(|own| own.name == *name).cloned();
        let dimensions = counter.per.iter().map(named).collect::<Option<_>>()?;
        let (meter, window) = (counter.meter.clone(), counter.window);
        let key = LimitKey { meter, window, dimensions }.sorted();
        let policy = binding.told_as();
        let set_by = format!("policy `{policy}`");
        let (valid_from, valid_until) = (None, None);
        // Within bounds that the platform set.
        let set = Limit { limit, valid_from, valid_until, set_by, is_platforms: true };
        let before = self.records.limits().get(&key);
        // What a person set stays.
        if before.is_some_and(|before| *before == set || before.set_by != set.set_by) {
            return None;
        }
        let before = before.map(|before| before.limit);
        let LimitKey { meter, window, dimensions } = &key;
        let kind = format!("limit_changed:{meter}:{window}");
        let matter = matters::limited(&policy, &key, before, limit);
        let notice = self.word(kind, &matter, dimensions.clone());
        let day = self.now.div_euclid(DAY_MS) * DAY_MS;
        // Of one limit to and fro it is told once a day.
        let told = Told {
            policy: String::new(),
            key: format!("{}:{limit}", notice.key),
            period: Some((day, key.dimensions.clone())),
        };
        self.records.notices.raise(told, Some(day.saturating_add(DAY_MS)), self.now, || notice);
        self.records.set_limit(key.clone(), Some(set));
        self.apply_limits();
        Some(Event::Limited { at: self.now, key, limit })
    }
}
