//! So much of each meter.

use serde::{Deserialize, Serialize};
use tollgate_policy_core::contract::{Quantity, Quote};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::{Decimal, Meter, Money};

/// So much of each meter, a meter once, in the order of their names: what is fed must not depend on
/// a hasher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts(Vec<Quantity>);

impl Amounts {
    /// What a call asks for or used, with what it costs among it.
    pub fn of_call(quantities: &[Quantity], quote: Option<&Quote>) -> Result<Self, DecimalError> {
        let mut amounts = Self(Vec::with_capacity(quantities.len() + 1));
        for Quantity { meter, amount } in quantities {
            amounts.add(meter, *amount)?;
        }
        if let Some(quote) = quote {
            let cost = cost(quote)?;
            // What the caller believes it to cost does not count.
            amounts.set_cost(cost);
        }
        Ok(amounts)
    }

    /// What a reservation of so much holds.
    pub fn held(quantities: &[Quantity], cost: Option<Money>) -> Result<Self, DecimalError> {
        let mut held = Self::of_call(quantities, None)?;
        cost.into_iter().for_each(|cost| held.set_cost(cost));
        Ok(held)
    }

    fn set_cost(&mut self, cost: Money) {
        if let Ok(meter) = cost.currency.cost_meter().parse() {
            self.set(&meter, cost.amount);
        }
    }

    pub fn add(&mut self, meter: &Meter, amount: Decimal) -> Result<(), DecimalError> {
        match self.0.binary_search_by(|own| own.meter.cmp(meter)) {
            Ok(place) => self.0[place].amount = self.0[place].amount.checked_add(amount)?,
            Err(place) => self.0.insert(place, Quantity { meter: meter.clone(), amount }),
        }
        Ok(())
    }

    fn set(&mut self, meter: &Meter, amount: Decimal) {
        match self.0.binary_search_by(|own| own.meter.cmp(meter)) {
            Ok(place) => self.0[place].amount = amount,
            Err(place) => self.0.insert(place, Quantity { meter: meter.clone(), amount }),
        }
    }

    /// Of one meter; nothing where it is not named.
    pub fn of(&self, meter: &str) -> Decimal {
        self.get(meter).unwrap_or_default()
    }

    /// Of one meter, where it is named.
    pub fn get(&self, meter: &str) -> Option<Decimal> {
        let own = self.0.iter().find(|quantity| quantity.meter.as_str() == meter);
        own.map(|quantity| quantity.amount)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Quantity> {
        self.0.iter()
    }

    pub fn negated(&self) -> Self {
        let negated = |quantity: &Quantity| Quantity {
            meter: quantity.meter.clone(),
            amount: quantity.amount.negated(),
        };
        Self(self.0.iter().map(negated).collect())
    }
}

/// The sum of a quote's lines.
pub fn cost(quote: &Quote) -> Result<Money, DecimalError> {
    let sum = quote.lines.iter().try_fold(Decimal::ZERO, |sum, line| sum.checked_add(line.cost))?;
    Ok(Money::new(sum, quote.currency))
}
