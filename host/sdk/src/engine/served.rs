//! The tenants that a host serves: what each is judged with just now, and its books.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;
use tollgate_policy_core::window::Instant;

use super::ask::{Look, Seen};
use super::book::Book;
use super::feed::Known;
use super::host::HostError;
use super::pace::Pace;
use super::price::{Asking, Beforehand, depends_on_call_alone, fuel, price};
use super::quarantine::Watch;
use super::{Call, Setup, SetupError};
use crate::store::Tenant;

/// All of them.
#[derive(Default)]
pub struct Tenants {
    all: RwLock<HashMap<Tenant, Arc<Served>>>,
    /// Those who are slow go one at a time where they are not their shard's to order.
    pub slow: tokio::sync::Mutex<()>,
}

impl Tenants {
    pub fn get(&self, tenant: &Tenant) -> Option<Arc<Served>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned()
    }

    pub fn names(&self) -> Vec<Tenant> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub fn rest(&self, since: Instant) {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.values().for_each(|served| served.rest(since));
    }

    /// How many books are open.
    pub fn books(&self) -> usize {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.values().filter(|served| served.book().is_some()).count()
    }

    /// From now on a tenant is judged with this. What is under way ends with what it began with.
    pub fn serve(&self, tenant: &Tenant, current: Arc<Current>) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        match all.get(tenant) {
            Some(served) => served.current.store(current),
            None => {
                all.insert(tenant.clone(), Arc::new(Served::new(current)));
            }
        }
    }
}

/// What a tenant is judged with: all of it changes at once.
pub struct Current {
    pub setup: Arc<Setup>,
    /// Under which name batches say so.
    pub context: Arc<str>,
    /// Whether calls can be priced before their turn comes.
    prices_ahead: bool,
    /// Each tenant's own.
    pub watch: Watch,
}

impl Current {
    pub fn of(setup: Arc<Setup>) -> Result<Self, SetupError> {
        setup.check()?;
        let context = setup.context_name().into();
        let (prices_ahead, watch) = (depends_on_call_alone(&setup), Watch::over(&setup));
        Ok(Self { context, prices_ahead, watch, setup })
    }
}

impl Current {
    /// The same for another tenant.
    fn of_another(&self) -> Self {
        let Self { setup, context, prices_ahead, watch } = self;
        let (setup, context) = (Arc::clone(setup), Arc::clone(context));
        Self { setup, context, prices_ahead: *prices_ahead, watch: watch.of_another() }
    }

    /// Tenants that share a set-up share what is known of it.
    pub fn of_all(
        tenants: impl IntoIterator<Item = (Tenant, Arc<Setup>)>,
    ) -> Result<Vec<(Tenant, Arc<Self>)>, SetupError> {
        let mut known: HashMap<*const Setup, Arc<Self>> = HashMap::new();
        let of = |(tenant, setup): (Tenant, Arc<Setup>)| {
            let current = match known.entry(Arc::as_ptr(&setup)) {
                Entry::Occupied(known) => Arc::new(known.get().of_another()),
                Entry::Vacant(place) => Arc::clone(place.insert(Arc::new(Self::of(setup)?))),
            };
            Ok((tenant, current))
        };
        tenants.into_iter().map(of).collect()
    }
}

/// A tenant that a host serves.
pub struct Served {
    current: ArcSwap<Current>,
    /// The books, while they are open. Their shard alone opens and writes them; others may look, where
    /// they need not wait for that, and close what rests.
    book: Mutex<Option<Box<Book>>>,
    /// At which its requests are judged, and tasks estimated.
    pub judging: Pace,
    pub estimating: Pace,
}

impl Served {
    fn new(current: Arc<Current>) -> Self {
        let (current, book) = (ArcSwap::new(current), Mutex::new(None));
        Self { current, book, judging: Pace::default(), estimating: Pace::default() }
    }

    pub fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Whether books judge with what the tenant is judged with now.
    pub fn is_current(&self, book: &Book) -> bool {
        Arc::ptr_eq(&self.current.load().setup, &book.judge.setup)
    }

    pub fn book(&self) -> MutexGuard<'_, Option<Box<Book>>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a request and prices its call beside the shard, which has enough to do. By then the
    /// store must have told the time, which prices may depend on.
    pub fn beforehand(
        &self,
        check: impl FnOnce(&Setup) -> Result<(), HostError>,
        call: Option<&Call>,
        at: Option<Instant>,
    ) -> Result<Beforehand, HostError> {
        let current = self.current.load();
        let setup = Arc::clone(&current.setup);
        check(&setup)?;
        let priced = call.zip(at.filter(|_| current.prices_ahead && !self.judging.is_slow()));
        let price = |(call, at)| price(&setup, Known::default(), call, at, |_, _| Asking::Ask);
        let priced = priced.map(price);
        if let Some(priced) = &priced {
            self.judging.beyond(fuel(priced));
        }
        Ok(Beforehand { setup, priced })
    }

    /// Closes books of which nothing was heard since an instant: what they hold can be had again.
    pub fn rest(&self, since: Instant) {
        if let Ok(mut book) = self.book.try_lock()
            && book.as_ref().is_some_and(|book| book.is_idle_since(since))
        {
            *book = None;
        }
    }

    /// The answer to a question, where it can be had at once.
    pub fn glance(
        &self,
        look: &Look,
        beforehand: &mut Option<Beforehand>,
        at: Instant,
    ) -> Option<Result<Seen, HostError>> {
        if self.judging.is_slow() {
            return None;
        }
        let mut book = self.book.try_lock().ok()?;
        let book = book.as_mut().filter(|book| self.is_current(book))?;
        book.judge.take_spent();
        let seen = book.glance(look, beforehand, at);
        self.judging.beyond(book.judge.spent());
        seen
    }
}
