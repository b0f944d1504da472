//! One shard of a host: the owner of its tenants' books, and the only one that writes for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::mpsc;
use tollgate_policy_core::window::Instant;

use super::Setup;
use super::book::{Batch, Book};
use super::host::{Ask, HostError, HostSettings, Outcome};
use crate::store::{Found, Locked, Need, Store, StoreError, Tenant, Write, Written};

/// How often the books are read anew while other hosts write beside this one.
const ATTEMPTS: usize = 4;

/// So many requests are judged while a head is locked.
const LOCKED_MAX: usize = 64;

/// Answers that wait for their batch.
type Answers = Vec<(Ask, Result<Outcome, HostError>)>;

pub struct Shard<S> {
    store: Arc<S>,
    tenants: Arc<HashMap<Tenant, Arc<Setup>>>,
    settings: HostSettings,
    books: HashMap<Tenant, Book>,
    /// What the store's clock is ahead of ours.
    ahead_ms: i64,
}

impl<S: Store> Shard<S> {
    pub fn new(
        store: Arc<S>,
        tenants: Arc<HashMap<Tenant, Arc<Setup>>>,
        settings: HostSettings,
    ) -> Self {
        Self { store, tenants, settings, books: HashMap::new(), ahead_ms: 0 }
    }

    /// Until nobody can ask any more.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut gathered = Vec::new();
        while asks.recv_many(&mut gathered, self.settings.batch_max.max(1)).await > 0 {
            let mut groups: BTreeMap<Tenant, Vec<Ask>> = BTreeMap::new();
            for ask in gathered.drain(..) {
                groups.entry(ask.tenant.clone()).or_default().push(ask);
            }
            self.round(groups).await;
        }
    }

    async fn round(&mut self, groups: BTreeMap<Tenant, Vec<Ask>>) {
        let mut ready = Vec::new();
        let (prepared, unsettled) = self.prepare(groups).await;
        for (tenant, asks, at) in prepared {
            ready.extend(self.judge(tenant, asks, at));
        }
        let (writes, answers): (Vec<Write>, Vec<Answers>) = ready.into_iter().unzip();
        let written = if writes.is_empty() { Vec::new() } else { self.store.write(&writes).await };
        let mut missed = unsettled;
        for ((write, answers), written) in writes.into_iter().zip(answers).zip(written) {
            match written {
                Ok(Written::Committed) => {
                    if let Some(book) = self.books.get_mut(&write.tenant) {
                        book.committed(write.next);
                    }
                    answer(answers);
                }
                Ok(Written::Missed) | Err(StoreError::Refused(_)) => {
                    self.books.remove(&write.tenant);
                    let asks = answers.into_iter().map(|(ask, _)| ask).collect();
                    missed.push((write.tenant, asks));
                }
                Err(error) => {
                    self.books.remove(&write.tenant);
                    refuse(answers.into_iter().map(|(ask, _)| ask), &error.into());
                }
            }
        }
        for (tenant, asks) in missed {
            self.lock_first(&tenant, asks).await;
        }
    }

    /// Brings the books up to what these requests need at an instant, which is the one to judge
    /// them at. The second part are tenants whose head moves faster than it can be read.
    async fn prepare(
        &mut self,
        groups: BTreeMap<Tenant, Vec<Ask>>,
    ) -> (Vec<(Tenant, Vec<Ask>, Instant)>, Vec<(Tenant, Vec<Ask>)>) {
        let (mut prepared, mut waiting) = (Vec::new(), Vec::from_iter(groups));
        for _ in 0..ATTEMPTS {
            let (mut needs, mut still) = (Vec::new(), Vec::new());
            for (tenant, asks) in waiting {
                let at = self.now();
                match self.need(&tenant, &asks, at) {
                    Ok(None) => prepared.push((tenant, asks, at)),
                    Ok(Some(need)) => {
                        needs.push(need);
                        still.push((tenant, asks));
                    }
                    Err(error) => refuse(asks, &error),
                }
            }
            if needs.is_empty() {
                return (prepared, Vec::new());
            }
            match self.store.read(&needs).await {
                Ok(found) => {
                    waiting = Vec::new();
                    for ((need, found), (tenant, asks)) in needs.into_iter().zip(found).zip(still) {
                        match self.learn(need, found) {
                            Ok(()) => waiting.push((tenant, asks)),
                            Err(error) => refuse(asks, &error),
                        }
                    }
                }
                Err(error) => {
                    let error = HostError::from(error);
                    still.into_iter().for_each(|(_, asks)| refuse(asks, &error));
                    return (prepared, Vec::new());
                }
            }
        }
        (prepared, waiting)
    }

    /// What is to be read first, if anything.
    fn need(&self, tenant: &Tenant, asks: &[Ask], at: Instant) -> Result<Option<Need>, HostError> {
        match self.books.get(tenant) {
            Some(book) => {
                let need = book.need(tenant, asks, at)?;
                let nothing =
                    need.counters.is_empty() && need.holds.is_empty() && need.keys.is_empty();
                Ok((!nothing).then_some(need))
            }
            None => Ok(Some(Need { records: true, ..Need::head(tenant.clone()) })),
        }
    }

    fn learn(&mut self, need: Need, found: Found) -> Result<(), HostError> {
        self.ahead_ms = found.now.saturating_sub((self.settings.clock)());
        let tenant = need.tenant.clone();
        match self.books.get_mut(&tenant) {
            Some(book) if book.head == found.head => book.learn(need, found),
            // Somebody else wrote: the books are of another past.
            Some(_) => {
                self.books.remove(&tenant);
                Ok(())
            }
            None => {
                let book = self.open(&tenant, &found)?;
                self.books.insert(tenant, book);
                Ok(())
            }
        }
    }

    fn open(&self, tenant: &Tenant, found: &Found) -> Result<Book, HostError> {
        let setup = self.tenants.get(tenant);
        let setup = setup.ok_or_else(|| HostError::UnknownTenant(tenant.clone()))?;
        Ok(Book::open(Arc::clone(setup), found)?)
    }

    /// The store's clock, as far as it is known.
    fn now(&self) -> Instant {
        (self.settings.clock)().saturating_add(self.ahead_ms)
    }

    /// Judges what is asked of a tenant; what needs no writing is answered at once.
    fn judge(&mut self, tenant: Tenant, asks: Vec<Ask>, at: Instant) -> Option<(Write, Answers)> {
        let book = self.books.get_mut(&tenant)?;
        judge(book, tenant, asks, at, &*self.settings.random)
    }

    /// Takes the head, and lets nobody else write until these are answered.
    async fn lock_first(&mut self, tenant: &Tenant, mut asks: Vec<Ask>) {
        while !asks.is_empty() {
            let rest = asks.split_off(asks.len().min(LOCKED_MAX));
            if let Err((asks, error)) = self.locked(tenant, asks).await {
                self.books.remove(tenant);
                // One that is refused harms no other.
                if matches!(error, HostError::Store(StoreError::Refused(_))) && asks.len() > 1 {
                    for ask in asks {
                        if let Err((asks, error)) = self.locked(tenant, vec![ask]).await {
                            self.books.remove(tenant);
                            refuse(asks, &error);
                        }
                    }
                } else {
                    refuse(asks, &error);
                }
            }
            asks = rest;
        }
    }

    async fn locked(
        &mut self,
        tenant: &Tenant,
        asks: Vec<Ask>,
    ) -> Result<(), (Vec<Ask>, HostError)> {
        let store = Arc::clone(&self.store);
        let mut locked = match store.lock(tenant).await {
            Ok(locked) => locked,
            Err(error) => return Err((asks, error.into())),
        };
        self.books.remove(tenant);
        let at = loop {
            let at = self.now();
            let need = match self.need(tenant, &asks, at) {
                Ok(Some(need)) => need,
                Ok(None) => break at,
                Err(error) => return Err((asks, error)),
            };
            let learnt = match locked.read(&need).await {
                Ok(found) => self.learn(need, found),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = learnt {
                return Err((asks, error));
            }
        };
        let Some((write, answers)) = self.judge(tenant.clone(), asks, at) else {
            return Ok(());
        };
        match locked.write(&write).await {
            Ok(Written::Committed) => {
                if let Some(book) = self.books.get_mut(tenant) {
                    book.committed(write.next);
                }
                answer(answers);
                Ok(())
            }
            Ok(Written::Missed) => {
                let error = StoreError::Unavailable("the head moved under its lock".into());
                Err((answers.into_iter().map(|(ask, _)| ask).collect(), error.into()))
            }
            Err(error) => Err((answers.into_iter().map(|(ask, _)| ask).collect(), error.into())),
        }
    }
}

fn judge(
    book: &mut Book,
    tenant: Tenant,
    asks: Vec<Ask>,
    at: Instant,
    random: &dyn Fn() -> u128,
) -> Option<(Write, Answers)> {
    let expected = book.head;
    // Half of the digits are enough to tell two writers apart.
    let stamp = (random() >> 64) as i64;
    let write = Write::new(tenant, expected, stamp, at.max(expected.at));
    let mut batch = Batch { write, random };
    let mut answers = Vec::with_capacity(asks.len());
    for ask in asks {
        let outcome = book.judge(&ask, &mut batch);
        answers.push((ask, outcome));
    }
    let mut write = batch.write;
    if book.fill(&mut write) {
        Some((write, answers))
    } else {
        answer(answers);
        None
    }
}

fn answer(answers: Answers) {
    for (ask, outcome) in answers {
        // Whoever no longer waits asks again with the same key, or not at all.
        let _ = ask.reply.send(outcome);
    }
}

fn refuse(asks: impl IntoIterator<Item = Ask>, error: &HostError) {
    for ask in asks {
        let _ = ask.reply.send(Err(error.clone()));
    }
}
