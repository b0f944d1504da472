//! What the operations do to a tenant's books: reservations and what is known by name. What is used
//! and charged stands in `booking`.

use std::sync::Arc;

use tollgate_policy_core::Meter;
use tollgate_policy_core::contract::{Denial, Quantity, Quote};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::alerts::Occasion;
use super::amounts::Amounts;
use super::body::{self, Charged, ExpiredBody, HoldBody, RunBody};
use super::book::{Batch, Book, Ended, Held, run_of};
use super::booking::{Booking, Used};
use super::decided::Asked;
use super::host::HostError;
use super::judge::Judgement;
use super::limit::Limit;
use super::operation::{Denied, Mode, Operation, Outcome, Reserved, Subject};
use super::origin::Allowed;
use super::part::KeptParts;
use super::price::{Beforehand, Priced};
use super::quarantine::quarantine_notice;
use super::records::{Agent, Author, Disabled};
use super::tally::Places;
use super::tariff::ByTariff;
use super::{Call, Event, Expiring};
use crate::store::{Closure, ClosureRow, HoldRow, RunRow};

impl Book {
    pub fn carry_out(
        &mut self,
        operation: &Operation,
        beforehand: Option<Beforehand>,
    ) -> Result<Outcome, HostError> {
        let priced = match beforehand.and_then(|own| own.counts_for(&self.judge.setup)) {
            Some(priced) => priced,
            None => operation.check(&self.judge.setup).map(|()| None)?,
        };
        let mut erasures = self.judge.records.erasures().iter();
        if let Some(erasure) = erasures.find(|own| operation.names(&own.dimension)) {
            return Err(HostError::Erasing(erasure.dimension.name.clone()));
        }
        match operation {
            Operation::Reserve { call, ttl_ms, mode } => {
                self.reserve(call, *ttl_ms, *mode, None, priced)
            }
            Operation::Start { call, ttl_ms } => {
                self.reserve(call, *ttl_ms, Mode::All, Some(*ttl_ms), priced)
            }
            Operation::Settle { id, used } => self.settle(*id, used),
            Operation::Release { id } => self.release(*id, Closure::Released),
            Operation::Finish { id } => match self.open.get(id) {
                Some(Held { run_ttl_ms: None, .. }) => Err(HostError::NotARun(*id)),
                _ => self.release(*id, Closure::Settled),
            },
            Operation::Extend { id, more, ttl_ms } => self.extend(*id, more, *ttl_ms),
            Operation::Record { reports } => {
                self.check_times(reports)?;
                let recorded = reports.iter().map(|report| self.record(report));
                Ok(Outcome::Recorded(recorded.collect::<Result<_, _>>()?))
            }
            Operation::Void { usage, reason } => self.void(*usage, reason),
            Operation::Book { entry } => self.book(entry),
            Operation::Set { subject, by } => self.set(subject, by),
            Operation::Monitor { subjects, since } => self.monitor(subjects, *since),
            Operation::Reconcile { drifts } => self.reconcile(drifts),
            Operation::Expire => Ok(Outcome::Done),
        }
    }

    pub fn at(&self) -> Instant {
        self.judge.now
    }

    fn reserve(
        &mut self,
        call: &Call,
        ttl_ms: i64,
        mode: Mode,
        run_ttl_ms: Option<i64>,
        priced: Option<Vec<Priced>>,
    ) -> Result<Outcome, HostError> {
        self.touch_run(call)?;
        let places = self.places(&call.dimensions);
        let partial = mode == Mode::BestEffort;
        let call = Arc::new(call.clone());
        let mut judgement = self.judge.judge(call, priced, &places, partial)?;
        let id = self.batch_mut()?.id();
        self.decide(id, Asked::Reserve, &judgement, partial)?;
        let events = self.take_out_failed(&judgement);
        let asks = match std::mem::replace(&mut judgement.outcome, Ok(Amounts::default())) {
            Ok(asks) => asks,
            Err(denial) => return self.deny(id, judgement, &places, denial, events),
        };
        let now = self.judge.now;
        let parts = self.judge.tally.hold(now, &places, &asks)?;
        let quotes = judgement.quotes();
        let charges = quotes.try_map(Quote::total)?;
        self.judge.accounts.hold(&charges)?;
        let expires_at = now.saturating_add(ttl_ms);
        let keeps = self.judge.setup.expiring == Expiring::Charge;
        let held = Held {
            call: Arc::clone(&judgement.call),
            parts,
            is_extended: false,
            charges,
            quotes: if keeps { quotes.cloned() } else { ByTariff::default() },
            allowed: Allowed::of(&judgement, self.context_id),
            run_ttl_ms,
            expires_at,
        };
        if run_ttl_ms.is_some() {
            self.write_run(id, &held, now, None)?;
        }
        let row = self.hold_row(id, &held);
        let batch = self.batch_mut()?;
        batch.write.new_holds.push(row);
        batch.fresh.insert(id);
        self.open.insert(id, held);
        self.watch(expires_at);
        let granted = judgement.call.quantities.clone();
        let (quotes, consulted) = judgement.told(&self.judge.setup);
        let reserved = Reserved { id, expires_at, granted, quotes, consulted, events };
        Ok(Outcome::Reserved(reserved))
    }

    fn deny(
        &mut self,
        decision: Uuid,
        judgement: Judgement,
        places: &Places,
        denial: Denial,
        mut events: Vec<Event>,
    ) -> Result<Outcome, HostError> {
        let fault = self.judge.fault(&judgement);
        let quotes = judgement.quotes();
        let asks = Amounts::of_call(&judgement.call.quantities, quotes)?;
        let call = Arc::clone(&judgement.call);
        events.extend(self.judge.review(&call, places, &asks, &Occasion::Denied(&denial)));
        let (_, consulted) = judgement.told(&self.judge.setup);
        Ok(Outcome::Denied(Denied { decision, denial, consulted, events, fault }))
    }

    /// Takes out policies that failed too often by now.
    fn take_out_failed(&mut self, judgement: &Judgement) -> Vec<Event> {
        self.touched = true;
        let asked = judgement.asked();
        asked.filter_map(|(place, fault)| self.judge.saw(place, fault)).collect()
    }

    /// Writes a decision down, with all that it takes to judge it again.
    fn decide(
        &mut self,
        id: Uuid,
        asked: Asked,
        judgement: &Judgement,
        partial: bool,
    ) -> Result<(), HostError> {
        let batch = self.batch_mut()?;
        match judgement.outcome {
            Ok(_) => batch.write.allowed.push(id),
            Err(_) => batch.write.denied.push(id),
        }
        batch.decided.push(asked, judgement, partial);
        Ok(())
    }

    fn settle(&mut self, id: Uuid, used: &[Quantity]) -> Result<Outcome, HostError> {
        let (dimensions, held, allowed, late) = match (self.open.get(&id), self.ended.get(&id)) {
            (Some(held), _) => {
                if held.run_ttl_ms.is_some() {
                    return Err(HostError::IsARun(id));
                }
                let asked = asked_of(held)?;
                let late = held.expires_at <= self.at();
                (held.call.dimensions.clone(), asked, held.allowed.by.clone(), late)
            }
            (None, Some(Ended::Expired(ended))) => {
                let (ExpiredBody { call, held, .. }, allowed) = &**ended;
                (call.dimensions.clone(), held.clone(), allowed.by.clone(), true)
            }
            _ => return Err(self.why_not_open(id)),
        };
        let call = Call { dimensions, quantities: used.to_vec() };
        let used = self.price_used(&call)?;
        let overshoot = self.overshoots(&used.amounts, &held);
        let used_at = self.at();
        let kind = "charge";
        let reservation = Some(id);
        let booking = Booking { reservation, call, used, allowed, used_at, late, overshoot, kind };
        let recorded = match self.open.get(&id).cloned() {
            Some(held) => {
                self.judge.accounts.hold(&held.charges.negated())?;
                let (recorded, _) = self.charge(booking, &held.parts)?;
                self.close_one(id, Closure::Settled, Vec::new())?;
                recorded
            }
            None => {
                self.settle_expired(id)?;
                self.charge(booking, &[])?.0
            }
        };
        Ok(Outcome::Settled(recorded))
    }

    /// Whether more was used than was held, of anything that is counted by who decides.
    fn overshoots(&self, used: &Amounts, held: &Amounts) -> bool {
        let over = |meter: &Meter| used.of(meter.as_str()) > held.of(meter.as_str());
        let deciding = self.judge.setup.bindings.iter().filter(|own| !own.is_candidate());
        let mut counters = deciding.flat_map(|own| &own.policy.manifest().counters);
        let mut limits = self.judge.records.limits().keys();
        counters.any(|counter| over(&counter.meter)) || limits.any(|key| over(&key.meter))
    }

    /// What was charged when its time was over gives way to what is told now.
    fn settle_expired(&mut self, id: Uuid) -> Result<(), HostError> {
        let Some(Ended::Expired(expired)) = self.ended.insert(id, Ended::As(Closure::Settled))
        else {
            return Ok(());
        };
        if let Some(Charged { usage, used_at, used }) = expired.0.charged {
            self.undo(usage, Some(id), used_at, &used, "settled after all")?;
        }
        let closures = &mut self.batch_mut()?.write.closures;
        // A batch says once how a reservation ended, also where its time was over in this one.
        let own = closures.iter().position(|row| row.id == id);
        let held = own.is_some_and(|place| closures.swap_remove(place).held);
        closures.push(ClosureRow { id, how: Closure::Settled, held, body: Vec::new() });
        Ok(())
    }

    fn release(&mut self, id: Uuid, how: Closure) -> Result<Outcome, HostError> {
        let held = self.open.get(&id).cloned().ok_or_else(|| self.why_not_open(id))?;
        self.touched = true;
        self.judge.tally.release(&held.parts)?;
        self.judge.accounts.hold(&held.charges.negated())?;
        self.close_one(id, how, Vec::new())?;
        Ok(Outcome::Released)
    }

    fn extend(&mut self, id: Uuid, more: &[Quantity], ttl_ms: i64) -> Result<Outcome, HostError> {
        let mut held = self.open.get(&id).cloned().ok_or_else(|| self.why_not_open(id))?;
        let call = Call { dimensions: held.call.dimensions.clone(), quantities: more.to_vec() };
        self.touch_run(&call)?;
        let places = self.places(&call.dimensions);
        let mut judgement = self.judge.judge(Arc::new(call), None, &places, false)?;
        let more_charges = judgement.quotes().try_map(Quote::total)?;
        let charges = held.charges.checked_add(more_charges);
        let charges = charges.map_err(|error| HostError::Charges { id, error })?;
        let decision = self.batch_mut()?.id();
        self.decide(decision, Asked::Extend(id), &judgement, false)?;
        let events = self.take_out_failed(&judgement);
        let asks = match std::mem::replace(&mut judgement.outcome, Ok(Amounts::default())) {
            Ok(asks) => asks,
            Err(denial) => return self.deny(decision, judgement, &places, denial, events),
        };
        let now = self.judge.now;
        let parts = self.judge.tally.hold(now, &places, &asks)?;
        held.parts.extend(parts);
        held.is_extended = true;
        self.judge.accounts.hold(&more_charges)?;
        held.charges = charges;
        held.allowed.extend(Allowed::of(&judgement, self.context_id));
        for (tariff, quote) in judgement.quotes().iter() {
            if let Some(own) = held.quotes.place(tariff) {
                own.lines.extend(quote.lines.iter().cloned());
            }
        }
        let mut sum = Amounts::of_call(&held.call.quantities, ByTariff::default())?;
        for Quantity { meter, amount: asked } in more {
            sum.add(meter, *asked)?;
        }
        let dimensions = held.call.dimensions.clone();
        held.call = Arc::new(Call { dimensions, quantities: sum.iter().cloned().collect() });
        // It is never shortened: another part of the call may count on it.
        held.expires_at = held.expires_at.max(now.saturating_add(ttl_ms));
        self.write_hold(id, &held)?;
        let expires_at = held.expires_at;
        self.open.insert(id, held);
        let (quotes, consulted) = judgement.told(&self.judge.setup);
        Ok(Outcome::Extended { decision, expires_at, quotes, consulted, events })
    }

    fn set(&mut self, subject: &Subject, by: &Author) -> Result<Outcome, HostError> {
        let at = self.at();
        let records = &mut self.judge.records;
        match subject {
            Subject::Agent(name, agent) => {
                let before = records.agent(name).is_some_and(|before| before.is_platforms);
                if before && !by.is_platforms() {
                    return Err(HostError::Platforms);
                }
                let agent = agent.as_ref().map(|agent| {
                    let settings = serde_json::from_str(&agent.settings).unwrap_or_default();
                    let (name, enabled) = (agent.name.clone(), agent.enabled);
                    let is_platforms = by.is_platforms() && (!enabled || says_something(&settings));
                    Agent { name, settings, enabled, is_platforms }
                });
                records.set_agent(name, agent);
            }
            Subject::Limit(key, limit) => {
                let key = key.clone().sorted();
                let before = records.limits().get(&key).is_some_and(|before| before.is_platforms);
                if before && !by.is_platforms() {
                    return Err(HostError::Platforms);
                }
                let is_platforms = by.is_platforms();
                let limit = limit.clone().map(|limit| Limit { is_platforms, ..limit });
                records.set_limit(key, limit);
                self.judge.apply_limits();
            }
            Subject::Disabled(dimension, Some((reason, until))) => {
                let (reason, until, by) = (reason.clone(), *until, by.clone());
                records.disable(dimension, Disabled { reason, until, by, since: at }, at);
            }
            Subject::Disabled(dimension, None) => {
                let stands = records.disabled(dimension, at);
                if matches!(by, Author::Member(_))
                    && stands.is_some_and(|before| !by.may_undo(&before.by))
                {
                    return Err(HostError::Platforms);
                }
                records.enable(dimension, by);
            }
            Subject::LetBack(policy) => {
                if records.let_back(policy) {
                    records.notices.resolve("", &quarantine_notice(policy), &[]);
                }
            }
        }
        self.touched = true;
        Ok(Outcome::Done)
    }

    /// Ends the reservations whose time is over, before anything else is judged.
    pub fn expire_due(&mut self) {
        for id in std::mem::take(&mut self.due) {
            let Some(held) = self.open.get(&id).cloned() else { continue };
            if held.expires_at > self.judge.now {
                self.watch(held.expires_at);
                continue;
            }
            self.touched = false;
            if self.expire(id, &held).is_err() && self.touched {
                self.spoil();
                return;
            }
        }
    }

    fn expire(&mut self, id: Uuid, held: &Held) -> Result<(), HostError> {
        let asked = asked_of(held)?;
        self.touched = true;
        self.judge.accounts.hold(&held.charges.negated())?;
        let charges = self.judge.setup.expiring == Expiring::Charge && held.run_ttl_ms.is_none();
        // What does not fit cannot be charged, and must not stand in the way of all that comes.
        let charged = charges.then(|| self.charge_expired(id, held, &asked)).and_then(Result::ok);
        if charged.is_none() {
            self.judge.tally.release(&held.parts)?;
        }
        let expired = ExpiredBody { call: Call::clone(&held.call), held: asked, charged };
        let mut body = body::write(&expired);
        body::append(&mut body, &held.allowed);
        self.close_one(id, Closure::Expired, body)?;
        self.ended.insert(id, Ended::Expired(Box::new((expired, held.allowed.clone()))));
        Ok(())
    }

    fn charge_expired(
        &mut self,
        id: Uuid,
        held: &Held,
        asked: &Amounts,
    ) -> Result<Charged, HostError> {
        let (charged, quotes) = (held.charges, held.quotes.clone());
        let (amounts, pricing, events) = (asked.clone(), held.allowed.pricing(), Vec::new());
        let used = Used { amounts, charged, quotes, pricing, events };
        let (call, used_at) = (Call::clone(&held.call), self.at());
        let (reservation, kind) = (Some(id), "expiry");
        let (late, overshoot) = (false, false);
        let allowed = held.allowed.by.clone();
        let booking = Booking { reservation, call, used, allowed, used_at, late, overshoot, kind };
        let (recorded, used) = self.charge(booking, &held.parts)?;
        Ok(Charged { usage: recorded.usage, used_at, used })
    }

    /// A call of a run is its sign of life.
    fn touch_run(&mut self, call: &Call) -> Result<(), HostError> {
        let now = self.at();
        let Some(run) = run_of(&call.dimensions) else { return Ok(()) };
        let Some(held) = self.open.get_mut(&run) else { return Ok(()) };
        let Some(ttl_ms) = held.run_ttl_ms else { return Ok(()) };
        let expires_at = now.saturating_add(ttl_ms);
        // Seldom enough that it does not cost a write with every call.
        if expires_at.saturating_sub(held.expires_at) <= ttl_ms / 10 {
            return Ok(());
        }
        held.expires_at = expires_at;
        let held = held.clone();
        self.write_hold(run, &held)
    }

    fn hold_row(&self, id: Uuid, held: &Held) -> HoldRow {
        let apart = held.is_extended.then(|| KeptParts::of(&held.parts, &self.judge.tally));
        let hold = HoldBody {
            call: &*held.call,
            parts: apart,
            charges: held.charges,
            quotes: held.quotes.as_ref(),
            run_ttl_ms: held.run_ttl_ms,
        };
        let mut body = body::write(&hold);
        body::append(&mut body, &held.allowed);
        HoldRow { id, expires_at: held.expires_at, body }
    }

    /// Writes a reservation that has changed.
    fn write_hold(&mut self, id: Uuid, held: &Held) -> Result<(), HostError> {
        let row = self.hold_row(id, held);
        let Batch { write, fresh, .. } = self.batch_mut()?;
        let rows = if fresh.contains(&id) { &mut write.new_holds } else { &mut write.holds };
        match rows.iter_mut().rfind(|own| own.id == id) {
            Some(own) => *own = row,
            None => rows.push(row),
        }
        Ok(())
    }

    fn write_run(
        &mut self,
        id: Uuid,
        held: &Held,
        started_at: Instant,
        ended_at: Option<Instant>,
    ) -> Result<(), HostError> {
        let dimensions = held.call.dimensions.clone();
        let user = tollgate_policy_core::contract::dimension(&dimensions, "user").to_owned();
        let body = body::write(&RunBody { dimensions });
        let row = RunRow { id, user, started_at, ended_at, body };
        let runs = &mut self.batch_mut()?.write.runs;
        match runs.iter_mut().find(|own| own.id == id) {
            Some(own) => *own = row,
            None => runs.push(row),
        }
        Ok(())
    }

    fn close_one(&mut self, id: Uuid, how: Closure, body: Vec<u8>) -> Result<(), HostError> {
        let now = self.at();
        if let Some(held) = self.open.remove(&id)
            && held.run_ttl_ms.is_some()
        {
            self.write_run(id, &held, crate::store::instant_of(id), Some(now))?;
        }
        self.ended.insert(id, Ended::As(how));
        let batch = self.batch_mut()?;
        let held = !batch.fresh.remove(&id);
        // One that opened or was changed in this batch needs no more writing.
        let rows = if held { &mut batch.write.holds } else { &mut batch.write.new_holds };
        rows.retain(|hold| hold.id != id);
        batch.write.closures.push(ClosureRow { id, how, held, body });
        Ok(())
    }

    fn why_not_open(&self, id: Uuid) -> HostError {
        match self.ended.get(&id) {
            Some(Ended::As(how)) => HostError::Ended { id, how: *how },
            Some(Ended::Expired(_)) => HostError::Ended { id, how: Closure::Expired },
            None => HostError::UnknownReservation(id),
        }
    }
}

/// What a reservation holds, by meter.
fn asked_of(held: &Held) -> Result<Amounts, DecimalError> {
    Amounts::with(&held.call.quantities, &held.charges)
}

/// Whether settings of an agent say anything that its tenant could loosen.
fn says_something(settings: &serde_json::Value) -> bool {
    !(settings.is_null() || settings.as_object().is_some_and(serde_json::Map::is_empty))
}
