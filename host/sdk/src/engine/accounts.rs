//! What the accounts of a tenant's ledger stand at.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::{Currency, Decimal, Money};

use super::tariff::{ByTariff, Tariff};
use crate::store::AccountRow;

type Name = (String, Currency);

/// The sum of an account's entries, and what open reservations hold against it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub balance: Decimal,
    pub held: Decimal,
}

/// The accounts of one tenant.
#[derive(Debug, Default)]
pub struct Accounts {
    all: BTreeMap<Name, Account>,
    moved: BTreeSet<Name>,
    /// Those that the store has.
    stored: BTreeSet<Name>,
}

impl Accounts {
    pub fn load(&mut self, rows: &[AccountRow]) {
        for AccountRow { account, currency, balance, held } in rows {
            if let Ok(currency) = currency.parse() {
                let name = (account.clone(), currency);
                self.stored.insert(name.clone());
                self.all.insert(name, Account { balance: *balance, held: *held });
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Currency, Account)> {
        self.all.iter().map(|((name, currency), account)| (name.as_str(), *currency, *account))
    }

    /// In each currency.
    pub fn of_tariff(&self, tariff: Tariff) -> impl Iterator<Item = (Currency, Account)> {
        self.iter()
            .filter(move |(name, ..)| *name == tariff.name())
            .map(|(_, currency, account)| (currency, account))
    }

    pub fn of(&self, tariff: Tariff, currency: Currency) -> Account {
        self.all.get(&(tariff.name().to_owned(), currency)).copied().unwrap_or_default()
    }

    /// Whether so much can be booked.
    pub fn check(&self, charges: &ByTariff<Money>) -> Result<(), DecimalError> {
        charges.iter().try_for_each(|(tariff, money)| {
            let balance = self.of(tariff, money.currency).balance;
            balance.checked_add(money.amount).map(drop)
        })
    }

    /// Books an entry: a charge lies below zero.
    pub fn book(&mut self, tariff: Tariff, money: Money) -> Result<(), DecimalError> {
        let account = self.of(tariff, money.currency);
        let balance = account.balance.checked_add(money.amount)?;
        self.set(tariff, money.currency, Account { balance, ..account });
        Ok(())
    }

    /// Holds so much more, or less where it lies below zero.
    pub fn hold(&mut self, charges: &ByTariff<Money>) -> Result<(), DecimalError> {
        for (tariff, money) in charges.iter() {
            let account = self.of(tariff, money.currency);
            let held = account.held.checked_add(money.amount)?;
            self.set(tariff, money.currency, Account { held, ..account });
        }
        Ok(())
    }

    fn set(&mut self, tariff: Tariff, currency: Currency, account: Account) {
        let name = (tariff.name().to_owned(), currency);
        if self.all.insert(name.clone(), account) != Some(account) {
            self.moved.insert(name);
        }
    }

    /// The accounts that moved since this was last asked: those that are new, and all others.
    pub fn take_moved(&mut self) -> (Vec<AccountRow>, Vec<AccountRow>) {
        let (mut new, mut known) = (Vec::new(), Vec::new());
        for name in std::mem::take(&mut self.moved) {
            let Account { balance, held } = self.all.get(&name).copied().unwrap_or_default();
            let (account, currency) = (name.0.clone(), name.1.code().to_owned());
            let rows = if self.stored.insert(name) { &mut new } else { &mut known };
            rows.push(AccountRow { account, currency, balance, held });
        }
        (new, known)
    }
}
