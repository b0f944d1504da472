//! What is kept of a tenant, to be looked at. Nothing is decided by it.

use std::collections::BTreeMap;

use tollgate_policy_core::contract::{Dimension, Quantity, Quote};
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Currency, Money};
use uuid::Uuid;

use super::body::{self, EntryBody, KeptUsage, RunBody};
use super::host::HostError;
use super::limit::{Limit, LimitKey};
use super::operation::{Run, RunState};
use super::origin::{Contexts, Origin, Revisions};
use super::records::{Agent, Disabled, Records};
use super::tariff::ByTariff;
use crate::store::{EntryRow, Need, Place, RunQuery, Store, StoreError, Tenant};

/// A usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its own.
    pub id: Uuid,
    /// The reservation's that it settles; none: it was told without one.
    pub reservation: Option<Uuid>,
    /// When it was used.
    pub used_at: Instant,
    /// Whether it was told after its time.
    pub late: bool,
    /// Who and what it was about.
    pub dimensions: Vec<Dimension>,
    /// What was used, with what it cost among it.
    pub amounts: Vec<Quantity>,
    /// What it cost; none where nothing prices.
    pub charged: ByTariff<Money>,
    /// The usage that this one undoes.
    pub voids: Option<Uuid>,
}

/// An entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its own.
    pub id: Uuid,
    /// The usage's that it is for; none: no usage's.
    pub usage: Option<Uuid>,
    /// `cost`, `price`.
    pub account: String,
    /// `charge`, `credit`, `adjustment`, `refund`, `expiry`.
    pub kind: String,
    /// What the account moves by: charges lie below zero.
    pub money: Money,
    /// By which it was priced.
    pub quote: Option<Quote>,
    /// Who priced it, and allowed what it is for.
    pub revisions: Revisions,
    /// In words, where a person booked it, or it tells what was put right.
    pub reason: String,
}

/// What is known of a tenant by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Its agents.
    pub agents: BTreeMap<String, Agent>,
    /// Limits that were set.
    pub limits: BTreeMap<LimitKey, Limit>,
    /// What may not go on.
    pub disabled: Vec<(Dimension, Disabled)>,
}

/// What was used, in the order in which it was booked, after a place: a page. What a later engine
/// wrote is left out.
pub async fn usages<S: Store>(
    store: &S,
    tenant: &Tenant,
    after: Place,
    limit: u32,
) -> Result<Vec<(Place, Option<Used>)>, HostError> {
    let rows = store.usages(tenant, after, limit).await?;
    let used = |(place, row): (Place, crate::store::UsageRow)| {
        let used = body::read::<KeptUsage>(&row.body).map(|body| {
            let KeptUsage { dimensions, used, charged, voids, .. } = body;
            let (id, reservation, used_at, late) = (row.id, row.reservation, row.used_at, row.late);
            let amounts = used.iter().cloned().collect();
            Used { id, reservation, used_at, late, dimensions, amounts, charged, voids }
        });
        (place, used)
    };
    Ok(rows.into_iter().map(used).collect())
}

/// The ledger, in the order in which it was booked, after a place: a page. What a later engine wrote
/// is left out.
pub async fn lines<S: Store>(
    store: &S,
    tenant: &Tenant,
    after: Place,
    limit: u32,
) -> Result<Vec<(Place, Option<Line>)>, HostError> {
    let rows = store.entries(tenant, after, limit).await?;
    let (mut contexts, mut lines) = (Contexts::default(), Vec::with_capacity(rows.len()));
    for (place, row) in rows {
        let currency: Option<Currency> = row.currency.parse().ok();
        let body = body::read_with::<EntryBody, Origin>(&row.body);
        let Some(((EntryBody { quote, reason }, origin), currency)) = body.zip(currency) else {
            lines.push((place, None));
            continue;
        };
        let money = Money::new(row.amount, currency);
        let revisions = contexts.revisions(store, tenant, &origin).await?;
        let EntryRow { id, usage, account, kind, .. } = row;
        lines.push((
            place,
            Some(Line { id, usage, account, kind, money, quote, revisions, reason }),
        ));
    }
    Ok(lines)
}

/// Runs that began in a stretch of time, its end not among it; of a user, or everybody's.
pub async fn runs<S: Store>(
    store: &S,
    tenant: &Tenant,
    query: &RunQuery,
) -> Result<Vec<Run>, HostError> {
    let rows = store.runs(tenant, query).await?;
    let run = |row: crate::store::RunRow| {
        let RunBody { dimensions } = body::read(&row.body)?;
        let state = row.ended_at.map_or(RunState::Active, RunState::Ended);
        Some(Run { id: row.id, dimensions, started_at: row.started_at, state })
    };
    Ok(rows.into_iter().filter_map(run).collect())
}

/// What is known of a tenant by name, as it stands just now.
pub async fn directory<S: Store>(store: &S, tenant: &Tenant) -> Result<Directory, HostError> {
    let need = Need { whole: true, ..Need::head(tenant.clone()) };
    let found = store.read(std::slice::from_ref(&need)).await?.pop();
    let found = found.ok_or_else(|| StoreError::UnknownTenant(tenant.clone()))?;
    let mut records = Records::default();
    records.load(&found.records);
    Ok(records.directory(found.now))
}
