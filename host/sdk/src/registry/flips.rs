//! What comes out otherwise, counted: from what to what, how often, for how much money, whom it hits
//! most, and some examples.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use tollgate_policy_core::contract::{Dimension, dimension};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Currency, Decimal, Money};
use uuid::Uuid;

use crate::store::Tenant;

/// So many examples of each kind.
const EXAMPLES_MAX: usize = 3;

/// So many of those that are hit most.
const HIT_MAX: usize = 10;

/// Sums of money, by currency.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Sums(BTreeMap<Currency, Decimal>);

impl Sums {
    pub(super) fn add(&mut self, money: Money) -> Result<(), DecimalError> {
        let sum = self.0.entry(money.currency).or_default();
        *sum = sum.checked_add(money.amount)?;
        Ok(())
    }

    pub(super) fn merge(&mut self, other: Self) -> Result<(), DecimalError> {
        for (currency, amount) in other.0 {
            let sum = self.0.entry(currency).or_default();
            *sum = sum.checked_add(amount)?;
        }
        Ok(())
    }

    /// In the order of the currencies' codes.
    pub fn iter(&self) -> impl Iterator<Item = Money> {
        self.0.iter().map(|(currency, amount)| Money::new(*amount, *currency))
    }
}

/// Something that comes out otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Example {
    /// When.
    pub at: Instant,
    /// The decision's; none: it is of a settlement or a denial that alerting policies looked at.
    pub id: Option<Uuid>,
    /// Whose.
    pub tenant: Tenant,
    /// Who and what it is about.
    pub dimensions: Vec<Dimension>,
    /// What is said, in words.
    pub before: String,
    /// What would be.
    pub after: String,
}

/// What comes out otherwise in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// What is said: `allowed`, or a denial's code.
    pub from: String,
    /// What would be.
    pub to: String,
    /// How often.
    pub count: u64,
    /// What these calls cost, as far as they are priced.
    pub money: Sums,
    /// The first of them.
    pub examples: Vec<Example>,
}

/// Somebody for whom something comes out otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Who.
    pub value: String,
    /// How often.
    pub count: u64,
}

#[derive(Default)]
struct Counted {
    count: u64,
    money: Sums,
    examples: Vec<Example>,
}

/// Counts them, in any order.
#[derive(Default)]
pub struct Flips {
    by_kind: BTreeMap<(String, String), Counted>,
    users: HashMap<String, u64>,
    agents: HashMap<String, u64>,
}

impl Flips {
    pub fn add(
        &mut self,
        from: &str,
        to: &str,
        money: Option<Money>,
        example: Example,
    ) -> Result<(), DecimalError> {
        for (hit, name) in [(&mut self.users, "user"), (&mut self.agents, "agent")] {
            let value = dimension(&example.dimensions, name);
            if !value.is_empty() {
                *hit.entry(value.to_owned()).or_default() += 1;
            }
        }
        let counted = self.by_kind.entry((from.to_owned(), to.to_owned())).or_default();
        counted.count += 1;
        money.map_or(Ok(()), |money| counted.money.add(money))?;
        counted.examples.push(example);
        counted.keep_first();
        Ok(())
    }

    pub fn merge(&mut self, other: Self) -> Result<(), DecimalError> {
        for (kind, mut more) in other.by_kind {
            let counted = self.by_kind.entry(kind).or_default();
            counted.count += more.count;
            counted.money.merge(more.money)?;
            counted.examples.append(&mut more.examples);
            counted.keep_first();
        }
        for (hit, more) in [(&mut self.users, other.users), (&mut self.agents, other.agents)] {
            for (value, count) in more {
                *hit.entry(value).or_default() += count;
            }
        }
        Ok(())
    }

    pub fn count(&self) -> u64 {
        self.by_kind.values().map(|own| own.count).sum()
    }

    /// The most frequent first, and who is hit most: users, then agents.
    pub fn told(self) -> (Vec<Flip>, Vec<Hit>, Vec<Hit>) {
        let flip = |((from, to), counted)| {
            let Counted { count, money, examples } = counted;
            Flip { from, to, count, money, examples }
        };
        let mut flips: Vec<Flip> = self.by_kind.into_iter().map(flip).collect();
        flips.sort_by_key(|flip| std::cmp::Reverse(flip.count));
        (flips, most_hit(self.users), most_hit(self.agents))
    }
}

impl Counted {
    fn keep_first(&mut self) {
        self.examples.sort();
        self.examples.truncate(EXAMPLES_MAX);
    }
}

fn most_hit(hit: HashMap<String, u64>) -> Vec<Hit> {
    let mut all: Vec<Hit> = hit.into_iter().map(|(value, count)| Hit { value, count }).collect();
    all.sort_by(|one, other| other.count.cmp(&one.count).then(one.value.cmp(&other.value)));
    all.truncate(HIT_MAX);
    all
}
