//! So much of each meter.

use serde::{Deserialize, Serialize};
use tollgate_policy_core::contract::{Quantity, Quote};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::{Decimal, Meter, Money};

use super::tariff::{ByTariff, Tariff};

/// So much of each meter, a meter once, in the order of their names: what is fed must not depend on
/// a hasher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts(Vec<Quantity>);

impl Amounts {
    /// What a call asks for or used, with what it costs among it.
    pub fn of_call(
        quantities: &[Quantity],
        quotes: ByTariff<&Quote>,
    ) -> Result<Self, DecimalError> {
        Self::with(quantities, &quotes.try_map(Quote::total)?)
    }

    /// The same, where what it costs is added up.
    pub fn with(quantities: &[Quantity], charges: &ByTariff<Money>) -> Result<Self, DecimalError> {
        let mut amounts = Self(Vec::with_capacity(quantities.len() + 2));
        // What the caller believes it to cost does not count.
        let is_charged = |meter: &Meter| charges.iter().any(|(own, _)| own.has(meter.as_str()));
        for Quantity { meter, amount } in quantities.iter().filter(|own| !is_charged(&own.meter)) {
            amounts.add(meter, *amount)?;
        }
        for (tariff, money) in charges.iter() {
            amounts.charge(tariff, *money);
        }
        Ok(amounts)
    }

    /// Without what is charged by a tariff.
    pub fn drop_charge(&mut self, tariff: Tariff) {
        self.0.retain(|own| !tariff.has(own.meter.as_str()));
    }

    fn charge(&mut self, tariff: Tariff, money: Money) {
        if let Ok(meter) = tariff.meter(money.currency).parse() {
            self.set(&meter, money.amount);
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

#[cfg(test)]
mod tests {
    use tollgate_policy_core::Currency;

    use super::*;

    fn quantity(meter: &str, amount: u32) -> Quantity {
        Quantity { meter: meter.parse().unwrap(), amount: amount.into() }
    }

    #[test]
    fn what_is_charged_is_by_the_quote_and_can_be_left_out_again() {
        let said = [quantity("llm_tokens", 7), quantity("cost.usd", 99), quantity("llm_tokens", 1)];
        let charges = ByTariff {
            cost: Some(Money::new(2.into(), Currency::USD)),
            price: Some(Money::new(3.into(), Currency::USD)),
        };
        let mut amounts = Amounts::with(&said, &charges).unwrap();
        let all = [quantity("cost.usd", 2), quantity("llm_tokens", 8), quantity("price.usd", 3)];
        assert!(amounts.iter().eq(&all), "{amounts:?}");
        amounts.drop_charge(Tariff::Price);
        assert!(amounts.iter().eq(&all[..2]), "{amounts:?}");
        assert_eq!((amounts.get("price.usd"), amounts.of("price.usd")), (None, Decimal::ZERO));
    }
}
