//! The monitor: alerting policies look at whom they count, also where nothing was asked, and at the
//! periods that opened. What it does is written as all else is, so that any number of hosts may be at
//! it: who comes second finds it told.

use std::collections::{BTreeMap, BTreeSet};

use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::window::{Calendar, Instant, Period, Window};

use super::alerts::Occasion;
use super::amounts::Amounts;
use super::book::Book;
use super::host::{Host, HostError};
use super::operation::{Operation, Outcome};
use super::records::Records;
use super::sums::PAGE;
use super::tally::{id_of, sorted};
use super::{Call, Event, Setup};
use crate::sandbox::Ability;
use crate::store::{LatestKey, LatestRow, Need, Store, StoreError, Tenant};

/// So many are looked at in one go: calls of the tenant wait for it.
const AT_ONCE: usize = 8;

impl Book {
    /// Looks at each of these, first at the periods that opened since an instant.
    pub fn monitor(
        &mut self,
        subjects: &[Vec<Dimension>],
        since: Instant,
    ) -> Result<Outcome, HostError> {
        self.touched = true;
        let at = self.at();
        self.judge.end_notices(at);
        let opened = opened(&self.judge.setup, since, at);
        let mut events = Vec::new();
        for dimensions in subjects {
            let places = self.places(dimensions);
            let call = Call { dimensions: dimensions.clone(), quantities: Vec::new() };
            let occasions =
                opened.iter().map(|(window, opened)| Occasion::Opened(*window, *opened));
            for occasion in occasions.chain([Occasion::Scheduled]) {
                events.extend(self.judge.review(&call, &places, &Amounts::default(), &occasion));
            }
            for dimension in dimensions {
                let ended = self.judge.records.end_disablement(dimension, at);
                events.extend(ended.then(|| Event::Enabled { at, dimension: dimension.clone() }));
            }
        }
        Ok(Outcome::Monitored { events })
    }
}

/// The windows that alerting policies count by, of which one opened after an instant, and when.
fn opened(setup: &Setup, since: Instant, at: Instant) -> Vec<(Window, Instant)> {
    let opened = |window: Window| {
        let span = setup.calendar.span(&window, at).ok()?;
        (span.opened > since && matches!(window, Window::Calendar(_)))
            .then_some((window, span.opened))
    };
    windows(setup).into_iter().filter_map(opened).collect()
}

fn windows(setup: &Setup) -> BTreeSet<Window> {
    let counters = alerting(setup).flat_map(|own| &own.policy.manifest().counters);
    counters.map(|counter| counter.window).collect()
}

fn alerting(setup: &Setup) -> impl Iterator<Item = &super::Binding> {
    setup.bindings.iter().filter(|own| own.policy.can(Ability::Alerting))
}

/// When a tenant that was looked at up to an instant is to be looked at next: at the full hours of its
/// own time zone, in which its periods open.
#[must_use]
pub fn next_look(setup: &Setup, done_at: Instant) -> Instant {
    let hour = Window::Calendar(Calendar { period: Period::Hour, utc: false });
    let span = setup.calendar.span(&hour, done_at).ok();
    // Before all calendars: nobody ever looked.
    span.and_then(|span| span.closes).unwrap_or(Instant::MIN)
}

/// Lets the alerting policies of a tenant look at all whom they count, up to now: what follows. What
/// ended by itself is forgotten.
pub async fn monitor<S: Store>(
    host: &Host,
    store: &S,
    tenant: &Tenant,
    since: Instant,
) -> Result<Vec<Event>, HostError> {
    let setup = host.setup(tenant)?;
    let at = store.now().await?;
    let subjects: Vec<Vec<Dimension>> = subjects(store, tenant, &setup, at).await?;
    let mut events = Vec::new();
    // Where nobody is counted there are periods that end all the same.
    let none = [Vec::new()];
    let parts = if subjects.is_empty() { none.chunks(1) } else { subjects.chunks(AT_ONCE) };
    for part in parts {
        match look(host, tenant, part, since).await {
            // Only what is being erased is looked at another time.
            Err(HostError::Erasing(_)) => {
                for subject in part.chunks(1) {
                    match look(host, tenant, subject, since).await {
                        Err(HostError::Erasing(_)) => {}
                        seen => events.extend(seen?),
                    }
                }
            }
            seen => events.extend(seen?),
        }
    }
    Ok(events)
}

async fn look(
    host: &Host,
    tenant: &Tenant,
    subjects: &[Vec<Dimension>],
    since: Instant,
) -> Result<Vec<Event>, HostError> {
    let operation = Operation::Monitor { subjects: subjects.to_vec(), since };
    match host.ask(tenant, None, operation).await? {
        Outcome::Monitored { events } => Ok(events),
        _ => Ok(Vec::new()),
    }
}

/// Whom alerting policies count and who was active in a period that is still open, who is disabled, and
/// all agents that are known by name.
async fn subjects<S: Store>(
    store: &S,
    tenant: &Tenant,
    setup: &Setup,
    at: Instant,
) -> Result<Vec<Vec<Dimension>>, StoreError> {
    let counters = alerting(setup).flat_map(|own| &own.policy.manifest().counters);
    let counted: BTreeMap<i64, (Vec<String>, Instant)> = counters
        .map(|counter| {
            let opened = match counter.window {
                Window::Calendar(_) => setup.calendar.span(&counter.window, at).ok(),
                _ => None,
            };
            let opened = opened.map_or(Instant::MIN, |span| span.opened);
            (id_of(counter, &setup.calendar), (sorted(&counter.per), opened))
        })
        .collect();
    let mut subjects = BTreeSet::new();
    let mut after = LatestKey { per: String::new(), values: String::new() };
    loop {
        let page = store.latest(tenant, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.key.clone();
        for LatestRow { key, totals, .. } in &page {
            let per: Vec<String> = serde_json::from_str(&key.per).unwrap_or_default();
            let values: Vec<String> = serde_json::from_str(&key.values).unwrap_or_default();
            let is_active = |(counter, opened, _): &(i64, Instant, _)| {
                counted.get(counter).is_some_and(|(own, since)| *own == per && opened >= since)
            };
            if totals.iter().any(is_active) {
                let all =
                    per.into_iter().zip(values).map(|(name, value)| Dimension { name, value });
                // A call that lacks a dimension is counted under the empty value.
                subjects.insert(all.filter(|own| !own.value.is_empty()).collect::<Vec<_>>());
            }
        }
    }
    let need = Need { whole: true, ..Need::head(tenant.clone()) };
    let found = store.read(std::slice::from_ref(&need)).await?.pop();
    let found = found.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
    let mut records = Records::default();
    records.load(&found.records);
    subjects.extend(records.known_by_name().map(|dimension| vec![dimension]));
    Ok(subjects.into_iter().collect())
}
