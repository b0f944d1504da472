//! Where spending leads, told while a limit is still far.

use super::AlertPolicy;
use super::told::Told;
use crate::contract::{Observation, Reading};
use crate::decimal::Decimal;
use crate::forecast::local_date;
use crate::messages::{Messages, Wording};
use crate::money::Money;

/// A cost limit will be reached at this pace. Of one that is not the agents' monthly one, what is
/// limited follows after a colon.
pub const SPEND_FORECAST: &str = "spend_forecast";

/// What is spent under a limit.
pub struct Spending<'a> {
    pub key: String,
    pub counter: u32,
    pub wording: fn(&Messages) -> &Wording,
    /// Empty where the limit is of no agent.
    pub agent: &'a str,
    pub resource: &'a str,
    pub reading: &'a Reading,
    pub limit: Money,
    pub threshold: Decimal,
    /// What is told of a limit that is near says more.
    pub is_near: bool,
}

impl AlertPolicy {
    pub(super) fn review_pace(
        &self,
        observation: &Observation,
        spending: Spending,
        told: &mut Told,
    ) {
        let Spending { key, counter, wording, agent, resource, reading, limit, .. } = spending;
        let is_below = reading.used.cmp_product(limit.amount, spending.threshold).is_lt();
        let reached = self.settings.forecast.reached(reading, limit.amount, observation.now);
        let reached = reached.filter(|_| is_below);
        told.stands(key.clone(), spending.is_near || reached.is_some());
        let date = reached.and_then(|at| local_date(&observation.facts, observation.now, at));
        if let Some(date) = date {
            let messages = self.settings.messages(&observation.facts);
            let words = wording(messages).say(&[
                ("agent", &agent),
                ("resource", &resource),
                ("limit", &limit),
                ("cost", &Money::new(reading.used, limit.currency)),
                ("day", &messages.language.day(date)),
                ("date", &date),
            ]);
            told.raise(key, counter, "warning", words);
        }
    }
}
