//! What was used: booked where it belongs, charged to the ledger, and undone.

use tollgate_policy_core::Money;
use tollgate_policy_core::contract::Quote;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::alerts::Occasion;
use super::amounts::Amounts;
use super::body::{self, EntryBody, KeptUsage};
use super::book::{Book, Ended};
use super::host::HostError;
use super::operation::{Entry, EntryKind, Outcome, Recorded, Report};
use super::origin::{Judges, Origin};
use super::part::{KeptParts, Part};
use super::price::{lacking, quoted_by, quotes};
use super::tally::Places;
use super::tariff::{ByTariff, Tariff};
use super::{Call, Event};
use crate::sandbox::Ability;
use crate::store::{Closure, ClosureRow, EntryRow, UsageRow};

/// What was told of more than this before is late.
const LATE_MS: i64 = 60_000;

/// What was used later than this after it is told is a mistake.
const EARLY_MS: i64 = 60_000;

/// Something that was used, about to be booked.
pub struct Booking {
    pub reservation: Option<Uuid>,
    pub call: Call,
    pub used: Used,
    /// Who allowed it; nobody, where nobody was asked.
    pub allowed: Vec<Judges>,
    pub used_at: Instant,
    pub late: bool,
    pub overshoot: bool,
    pub kind: &'static str,
}

/// So much was used, and what it comes to.
pub struct Used {
    /// With what is charged among it.
    pub amounts: Amounts,
    pub charged: ByTariff<Money>,
    pub quotes: ByTariff<Quote>,
    /// Whose quotes those are.
    pub pricing: ByTariff<Judges>,
    /// What came of its being priced.
    pub events: Vec<Event>,
}

impl Used {
    /// Without the tenant's own price.
    fn without_price(mut self, event: Event) -> Self {
        self.amounts.drop_charge(Tariff::Price);
        (self.charged.price, self.quotes.price) = (None, None);
        self.events.push(event);
        self
    }
}

impl Book {
    /// What was used, by those that price; from here on the operation moves something.
    pub fn price_used(&mut self, call: &Call) -> Result<Used, HostError> {
        let priced = self.judge.price_used(call);
        let lacking = lacking(&priced, &self.judge.setup)?;
        let quotes = quotes(&priced);
        let charged = quotes.try_map(Quote::total)?;
        let amounts = Amounts::with(&call.quantities, &charged)?;
        let quotes = quotes.cloned();
        let pricing = Judges::each(self.context_id, quoted_by(&priced));
        self.touched = true;
        let tenants = priced.iter().filter(|own| own.tariff == Tariff::Price);
        let asked = tenants.map(|own| (own.binding, own.outcome.as_ref().err()));
        let events = asked.filter_map(|(place, fault)| self.judge.saw(place, fault)).collect();
        let used = Used { amounts, charged, quotes, pricing, events };
        Ok(match lacking {
            Some(event) => used.without_price(event),
            None => used,
        })
    }

    /// Books what was used in the place of what is held, and lets the alerting policies look. Where it
    /// does not fit nothing moves, and what a tenant charges is left out before that: it holds up
    /// nothing that the tenant owes.
    pub fn charge(
        &mut self,
        mut booking: Booking,
        parts: &[Part],
    ) -> Result<(Recorded, KeptUsage), HostError> {
        let places = self.places(&booking.call.dimensions);
        let elsewhere = match self.land(&booking, &places, parts) {
            Err(error) if booking.used.charged.price.is_some() => {
                let mut pricing = self.judge.setup.bindings.iter();
                let pricing = pricing
                    .find(|own| own.tariff() == Tariff::Price && own.policy.can(Ability::Pricing));
                let policy = pricing.map(|own| own.name.clone()).unwrap_or_default();
                let event = Event::Unpriced { policy, reason: error.to_string() };
                booking.used = booking.used.without_price(event);
                self.land(&booking, &places, parts)?
            }
            landed => landed?,
        };
        let Booking { reservation, call, used, allowed, used_at, late, overshoot, kind } = booking;
        let Used { amounts, charged, quotes, pricing, mut events } = used;
        let usage = self.batch_mut()?.id();
        let kept = KeptUsage {
            dimensions: call.dimensions.clone(),
            used: amounts,
            charged,
            elsewhere,
            voids: None,
        };
        let body = body::write(&kept);
        let row = UsageRow { id: usage, reservation, used_at, late, overshoot, body };
        self.batch_mut()?.write.usages.push(row);
        for (tariff, money) in charged.negated().iter() {
            let quote = quotes.get(tariff).cloned();
            let body = EntryBody { quote, reason: String::new() };
            let priced = pricing.get(tariff).cloned();
            let origin = Origin { priced, allowed: allowed.clone() };
            self.enter(tariff, kind, Some(usage), *money, &body, &origin)?;
        }
        let nothing = Amounts::default();
        events.extend(self.judge.review(&call, &places, &nothing, &Occasion::Settled));
        Ok((Recorded { usage, charged, late, overshoot, events }, kept))
    }

    /// In the counters, if the accounts have room for it as well: returned are the parts that did not
    /// land in the stretches that hold its instant.
    fn land(
        &mut self,
        booking: &Booking,
        places: &Places,
        parts: &[Part],
    ) -> Result<KeptParts, HostError> {
        let (at, Booking { used, used_at, .. }) = (self.judge.now, booking);
        self.judge.accounts.check(&used.charged.negated())?;
        let tally = &mut self.judge.tally;
        let elsewhere = if *used_at == at {
            tally.settle(at, places, parts, &used.amounts)?
        } else {
            tally.book(*used_at, places, &used.amounts, &[], false)?;
            Vec::new()
        };
        Ok(KeptParts::of(&elsewhere, tally))
    }

    fn enter(
        &mut self,
        tariff: Tariff,
        kind: &str,
        usage: Option<Uuid>,
        money: Money,
        body: &EntryBody,
        origin: &Origin,
    ) -> Result<Uuid, HostError> {
        let batch = self.batch_mut()?;
        let id = batch.id();
        batch.write.entries.push(EntryRow {
            id,
            usage,
            account: tariff.name().into(),
            kind: kind.into(),
            amount: money.amount,
            currency: money.currency.code().to_owned(),
            body: body.written(origin),
        });
        self.judge.accounts.book(tariff, money)?;
        Ok(id)
    }

    pub fn record(&mut self, report: &Report) -> Result<Recorded, HostError> {
        let at = self.at();
        // A moment early, by the clock of whoever tells it, is now.
        let used_at = report.used_at.unwrap_or(at).min(at);
        let call = report.call.clone();
        let used = self.price_used(&call)?;
        let late = at.saturating_sub(used_at) > LATE_MS;
        // Nothing was held for it.
        let (reservation, overshoot, kind) = (None, true, "charge");
        let allowed = Vec::new();
        let booking = Booking { reservation, call, used, allowed, used_at, late, overshoot, kind };
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
        tally.book(used_at, &places, &back, &elsewhere, true)?;
        let kept = KeptUsage {
            used: back,
            charged: used.charged.negated(),
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
        for (tariff, money) in used.charged.iter() {
            let body = EntryBody { quote: None, reason: reason.to_owned() };
            self.enter(tariff, "refund", Some(id), *money, &body, &Origin::default())?;
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
        let id = self.enter(entry.account, kind, None, entry.money, &body, &Origin::default())?;
        let currency = entry.money.currency;
        let balance = self.judge.accounts.of(entry.account, currency).balance;
        Ok(Outcome::Booked { entry: id, balance: Money::new(balance, currency) })
    }
}
