//! How a host is set up.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tollgate_policy_core::window::Instant;

use super::Setup;
use super::ask::{Ask, Work};
use super::context::Context;
use super::host::{Admit, Host, HostError, Inner, WeakHost};
use super::operation::Operation;
use super::rollup::follow;
use super::served::{Current, Tenants};
use super::shard::Shard;
use super::upkeep::{Retention, make_months, upkeep};
use crate::store::{Clock, ContextRow, Store, StoreError, Tenant};

/// Draws a random number.
pub type Random = Arc<dyn Fn() -> u128 + Send + Sync>;

/// A host that is being set up.
pub struct HostBuilder<S> {
    store: Arc<S>,
    tenants: HashMap<Tenant, Arc<Setup>>,
    settings: Settings,
}

/// What all shards of a host share.
pub struct Desk<S> {
    pub store: Arc<S>,
    pub tenants: Arc<Tenants>,
    pub settings: Settings,
    pub ahead: Ahead,
    /// So many heads may be locked at a time, so that connections are left for the others.
    pub locks: Semaphore,
    /// Tenants whose usage is not rolled up yet.
    booked: Mutex<HashSet<Tenant>>,
}

impl<S> Desk<S> {
    /// The store's clock, as far as it is known.
    pub fn now(&self) -> Instant {
        self.ahead.heard(&self.settings.clock).unwrap_or_else(|| (self.settings.clock)())
    }

    /// Usage of a tenant was booked.
    pub fn booked(&self, tenant: &Tenant) {
        let mut booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
        if !booked.contains(tenant) {
            booked.insert(tenant.clone());
        }
    }

    fn take_booked(&self) -> HashSet<Tenant> {
        std::mem::take(&mut *self.booked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The store told the time.
    pub fn heard(&self, now: Instant) {
        self.ahead.set(now.saturating_sub((self.settings.clock)()));
    }
}

#[derive(Clone)]
pub struct Settings {
    pub shards: usize,
    pub batch_max: usize,
    pub remembered_max: usize,
    pub counters_max: usize,
    pub locks_max: usize,
    pub answer_within: Duration,
    pub sweep: Duration,
    pub roll_up: Duration,
    pub upkeep: Option<Duration>,
    pub retention: Retention,
    pub clock: Clock,
    pub random: Random,
}

/// What the store's clock is ahead of ours.
#[derive(Clone)]
pub struct Ahead(Arc<AtomicI64>);

/// It has not told the time yet.
const UNHEARD: i64 = i64::MIN;

impl Ahead {
    pub fn set(&self, ahead_ms: i64) {
        self.0.store(ahead_ms, Ordering::Relaxed);
    }

    /// The store's clock, once it told the time.
    pub fn heard(&self, clock: &Clock) -> Option<Instant> {
        let ahead_ms = self.0.load(Ordering::Relaxed);
        (ahead_ms != UNHEARD).then(|| clock().saturating_add(ahead_ms))
    }
}

impl<S: Store> HostBuilder<S> {
    pub(super) fn new(store: Arc<S>, clock: Clock, random: Random) -> Self {
        let settings = Settings {
            shards: available_parallelism().map_or(1, |count| (count.get() / 2).max(1)),
            batch_max: 512,
            remembered_max: 10_000,
            counters_max: 10_000,
            locks_max: 4,
            answer_within: Duration::from_secs(15),
            sweep: Duration::from_secs(5),
            roll_up: Duration::from_secs(1),
            upkeep: Some(Duration::from_secs(3_600)),
            retention: Retention::default(),
            clock,
            random,
        };
        Self { store, tenants: HashMap::new(), settings }
    }

    /// Serves a tenant, which is created where it is not there.
    #[must_use]
    pub fn tenant(mut self, tenant: Tenant, setup: impl Into<Arc<Setup>>) -> Self {
        self.tenants.insert(tenant, setup.into());
        self
    }

    /// Among how many tasks tenants are divided; half as many as there are processors unless said
    /// otherwise. Each has a write under way, and fewer and larger ones cost less.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.settings.shards = shards.max(1);
        self
    }

    /// So many reservations and answers of a tenant are remembered; 10,000 unless said otherwise: some
    /// megabytes, since an answer under a key is a kilobyte. The store is asked for others.
    #[must_use]
    pub fn remembered(mut self, most: usize) -> Self {
        self.settings.remembered_max = most;
        self
    }

    /// So many counters of a tenant are remembered, each on its values; 10,000 unless said otherwise:
    /// some megabytes. A tenant with more is read anew.
    #[must_use]
    pub fn counters_max(mut self, most: usize) -> Self {
        self.settings.counters_max = most;
        self
    }

    /// So many requests of a shard are judged before they are written; 512 unless said otherwise.
    #[must_use]
    pub fn batch_max(mut self, requests: usize) -> Self {
        self.settings.batch_max = requests.max(1);
        self
    }

    /// So many tenants for which other hosts write beside this one are locked at a time; 4 unless
    /// said otherwise. A quarter of the store's connections at the most.
    #[must_use]
    pub fn locks_max(mut self, locks: usize) -> Self {
        self.settings.locks_max = locks.max(1);
        self
    }

    /// How long whoever asks with a key waits for the answer, before they are told to ask again; 15 s
    /// unless said otherwise, which is longer than it takes to find out what became of a lost write.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.settings.answer_within = time;
        self
    }

    /// How often reservations are looked for whose time is over, of tenants from whom nothing
    /// else is heard; 5 s unless said otherwise.
    #[must_use]
    pub fn sweep(mut self, every: Duration) -> Self {
        self.settings.sweep = every;
        self
    }

    /// How often usage is rolled up; 1 s unless said otherwise.
    #[must_use]
    pub fn roll_up(mut self, every: Duration) -> Self {
        self.settings.roll_up = every;
        self
    }

    /// How long what happened is kept; history for ever unless said otherwise.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.settings.retention = retention;
        self
    }

    /// How often months are made and what is old enough goes; at the start and every hour unless
    /// said otherwise.
    #[must_use]
    pub fn upkeep(mut self, every: Duration) -> Self {
        self.settings.upkeep = Some(every);
        self
    }

    /// Leaves all that is old to others: for who does not live by the time that they keep.
    #[must_use]
    pub fn without_upkeep(mut self) -> Self {
        self.settings.upkeep = None;
        self
    }

    /// Starts it, on the runtime that this is called on.
    pub async fn start(self) -> Result<Host, HostError> {
        let Self { store, tenants, settings } = self;
        let served = Tenants::default();
        let currents = Current::of_all(tenants)?;
        admit(&*store, &currents).await?;
        currents.into_iter().for_each(|(tenant, current)| served.serve(&tenant, current));
        // Before anything is written that would stand outside of its month. What cannot be made now
        // is made by upkeep.
        let _ = make_months(&*store).await;
        // What was booked before and is not rolled up is found at the start.
        let booked = Mutex::new(served.names().into_iter().collect());
        let desk = Arc::new(Desk {
            booked,
            store,
            tenants: Arc::new(served),
            locks: Semaphore::new(settings.locks_max),
            settings,
            ahead: Ahead(Arc::new(AtomicI64::new(UNHEARD))),
        });
        let (runs, shards_run) = watch::channel(());
        let shard = |_| {
            let (sender, receiver) = mpsc::channel(desk.settings.batch_max * 4);
            let (shard, runs) = (Shard::new(Arc::clone(&desk)), runs.clone());
            tokio::spawn(async move {
                let _runs = runs;
                shard.run(receiver).await;
            });
            sender
        };
        let shards = (0..desk.settings.shards).map(shard).collect();
        drop(runs);
        let (tenants, clock) = (Arc::clone(&desk.tenants), Arc::clone(&desk.settings.clock));
        let (here, gone) = watch::channel(());
        let store = Arc::clone(&desk.store);
        let admit: Admit = Box::new(move |tenants| {
            let store = Arc::clone(&store);
            Box::pin(async move { admit(&*store, &tenants).await })
        });
        let host = Host::new(Inner {
            shards,
            tenants,
            clock,
            ahead: desk.ahead.clone(),
            admit,
            answer_within: desk.settings.answer_within,
            _here: here,
            shards_run,
        });
        tokio::spawn(sweep(Arc::clone(&desk), host.downgrade()));
        tokio::spawn(roll_up(Arc::clone(&desk), host.downgrade()));
        tokio::spawn(keep_up(desk, gone));
        Ok(host)
    }
}

/// Creates tenants where they are not there, and keeps what they are about to be judged with: what
/// batches say of it can be looked up at any time.
async fn admit<S: Store>(store: &S, tenants: &[(Tenant, Arc<Current>)]) -> Result<(), StoreError> {
    let names: Vec<Tenant> = tenants.iter().map(|(tenant, _)| tenant.clone()).collect();
    store.create(&names).await?;
    let context = |(tenant, current): &(Tenant, Arc<Current>)| ContextRow {
        tenant: tenant.clone(),
        name: current.context.to_string(),
        body: Context::of(&current.setup).named().1,
    };
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for row in tenants.iter().map(context) {
        bytes += row.body.len();
        rows.push(row);
        if bytes > CONTEXT_BYTES {
            store.keep_contexts(&rows).await?;
            rows.clear();
            bytes = 0;
        }
    }
    store.keep_contexts(&rows).await
}

/// About so many are sent at once.
const CONTEXT_BYTES: usize = 1 << 20;

/// Books of which nothing was heard for so long are closed.
const RESTING_MS: i64 = 60_000;

/// Has reservations end whose time is over, of tenants from whom nothing else is heard, and hears what
/// time it is.
async fn sweep<S: Store>(desk: Arc<Desk<S>>, host: WeakHost) {
    const PAGE: usize = 512;
    let mut ticks = tokio::time::interval(desk.settings.sweep.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Our own clock may have leapt since the store last told the time.
        if let Ok(now) = desk.store.now().await {
            desk.heard(now);
        }
        for page in desk.tenants.names().chunks(PAGE) {
            // What is not found now is found at the next tick.
            let overdue = desk.store.overdue(page).await.unwrap_or_default();
            let Some(host) = host.upgrade() else { return };
            for tenant in overdue {
                let (reply, _) = tokio::sync::oneshot::channel();
                let _ = host.send(Ask::new(tenant, Work::Do(Operation::Expire, reply))).await;
            }
        }
        if host.upgrade().is_none() {
            return;
        }
        desk.tenants.rest(desk.now().saturating_sub(RESTING_MS));
    }
}

/// Keeps roll-ups a moment behind what is booked. Tenants have theirs one after the other, spread over
/// the time that there is: all at once they would hold up calls.
async fn roll_up<S: Store>(desk: Arc<Desk<S>>, host: WeakHost) {
    let every = desk.settings.roll_up.max(Duration::from_millis(10));
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // What was booked to the last is rolled up before the host is gone.
        let last = host.upgrade().is_none();
        let booked = desk.take_booked();
        let count = u32::try_from(booked.len()).unwrap_or(u32::MAX);
        let apart = every.checked_div(count).unwrap_or_default();
        for tenant in booked {
            let next = tokio::time::Instant::now() + apart;
            if follow(&*desk.store, &tenant).await.is_err() {
                desk.booked(&tenant);
            }
            if host.upgrade().is_some() {
                tokio::time::sleep_until(next).await;
            }
        }
        if last {
            return;
        }
    }
}

/// Upkeep at the start and then now and then, until the host is gone.
async fn keep_up<S: Store>(desk: Arc<Desk<S>>, mut gone: watch::Receiver<()>) {
    let Settings { retention, random, upkeep: every, .. } = &desk.settings;
    let Some(every) = *every else { return };
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = gone.changed() => return,
        }
        // What cannot be done now is done at the next tick.
        let _ = upkeep(&*desk.store, retention, random).await;
    }
}
