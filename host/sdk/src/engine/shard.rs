//! One shard of a host: the owner of its tenants' books. It judges what comes in while what it
//! judged before is being written, and answers once that stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tollgate_policy_core::window::Instant;

use super::ask::{Answers, Ask, answer, refuse};
use super::book::{Book, Sealed};
use super::builder::{Desk, Settings};
use super::host::HostError;
use super::locked::{Locked, Quiet};
use super::operation::Outcome;
use super::pace::Lane;
use crate::store::{Closure, Found, Need, Store, StoreError, Tenant, Write, Written};

/// How often the books are read anew while other hosts write beside this one.
const ATTEMPTS: usize = 6;

/// So many requests are judged between two looks at what has landed.
const CHUNK: usize = 64;

/// Whether a batch books usage.
type Books = bool;

/// What became of each batch.
type Outcomes = Vec<Result<Written, StoreError>>;

/// A write that is under way: whose, and who waits for it. The shard itself sees to it, between what
/// it judges: a task that it spawned would begin only once the shard waits for something, since tokio
/// has what a task spawns last follow on it, on its very thread.
struct Flight {
    writing: Pin<Box<dyn Future<Output = Outcomes> + Send>>,
    /// What became of it, where that was heard while the shard waited for something else.
    heard: Option<Outcomes>,
    batches: Vec<(Tenant, Answers, Books)>,
    sent_at: Instant,
}

pub struct Shard<S> {
    desk: Arc<Desk<S>>,
    /// Those whose books hold something to be written, and how many requests wait for it.
    staged: BTreeSet<Tenant>,
    waiting: usize,
    flight: Option<Flight>,
    /// Tenants for which other hosts write beside this one, each with a task of its own.
    contended: HashMap<Tenant, mpsc::UnboundedSender<Ask>>,
    /// What is asked of a tenant whose task is about to end.
    parked: Vec<Ask>,
    /// What waits until what is being written has landed.
    later: Vec<Ask>,
    /// What is judged again once its key was looked for.
    doubted: Vec<Ask>,
    /// What waits for a turn of its own.
    lane: Lane,
    quiet: (mpsc::UnboundedSender<Quiet>, mpsc::UnboundedReceiver<Quiet>),
}

impl<S: Store> Shard<S> {
    pub fn new(desk: Arc<Desk<S>>) -> Self {
        Self {
            desk,
            staged: BTreeSet::new(),
            waiting: 0,
            flight: None,
            contended: HashMap::new(),
            parked: Vec::new(),
            later: Vec::new(),
            doubted: Vec::new(),
            lane: Lane::default(),
            quiet: mpsc::unbounded_channel(),
        }
    }

    /// Until nobody can ask any more, and all are answered.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut gathered = Vec::new();
        let mut open = true;
        while open || self.flight.is_some() || !self.contended.is_empty() || !self.lane.is_empty() {
            let room = self.waiting < self.desk.settings.batch_max;
            tokio::select! {
                biased;
                written = landing(&mut self.flight), if self.flight.is_some() => {
                    gathered.extend(self.land(written));
                }
                Some(Quiet { tenant, left }) = self.quiet.1.recv() => {
                    self.contended.remove(&tenant);
                    gathered.extend(left);
                    let (own, other) =
                        self.parked.drain(..).partition(|ask| ask.tenant == tenant);
                    self.parked = other;
                    gathered.extend::<Vec<Ask>>(own);
                }
                count = asks.recv_many(&mut gathered, CHUNK), if open && room => open = count > 0,
                // Whoever else has something to do on this thread comes before the next turn.
                () = tokio::task::yield_now(), if self.flight.is_none() && !self.lane.is_empty() => {}
            }
            loop {
                self.take_in(std::mem::take(&mut gathered)).await;
                gathered.append(&mut self.doubted);
                if gathered.is_empty() {
                    break;
                }
            }
            if self.flight.is_none() {
                self.take_off();
            }
        }
    }

    async fn take_in(&mut self, gathered: Vec<Ask>) {
        let mut groups: BTreeMap<Tenant, Vec<Ask>> = BTreeMap::new();
        for ask in gathered {
            match self.contended.get(&ask.tenant) {
                Some(task) => {
                    if let Err(mpsc::error::SendError(ask)) = task.send(ask) {
                        self.parked.push(ask);
                    }
                }
                None => groups.entry(ask.tenant.clone()).or_default().push(ask),
            }
        }
        let (slow, mut groups): (BTreeMap<_, _>, BTreeMap<_, _>) =
            groups.into_iter().partition(|(tenant, _)| {
                self.desk.tenants.get(tenant).is_some_and(|served| served.judging.is_slow())
            });
        slow.into_iter().for_each(|(tenant, asks)| self.lane.wait(&tenant, asks));
        // One turn a write: what is under way would stand still meanwhile, and others wait for it.
        if self.flight.is_none()
            && let Some((tenant, mut turn)) = self.lane.next(CHUNK)
        {
            // It may be slow no longer, so that what it asked since is not in the lane.
            turn.extend(groups.remove(&tenant).unwrap_or_default());
            groups.insert(tenant, turn);
        }
        let groups = groups.into_iter().filter_map(|(tenant, asks)| {
            let asks = self.of_now(&tenant, asks)?;
            Some((tenant, asks))
        });
        let groups = groups.collect();
        let (prepared, unsettled) = self.prepare(groups).await;
        for (tenant, asks, at) in prepared {
            self.judge(tenant, asks, at);
        }
        for (tenant, asks) in unsettled {
            self.contend(tenant, asks);
        }
    }

    fn judge(&mut self, tenant: Tenant, asks: Vec<Ask>, at: Instant) {
        let desk = Arc::clone(&self.desk);
        let served = desk.tenants.get(&tenant);
        let mut open = served.as_ref().map(|served| served.book());
        let Some(book) = open.as_mut().and_then(|open| open.as_mut()) else {
            return self.contend(tenant, asks);
        };
        let before = book.waiting();
        let left = book.judge_all(asks, at, &desk.settings.random);
        self.waiting += book.waiting() - before;
        self.staged.insert(tenant.clone());
        let is_spoilt = book.is_spoilt();
        if !is_spoilt {
            self.doubted.extend(book.take_doubted());
        }
        let spent = book.judge.spent();
        drop(open);
        if let Some(served) = served {
            served.judging.took(spent);
        }
        if is_spoilt {
            let mut asks = self.close(&tenant);
            asks.extend(left);
            self.contend(tenant, asks);
        } else if !left.is_empty() {
            self.lane.put_back(&tenant, left);
        }
    }

    /// Closes the books of a tenant; what waited for its batch must be judged anew.
    fn close(&mut self, tenant: &Tenant) -> Vec<Ask> {
        let book = self.desk.tenants.get(tenant).and_then(|served| served.book().take());
        let Some(book) = book else { return Vec::new() };
        self.staged.remove(tenant);
        self.waiting -= book.waiting();
        book.close()
    }

    /// Hands a tenant to a task that locks its head first.
    fn contend(&mut self, tenant: Tenant, asks: Vec<Ask>) {
        if let Some(task) = self.contended.get(&tenant) {
            for ask in asks {
                if let Err(mpsc::error::SendError(ask)) = task.send(ask) {
                    self.parked.push(ask);
                }
            }
            return;
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let locked = Locked::new(Arc::clone(&self.desk), tenant.clone(), receiver);
        tokio::spawn(locked.run(asks, self.quiet.0.clone()));
        self.contended.insert(tenant, sender);
    }

    /// Requests that can be judged with what their tenant is judged with now. Where books are of an
    /// earlier set of policies, what was not sent off yet is judged anew, and what was must land
    /// first.
    fn of_now(&mut self, tenant: &Tenant, mut asks: Vec<Ask>) -> Option<Vec<Ask>> {
        let Some(served) = self.desk.tenants.get(tenant) else { return Some(asks) };
        let is_current = served.book().as_ref().map(|book| served.is_current(book));
        if is_current == Some(true) {
            return Some(asks);
        }
        let mut all = self.close(tenant);
        all.append(&mut asks);
        if self.is_in_flight(tenant) {
            self.later.append(&mut all);
            return None;
        }
        Some(all)
    }

    fn is_in_flight(&self, tenant: &Tenant) -> bool {
        self.flight.iter().any(|flight| flight.batches.iter().any(|(own, ..)| own == tenant))
    }

    /// Brings the books up to what these requests need at an instant, which is the one to judge
    /// them at. The second part are tenants that must be locked for that.
    #[allow(clippy::type_complexity, reason = "used once")]
    async fn prepare(
        &mut self,
        groups: BTreeMap<Tenant, Vec<Ask>>,
    ) -> (Vec<(Tenant, Vec<Ask>, Instant)>, Vec<(Tenant, Vec<Ask>)>) {
        let (mut prepared, mut unsettled) = (Vec::new(), Vec::new());
        let mut waiting = Vec::from_iter(groups);
        for _ in 0..ATTEMPTS {
            let (mut needs, mut still) = (Vec::new(), Vec::new());
            for (tenant, mut asks) in waiting {
                let at = self.desk.now();
                match self.need(&tenant, &mut asks, at) {
                    Prepared::Yes => prepared.push((tenant, asks, at)),
                    Prepared::Read(need) => {
                        needs.push(need);
                        still.push((tenant, asks));
                    }
                    Prepared::Lock => unsettled.push((tenant, asks)),
                }
            }
            waiting = still;
            if needs.is_empty() {
                return (prepared, unsettled);
            }
            let desk = Arc::clone(&self.desk);
            match meanwhile(&mut self.flight, desk.store.read(&needs)).await {
                Ok(found) => {
                    for (need, found) in needs.into_iter().zip(found) {
                        self.learn(need, found);
                    }
                }
                Err(error) => {
                    let error = HostError::from(error);
                    waiting.into_iter().for_each(|(_, asks)| refuse(asks, &error));
                    return (prepared, unsettled);
                }
            }
        }
        unsettled.extend(waiting);
        (prepared, unsettled)
    }

    fn need(&mut self, tenant: &Tenant, asks: &mut Vec<Ask>, at: Instant) -> Prepared {
        if self.contended.contains_key(tenant) {
            return Prepared::Lock;
        }
        let Some(served) = self.desk.tenants.get(tenant) else { return Prepared::Lock };
        match served.book().as_mut() {
            Some(book) if book.lacks(asks) => Prepared::Lock,
            Some(book) => book.need(asks, at).map_or(Prepared::Yes, Prepared::Read),
            None => Prepared::Read(Need { whole: true, ..Need::head(tenant.clone()) }),
        }
    }

    fn learn(&mut self, need: Need, found: Found) {
        self.desk.heard(found.now);
        let tenant = need.tenant.clone();
        let Some(served) = self.desk.tenants.get(&tenant) else { return };
        let learnt = match &mut *served.book() {
            Some(book) => book.learn(need, found),
            // They were closed meanwhile, as they rested: this is not all that it takes to open them.
            None if !need.whole => true,
            closed => {
                let book = Book::open(tenant.clone(), &served.current(), found);
                *closed = Some(Box::new(book));
                true
            }
        };
        if !learnt {
            // Its batch, if any, is of a past that is over as well.
            let asks = self.close(&tenant);
            self.contend(tenant, asks);
        }
    }

    /// Sends off what is judged.
    fn take_off(&mut self) {
        let (mut writes, mut batches, mut doubted) = (Vec::new(), Vec::new(), Vec::new());
        self.waiting = 0;
        for tenant in std::mem::take(&mut self.staged) {
            let Some(served) = self.desk.tenants.get(&tenant) else { continue };
            let mut open = served.book();
            let Some(book) = open.as_mut() else { continue };
            let Some((sealed, answers)) = book.take_batch() else { continue };
            let write = &sealed.write;
            if write.is_empty() && answers.iter().any(|(_, outcome)| is_doubtful(outcome)) {
                doubted.push((tenant, answers.into_iter().map(|(ask, _)| ask).collect()));
            } else if write.is_empty() {
                // It follows from what stands for good, and changes nothing.
                book.stayed();
                book.forget(self.desk.settings.remembered_max);
                if book.is_full(self.desk.settings.counters_max) {
                    // Nobody waits for these books: their batch is taken.
                    *open = None;
                }
                answer(answers);
            } else {
                batches.push((tenant, answers, !write.usages.is_empty()));
                writes.push(sealed);
            }
        }
        for (tenant, asks) in doubted {
            self.close(&tenant);
            self.contend(tenant, asks);
        }
        if !writes.is_empty() {
            let store = Arc::clone(&self.desk.store);
            let count = writes.len();
            let writing = AssertUnwindSafe(async move {
                let writes: Vec<Write> = writes.into_iter().map(Sealed::packed).collect();
                store.write(&writes).await
            });
            let lost = || Err(StoreError::Lost("what wrote is gone".into()));
            let writing = writing.catch_unwind().map(move |written| {
                written.unwrap_or_else(|_| std::iter::repeat_with(lost).take(count).collect())
            });
            let (writing, heard) = (Box::pin(writing), None);
            self.flight = Some(Flight { writing, heard, batches, sent_at: self.desk.now() });
        }
    }

    /// Answers those whose batch stands; returned are those that must be judged anew.
    fn land(&mut self, written: Outcomes) -> Vec<Ask> {
        let Some(Flight { batches, sent_at, .. }) = self.flight.take() else { return Vec::new() };
        let Settings { remembered_max, counters_max, .. } = self.desk.settings;
        let mut again = std::mem::take(&mut self.later);
        for ((tenant, answers, books), written) in batches.into_iter().zip(written) {
            let served = self.desk.tenants.get(&tenant);
            let over = served.is_some_and(|served| {
                served.book().as_mut().is_some_and(|book| {
                    book.landed(sent_at);
                    book.forget(remembered_max);
                    book.is_full(counters_max) || !served.is_current(book)
                })
            });
            match written {
                Ok(Written::Committed) => {
                    answer(answers);
                    if books {
                        self.desk.booked(&tenant);
                    }
                    if over {
                        again.extend(self.close(&tenant));
                    }
                }
                Ok(Written::Missed) | Err(StoreError::Refused(_)) => {
                    // What was asked first is judged first.
                    let mut asks: Vec<Ask> = answers.into_iter().map(|(ask, _)| ask).collect();
                    asks.extend(self.close(&tenant));
                    self.contend(tenant, asks);
                }
                Err(error) => {
                    again.extend(self.close(&tenant));
                    refuse(answers.into_iter().map(|(ask, _)| ask), &error.into());
                }
            }
        }
        again
    }
}

/// Whether another host may have changed what this follows from: where nothing is written, nobody
/// would notice. What expired may have been settled, what is already as it is set may be so no
/// longer, what was being erased may be,
/// what the platform said may be said no longer, and what was told may be over.
fn is_doubtful(outcome: &Result<Outcome, HostError>) -> bool {
    matches!(
        outcome,
        Ok(Outcome::Done | Outcome::Reconciled)
            | Err(HostError::Ended { how: Closure::Expired, .. }
                | HostError::Erasing(_)
                | HostError::Platforms)
    )
}

/// Whether books are ready to judge.
enum Prepared {
    Yes,
    Read(Need),
    /// Counters must be filled first.
    Lock,
}

async fn landing(flight: &mut Option<Flight>) -> Outcomes {
    match flight {
        Some(Flight { writing, heard, .. }) => match heard.take() {
            Some(written) => written,
            None => writing.await,
        },
        None => std::future::pending().await,
    }
}

/// Waits for something else while a write is under way, which goes on: what is waited for may need
/// the very connection that it has.
async fn meanwhile<T>(flight: &mut Option<Flight>, other: impl Future<Output = T>) -> T {
    let mut other = std::pin::pin!(other);
    if let Some(Flight { writing, heard: heard @ None, .. }) = flight {
        tokio::select! {
            biased;
            written = writing => *heard = Some(written),
            value = &mut other => return value,
        }
    }
    other.await
}
