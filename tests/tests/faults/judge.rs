//! The judge: compares what stands in the tables with the journal, and knows nothing of the engine.
//!
//! What holds tokens and what was used of them it knows from the journal, where each tenant always
//! asks for the same amount, so that it knows this also of a reservation that nobody was told of.
//! From that it holds:
//!
//! - What was answered stands exactly once: a reservation has its decision, and is either held or
//!   has one end; what is settled has its usage and a ledger entry of the right amount; a key has
//!   its answer.
//! - What was not answered stands once or not at all, and not at all where the answer was that
//!   nothing was written. There is no decision that nobody asked for.
//! - Batch after batch, what was used and what is held never passes the limit. The order within a
//!   batch need not be known for that: nothing is settled above its hold, so that what stands at
//!   the end of a batch stood at one instant of it.
//! - The counters are what holds and usages come to.

use std::collections::{BTreeMap, HashMap, HashSet};

use tollgate_tests::embedded::{Answer, Request, What};
use uuid::Uuid;

use crate::ground::Ground;
use crate::journal::{Account, Journal};
use crate::tables::{Tables, units};

const SETTLED: i64 = 1;
const RELEASED: i64 = 2;

/// What a token costs, in dollars: the seed list's input of `gpt-4o`.
const PRICE: (i128, i128) = (5, 1_000_000);

/// What was found, for tests that ask whether they did anything.
#[derive(Debug)]
pub struct Found {
    pub reserved: usize,
    pub denied: usize,
    pub settled: usize,
    pub released: usize,
}

/// Holds the tables of a store to a journal.
pub fn judge(ground: &Ground, journal: &mut Journal) -> Found {
    let (tables, account) = (Tables::read(ground), journal.account());
    let mut case = Case::new(&tables, &account);
    case.versions();
    case.answers();
    case.nothing_else();
    case.ends();
    case.limits(i128::from(ground.limit) * units("1"));
    case.counters();
    assert!(
        case.faults.is_empty(),
        "{} faults, of which the first are: {:#?}",
        case.faults.len(),
        &case.faults[..case.faults.len().min(10)]
    );
    case.found()
}

struct Case<'a> {
    tables: &'a Tables,
    account: &'a Account,
    /// What each reservation of a tenant holds.
    holds: HashMap<&'a str, i128>,
    /// What was used of a reservation, once it is settled.
    used: HashMap<Uuid, i128>,
    allowed: HashMap<Uuid, &'a str>,
    open: HashSet<Uuid>,
    ended: HashMap<Uuid, i64>,
    /// Reservations, with the key under which they were told.
    told: HashMap<Uuid, Option<&'a str>>,
    faults: Vec<String>,
}

impl<'a> Case<'a> {
    fn new(tables: &'a Tables, account: &'a Account) -> Self {
        let mut faults = Vec::new();
        let (mut holds, mut used) = (HashMap::new(), HashMap::new());
        for request in &account.intents {
            let (known, amount) = match &request.what {
                What::Reserve { amount, .. } => {
                    (*holds.entry(request.tenant.as_str()).or_insert(amount.units()), amount)
                }
                What::Settle { id, used: amount } => {
                    (*used.entry(*id).or_insert(amount.units()), amount)
                }
                What::Release { .. } => continue,
            };
            assert_eq!(known, amount.units(), "the test's own rule");
        }
        let (mut allowed, mut ended) = (HashMap::new(), HashMap::new());
        for (tenant, _, id, was_allowed) in &tables.decisions {
            if *was_allowed && allowed.insert(*id, tenant.as_str()).is_some() {
                faults.push(format!("reservation {id} was decided twice"));
            }
        }
        for (_, _, id, how) in &tables.closures {
            if ended.insert(*id, *how).is_some() {
                faults.push(format!("reservation {id} ended twice"));
            }
        }
        let open = tables.holds.iter().map(|(_, id)| *id).collect();
        let told = HashMap::new();
        Self { tables, account, holds, used, allowed, open, ended, told, faults }
    }

    fn check(&mut self, holds: bool, words: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(words());
        }
    }

    /// Each tenant's batches are numbered without a gap, up to where its head stands; those of
    /// denials alone leave it where it stands.
    fn versions(&mut self) {
        let mut counted: BTreeMap<&str, i64> = BTreeMap::new();
        for (tenant, version) in &self.tables.batches {
            let last = counted.entry(tenant).or_default();
            let follows = *version == *last || *version == *last + 1;
            let before = std::mem::replace(last, *version);
            self.check(follows, || format!("batch {version} of {tenant} follows on {before}"));
        }
        for (tenant, version) in &self.tables.heads {
            let last = counted.get(tenant.as_str()).copied().unwrap_or_default();
            self.check(*version == last, || format!("head {version} of {tenant}, batch {last}"));
        }
    }

    /// What was answered stands.
    fn answers(&mut self) {
        let keys: HashSet<_> = self.tables.keys.iter().collect();
        let usages: HashSet<Uuid> = self.tables.usages.iter().map(|(.., id)| *id).collect();
        for request in &self.account.intents {
            let Some(answer) = self.account.told(request) else { continue };
            let number = request.number;
            let of = (request.tenant.clone(), operation(&request.what).to_owned());
            if let Some(key) = &request.key {
                let there = keys.contains(&(of.0, of.1, key.clone()));
                self.check(there, || format!("key `{key}` was answered and is gone"));
            }
            match (&request.what, answer) {
                (What::Reserve { .. }, Answer::Reserved { id, .. }) => {
                    let key = request.key.as_deref();
                    let before = self.told.insert(*id, key);
                    let once = before.is_none() || key.is_some() && before == Some(key);
                    self.check(once, || format!("{number}: {id} was told twice"));
                    let there = self.allowed.get(id) == Some(&request.tenant.as_str());
                    self.check(there, || format!("{number}: {id} was reserved and is gone"));
                }
                (What::Reserve { .. }, Answer::Denied { .. }) => {}
                (What::Settle { id, used }, Answer::Settled { cost, .. }) => {
                    let there = self.ended.get(id) == Some(&SETTLED) && usages.contains(id);
                    self.check(there, || format!("{number}: {id} was settled and is not"));
                    let right = cost.is_some_and(|cost| cost.units() == price(used.units()));
                    self.check(right, || format!("{number}: {used} tokens cost {cost:?}"));
                }
                (What::Release { id }, Answer::Released) => {
                    let there = self.ended.get(id) == Some(&RELEASED);
                    self.check(there, || format!("{number}: {id} was released and is not"));
                }
                (what, answer) => self.faults.push(format!("{number}: {what:?}: {answer:?}")),
            }
        }
    }

    /// No decision stands that nobody asked for, nor one more than was asked for under a key.
    fn nothing_else(&mut self) {
        let mut decisions: BTreeMap<&str, i64> = BTreeMap::new();
        for (tenant, ..) in &self.tables.decisions {
            *decisions.entry(tenant).or_default() += 1;
        }
        for (tenant, operation, _) in &self.tables.keys {
            if operation == "reserve" {
                *decisions.entry(tenant).or_default() -= 1;
            }
        }
        // What is left was asked without a key.
        for (tenant, left) in decisions {
            let of_it = |request: &&Request| {
                request.tenant == tenant
                    && request.key.is_none()
                    && operation(&request.what) == "reserve"
            };
            let asked = || self.account.intents.iter().filter(of_it);
            let told = asked().filter(|request| self.account.told(request).is_some()).count();
            let unknown = asked().filter(|request| self.account.unknown(request)).count();
            let within = left >= told as i64 && left <= (told + unknown) as i64;
            self.check(within, || {
                format!("{left} keyless decisions of {tenant}: {told} told, {unknown} unknown")
            });
        }
        let unknown = self.account.intents.iter().filter(|request| {
            operation(&request.what) == "reserve" && self.account.unknown(request)
        });
        let (unknown, untold) = (unknown.count(), self.allowed.len() - self.told.len());
        self.check(untold <= unknown, || {
            format!("{untold} reservations stand of {unknown} that nobody was told of")
        });
    }

    /// What was allowed is held or has ended, and what ended left what its end leaves.
    fn ends(&mut self) {
        for id in self.allowed.keys().copied().collect::<Vec<_>>() {
            let one = self.open.contains(&id) != self.ended.contains_key(&id);
            self.check(one, || format!("{id} is open and ended, or neither"));
        }
        for id in self.open.iter().chain(self.ended.keys()).copied().collect::<Vec<_>>() {
            let known = self.allowed.contains_key(&id);
            self.check(known, || format!("{id} was never decided"));
        }
        let mut booked: HashMap<Uuid, (usize, usize)> = HashMap::new();
        for (.., id) in &self.tables.usages {
            booked.entry(*id).or_default().0 += 1;
        }
        for (.., id, amount) in &self.tables.entries {
            booked.entry(*id).or_default().1 += 1;
            let used = self.used.get(id).copied().unwrap_or_default();
            let right = units(amount) == -price(used);
            self.check(right, || format!("{id}: {amount} were charged for {used}"));
        }
        for (id, how) in self.ended.clone() {
            let wanted = if how == SETTLED { (1, 1) } else { (0, 0) };
            let found = booked.remove(&id).unwrap_or_default();
            self.check(found == wanted, || {
                format!("{id}: end {how}, usages and entries {found:?}")
            });
        }
        self.check(booked.is_empty(), || format!("booked without an end: {booked:?}"));
    }

    /// At no time was more used and held than the limit.
    fn limits(&mut self, limit: i128) {
        let mut moves: BTreeMap<(&str, i64), i128> = BTreeMap::new();
        for (tenant, version, _, allowed) in &self.tables.decisions {
            if *allowed {
                *moves.entry((tenant, *version)).or_default() += self.holds[tenant.as_str()];
            }
        }
        for (tenant, version, id, how) in &self.tables.closures {
            let used = if *how == SETTLED { self.used.get(id).copied().unwrap_or(0) } else { 0 };
            let held = self.holds[tenant.as_str()];
            self.check(used <= held, || "the test's own rule".into());
            *moves.entry((tenant, *version)).or_default() += used - held;
        }
        let mut stands: HashMap<&str, i128> = HashMap::new();
        for ((tenant, version), moved) in moves {
            let stood = stands.entry(tenant).or_default();
            *stood += moved;
            let stood = *stood;
            self.check(stood <= limit, || format!("{tenant}, batch {version}: {stood} of {limit}"));
        }
    }

    fn counters(&mut self) {
        let mut wanted: BTreeMap<&str, (i128, i128)> = BTreeMap::new();
        for (tenant, .., id) in &self.tables.usages {
            wanted.entry(tenant).or_default().0 += self.used.get(id).copied().unwrap_or_default();
        }
        for (tenant, _) in &self.tables.holds {
            wanted.entry(tenant).or_default().1 += self.holds[tenant.as_str()];
        }
        let mut found: BTreeMap<&str, (i128, i128)> = BTreeMap::new();
        for (tenant, used, held) in &self.tables.counters {
            let total = found.entry(tenant).or_default();
            *total = (total.0 + units(used), total.1 + units(held));
        }
        found.retain(|_, total| *total != (0, 0));
        wanted.retain(|_, total| *total != (0, 0));
        self.check(found == wanted, || format!("counters {found:?}, and come to {wanted:?}"));
    }

    fn found(&self) -> Found {
        let ended = |wanted| self.ended.values().filter(|how| **how == wanted).count();
        Found {
            reserved: self.allowed.len(),
            denied: self.tables.decisions.len() - self.allowed.len(),
            settled: ended(SETTLED),
            released: ended(RELEASED),
        }
    }
}

fn operation(what: &What) -> &'static str {
    match what {
        What::Reserve { .. } => "reserve",
        What::Settle { .. } => "settle",
        What::Release { .. } => "release",
    }
}

/// What so many units of tokens cost.
fn price(used: i128) -> i128 {
    used * PRICE.0 / PRICE.1
}
