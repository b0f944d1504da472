//! What was used: booked where it belongs, charged to the ledger, and undone.

use tollgate_policy_core::Money;
use tollgate_policy_core::contract::Quote;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::Call;
use super::accounts::COST;
use super::alerts::Occasion;
use super::amounts::{Amounts, cost};
use super::body::{self, EntryBody, KeptUsage};
use super::book::{Book, Ended};
use super::host::HostError;
use super::operation::{Entry, EntryKind, Outcome, Recorded, Report};
use super::part::{KeptParts, Part};
use crate::store::{Closure, ClosureRow, EntryRow, UsageRow};

/// What was told of more than this before is late.
const LATE_MS: i64 = 60_000;

/// What was used later than this after it is told is a mistake.
const EARLY_MS: i64 = 60_000;

/// Something that was used, about to be booked.
pub struct Booking {
    pub reservation: Option<Uuid>,
    pub call: Call,
    pub quote: Option<Quote>,
    pub used: Amounts,
    pub used_at: Instant,
    pub late: bool,
    pub overshoot: bool,
    pub kind: &'static str,
}

impl Book {
    pub fn price_used(&self, call: &Call) -> Result<(Option<Quote>, Amounts), HostError> {
        let priced = self.judge.price(call);
        let quote = priced.as_ref().map(|priced| priced.booked(&self.judge.setup)).transpose();
        let quote = quote?.cloned();
        let used = Amounts::of_call(&call.quantities, quote.as_ref())?;
        Ok((quote, used))
    }

    /// Books what was used in the place of what is held, and lets the alerting policies look.
    pub fn charge(
        &mut self,
        booking: Booking,
        parts: &[Part],
    ) -> Result<(Recorded, KeptUsage), HostError> {
        let Booking { reservation, call, quote, used, used_at, late, overshoot, kind } = booking;
        let at = self.judge.now;
        let places = self.places(&call.dimensions);
        let tally = &mut self.judge.tally;
        let elsewhere = if used_at == at {
            tally.settle(at, &places, parts, &used)?
        } else {
            tally.book(used_at, &places, &used, &[])?;
            Vec::new()
        };
        let elsewhere = KeptParts::of(&elsewhere, tally);
        let money = quote.as_ref().map(cost).transpose()?;
        let usage = self.batch_mut()?.id();
        let kept = KeptUsage {
            dimensions: call.dimensions.clone(),
            used,
            cost: money,
            elsewhere,
            voids: None,
        };
        let body = body::write(&kept);
        let row = UsageRow { id: usage, reservation, used_at, late, overshoot, body };
        self.batch_mut()?.write.usages.push(row);
        if let Some(money) = money {
            let body = EntryBody { quote, reason: String::new() };
            let charge = Money::new(money.amount.negated(), money.currency);
            self.enter(kind, Some(usage), charge, &body)?;
        }
        let nothing = Amounts::default();
        let events = self.judge.review(&call, &places, &nothing, &Occasion::Settled);
        Ok((Recorded { usage, cost: money, late, overshoot, events }, kept))
    }

    fn enter(
        &mut self,
        kind: &str,
        usage: Option<Uuid>,
        money: Money,
        body: &EntryBody,
    ) -> Result<Uuid, HostError> {
        let batch = self.batch_mut()?;
        let id = batch.id();
        batch.write.entries.push(EntryRow {
            id,
            usage,
            account: COST.into(),
            kind: kind.into(),
            amount: money.amount,
            currency: money.currency.code().to_owned(),
            body: body::write(body),
        });
        self.judge.accounts.book(COST, money)?;
        Ok(id)
    }

    pub fn record(&mut self, report: &Report) -> Result<Recorded, HostError> {
        let at = self.at();
        // A moment early, by the clock of whoever tells it, is now.
        let used_at = report.used_at.unwrap_or(at).min(at);
        let call = report.call.clone();
        let (quote, used) = self.price_used(&call)?;
        self.touched = true;
        let late = at.saturating_sub(used_at) > LATE_MS;
        // Nothing was held for it.
        let (reservation, overshoot, kind) = (None, true, "charge");
        let booking = Booking { reservation, call, quote, used, used_at, late, overshoot, kind };
        Ok(self.charge(booking, &[])?.0)
    }

    /// By the store's clock, which the batch goes by.
    pub fn check_times(&self, reports: &[Report]) -> Result<(), HostError> {
        let latest = self.at().saturating_add(EARLY_MS);
        match reports.iter().filter_map(|report| report.used_at).find(|at| *at > latest) {
            Some(at) => Err(HostError::Future(at)),
            None => Ok(()),
        }
    }

    pub fn void(&mut self, usage: Uuid, reason: &str) -> Result<Outcome, HostError> {
        let row = self.usages.get(&usage).cloned().ok_or(HostError::UnknownUsage(usage))?;
        if let Some(Ended::As(how)) = self.ended.get(&usage) {
            return Err(HostError::Ended { id: usage, how: *how });
        }
        let used = self.judge.records.usage(&row.body).ok_or(HostError::UnknownUsage(usage))?;
        if used.voids.is_some() {
            return Err(HostError::UnknownUsage(usage));
        }
        self.touched = true;
        let id = self.undo(usage, row.reservation, row.used_at, &used, reason)?;
        Ok(Outcome::Voided { usage: id })
    }

    /// Books the opposite of a usage where it landed.
    pub fn undo(
        &mut self,
        usage: Uuid,
        reservation: Option<Uuid>,
        used_at: Instant,
        used: &KeptUsage,
        reason: &str,
    ) -> Result<Uuid, HostError> {
        let places = self.places(&used.dimensions);
        let tally = &mut self.judge.tally;
        let elsewhere: Vec<Part> = used.elsewhere.placed(tally).iter().map(Part::negated).collect();
        let back = used.used.negated();
        tally.book(used_at, &places, &back, &elsewhere)?;
        let kept = KeptUsage {
            used: back,
            cost: used.cost.map(|cost| Money::new(cost.amount.negated(), cost.currency)),
            elsewhere: KeptParts::of(&elsewhere, tally),
            voids: Some(usage),
            ..used.clone()
        };
        let batch = self.batch_mut()?;
        let id = batch.id();
        let (late, overshoot, body) = (true, false, body::write(&kept));
        let row = UsageRow { id, reservation, used_at, late, overshoot, body };
        batch.write.usages.push(row);
        let row = ClosureRow { id: usage, how: Closure::Voided, held: false, body: Vec::new() };
        batch.write.closures.push(row);
        self.ended.insert(usage, Ended::As(Closure::Voided));
        if let Some(cost) = used.cost {
            let body = EntryBody { quote: None, reason: reason.to_owned() };
            self.enter("refund", Some(id), cost, &body)?;
        }
        Ok(id)
    }

    pub fn book(&mut self, entry: &Entry) -> Result<Outcome, HostError> {
        self.touched = true;
        let kind = match entry.kind {
            EntryKind::Credit => "credit",
            EntryKind::Adjustment => "adjustment",
            EntryKind::Refund => "refund",
        };
        let body = EntryBody { quote: None, reason: entry.reason.clone() };
        let id = self.enter(kind, None, entry.money, &body)?;
        let currency = entry.money.currency;
        let balance = self.judge.accounts.of(COST, currency).balance;
        Ok(Outcome::Booked { entry: id, balance: Money::new(balance, currency) })
    }
}
