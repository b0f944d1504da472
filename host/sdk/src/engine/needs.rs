//! What a tenant's books must learn from the store before they can judge, and how they do.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use tollgate_policy_core::contract::{Counter, Dimension};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::ask::{Ask, Key, Work};
use super::body::{self, HoldBody};
use super::book::{Book, Ended, Held, run_of};
use super::operation::{Operation, Subject};
use super::origin::Allowed;
use super::part::Part;
use super::tally::{TallyError, id_of};
use crate::store::{Closure, Found, HoldRow, HoldState, LatestRow, Need};

/// How old what a look is answered from may be.
const FRESH_MS: u64 = 1_000;

impl Book {
    /// Whether these requests need counters that are not kept yet.
    pub fn lacks(&self, asks: &[Ask]) -> bool {
        let kept = self.judge.records.counters();
        let sets_limit = |ask: &Ask| {
            let Work::Do(Operation::Set { subject, .. }, _) = &ask.work else { return false };
            matches!(subject, Subject::Limit(..))
        };
        self.judge.tally.counters().any(|(id, _)| !kept.contains_key(&id))
            || (asks.iter().any(sets_limit) && !self.unkept(asks).is_empty())
    }

    /// The counters that these requests need and that are not kept yet: they must be filled from
    /// history first.
    pub fn unkept(&self, asks: &[Ask]) -> Vec<Counter> {
        let kept = self.judge.records.counters();
        let own = self.judge.tally.counters().map(|(_, counter)| counter.clone());
        let of_limits = asks.iter().filter_map(|ask| match (&ask.work, &ask.refused) {
            (Work::Do(Operation::Set { subject: Subject::Limit(key, Some(_)), .. }, _), None) => {
                Some(key.clone().sorted().counter())
            }
            _ => None,
        });
        let mut unkept: BTreeMap<i64, Counter> = BTreeMap::new();
        let calendar = &self.judge.setup.calendar;
        unkept.extend(own.chain(of_limits).map(|counter| (id_of(&counter, calendar), counter)));
        unkept.retain(|id, _| !kept.contains_key(id));
        unkept.into_values().collect()
    }

    /// What must be learnt before these can be judged; those that cannot be are answered and
    /// leave. None: nothing.
    pub fn need(&mut self, asks: &mut Vec<Ask>, at: Instant) -> Option<Need> {
        let mut need = Need::head(self.tenant.clone());
        let mut wanted = BTreeMap::new();
        let (mut holds, mut keys, mut usages) = (HashSet::new(), HashSet::new(), HashSet::new());
        let mut stale = false;
        let mut still = Vec::with_capacity(asks.len());
        for ask in asks.drain(..) {
            if let Some(Key { name, .. }) = &ask.key
                && (ask.seeks_key || !self.assumes_new(&ask))
                && self.is_unsought(name)
            {
                keys.insert(name.clone());
            }
            if ask.refused.is_some() {
                still.push(ask);
                continue;
            }
            let missing = match &ask.work {
                Work::Look(look, _) => {
                    stale |= !self.is_fresh(at);
                    self.missing_for(look.dimensions(), at, &mut wanted)
                }
                Work::Do(operation, _) => {
                    self.missing_of(operation, at, &mut wanted, &mut holds, &mut usages)
                }
            };
            match missing {
                Ok(()) => still.push(ask),
                Err(error) => ask.refuse(&error.into()),
            }
        }
        *asks = still;
        // More may be due than is brought at a time: what was brought is ended first.
        if self.next_due <= at && self.due.is_empty() {
            need.due = Some(at);
        }
        for id in self.due.clone() {
            // What cannot be learnt of one that is due is left to the next time.
            if self.missing_to_end(id, at, &mut wanted).is_err() {
                self.due.retain(|due| *due != id);
            }
        }
        let tally = &self.judge.tally;
        let unknown = wanted.keys().filter_map(|slot| tally.unknown_latest(*slot));
        need.latest = BTreeSet::from_iter(unknown).into_iter().collect();
        need.counters =
            wanted.into_iter().map(|(slot, opened)| tally.since(slot, opened)).collect();
        need.holds.extend(holds);
        need.keys.extend(keys);
        need.usages.extend(usages);
        (stale || !need.is_head()).then_some(need)
    }

    /// Whether a question about these can be answered without the store.
    pub fn knows_enough(&mut self, dimensions: &[Dimension], at: Instant) -> bool {
        let mut wanted = BTreeMap::new();
        let learnt = self.missing_for(dimensions, at, &mut wanted).is_ok() && wanted.is_empty();
        let quiet = self.due.is_empty() && self.next_due > at;
        learnt && quiet && self.is_fresh(at) && !self.is_spoilt() && !self.lacks(&[])
    }

    /// What was seen later than now was told by a clock that leapt.
    fn is_fresh(&self, at: Instant) -> bool {
        at.abs_diff(self.as_of) <= FRESH_MS
    }

    /// Whether its key is taken to be new: one that was answered before shows when the batch is
    /// written, which is then judged anew. What is told, or is read for anyway, is often told twice.
    fn assumes_new(&self, ask: &Ask) -> bool {
        match &ask.work {
            Work::Do(operation, _) => match operation {
                Operation::Reserve { .. } | Operation::Start { .. } => true,
                Operation::Settle { id, .. }
                | Operation::Release { id }
                | Operation::Extend { id, .. }
                | Operation::Finish { id } => self.open.contains_key(id),
                _ => false,
            },
            Work::Look(..) => true,
        }
    }

    /// Whether nobody knows what was answered under a key, if anything.
    pub fn is_unsought(&self, key: &(String, String)) -> bool {
        !(self.keys.contains_key(key) || self.sought_keys.contains(key))
    }

    fn missing_of(
        &mut self,
        operation: &Operation,
        at: Instant,
        wanted: &mut BTreeMap<usize, Instant>,
        holds: &mut HashSet<Uuid>,
        usages: &mut HashSet<Uuid>,
    ) -> Result<(), TallyError> {
        match operation {
            Operation::Reserve { call, .. } | Operation::Start { call, .. } => {
                if let Some(run) = run_of(&call.dimensions)
                    && self.is_unknown(run)
                {
                    holds.insert(run);
                }
                self.missing_for(&call.dimensions, at, wanted)
            }
            Operation::Settle { id, .. }
            | Operation::Release { id }
            | Operation::Extend { id, .. }
            | Operation::Finish { id } => {
                if self.is_unknown(*id) {
                    holds.insert(*id);
                }
                self.missing_to_end(*id, at, wanted)
            }
            Operation::Record { reports } => reports.iter().try_for_each(|report| {
                let used_at = report.used_at.unwrap_or(at).min(at);
                self.missing_for(&report.call.dimensions, at, wanted)?;
                self.missing_then(&report.call.dimensions, used_at, &[], wanted)
            }),
            Operation::Void { usage, .. } => {
                if self.is_unknown(*usage) {
                    holds.insert(*usage);
                }
                let Some(row) = self.usages.get(usage).cloned() else {
                    if !self.sought.contains(usage) {
                        usages.insert(*usage);
                    }
                    return Ok(());
                };
                let Some(used) = self.judge.records.usage(&row.body) else { return Ok(()) };
                let elsewhere = used.elsewhere.placed(&mut self.judge.tally);
                self.missing_then(&used.dimensions, row.used_at, &elsewhere, wanted)
            }
            Operation::Monitor { subjects, .. } => {
                subjects.iter().try_for_each(|subject| self.missing_for(subject, at, wanted))
            }
            Operation::Book { .. }
            | Operation::Set { .. }
            | Operation::Reconcile { .. }
            | Operation::Expire => Ok(()),
        }
    }

    fn missing_for(
        &mut self,
        dimensions: &[Dimension],
        at: Instant,
        wanted: &mut BTreeMap<usize, Instant>,
    ) -> Result<(), TallyError> {
        let places = self.judge.tally.places(dimensions);
        self.judge.missing(at.max(self.judge.now), &places, &[], wanted)
    }

    fn missing_then(
        &mut self,
        dimensions: &[Dimension],
        at: Instant,
        parts: &[Part],
        wanted: &mut BTreeMap<usize, Instant>,
    ) -> Result<(), TallyError> {
        let places = self.judge.tally.places(dimensions);
        self.judge.missing(at, &places, parts, wanted)
    }

    fn missing_to_end(
        &mut self,
        id: Uuid,
        at: Instant,
        wanted: &mut BTreeMap<usize, Instant>,
    ) -> Result<(), TallyError> {
        let at = at.max(self.judge.now);
        if let Some(held) = self.open.get(&id) {
            let places = self.judge.tally.places(&held.call.dimensions);
            return self.judge.missing(at, &places, &held.parts, wanted);
        }
        let Some(Ended::Expired(expired)) = self.ended.get(&id) else { return Ok(()) };
        let expired = expired.0.clone();
        self.missing_for(&expired.call.dimensions, at, wanted)?;
        let Some(charged) = &expired.charged else { return Ok(()) };
        let elsewhere = charged.used.elsewhere.placed(&mut self.judge.tally);
        self.missing_then(&charged.used.dimensions, charged.used_at, &elsewhere, wanted)
    }

    fn is_unknown(&self, id: Uuid) -> bool {
        !(self.open.contains_key(&id) || self.ended.contains_key(&id) || self.sought.contains(&id))
    }

    /// Takes in what a need brought; false: somebody else wrote, and these books are of another
    /// past. What a write that is under way touches is known already, so that rows from before it
    /// do as well.
    #[must_use]
    pub fn learn(&mut self, need: Need, found: Found) -> bool {
        if found.head != self.head && Some(found.head) != self.before {
            return false;
        }
        self.as_of = found.now;
        let (mut latest, mut counters) = (found.latest, found.counters);
        let records = &self.judge.records;
        counters.retain(|row| records.counts(row.counter, row.version));
        for LatestRow { version, totals, .. } in &mut latest {
            totals.retain(|(counter, ..)| records.counts(*counter, *version));
        }
        self.judge.tally.learn(need.counters, &need.latest, latest, counters);
        self.sought.extend(need.holds);
        self.sought.extend(need.usages);
        self.sought_keys.extend(need.keys);
        for state in found.holds {
            match state {
                HoldState::Open(row) => self.know_row(row),
                HoldState::Closed { id, how, body } => {
                    let expired = || self.judge.records.expired(&body);
                    let ended = match (how == Closure::Expired).then(expired).flatten() {
                        Some(expired) => Ended::Expired(Box::new(expired)),
                        None => Ended::As(how),
                    };
                    self.ended.entry(id).or_insert(ended);
                }
            }
        }
        for row in found.keys {
            self.keys.entry((row.operation.clone(), row.key.clone())).or_insert(row);
        }
        self.usages.extend(found.usages.into_iter().map(|row| (row.id, row)));
        if let Some(due) = need.due {
            let more = found.due.len() == crate::store::DUE_MAX;
            self.next_due = if more { due } else { found.next_expiry.unwrap_or(Instant::MAX) };
            for row in found.due {
                let id = row.id;
                self.know_row(row);
                if self.open.contains_key(&id) && !self.due.contains(&id) {
                    self.due.push(id);
                }
            }
            let soonest = self.open.values().map(|held| held.expires_at).filter(|at| *at > due);
            self.next_due = self.next_due.min(soonest.min().unwrap_or(Instant::MAX));
        }
        true
    }

    fn know_row(&mut self, HoldRow { id, expires_at, body }: HoldRow) {
        if !self.open.contains_key(&id)
            && !self.ended.contains_key(&id)
            && let Some((hold, allowed)) = body::read_with::<HoldBody, _>(&body)
        {
            self.know(id, hold, allowed, expires_at);
        }
    }

    pub fn know(&mut self, id: Uuid, hold: HoldBody, allowed: Allowed, expires_at: Instant) {
        let tally = &mut self.judge.tally;
        let (parts, is_extended) = (hold.parts(id, tally), hold.parts.is_some());
        let HoldBody { call, charges, quotes, run_ttl_ms, .. } = hold;
        let call = Arc::new(call);
        let held =
            Held { call, parts, is_extended, charges, quotes, allowed, run_ttl_ms, expires_at };
        self.open.insert(id, held);
    }
}
