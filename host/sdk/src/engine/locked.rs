//! The way of tenants for which several hosts write at a time: the head is locked first, so that
//! what is judged under the lock cannot miss. A task for each such tenant, until it is quiet.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::ask::{Ask, answer, refuse};
use super::backfill::{History, holds};
use super::book::Book;
use super::builder::Desk;
use super::host::HostError;
use super::served::Current;
use crate::store::{Head, Locked as _, Need, Store, StoreError, Tenant, Written};

/// So many requests are judged while a head is locked.
const LOCKED_MAX: usize = 128;

/// A tenant is quiet once nobody else wrote for so many rounds.
const QUIET_ROUNDS: usize = 4;

/// A tenant that is quiet, and what was asked of it meanwhile.
pub struct Quiet {
    pub tenant: Tenant,
    pub left: Vec<Ask>,
}

/// The task.
pub struct Locked<S> {
    desk: Arc<Desk<S>>,
    tenant: Tenant,
    asks: mpsc::UnboundedReceiver<Ask>,
    /// The books as of where this task last left the head.
    book: Option<Book>,
    /// What no longer had its turn in the last round.
    left: Vec<Ask>,
    quiet_rounds: usize,
}

/// A head that was lost under its lock is locked anew so often.
const ATTEMPTS: usize = 6;

/// Requests that could not be answered.
struct Failed {
    asks: Vec<Ask>,
    why: Why,
}

/// Why not.
enum Why {
    /// The connection was lost, and the lock with it, and another host was first. Nothing stands.
    Overtaken,
    Host(HostError),
}

impl<S: Store> Locked<S> {
    pub fn new(desk: Arc<Desk<S>>, tenant: Tenant, asks: mpsc::UnboundedReceiver<Ask>) -> Self {
        Self { desk, tenant, asks, book: None, left: Vec::new(), quiet_rounds: 0 }
    }

    pub async fn run(mut self, first: Vec<Ask>, quiet: mpsc::UnboundedSender<Quiet>) {
        let mut waiting = first;
        loop {
            while let Ok(ask) = self.asks.try_recv() {
                waiting.push(ask);
            }
            if waiting.is_empty() || self.quiet_rounds >= QUIET_ROUNDS {
                break;
            }
            let rest = waiting.split_off(waiting.len().min(LOCKED_MAX));
            self.round(waiting).await;
            waiting = std::mem::take(&mut self.left);
            waiting.extend(rest);
        }
        self.asks.close();
        while let Some(ask) = self.asks.recv().await {
            waiting.push(ask);
        }
        let _ = quiet.send(Quiet { tenant: self.tenant, left: waiting });
    }

    async fn round(&mut self, asks: Vec<Ask>) {
        let Err((asks, error)) = self.settled(asks).await else { return };
        // One that is refused harms no other, and has its chance with books that are opened anew.
        if matches!(error, HostError::Store(StoreError::Refused(_))) {
            for ask in asks {
                if let Err((asks, error)) = self.settled(vec![ask]).await {
                    refuse(asks, &error);
                }
            }
        } else {
            refuse(asks, &error);
        }
    }

    /// Answers these, however often the head is lost on the way.
    async fn settled(&mut self, mut asks: Vec<Ask>) -> Result<(), (Vec<Ask>, HostError)> {
        for _ in 0..ATTEMPTS {
            let Err(failed) = self.locked(asks).await else { return Ok(()) };
            self.book = None;
            asks = failed.asks;
            if let Why::Host(error) = failed.why {
                return Err((asks, error));
            }
        }
        let words = "another host was first each time the lock was lost".into();
        Err((asks, StoreError::Unavailable(words).into()))
    }

    /// Takes the head, and lets nobody else write until these are answered.
    async fn locked(&mut self, mut asks: Vec<Ask>) -> Result<(), Failed> {
        let desk = Arc::clone(&self.desk);
        let Some(served) = desk.tenants.get(&self.tenant) else {
            return failed(asks, HostError::UnknownTenant(self.tenant.clone()));
        };
        // Nothing is assumed any more.
        asks.iter_mut().for_each(|ask| ask.seeks_key = true);
        // All of this round is of one set of policies.
        let current = served.current();
        self.book = self.book.take().filter(|book| Arc::ptr_eq(&book.judge.setup, &current.setup));
        let history = match self.history(&current, &asks).await {
            Ok(history) => history,
            Err(error) => return failed(asks, error),
        };
        let turn = match served.judging.is_slow() {
            true => Some(desk.tenants.slow.lock().await),
            false => None,
        };
        let Ok(permit) = desk.locks.acquire().await else {
            return failed(asks, HostError::Stopped);
        };
        let mut locked = match desk.store.lock(&self.tenant).await {
            Ok(locked) => locked,
            Err(error) => return failed(asks, error),
        };
        let learnt = self.learn(&mut locked, &current, &mut asks, history).await;
        if matches!(learnt, Ok(Learnt::Anew)) {
            locked.release().await;
            drop((permit, turn));
            return Box::pin(self.locked(asks)).await;
        }
        let Some(book) = self.book.as_mut() else {
            return failed(asks, learnt.err().unwrap_or(HostError::Stopped));
        };
        if let Err(error) = learnt {
            return failed(asks, error);
        }
        let left = book.judge_all(asks, desk.now(), &desk.settings.random);
        served.judging.took(book.judge.spent());
        if book.is_spoilt() {
            // Nothing was written. Who failed is told so, and the others come again.
            let mut again = self.book.take().map(Book::close).unwrap_or_default();
            again.extend(left);
            locked.release().await;
            drop((permit, turn));
            return Box::pin(self.locked_again(again)).await;
        }
        self.left.extend(left);
        let Some((sealed, answers)) = book.take_batch() else {
            locked.release().await;
            return Ok(());
        };
        if sealed.write.is_empty() {
            locked.release().await;
            book.stayed();
            self.forget();
            answer(answers);
            return Ok(());
        }
        let write = sealed.packed();
        let sent_at = desk.now();
        let why = match locked.write(&write).await {
            Ok(Written::Committed) => {
                book.landed(sent_at);
                self.forget();
                answer(answers);
                if !write.usages.is_empty() {
                    desk.booked(&self.tenant);
                }
                return Ok(());
            }
            Ok(Written::Missed) => Why::Overtaken,
            Err(error) => Why::Host(error.into()),
        };
        Err(Failed { asks: answers.into_iter().map(|(ask, _)| ask).collect(), why })
    }

    /// Keeps no more in memory than a shard does.
    fn forget(&mut self) {
        let settings = &self.desk.settings;
        self.book = self.book.take().filter(|book| !book.is_full(settings.counters_max));
        if let Some(book) = &mut self.book {
            book.forget(settings.remembered_max);
        }
    }

    async fn locked_again(&mut self, asks: Vec<Ask>) -> Result<(), Failed> {
        if asks.is_empty() { Ok(()) } else { self.locked(asks).await }
    }

    /// What counters are to be filled with that the tenant does not keep yet; read without a lock.
    async fn history(
        &mut self,
        current: &Arc<Current>,
        asks: &[Ask],
    ) -> Result<Option<History>, HostError> {
        let desk = &self.desk;
        let need = Need { whole: true, ..Need::head(self.tenant.clone()) };
        let known = self.book.as_ref().map(|book| book.unkept(asks));
        let counters = match known {
            Some(counters) => counters,
            None => {
                let found = desk.store.read(std::slice::from_ref(&need)).await?;
                let Some(found) = found.into_iter().next() else { return Ok(None) };
                desk.heard(found.now);
                let book = Book::open(self.tenant.clone(), current, found);
                let unkept = book.unkept(asks);
                self.book = Some(book);
                unkept
            }
        };
        if counters.is_empty() {
            return Ok(None);
        }
        // By no clock of our own: what begins too late lacks what was used before.
        let now = desk.store.now().await?;
        let Some(book) = &self.book else { return Ok(None) };
        let at = now.max(book.head.at);
        let mut history = History::of(counters, current.setup.calendar, at, &book.judge.records)?;
        history.read_on(&*desk.store, &self.tenant).await?;
        Ok(Some(history))
    }

    /// Brings the books up to what these requests need, as of the locked head.
    async fn learn(
        &mut self,
        locked: &mut S::Locked<'_>,
        current: &Arc<Current>,
        asks: &mut Vec<Ask>,
        history: Option<History>,
    ) -> Result<Learnt, HostError> {
        let mut left_at: Option<Head> = self.book.as_ref().map(|book| book.head);
        loop {
            let at = self.desk.now();
            let need = match &mut self.book {
                Some(book) => match book.need(asks, at) {
                    Some(need) => need,
                    // The lock is ours; whether the books are of this head is not known yet.
                    None if left_at.is_some() => Need::head(self.tenant.clone()),
                    None => break,
                },
                None => Need { whole: true, ..Need::head(self.tenant.clone()) },
            };
            let found = locked.read(&need).await?;
            self.desk.heard(found.now);
            if let Some(head) = left_at.take() {
                let quiet = head == found.head;
                self.quiet_rounds = if quiet { self.quiet_rounds + 1 } else { 0 };
            }
            let learnt = match &mut self.book {
                Some(book) => book.learn(need, found),
                None => {
                    let tenant = self.tenant.clone();
                    self.book = Some(Book::open(tenant, current, found));
                    true
                }
            };
            if !learnt {
                self.book = None;
            }
        }
        let Some(book) = &mut self.book else { return Ok(Learnt::All) };
        // Who wrote meanwhile may not keep what these books kept.
        let is_filled = |own: &_| history.as_ref().is_some_and(|all| all.fills(own));
        if book.lacks(asks) && !book.unkept(asks).iter().all(is_filled) {
            return Ok(Learnt::Anew);
        }
        if let Some(mut history) = history {
            if !history.holds(&book.judge.records) {
                return Ok(Learnt::Anew);
            }
            locked.patient().await?;
            history.read_on(&*self.desk.store, &self.tenant).await?;
            let holds = holds(&*self.desk.store, &self.tenant).await?;
            book.begin(self.desk.now(), &self.desk.settings.random);
            book.adopt(history, holds)?;
        }
        Ok(Learnt::All)
    }
}

fn failed(asks: Vec<Ask>, error: impl Into<HostError>) -> Result<(), Failed> {
    Err(Failed { asks, why: Why::Host(error.into()) })
}

/// How far the books are brought up.
enum Learnt {
    /// As far as the requests need.
    All,
    /// The history that was read is history no longer, or not all that is needed: it must be read anew.
    Anew,
}
