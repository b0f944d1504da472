//! The host: takes requests for any tenant, and answers each once what it decided stands in the
//! store. Requests queue in shards; a shard judges what has gathered, writes it all in one go, and
//! only then answers. A tenant belongs to one shard, so that its books have one owner.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tollgate_policy_core::contract::{Quantity, Task};
use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::money::MoneyError;
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Decimal, Meter};
use uuid::Uuid;

use super::ask::{Ask, Key, Look, Seen, Work};
use super::body;
use super::builder::{Ahead, HostBuilder, Random};
use super::look::{Account, Checked};
use super::operation::{Denied, Mode, Operation, Outcome, Recorded, Reserved, check_call};
use super::price::Beforehand;
use super::served::{Current, Served, Tenants};
use super::{Binding, Call, EngineError, Setup, SetupError, TallyError};
use crate::sandbox::Ability;
use crate::store::{Clock, Closure, Store, StoreError, Tenant};

/// A host gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The store's trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The engine's. Nothing was written.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A tenant cannot be set up like this.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// No such tenant is set up in this host.
    #[error("there is no tenant `{0}`: set it up first")]
    UnknownTenant(Tenant),
    /// The key was used for something else.
    #[error("the key `{0}` was used for another request: choose a new one")]
    KeyReused(String),
    /// What is asked under it, now or before, is not answered yet.
    #[error("what is asked under the key `{0}` is still under way: ask again with it")]
    InFlight(String),
    /// An amount below zero, which would make room for others.
    #[error("{amount} of `{meter}` is below zero: report what was used too much by an adjustment")]
    Negative {
        /// Of what.
        meter: String,
        /// How much.
        amount: Decimal,
    },
    /// The tenant measures no such thing.
    #[error("there is no meter `{0}`: name one of the tenant's meters")]
    UnknownMeter(Meter),
    /// The tenant wants every call to name it.
    #[error("the call names no `{0}`: add the dimension")]
    MissingDimension(String),
    /// Something in the request cannot be kept, or makes no sense.
    #[error("{0}")]
    Malformed(String),
    /// It was used later than now.
    #[error("`{0}` lies in the future: tell what was used once it was used")]
    Future(Instant),
    /// There never was such a reservation.
    #[error("there is no reservation `{0}`")]
    UnknownReservation(Uuid),
    /// There is no such usage, any more or ever was, or it undoes another one.
    #[error("there is no usage `{0}` that can be undone")]
    UnknownUsage(Uuid),
    /// It ended before.
    #[error("`{id}` was {how} before", how = words(*how))]
    Ended {
        /// The reservation's, or the usage's.
        id: Uuid,
        /// How.
        how: Closure,
    },
    /// A run uses nothing itself.
    #[error("`{0}` is a run: settle its calls, and finish it")]
    IsARun(Uuid),
    /// It is a call.
    #[error("`{0}` is not a run: settle or release it")]
    NotARun(Uuid),
    /// What it needs more does not add up with what it holds: it costs another currency.
    #[error("what `{id}` needs more cannot be held with it: {error}; reserve that apart")]
    Charges {
        /// The reservation's.
        id: Uuid,
        /// Why.
        error: MoneyError,
    },
    /// A value of this dimension is being erased.
    #[error("this `{0}` is being erased: ask again once that is done")]
    Erasing(String),
    /// So many of its reservations are open.
    #[error(
        "{0} of its reservations are open: settle or release them, or wait until their time is over"
    )]
    StillOpen(usize),
    /// A tenant tightens what the platform said, and never loosens it.
    #[error("the platform said so: ask those who run it to change it")]
    Platforms,
    /// Something was written by a later engine.
    #[error("{0} cannot be read: a later version wrote it")]
    Unreadable(String),
    /// Nobody can tell what a task needs.
    #[error("no policy that is bound estimates: bind one that does")]
    NoEstimate,
    /// The host is going down.
    #[error("the host is going down")]
    Stopped,
}

impl From<TallyError> for HostError {
    fn from(error: TallyError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<DecimalError> for HostError {
    fn from(error: DecimalError) -> Self {
        Self::Engine(error.into())
    }
}

fn words(how: Closure) -> &'static str {
    match how {
        Closure::Settled => "settled",
        Closure::Released => "released",
        Closure::Expired => "given up, as its time was over,",
        Closure::Voided => "undone",
    }
}

/// A host. Cheap to clone; it ends with its last clone.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

/// What a host's clones share.
pub struct Inner {
    pub shards: Vec<mpsc::Sender<Ask>>,
    pub tenants: Arc<Tenants>,
    pub clock: Clock,
    pub ahead: Ahead,
    pub admit: Admit,
    pub answer_within: Duration,
    /// Tells those who wait for long that the host is gone.
    pub _here: watch::Sender<()>,
    /// Closed once all shards have ended.
    pub shards_run: watch::Receiver<()>,
}

/// Makes tenants known to the store, with what they are about to be judged with.
pub type Admit = Box<
    dyn Fn(Vec<(Tenant, Arc<Current>)>) -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync,
>;

/// A host as its own tasks know it.
pub struct WeakHost(Weak<Inner>);

impl WeakHost {
    pub fn upgrade(&self) -> Option<Host> {
        self.0.upgrade().map(Host)
    }
}

impl Host {
    /// Sets a host up on a store. The clock measures time between two answers of the store, whose
    /// own clock is the one that counts: where it jumps, what was judged by it is judged again. From
    /// `random` come identifiers and stamps.
    pub fn builder<S: Store>(store: Arc<S>, clock: Clock, random: Random) -> HostBuilder<S> {
        HostBuilder::new(store, clock, random)
    }

    pub(super) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Gives this clone up, and waits until all others are gone and all that was asked stands in the
    /// store, whether anybody waits for it or not.
    pub async fn drained(self) {
        let mut shards_run = self.0.shards_run.clone();
        drop(self);
        // Nothing is ever sent: it ends with the last one of them.
        let _ = shards_run.changed().await;
    }

    pub(crate) fn downgrade(&self) -> WeakHost {
        WeakHost(Arc::downgrade(&self.0))
    }

    /// Serves a tenant with this from now on. What is under way ends with what it began with, and no
    /// decision is taken by a mixture. A tenant that is new is created.
    pub async fn serve(
        &self,
        tenant: &Tenant,
        setup: impl Into<Arc<Setup>>,
    ) -> Result<(), HostError> {
        self.serve_all(vec![(tenant.clone(), setup.into())]).await
    }

    /// The same for some tenants at once. Where this fails it stays with all of them as it was.
    pub async fn serve_all(&self, tenants: Vec<(Tenant, Arc<Setup>)>) -> Result<(), HostError> {
        let currents = Current::of_all(tenants)?;
        (self.0.admit)(currents.clone()).await?;
        for (tenant, current) in currents {
            self.0.tenants.serve(&tenant, current);
        }
        Ok(())
    }

    /// Of how many tenants the host has what it judges by in memory. Of others it reads that when they
    /// ask.
    #[must_use]
    pub fn books(&self) -> usize {
        self.0.tenants.books()
    }

    /// May this call go ahead? What it needs is held for so long, until it is settled or released.
    /// With a key, asking again gives the same answer.
    pub async fn reserve(
        &self,
        tenant: &Tenant,
        key: Option<&str>,
        call: Call,
        ttl: Duration,
    ) -> Result<Result<Reserved, Denied>, HostError> {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let operation = Operation::Reserve { call, ttl_ms, mode: Mode::All };
        match self.ask(tenant, key.map(str::to_owned), operation).await? {
            Outcome::Reserved(reserved) => Ok(Ok(reserved)),
            Outcome::Denied(denied) => Ok(Err(denied)),
            _ => Err(HostError::Stopped),
        }
    }

    /// This is what a reserved call used. It is booked whatever it is, also after its time.
    pub async fn settle(
        &self,
        tenant: &Tenant,
        key: Option<&str>,
        id: Uuid,
        used: Vec<Quantity>,
    ) -> Result<Recorded, HostError> {
        let operation = Operation::Settle { id, used };
        match self.ask(tenant, key.map(str::to_owned), operation).await? {
            Outcome::Settled(recorded) => Ok(recorded),
            _ => Err(HostError::Stopped),
        }
    }

    /// A reserved call does not take place: what is held for it is given back.
    pub async fn release(
        &self,
        tenant: &Tenant,
        key: Option<&str>,
        id: Uuid,
    ) -> Result<(), HostError> {
        self.ask(tenant, key.map(str::to_owned), Operation::Release { id }).await.map(drop)
    }

    /// What would become of this call, and how near each limit is? Nothing is held or written.
    pub async fn check(&self, tenant: &Tenant, call: Call) -> Result<Checked, HostError> {
        let served = self.served(tenant)?;
        let check = |setup: &Setup| check_call(&call, setup);
        let beforehand = served.beforehand(check, Some(&call), self.now())?;
        match self.look(tenant, Look::Check(call, Mode::All), Some(beforehand)).await? {
            Seen::Checked(checked) => Ok(*checked),
            Seen::Accounts(_) => Err(HostError::Stopped),
        }
    }

    /// What will this task need, by the first policy that can tell? Nothing is held or written.
    pub async fn estimate(
        &self,
        tenant: &Tenant,
        task: Task,
    ) -> Result<Result<Vec<Quantity>, String>, HostError> {
        let served = self.served(tenant)?;
        let setup = Arc::clone(&served.current().setup);
        let can = |own: &&Binding| !own.is_candidate() && own.policy.can(Ability::Estimation);
        let binding = setup.bindings.iter().find(can).ok_or(HostError::NoEstimate)?;
        let at = self.now().unwrap_or_default();
        let _turn = match served.estimating.is_slow() {
            true => Some(self.0.tenants.slow.lock().await),
            false => None,
        };
        let answer = binding.policy.estimate(at, task);
        served.estimating.took(answer.fuel);
        answer.outcome.map_err(|fault| {
            let policy = binding.name.clone();
            EngineError::Policy { policy, fault }.into()
        })
    }

    /// What the accounts of the tenant's ledger stand at.
    pub async fn accounts(&self, tenant: &Tenant) -> Result<Vec<Account>, HostError> {
        match self.look(tenant, Look::Accounts, None).await? {
            Seen::Accounts(accounts) => Ok(accounts),
            Seen::Checked(_) => Err(HostError::Stopped),
        }
    }

    /// Asks, and waits until the answer stands. With a key, asking again gives the same answer. A
    /// caller that no longer waits changes nothing of what becomes of it.
    pub async fn ask(
        &self,
        tenant: &Tenant,
        key: Option<String>,
        operation: Operation,
    ) -> Result<Outcome, HostError> {
        let key = key.map(|key| (key, body::hash(&operation)));
        self.ask_under(tenant, key, operation, None).await
    }

    /// The same where the operation follows from what the caller asked for, and may follow otherwise
    /// the next time: it is what was asked for that has to be the same.
    pub async fn ask_for(
        &self,
        tenant: &Tenant,
        key: String,
        asked: &impl Serialize,
        operation: Operation,
    ) -> Result<Outcome, HostError> {
        self.ask_under(tenant, Some((key, body::hash(asked))), operation, None).await
    }

    /// The same where nobody can tell by now how the operation follows: it is answered as it was, if it
    /// was, and refused otherwise. Of the operation only the kind counts.
    pub async fn refuse_for(
        &self,
        tenant: &Tenant,
        key: String,
        asked: &impl Serialize,
        operation: Operation,
        why: HostError,
    ) -> Result<Outcome, HostError> {
        self.ask_under(tenant, Some((key, body::hash(asked))), operation, Some(why)).await
    }

    async fn ask_under(
        &self,
        tenant: &Tenant,
        key: Option<(String, [u8; 32])>,
        operation: Operation,
        refused: Option<HostError>,
    ) -> Result<Outcome, HostError> {
        let served = self.served(tenant)?;
        if key.as_ref().is_some_and(|(key, _)| key.contains('\0') || key.len() > KEY_MAX) {
            let words = format!("a key is of {KEY_MAX} bytes at the most, and holds no NUL");
            return Err(HostError::Malformed(words));
        }
        let call = match &operation {
            Operation::Reserve { call, .. } | Operation::Start { call, .. } => Some(call),
            _ => None,
        };
        let check = |setup: &Setup| operation.check(setup);
        let beforehand = match refused {
            Some(error) => Err(error),
            None => served.beforehand(check, call, self.now()),
        };
        let (beforehand, refused) = match beforehand {
            Ok(beforehand) => (Some(beforehand), None),
            Err(error) if key.is_none() => return Err(error),
            Err(error) => (None, Some(error)),
        };
        let (name, own) = (operation.name().to_owned(), key.as_ref().map(|(key, _)| key.clone()));
        let key = key.map(|(key, hash)| Key { name: (name, key), hash });
        let seeks_key = refused.is_some();
        let (reply, answer) = oneshot::channel();
        let ask = Ask::new(tenant.clone(), Work::Do(operation, reply));
        let asked = async {
            self.send(Ask { key, seeks_key, beforehand, refused, ..ask }).await?;
            answer.await.map_err(|_| HostError::Stopped)?
        };
        // Without a key nobody could ask what became of it.
        let Some(own) = own else { return asked.await };
        let answered = tokio::time::timeout(self.0.answer_within, asked).await;
        answered.unwrap_or(Err(HostError::InFlight(own)))
    }

    async fn look(
        &self,
        tenant: &Tenant,
        look: Look,
        mut beforehand: Option<Beforehand>,
    ) -> Result<Seen, HostError> {
        if let Some(at) = self.now()
            && let Some(seen) = self.served(tenant)?.glance(&look, &mut beforehand, at)
        {
            return seen;
        }
        let (reply, answer) = oneshot::channel();
        let ask = Ask::new(tenant.clone(), Work::Look(look, reply));
        self.send(Ask { beforehand, ..ask }).await?;
        answer.await.map_err(|_| HostError::Stopped)?
    }

    pub(super) async fn send(&self, ask: Ask) -> Result<(), HostError> {
        let mut hasher = DefaultHasher::new();
        ask.tenant.hash(&mut hasher);
        let shards = &self.0.shards;
        let count = u64::try_from(shards.len()).unwrap_or(1);
        let place = usize::try_from(hasher.finish() % count).unwrap_or_default();
        shards[place].send(ask).await.map_err(|_| HostError::Stopped)
    }

    /// What a tenant is judged with now.
    pub fn setup(&self, tenant: &Tenant) -> Result<Arc<Setup>, HostError> {
        Ok(Arc::clone(&self.served(tenant)?.current().setup))
    }

    fn served(&self, tenant: &Tenant) -> Result<Arc<Served>, HostError> {
        self.0.tenants.get(tenant).ok_or_else(|| HostError::UnknownTenant(tenant.clone()))
    }

    /// The store's clock, once it told the time.
    fn now(&self) -> Option<Instant> {
        self.0.ahead.heard(&self.0.clock)
    }
}

/// The longest that a key may be, in bytes.
const KEY_MAX: usize = 255;
