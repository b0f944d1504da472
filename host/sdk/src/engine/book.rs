//! A tenant's books in memory, as of one head: what is judged against, and what the next batch
//! writes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_policy_core::contract::Quantity;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::host::{Ask, HostError, Operation, Outcome};
use super::tally::Part;
use super::{Answer, Engine, EngineError, Reservation, Setup};
use crate::store::{
    Closure, ClosureRow, DecisionRow, EntryRow, Found, Head, HoldRow, HoldState, KeyRow, Need,
    Since, Tenant, UsageRow, Write,
};

/// What a host knows of a tenant.
pub struct Book {
    pub head: Head,
    engine: Engine,
    open: HashMap<Uuid, Held>,
    /// Of those that are open: what the store does not have yet.
    fresh: HashSet<Uuid>,
    ended: HashMap<Uuid, Closure>,
    keys: HashMap<(String, String), KeyRow>,
    /// What was looked for in the store as of this head, whether it was there or not.
    sought: HashSet<Uuid>,
    sought_keys: HashSet<(String, String)>,
}

struct Held {
    reservation: Reservation,
    expires_at: Instant,
}

/// Of an open reservation in the store: what it takes to end it. Why it was allowed stands in its
/// decision.
#[derive(Serialize, Deserialize)]
struct Kept {
    call: super::Call,
    parts: Vec<Part>,
}

/// What belongs to a batch beside its rows.
pub struct Batch<'a> {
    pub write: Write,
    pub random: &'a dyn Fn() -> u128,
}

impl Book {
    /// Opens the books with the records of a store.
    pub fn open(setup: Arc<Setup>, found: &Found) -> Result<Self, EngineError> {
        let mut engine = Engine::new(setup)?;
        engine.restore(&found.records);
        engine.advance(found.head.at);
        Ok(Self {
            head: found.head,
            engine,
            open: HashMap::new(),
            fresh: HashSet::new(),
            ended: HashMap::new(),
            keys: HashMap::new(),
            sought: HashSet::new(),
            sought_keys: HashSet::new(),
        })
    }

    /// What must be learnt before these can be judged; none: nothing.
    pub fn need(&self, tenant: &Tenant, asks: &[Ask], at: Instant) -> Result<Need, EngineError> {
        let mut need = Need::head(tenant.clone());
        let (mut counters, mut holds, mut keys) = (HashSet::new(), HashSet::new(), HashSet::new());
        for ask in asks {
            if let Some(key) = &ask.key {
                let key = (ask.operation.name().to_owned(), key.clone());
                let known = self.keys.contains_key(&key) || self.sought_keys.contains(&key);
                if !known {
                    keys.insert(key);
                }
            }
            let missing = match &ask.operation {
                Operation::Reserve { call, .. } => {
                    self.engine.missing(at, &call.dimensions, &[])?
                }
                Operation::Settle { id, .. } | Operation::Release { id } => {
                    match self.open.get(id) {
                        Some(held) => self.missing_of(held, at)?,
                        None => {
                            let known = self.ended.contains_key(id) || self.sought.contains(id);
                            if !known {
                                holds.insert(*id);
                            }
                            continue;
                        }
                    }
                }
            };
            counters.extend(missing);
        }
        need.counters.extend(counters);
        need.holds.extend(holds);
        need.keys.extend(keys);
        Ok(need)
    }

    fn missing_of(&self, held: &Held, at: Instant) -> Result<Vec<Since>, EngineError> {
        let Reservation { call, parts, .. } = &held.reservation;
        Ok(self.engine.missing(at, &call.dimensions, parts)?)
    }

    /// Takes in what a need brought, as of this very head.
    pub fn learn(&mut self, need: Need, found: Found) -> Result<(), HostError> {
        self.engine.learn(need.counters, found.counters);
        self.sought.extend(need.holds);
        self.sought_keys.extend(need.keys);
        for state in found.holds {
            match state {
                HoldState::Open(HoldRow { id, expires_at, body }) => {
                    let Kept { call, parts } = serde_json::from_slice(&body)
                        .map_err(|_| HostError::UnknownReservation(id))?;
                    let reservation =
                        Reservation { call, quote: None, parts, findings: Vec::new() };
                    self.open.insert(id, Held { reservation, expires_at });
                }
                HoldState::Closed { id, how, .. } => {
                    self.ended.insert(id, how);
                }
            }
        }
        for row in found.keys {
            self.keys.insert((row.operation.clone(), row.key.clone()), row);
        }
        Ok(())
    }

    /// Judges one request against all that were judged before it.
    pub fn judge(&mut self, ask: &Ask, batch: &mut Batch) -> Result<Outcome, HostError> {
        // What is settled lands where its batch does.
        self.engine.advance(batch.write.next.at);
        let Some(key) = &ask.key else {
            return self.carry_out(&ask.operation, batch);
        };
        let operation = ask.operation.name().to_owned();
        let hash = ask.operation.hash();
        if let Some(row) = self.keys.get(&(operation.clone(), key.clone())) {
            let answer = serde_json::from_slice(&row.answer).ok().filter(|_| row.hash == hash);
            return answer.ok_or_else(|| HostError::KeyReused(key.clone()));
        }
        let outcome = self.carry_out(&ask.operation, batch)?;
        let row = KeyRow { operation, key: key.clone(), hash, answer: bytes(&outcome) };
        self.keys.insert((row.operation.clone(), row.key.clone()), row.clone());
        batch.write.keys.push(row);
        Ok(outcome)
    }

    fn carry_out(
        &mut self,
        operation: &Operation,
        batch: &mut Batch,
    ) -> Result<Outcome, HostError> {
        match operation {
            Operation::Reserve { call, ttl_ms } => {
                let call = super::Call { at: batch.write.next.at, ..call.clone() };
                self.reserve(call, *ttl_ms, batch)
            }
            Operation::Settle { id, used } => self.settle(*id, used, batch),
            Operation::Release { id } => self.release(*id, batch),
        }
    }

    fn reserve(
        &mut self,
        call: super::Call,
        ttl_ms: i64,
        batch: &mut Batch,
    ) -> Result<Outcome, HostError> {
        let id = Uuid::from_u128((batch.random)());
        let asked = call.clone();
        match self.engine.reserve(call)? {
            Answer::Denied(denial, events) => {
                let body = bytes(&json!({ "call": asked, "denial": denial }));
                batch.write.decisions.push(DecisionRow { id, allowed: false, body });
                Ok(Outcome::Denied { denial, events })
            }
            Answer::Allowed(reservation) => {
                let expires_at = batch.write.next.at.saturating_add(ttl_ms.max(0));
                let Reservation { call, quote, parts, findings } = &*reservation;
                let why = json!({ "call": asked, "quote": quote, "findings": findings });
                batch.write.decisions.push(DecisionRow { id, allowed: true, body: bytes(&why) });
                let kept = bytes(&Kept { call: call.clone(), parts: parts.clone() });
                batch.write.holds.push(HoldRow { id, expires_at, body: kept });
                let (quote, findings) = (reservation.quote.clone(), reservation.findings.clone());
                self.open.insert(id, Held { reservation: *reservation, expires_at });
                self.fresh.insert(id);
                Ok(Outcome::Reserved { id, expires_at, quote, findings })
            }
        }
    }

    fn settle(
        &mut self,
        id: Uuid,
        used: &[Quantity],
        batch: &mut Batch,
    ) -> Result<Outcome, HostError> {
        let held = self.open.get(&id).ok_or_else(|| self.why_not_open(id))?;
        let reservation = held.reservation.clone();
        let at = batch.write.next.at;
        let late = at >= held.expires_at;
        let dimensions = reservation.call.dimensions.clone();
        let settled = self.engine.settle(reservation, used.to_vec())?;
        let body = bytes(&json!({ "dimensions": dimensions, "used": used, "cost": settled.cost }));
        batch.write.usages.push(UsageRow { id, used_at: at, late, body });
        if let Some(cost) = settled.cost {
            batch.write.entries.push(EntryRow {
                id,
                account: "cost".into(),
                kind: "charge".into(),
                amount: cost.amount,
                currency: cost.currency.code().to_owned(),
                body: bytes(&settled.quote),
            });
        }
        self.close(id, Closure::Settled, batch);
        Ok(Outcome::Settled { cost: settled.cost, late, events: settled.events })
    }

    fn release(&mut self, id: Uuid, batch: &mut Batch) -> Result<Outcome, HostError> {
        let held = self.open.get(&id).ok_or_else(|| self.why_not_open(id))?;
        self.engine.release(&held.reservation)?;
        self.close(id, Closure::Released, batch);
        Ok(Outcome::Released)
    }

    fn why_not_open(&self, id: Uuid) -> HostError {
        match self.ended.get(&id) {
            Some(how) => HostError::Ended { id, how: *how },
            None => HostError::UnknownReservation(id),
        }
    }

    fn close(&mut self, id: Uuid, how: Closure, batch: &mut Batch) {
        self.open.remove(&id);
        let held = !self.fresh.remove(&id);
        if !held {
            batch.write.holds.retain(|hold| hold.id != id);
        }
        self.ended.insert(id, how);
        batch.write.closures.push(ClosureRow { id, how, held, body: Vec::new() });
    }

    /// Puts what moved into the batch; false: nothing is to be written.
    pub fn fill(&mut self, write: &mut Write) -> bool {
        (write.counters, write.records) = self.engine.take_moved();
        !(write.counters.is_empty()
            && write.holds.is_empty()
            && write.closures.is_empty()
            && write.keys.is_empty()
            && write.records.is_empty()
            && write.decisions.is_empty())
    }

    /// The batch stands.
    pub fn committed(&mut self, head: Head) {
        self.head = head;
        self.fresh.clear();
        // What ended and what was answered long ago is found in the store again.
        const REMEMBERED: usize = 10_000;
        if self.ended.len() + self.sought.len() > REMEMBERED {
            self.ended.clear();
            self.sought.clear();
        }
        if self.keys.len() + self.sought_keys.len() > REMEMBERED {
            self.keys.clear();
            self.sought_keys.clear();
        }
    }
}

/// Of our own types, which JSON can hold.
fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
