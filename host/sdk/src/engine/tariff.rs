//! The two that a call is charged by: what it costs, by the platform, and its price, by the tenant.

use serde::{Deserialize, Serialize};
use tollgate_policy_core::money::MoneyError;
use tollgate_policy_core::{Currency, Money};

use super::Layer;

/// What a call is charged by.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tariff {
    /// What the platform charges the tenant.
    #[default]
    Cost,
    /// What the tenant charges whoever it serves.
    Price,
}

impl Tariff {
    /// In the order in which they are asked: a price may follow from the cost.
    pub const ALL: [Self; 2] = [Self::Cost, Self::Price];

    /// By which a policy of this layer charges.
    #[must_use]
    pub fn of(layer: Layer) -> Self {
        match layer {
            Layer::Platform | Layer::Plan => Self::Cost,
            Layer::Tenant => Self::Price,
        }
    }

    /// Its account's, and the first part of its meters' names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Price => "price",
        }
    }

    /// Its meter for a currency: `cost.usd`.
    #[must_use]
    pub fn meter(self, currency: Currency) -> String {
        format!("{}.{}", self.name(), currency.code().to_ascii_lowercase())
    }

    /// The currency of a meter of its own.
    #[must_use]
    pub fn currency(self, meter: &str) -> Option<Currency> {
        meter.strip_prefix(self.name())?.strip_prefix('.')?.parse().ok()
    }

    /// Whether a meter is one of its own.
    #[must_use]
    pub fn has(self, meter: &str) -> bool {
        meter.strip_prefix(self.name()).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// One by each tariff, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByTariff<T> {
    /// By what the platform charges.
    pub cost: Option<T>,
    /// By what the tenant charges.
    pub price: Option<T>,
}

impl<T> Default for ByTariff<T> {
    fn default() -> Self {
        Self { cost: None, price: None }
    }
}

impl<T> ByTariff<T> {
    /// By one of them.
    #[must_use]
    pub fn get(&self, tariff: Tariff) -> Option<&T> {
        match tariff {
            Tariff::Cost => self.cost.as_ref(),
            Tariff::Price => self.price.as_ref(),
        }
    }

    pub(super) fn place(&mut self, tariff: Tariff) -> &mut Option<T> {
        match tariff {
            Tariff::Cost => &mut self.cost,
            Tariff::Price => &mut self.price,
        }
    }

    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = (Tariff, &T)> {
        Tariff::ALL.into_iter().filter_map(|tariff| Some((tariff, self.get(tariff)?)))
    }

    pub(super) fn as_ref(&self) -> ByTariff<&T> {
        ByTariff { cost: self.cost.as_ref(), price: self.price.as_ref() }
    }

    pub(super) fn try_map<U, E>(
        self,
        mut map: impl FnMut(T) -> Result<U, E>,
    ) -> Result<ByTariff<U>, E> {
        let cost = self.cost.map(&mut map).transpose()?;
        let price = self.price.map(&mut map).transpose()?;
        Ok(ByTariff { cost, price })
    }
}

impl<T: Clone> ByTariff<&T> {
    pub(super) fn cloned(self) -> ByTariff<T> {
        ByTariff { cost: self.cost.cloned(), price: self.price.cloned() }
    }
}

impl ByTariff<Money> {
    /// The sums; an error where a currency changed.
    pub(super) fn checked_add(mut self, more: Self) -> Result<Self, MoneyError> {
        for (tariff, more) in more.iter() {
            let own = self.place(tariff);
            *own = Some(own.map_or(Ok(*more), |own| own.checked_add(*more))?);
        }
        Ok(self)
    }

    /// The opposite.
    pub(super) fn negated(&self) -> Self {
        let negated = |money: Money| Money::new(money.amount.negated(), money.currency);
        Self { cost: self.cost.map(negated), price: self.price.map(negated) }
    }
}
