//! Upkeep: history has its months made ahead of time, and what is old enough goes. Any number of
//! hosts may be at it at a time; what one leaves undone is done at the next time.

use std::collections::BTreeSet;
use std::time::Duration;

use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::Random;
use super::carry::carry;
use super::erase::finish_erasures;
use super::host::HostError;
use super::rollup::{GRAINS_MS, GROUPINGS, follow};
use crate::store::{Month, Past, Place, Store, Tenant, first_id_of, instant_of};

/// So many rows are deleted at a time.
const PAGE: u32 = 1_000;

/// So many months after this one are made ahead of time.
const AHEAD: usize = 2;

/// History is kept for so long at the least: a write whose answer was lost is still asked after.
const LEAST: Duration = Duration::from_secs(86_400);

/// How long what happened is kept. History goes by months, in UTC, once all of one is that old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Decisions, with the batches that they were taken in: a day at the least; none: for ever. A
    /// month in which an open reservation began stays.
    pub decisions: Option<Duration>,
    /// Usages and entries of the ledger, with how reservations ended: a day at the least; none: for
    /// ever. What they come to is carried forward first. What is gone cannot be undone any more.
    pub ledger: Option<Duration>,
    /// Idempotency keys.
    pub keys: Duration,
    /// Notices, with what became of them on their way.
    pub notices: Duration,
    /// Roll-ups by the minute.
    pub minutes: Duration,
}

impl Default for Retention {
    /// History for ever, notices for 400 days, keys for 30 and minutes for one.
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self { decisions: None, ledger: None, keys: days(30), notices: days(400), minutes: days(1) }
    }
}

/// Does what there is to do, by the store's clock. Where one thing cannot be done, others are, and
/// an error is told.
pub async fn upkeep<S: Store>(
    store: &S,
    retention: &Retention,
    random: &Random,
) -> Result<(), HostError> {
    let now = store.now().await?;
    let mut done = make_months(store).await;
    let round = Round { store, tenants: store.tenants().await? };
    if let Some(kept) = retention.ledger {
        done = round.ledger(month_before(now, kept), random).await.and(done);
    }
    if let Some(kept) = retention.decisions {
        done = round.decisions(month_before(now, kept)).await.and(done);
    }
    for tenant in &round.tenants {
        done = finish_erasures(store, tenant, random).await.and(done);
    }
    done = round.all(Past::Keys, before(now, retention.keys)).await.and(done);
    done = round.all(Past::Notices, before(now, retention.notices)).await.and(done);
    let [grain_ms, _] = GRAINS_MS;
    for (grouping, _) in GROUPINGS {
        let minutes = Past::RollUps { grouping, grain_ms };
        done = round.all(minutes, before(now, retention.minutes)).await.and(done);
    }
    done
}

/// Makes this month and the next ones.
pub async fn make_months<S: Store>(store: &S) -> Result<(), HostError> {
    let this = Month::of(store.now().await?);
    let months: Vec<Month> =
        std::iter::successors(this, |month| Some(month.next())).take(1 + AHEAD).collect();
    Ok(store.make_months(&months).await?)
}

fn before(now: Instant, kept: Duration) -> Instant {
    now.saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX))
}

/// Where the month began that holds the last instant of what is old enough.
fn month_before(now: Instant, kept: Duration) -> Instant {
    Month::of(before(now, kept.max(LEAST))).map_or(Instant::MIN, |month| month.span().start)
}

struct Round<'a, S> {
    store: &'a S,
    tenants: Vec<Tenant>,
}

impl<S: Store> Round<'_, S> {
    /// Months go once all tenants' are carried forward.
    async fn ledger(&self, before: Instant, random: &Random) -> Result<(), HostError> {
        let (mut done, mut carried) = (Ok(()), before);
        for tenant in &self.tenants {
            let until = self.carry(tenant, before, random).await;
            carried = carried.min(*until.as_ref().unwrap_or(&Instant::MIN));
            done = until.map(drop).and(done);
        }
        for month in self.store.months(Past::Ledger).await? {
            if month.span().end <= carried {
                self.store.drop_month(Past::Ledger, month).await?;
            }
        }
        for tenant in &self.tenants {
            done = self.closures(tenant, before).await.and(done);
        }
        done
    }

    async fn carry(
        &self,
        tenant: &Tenant,
        before: Instant,
        random: &Random,
    ) -> Result<Instant, HostError> {
        follow(self.store, tenant).await?;
        let carried = carry(self.store, tenant, before, random).await?;
        self.forget(tenant, Past::Ledger, Instant::MIN, carried.min(before)).await?;
        Ok(carried)
    }

    /// That a usage was undone is known as long as the usage is.
    async fn closures(&self, tenant: &Tenant, before: Instant) -> Result<(), HostError> {
        let first = self.store.usages(tenant, Place::before(Instant::MIN), 1).await?;
        let first = first.first().map_or(before, |(place, _)| place.at);
        self.forget(tenant, Past::Closures, Instant::MIN, first.min(before)).await
    }

    async fn decisions(&self, before: Instant) -> Result<(), HostError> {
        let mut open = BTreeSet::new();
        for tenant in &self.tenants {
            let own = self.open_months(tenant, before).await?;
            let mut from = Instant::MIN;
            for span in own.iter().map(|month| month.span()) {
                self.forget(tenant, Past::Decisions, from, span.start).await?;
                from = span.end;
            }
            self.forget(tenant, Past::Decisions, from, before).await?;
            open.extend(own);
        }
        for month in self.store.months(Past::Decisions).await? {
            if month.span().end <= before && !open.contains(&month) {
                self.store.drop_month(Past::Decisions, month).await?;
            }
        }
        Ok(())
    }

    /// The months before an instant in which reservations began that are still open.
    async fn open_months(
        &self,
        tenant: &Tenant,
        before: Instant,
    ) -> Result<BTreeSet<Month>, HostError> {
        let (mut months, mut after) = (BTreeSet::new(), Uuid::nil());
        loop {
            let first = self.store.holds(tenant, after, 1).await?.pop();
            let began = first.map(|hold| instant_of(hold.id)).filter(|began| *began < before);
            let Some(month) = began.and_then(Month::of) else { return Ok(months) };
            months.insert(month);
            after = first_id_of(month.span().end);
        }
    }

    async fn all(&self, past: Past, before: Instant) -> Result<(), HostError> {
        for tenant in &self.tenants {
            self.forget(tenant, past, Instant::MIN, before).await?;
        }
        Ok(())
    }

    async fn forget(
        &self,
        tenant: &Tenant,
        past: Past,
        from: Instant,
        before: Instant,
    ) -> Result<(), HostError> {
        while self.store.forget(tenant, past, from..before, PAGE).await? {}
        Ok(())
    }
}
