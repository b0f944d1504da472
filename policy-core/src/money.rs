//! Amounts of money, which never leave their currency.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::decimal::{Decimal, DecimalError};

/// An ISO 4217 code: three upper-case letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// An exact amount in a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// How much.
    pub amount: Decimal,
    /// Of what.
    pub currency: Currency,
}

/// Why an operation on money failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not an ISO 4217 code.
    #[error("`{0}` is not a currency: write three letters, like `USD`")]
    NotACurrency(String),
    /// Two currencies in one sum.
    #[error("`{left}` and `{right}` do not add up: convert one of them first")]
    Mixed {
        /// The currency of the sum so far.
        left: Currency,
        /// The other one.
        right: Currency,
    },
    /// The amount does not fit.
    #[error(transparent)]
    Decimal(#[from] DecimalError),
}

impl Currency {
    /// US dollars.
    pub const USD: Self = Self(*b"USD");
    /// Brazilian reais.
    pub const BRL: Self = Self(*b"BRL");

    /// The code.
    #[must_use]
    pub fn code(&self) -> &str {
        // Only letters get in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The meter of what calls cost in this currency, `cost.usd`.
    #[must_use]
    pub fn cost_meter(&self) -> String {
        format!("cost.{}", self.code().to_ascii_lowercase())
    }

    /// How people write it before an amount: `R$`, `$`, else the code.
    #[must_use]
    pub fn symbol(&self) -> &str {
        match self.code() {
            "BRL" => "R$",
            "USD" => "$",
            "EUR" => "€",
            "GBP" => "£",
            code => code,
        }
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    /// Takes either case.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_alphabetic) => {
                Ok(Self(code.map(|letter| letter.to_ascii_uppercase())))
            }
            _ => Err(MoneyError::NotACurrency(text.chars().take(40).collect())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(text: String) -> Result<Self, MoneyError> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Money {
    /// So much of a currency.
    #[must_use]
    pub fn new(amount: Decimal, currency: Currency) -> Self {
        Self { amount, currency }
    }

    /// The sum; an error where the currencies differ.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        Ok(Self::new(self.amount.checked_add(other.amount)?, self.currency))
    }

    /// The difference; an error where the currencies differ.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        Ok(Self::new(self.amount.checked_sub(other.amount)?, self.currency))
    }

    /// In another currency at `rate` of it for one of this, rounded once, half to even.
    pub fn convert(self, rate: Decimal, currency: Currency) -> Result<Self, MoneyError> {
        let amount =
            Decimal::mul_div(&[self.amount, rate], Decimal::ONE, crate::decimal::SCALE_MAX)?;
        Ok(Self::new(amount, currency))
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::Mixed { left: self.currency, right: other.currency })
        }
    }
}

impl fmt::Display for Money {
    /// As the notices write it, with two decimals: `R$ 500.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.amount.to_fixed(2) {
            Ok(amount) => write!(f, "{} {amount}", self.currency.symbol()),
            Err(_) => write!(f, "{} {}", self.currency.symbol(), self.amount),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(amount: &str, currency: Currency) -> Money {
        Money::new(amount.parse().unwrap(), currency)
    }

    #[test]
    fn two_currencies_never_add_up() {
        let (dollars, reais) = (money("1", Currency::USD), money("1", Currency::BRL));
        let mixed = Err(MoneyError::Mixed { left: Currency::USD, right: Currency::BRL });
        assert_eq!(dollars.checked_add(reais), mixed);
        assert_eq!(dollars.checked_sub(reais), mixed);
        assert_eq!(dollars.checked_add(dollars), Ok(money("2", Currency::USD)));
    }

    #[test]
    fn a_currency_is_three_letters() {
        assert_eq!("usd".parse(), Ok(Currency::USD));
        for text in ["", "US", "USDT", "U$D", "Ж1"] {
            assert!(text.parse::<Currency>().is_err(), "{text}");
        }
    }

    #[test]
    fn money_reads_as_the_seeds_write_it() {
        assert_eq!(money("500", Currency::BRL).to_string(), "R$ 500.00");
        assert_eq!(money("0.125", Currency::USD).to_string(), "$ 0.12");
    }
}
