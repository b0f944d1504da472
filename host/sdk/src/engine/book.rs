//! A tenant's books in memory, as of one head: what is judged against, and the batch that the next
//! write makes of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tollgate_policy_core::Money;
use tollgate_policy_core::contract::{Counter, Dimension, Quote, dimension};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::amounts::Amounts;
use super::ask::{Answers, Ask, Key, Work, answer};
use super::backfill::History;
use super::body::{self, ExpiredBody, HoldBody};
use super::decided::Decided;
use super::host::HostError;
use super::judge::Judge;
use super::origin::{Allowed, ContextId, context_id};
use super::pace::TURN_FUEL;
use super::part::{KeptParts, Part};
use super::records::KeptCounter;
use super::served::Current;
use super::tally::{Moved, Places, id_of};
use super::tariff::ByTariff;
use super::{Call, Random};
use crate::store::{Closure, Found, Head, HoldRow, KeyRow, Tenant, UsageRow, Write, instant_of};

/// Under this dimension calls name their run.
pub const RUN: &str = "run";

/// What a host knows of a tenant.
pub struct Book {
    pub tenant: Tenant,
    /// Where the store stands once all that was handed out is written.
    pub head: Head,
    /// Where it stands as long as the write that is under way has not landed.
    pub before: Option<Head>,
    /// When the store was last seen to stand there.
    pub as_of: Instant,
    pub judge: Judge,
    pub open: HashMap<Uuid, Held>,
    pub ended: HashMap<Uuid, Ended>,
    pub usages: HashMap<Uuid, UsageRow>,
    pub keys: HashMap<(String, String), KeyRow>,
    /// What was looked for in the store, whether it was there or not.
    pub sought: HashSet<Uuid>,
    pub sought_keys: HashSet<(String, String)>,
    /// When the next reservation expires that is not in `due`.
    pub next_due: Instant,
    /// Reservations whose time is over.
    pub due: Vec<Uuid>,
    batch: Option<Batch>,
    /// What failed under a key that was assumed to be new.
    doubted: Vec<Ask>,
    spoilt: bool,
    /// Whether the operation in hand moved anything.
    pub touched: bool,
    /// With what its batches are judged, by its name among the records.
    context: Arc<str>,
    pub context_id: ContextId,
}

/// An open reservation.
#[derive(Clone, Debug)]
pub struct Held {
    pub call: Arc<Call>,
    pub parts: Vec<Part>,
    /// Whether parts of it began later than itself.
    pub is_extended: bool,
    pub charges: ByTariff<Money>,
    pub quotes: ByTariff<Quote>,
    pub allowed: Allowed,
    pub run_ttl_ms: Option<i64>,
    pub expires_at: Instant,
}

/// How a reservation ended.
#[derive(Clone, Debug)]
pub enum Ended {
    /// For good.
    As(Closure),
    /// Its time was over; it may still be settled.
    Expired(Box<(ExpiredBody, Allowed)>),
}

/// What is judged and not yet written.
pub struct Batch {
    pub write: Write,
    pub answers: Answers,
    pub decided: Decided,
    /// Reservations that opened in it: the store does not have them yet.
    pub fresh: HashSet<Uuid>,
    random: Random,
    ids: u16,
}

/// What is to be written, but for what it says of its decisions, which is packed where nobody waits
/// for it.
pub struct Sealed {
    pub write: Write,
    decided: Decided,
}

impl Sealed {
    pub fn packed(self) -> Write {
        let mut write = self.write;
        write.body = self.decided.pack();
        write
    }
}

impl Batch {
    /// An identifier that begins with the batch's instant, in the order in which they are made.
    pub fn id(&mut self) -> Uuid {
        let id = id_at(self.write.next.at, self.ids, &self.random);
        self.ids = self.ids.wrapping_add(1);
        id
    }
}

/// An identifier that begins with an instant, and goes on with a place among those of it.
pub fn id_at(at: Instant, place: u16, random: &Random) -> Uuid {
    let ms = u64::try_from(at).unwrap_or_default();
    let random = random().to_le_bytes();
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&random[..10]);
    [bytes[0], bytes[1]] = (place & 0xfff).to_be_bytes();
    uuid::Builder::from_unix_timestamp_millis(ms, &bytes).into_uuid()
}

impl Book {
    /// Opens the books with the records of a store.
    pub fn open(tenant: Tenant, current: &Arc<Current>, found: Found) -> Self {
        let mut judge = Judge::new(Arc::clone(current));
        judge.records.load(&found.records);
        judge.accounts.load(&found.accounts);
        judge.keep_counters();
        judge.apply_limits();
        judge.now = found.head.at;
        let mut book = Self {
            tenant,
            head: found.head,
            before: None,
            as_of: found.now,
            judge,
            open: HashMap::new(),
            ended: HashMap::new(),
            usages: HashMap::new(),
            keys: HashMap::new(),
            sought: HashSet::new(),
            sought_keys: HashSet::new(),
            next_due: found.next_expiry.unwrap_or(Instant::MAX),
            due: Vec::new(),
            batch: None,
            doubted: Vec::new(),
            spoilt: false,
            touched: false,
            context: Arc::clone(&current.context),
            context_id: context_id(&current.context),
        };
        if book.head.version == 0 {
            // Nothing has happened yet that these would have to be filled with.
            for counter in book.unkept(&[]) {
                book.keep(&counter, Instant::MIN, 0);
            }
        }
        book
    }

    fn keep(&mut self, counter: &Counter, since: Instant, version: i64) {
        let calendar = self.judge.setup.calendar;
        let kept = KeptCounter::new(counter.clone(), calendar, since, version);
        self.judge.records.keep(id_of(counter, &calendar), kept);
    }

    /// Takes in counters that were filled from history, up to this very head.
    pub fn adopt(&mut self, history: History, holds: Vec<HoldRow>) -> Result<(), HostError> {
        let History { counters, since, mut tally, .. } = history;
        let version = self.batch_mut()?.write.next.version;
        for counter in &counters {
            self.judge.tally.subscribe([counter]);
            self.keep(counter, since, version);
        }
        for HoldRow { id, expires_at, body } in holds {
            let Some((mut hold, allowed)) = body::read_with::<HoldBody, _>(&body) else { continue };
            let places = tally.places(&hold.call.dimensions);
            let asked = Amounts::with(&hold.call.quantities, &hold.charges)?;
            let more = tally.hold(instant_of(id), &places, &asked)?;
            if let Some(parts) = &mut hold.parts {
                parts.append(KeptParts::of(&more, &tally));
                let mut body = body::write(&hold);
                body::append(&mut body, &allowed);
                self.batch_mut()?.write.holds.push(HoldRow { id, expires_at, body });
            }
            self.know(id, hold, allowed, expires_at);
        }
        self.judge.tally.adopt(tally.take_moved().counters);
        Ok(())
    }

    /// Judges requests, each against all that were judged before it. Where something moved before
    /// it failed, these books are spoilt; or the turn may be over. Returned are those that were not
    /// judged any more.
    pub fn judge_all(&mut self, asks: Vec<Ask>, at: Instant, random: &Random) -> Vec<Ask> {
        let mut asks = asks.into_iter();
        self.judge.take_spent();
        while !self.is_spoilt()
            && self.judge.spent() <= TURN_FUEL
            && let Some(ask) = asks.next()
        {
            self.judge_one(ask, at, random);
        }
        asks.collect()
    }

    /// Begins a batch, where none has begun.
    pub fn begin(&mut self, at: Instant, random: &Random) {
        let batch = self.batch.get_or_insert_with(|| {
            // Half of the digits are enough to tell two writers apart.
            let stamp = (random() >> 64) as i64;
            let at = at.max(self.head.at).max(self.judge.now);
            let write = Write::new(self.tenant.clone(), self.head, stamp, at);
            Batch {
                write,
                answers: Vec::new(),
                decided: Decided::new(&self.context),
                fresh: HashSet::new(),
                random: Arc::clone(random),
                ids: 0,
            }
        });
        // What is settled lands where its batch does.
        self.judge.now = self.judge.now.max(batch.write.next.at);
    }

    fn judge_one(&mut self, mut ask: Ask, at: Instant, random: &Random) {
        self.begin(at, random);
        self.expire_due();
        if self.spoilt {
            return ask.refuse(&HostError::Stopped);
        }
        let beforehand = ask.beforehand.take();
        let operation = match &ask.work {
            Work::Do(operation, _) => operation,
            Work::Look(look, _) => {
                let seen = self.look(look, beforehand);
                return ask.seen(seen);
            }
        };
        let key = ask.key.as_ref().filter(|_| !ask.seeks_key);
        let is_assumed = key.is_some_and(|key| self.is_unsought(&key.name));
        self.touched = false;
        let judge = |book: &mut Self| match &ask.refused {
            Some(error) => Err(error.clone()),
            None => book.carry_out(operation, beforehand),
        };
        let outcome = match &ask.key {
            Some(key) => self.once(key, judge),
            None => judge(self),
        };
        self.spoilt |= self.touched && outcome.is_err();
        if let (Some(key), Err(_)) = (&ask.key, &outcome) {
            // Nothing is written by which it would show that another host answers it meanwhile.
            self.sought_keys.remove(&key.name);
        }
        if is_assumed && outcome.is_err() {
            ask.seeks_key = true;
            self.doubted.push(ask);
        } else if let Some(batch) = &mut self.batch {
            batch.answers.push((ask, outcome));
        }
    }

    /// What was answered under a key, or is from now on.
    fn once(
        &mut self,
        Key { name, hash }: &Key,
        judge: impl FnOnce(&mut Self) -> Result<super::Outcome, HostError>,
    ) -> Result<super::Outcome, HostError> {
        if let Some(row) = self.keys.get(name) {
            let answer = body::read(&row.answer).filter(|_| row.hash == *hash);
            return answer.ok_or_else(|| HostError::KeyReused(name.1.clone()));
        }
        let outcome = judge(self)?;
        let ((operation, key), answer) = (name.clone(), body::write(&outcome));
        let row = KeyRow { operation, key, hash: *hash, answer };
        self.keys.insert(name.clone(), row.clone());
        self.batch_mut()?.write.keys.push(row);
        Ok(outcome)
    }

    /// The batch that is being judged: there is one wherever something is carried out.
    pub fn batch_mut(&mut self) -> Result<&mut Batch, HostError> {
        self.batch.as_mut().ok_or(HostError::Stopped)
    }

    /// Something moved, and what was to follow failed.
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    /// Whether something moved before it failed: these books must be closed.
    pub fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    /// What the batch at hand writes so far.
    pub fn writing(&self) -> Option<&Write> {
        self.batch.as_ref().map(|batch| &batch.write)
    }

    /// Whether nothing is under way, and nothing was heard since an instant.
    pub fn is_idle_since(&self, then: Instant) -> bool {
        self.batch.is_none() && self.before.is_none() && self.as_of < then
    }

    /// How many requests wait for their batch to be written.
    pub fn waiting(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.answers.len())
    }

    /// Hands out what was judged: to be written, and answered once it stands.
    pub fn take_batch(&mut self) -> Option<(Sealed, Answers)> {
        let mut batch = self.batch.take()?;
        let notices = self.judge.records.notices.take_raised(|| batch.id());
        let Batch { mut write, answers, mut decided, .. } = batch;
        (write.notices, write.turned) = (notices, self.judge.records.notices.take_turned());
        self.judge.reviewed.drain(..).for_each(|review| decided.review(review));
        let Moved { new_latest, latest, counters } = self.judge.tally.take_moved();
        (write.new_latest, write.latest, write.counters) = (new_latest, latest, counters);
        (write.new_accounts, write.accounts) = self.judge.accounts.take_moved();
        write.records = self.judge.records.take_changed();
        self.before = Some(self.head);
        self.head = write.leaves();
        Some((Sealed { write, decided }, answers))
    }

    /// What was handed out at an instant stands.
    pub fn landed(&mut self, sent_at: Instant) {
        self.before = None;
        self.as_of = self.as_of.max(sent_at);
    }

    /// There was nothing to be written, so that nobody found out whether its instant was right.
    pub fn stayed(&mut self) {
        self.before = None;
        self.judge.now = self.head.at;
    }

    /// Closes the books; what waited for its batch must be judged anew. Of spoilt ones, who failed
    /// last is told so: nobody else's answer stands.
    pub fn close(self) -> Vec<Ask> {
        let mut answers = self.batch.map(|batch| batch.answers).unwrap_or_default();
        if self.spoilt && self.doubted.is_empty() {
            answer(answers.pop_if(|(_, outcome)| outcome.is_err()).into_iter().collect());
        }
        answers.into_iter().map(|(ask, _)| ask).chain(self.doubted).collect()
    }

    /// What failed under a key that was assumed to be new: it may have been answered before, and is
    /// to be judged again once the key was looked for. What is done needs no look: where the key was
    /// answered before, its batch is not written.
    pub fn take_doubted(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.doubted)
    }

    /// Of a reservation that opened at an instant, when to look again whether it is due.
    pub fn watch(&mut self, expires_at: Instant) {
        self.next_due = self.next_due.min(expires_at);
    }

    pub fn places(&mut self, dimensions: &[Dimension]) -> Places {
        self.judge.tally.places(dimensions)
    }
}

pub fn run_of(dimensions: &[Dimension]) -> Option<Uuid> {
    dimension(dimensions, RUN).parse().ok()
}
