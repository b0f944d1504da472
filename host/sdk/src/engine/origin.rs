//! Whose word an entry of the ledger goes back to: who priced it, and who allowed the call that it is
//! for. It stands in the entry itself, which is kept longer than decisions are.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::host::HostError;
use super::judge::Judgement;
use super::tariff::ByTariff;
use crate::store::{RevisionId, Store, Tenant};

/// A context, by its name in bytes.
pub type ContextId = [u8; 16];

/// Policies among those that a context names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judges {
    pub context: ContextId,
    /// Their places in it.
    pub places: Vec<u16>,
}

/// Who allowed a reservation, and whose quotes it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// One more where it was extended by others.
    pub by: Vec<Judges>,
    /// Among the first of them.
    pub priced: ByTariff<u16>,
}

/// What stands behind an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub priced: Option<Judges>,
    pub allowed: Vec<Judges>,
}

/// The revisions that these are, of what was bound as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revisions {
    /// That priced it.
    pub priced: Vec<RevisionId>,
    /// That allowed the call; none where nobody was asked.
    pub allowed: Vec<RevisionId>,
}

impl Allowed {
    pub fn of(judgement: &Judgement, context: ContextId) -> Self {
        let deciding = judgement.judged.iter().filter(|own| own.decides);
        let by = Judges { context, places: deciding.map(|own| place(own.binding)).collect() };
        Self { by: vec![by], priced: judgement.quoted_by() }
    }

    /// By these as well.
    pub fn extend(&mut self, more: Self) {
        let news = more.by.into_iter().filter(|judges| !self.by.contains(judges));
        let news: Vec<Judges> = news.collect();
        self.by.extend(news);
    }

    /// Whose quotes it holds.
    pub fn pricing(&self) -> ByTariff<Judges> {
        let first = self.by.first();
        first.map(|first| Judges::each(first.context, self.priced)).unwrap_or_default()
    }
}

impl Judges {
    /// One by each tariff.
    pub fn each(context: ContextId, ByTariff { cost, price }: ByTariff<u16>) -> ByTariff<Self> {
        let one = |place| Self { context, places: vec![place] };
        ByTariff { cost: cost.map(one), price: price.map(one) }
    }
}

impl Origin {
    pub fn is_known(&self) -> bool {
        self.priced.is_some() || !self.allowed.is_empty()
    }
}

/// Of a tenant's bindings there are never so many.
pub fn place(binding: usize) -> u16 {
    u16::try_from(binding).unwrap_or(u16::MAX)
}

/// As batches name it, in bytes.
pub fn context_id(name: &str) -> ContextId {
    u128::from_str_radix(name, 16).unwrap_or_default().to_be_bytes()
}

/// The revisions behind entries, of which many name the same contexts.
#[derive(Default)]
pub struct Contexts(HashMap<ContextId, Option<Context>>);

impl Contexts {
    pub async fn revisions<S: Store>(
        &mut self,
        store: &S,
        tenant: &Tenant,
        origin: &Origin,
    ) -> Result<Revisions, HostError> {
        let mut revisions = Revisions::default();
        if let Some(judges) = &origin.priced {
            revisions.priced = self.of(store, tenant, judges).await?;
        }
        for judges in &origin.allowed {
            for revision in self.of(store, tenant, judges).await? {
                if !revisions.allowed.contains(&revision) {
                    revisions.allowed.push(revision);
                }
            }
        }
        Ok(revisions)
    }

    async fn of<S: Store>(
        &mut self,
        store: &S,
        tenant: &Tenant,
        Judges { context, places }: &Judges,
    ) -> Result<Vec<RevisionId>, HostError> {
        if !self.0.contains_key(context) {
            let name = format!("{:032x}", u128::from_be_bytes(*context));
            let body = store.context(tenant, &name).await?;
            self.0.insert(*context, body.and_then(|body| Context::read(&body)));
        }
        let Some(Some(known)) = self.0.get(context) else { return Ok(Vec::new()) };
        let policies = places.iter().filter_map(|place| known.policies.get(usize::from(*place)));
        Ok(policies.filter_map(|policy| policy.revision.clone()).collect())
    }
}
