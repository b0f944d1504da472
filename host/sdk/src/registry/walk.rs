//! Goes through what was decided, page by page, on all processors.

use std::collections::HashMap;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::thread::available_parallelism;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::{Registry, RegistryError};
use crate::engine::{
    Binding, Context, ContextPolicy, DecisionRecord, Setup, context_of, decisions,
};
use crate::store::{BatchKey, BatchRow, Owner, RegistryStore, Store, Tenant, instant_of};

/// So many batches are read at a time.
const PAGE: u32 = 64;

/// What is looked at in one go ends with the batch that brings it to so many bytes: some ten
/// milliseconds' worth, so that no processor waits long for another one at the end.
const PAGE_BYTES: usize = 32 << 10;

/// So many tenants' batches are read at a time.
const TENANTS_AT_ONCE: usize = 4;

/// So many parts at the most are looked at in one go: each takes one of the sandbox's instances.
const LOOKS_MAX: usize = 64;

/// Batches of a tenant, each with what it was judged with; none: a later engine wrote it, or one of
/// the components is kept nowhere.
pub struct Page {
    pub tenant: Tenant,
    pub batches: Vec<(BatchRow, Option<Arc<Setup>>)>,
}

impl Page {
    fn split(self) -> Vec<Self> {
        let Self { tenant, batches } = self;
        let mut pages: Vec<Self> = Vec::new();
        let (mut page, mut bytes) = (Vec::new(), 0);
        for batch in batches {
            bytes += batch.0.body.len();
            page.push(batch);
            if bytes >= PAGE_BYTES {
                pages.push(Self { tenant: tenant.clone(), batches: mem::take(&mut page) });
                bytes = 0;
            }
        }
        pages.push(Self { tenant, batches: page });
        pages
    }
}

/// What tenants were judged with, as far as it was asked before.
#[derive(Default)]
pub struct KnownSetups(HashMap<String, Option<Arc<Setup>>>);

/// What was decided in a batch.
pub struct Decided {
    /// What it was judged with.
    pub setup: Arc<Setup>,
    /// In the order in which it was decided.
    pub decisions: Vec<DecisionRecord>,
}

impl<S: Store + RegistryStore> Registry<S> {
    /// Has all that was decided for tenants in a stretch of time looked at, and what comes of that
    /// merged, in no order. `on` hears up to when it came with one of them, and last the end.
    pub(super) async fn walk<R: Default + Send + 'static>(
        &self,
        tenants: &[Tenant],
        period: Range<Instant>,
        look: impl Fn(&Page) -> Result<R, RegistryError> + Clone + Send + 'static,
        merge: impl Fn(R, R) -> Result<R, RegistryError>,
        on: impl Fn(&Tenant, Instant),
    ) -> Result<R, RegistryError> {
        let mut all = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            all.push(Box::pin(self.pages(tenant, &period, &on)));
        }
        let pages = stream::iter(all).flatten_unordered(TENANTS_AT_ONCE);
        let lanes = available_parallelism().map_or(1, usize::from);
        let looks = pages.map_ok(|page| {
            let look = look.clone();
            let task = tokio::task::spawn_blocking(move || look(&page));
            async move { task.await.map_err(|error| RegistryError::Unreadable(error.to_string()))? }
        });
        let add = |sum, more| std::future::ready(merge(sum, more));
        // Twice as many, so that none waits while the next ones are read.
        let at_once = (2 * lanes).min(LOOKS_MAX);
        looks.try_buffer_unordered(at_once).try_fold(R::default(), add).await
    }

    /// What was decided for a tenant, in parts.
    fn pages<'a>(
        &'a self,
        tenant: &'a Tenant,
        period: &Range<Instant>,
        on: &'a impl Fn(&Tenant, Instant),
    ) -> impl Stream<Item = Result<Page, RegistryError>> + 'a {
        let (begin, end) = ((BatchKey::before(period.start), KnownSetups::default()), period.end);
        let pages = stream::try_unfold(begin, move |(after, mut known)| async move {
            let rows = self.0.store.batches(tenant, after, PAGE).await?;
            let mut batches = Vec::with_capacity(rows.len());
            let mut after = None;
            for row in rows.into_iter().take_while(|row| row.key.at < end) {
                after = Some(row.key);
                if row.allowed.is_empty() && row.denied.is_empty() && row.body.is_empty() {
                    continue;
                }
                let setup = self.setup_then(tenant, &row, &mut known.0).await?;
                batches.push((row, setup));
            }
            on(tenant, after.map_or(end, |after| after.at));
            let next = after.map(|after| {
                let pages = Page { tenant: tenant.clone(), batches }.split();
                (stream::iter(pages.into_iter().map(Ok)), (after, known))
            });
            Ok::<_, RegistryError>(next)
        });
        pages.try_flatten()
    }

    /// What was decided in the batches after one of them: a page, each with what it was judged with.
    /// Nothing is told of a batch that a later engine wrote, or of which a component is kept nowhere.
    pub async fn decided(
        &self,
        tenant: &Tenant,
        after: BatchKey,
        limit: u32,
        known: &mut KnownSetups,
    ) -> Result<Vec<(BatchKey, Option<Decided>)>, RegistryError> {
        let rows = self.0.store.batches(tenant, after, limit).await?;
        let mut page = Vec::with_capacity(rows.len());
        for row in rows {
            let setup = self.setup_then(tenant, &row, &mut known.0).await?;
            let decided = setup.and_then(|setup| {
                let decisions = decisions(&row, &setup)?;
                Some(Decided { setup, decisions })
            });
            page.push((row.key, decided));
        }
        Ok(page)
    }

    /// A decision by its identifier, the reservation's or the denial's own, and what it was taken with.
    pub async fn decision(
        &self,
        tenant: &Tenant,
        id: Uuid,
    ) -> Result<Option<(Arc<Setup>, DecisionRecord)>, RegistryError> {
        let (at, mut known) = (instant_of(id), KnownSetups::default());
        let mut after = BatchKey::before(at);
        loop {
            let page = self.decided(tenant, after, PAGE, &mut known).await?;
            let Some((last, _)) = page.last() else { return Ok(None) };
            after = *last;
            for (key, decided) in page {
                if key.at > at {
                    return Ok(None);
                }
                let Some(Decided { setup, decisions }) = decided else { continue };
                if let Some(decision) = decisions.into_iter().find(|own| own.id == id) {
                    return Ok(Some((setup, decision)));
                }
            }
        }
    }

    /// What a batch was judged with.
    async fn setup_then(
        &self,
        tenant: &Tenant,
        batch: &BatchRow,
        known: &mut HashMap<String, Option<Arc<Setup>>>,
    ) -> Result<Option<Arc<Setup>>, RegistryError> {
        let Some(name) = context_of(batch) else { return Ok(None) };
        if let Some(setup) = known.get(&name) {
            return Ok(setup.clone());
        }
        let body = self.0.store.context(tenant, &name).await?;
        let context = body.as_deref().and_then(Context::read);
        let setup = match context {
            Some(context) => match self.again(tenant, context).await {
                Ok(setup) => Some(Arc::new(setup)),
                // One that is kept nowhere takes no other with it.
                Err(RegistryError::UnknownComponent(_) | RegistryError::Refused { .. }) => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        known.insert(name, setup.clone());
        Ok(setup)
    }

    /// The policies that judged, as they were.
    async fn again(&self, tenant: &Tenant, context: Context) -> Result<Setup, RegistryError> {
        let Context { policies, time_zone: zone, first_day_of_week, .. } = context;
        let owners = [Owner::Tenant(tenant.clone()), Owner::Platform];
        let mut bindings = Vec::with_capacity(policies.len());
        for own in policies {
            let ContextPolicy { name, layer, revision, failing, mode, component, settings } = own;
            let policy = self.load_digest(&name, &component, &settings, &owners).await?;
            let policy = policy.ok_or(RegistryError::UnknownComponent(component))?;
            bindings.push(Binding { name, policy, failing, layer, revision, mode });
        }
        let calendar = TenantCalendar { zone, first_day_of_week };
        Ok(Setup { bindings, calendar, ..Setup::default() })
    }
}
