//! Notices: what people are told, once for each key and period, and when it is over.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use tollgate_policy_core::contract::{Dimension, Fact, dimension};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::erasure::Erasure;
use crate::store::{KeptNotice, NoticeRow, NoticeStore, RecordRow, StoreError, Tenant};

/// Under this kind of records stands what was told.
pub const TOLD: &str = "told";

/// What was told: once for its key and period.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Told {
    /// By which policy; empty: by the host itself.
    pub policy: String,
    pub key: String,
    /// When the counter's window opened, and whose it is.
    pub period: Option<(Instant, Vec<Dimension>)>,
}

impl Told {
    /// By the host itself, until it is over.
    pub fn by_host(key: String) -> Self {
        Self { policy: String::new(), key, period: None }
    }

    fn is_of(&self, policy: &str, key: &str, dimensions: &[Dimension]) -> bool {
        let fits = |own: &Dimension| dimension(dimensions, &own.name) == own.value;
        let whose = self.period.iter().flat_map(|(_, whose)| whose);
        self.policy == policy && self.key == key && whose.into_iter().all(fits)
    }

    /// Whether it is the same as this of another period.
    fn is_other_period_of(&self, other: &Self) -> bool {
        let opened = |told: &Self| told.period.as_ref().map(|(opened, _)| *opened);
        let whose = |told: &Self| told.period.as_ref().map(|(_, whose)| whose.clone());
        (&self.policy, &self.key, whose(self)) == (&other.policy, &other.key, whose(other))
            && opened(self) != opened(other)
    }
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Standing {
    /// The notice; none: it is about to get its identifier.
    notice: Option<Uuid>,
    /// When its period closes; none: it may be told again once it is over.
    closes: Option<Instant>,
    is_over: bool,
}

/// A notice, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeBody {
    /// By which policy; empty: by the host itself.
    pub policy: String,
    /// What it is about. What stands before a colon is its kind.
    pub key: String,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// One line.
    pub title: String,
    /// The whole text.
    pub body: String,
    /// Whom it is about.
    pub dimensions: Vec<Dimension>,
    /// The period that it is of, and when that closes.
    pub period: Option<(Instant, Option<Instant>)>,
    /// Remarks.
    pub facts: Vec<Fact>,
}

/// A notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeRecord {
    /// Its own; identifiers are in the order of instants.
    pub id: Uuid,
    /// When it was raised.
    pub at: Instant,
    /// What it says.
    pub notice: NoticeBody,
    /// When it was over; none: it is not.
    pub over_at: Option<Instant>,
    /// When somebody said that they have seen it, and who.
    pub acknowledged: Option<(Instant, String)>,
}

/// A tenant's notices, as far as it matters whether something was told.
#[derive(Debug, Default)]
pub struct Notices {
    told: HashMap<Told, Standing>,
    touched: BTreeSet<Told>,
    raised: Vec<(Option<Told>, NoticeBody)>,
    over: Vec<Uuid>,
}

impl Notices {
    pub fn load(&mut self, name: &str, body: &[u8]) {
        let told = serde_json::from_str(name).ok();
        let standing = serde_json::from_slice(body).unwrap_or_default();
        self.told.extend(told.map(|told| (told, standing)));
    }

    /// Raises a notice, unless it was told before. Whether it was not.
    pub fn raise(&mut self, told: Told, closes: Option<Instant>, notice: NoticeBody) -> bool {
        if self.told.contains_key(&told) {
            return false;
        }
        // The periods before are over, and nobody looks at them any more.
        let before: Vec<Told> =
            self.told.keys().filter(|own| own.is_other_period_of(&told)).cloned().collect();
        before.into_iter().for_each(|own| self.forget(own));
        self.touched.insert(told.clone());
        self.told.insert(told.clone(), Standing { closes, ..Standing::default() });
        self.raised.push((Some(told), notice));
        true
    }

    /// Tells something that is news each time.
    pub fn tell(&mut self, notice: NoticeBody) {
        self.raised.push((None, notice));
    }

    /// It is over for these values. What has a period that ends is not told again in it.
    pub fn resolve(&mut self, policy: &str, key: &str, dimensions: &[Dimension]) {
        let is_it = |told: &&Told| told.is_of(policy, key, dimensions);
        let resolved: Vec<Told> = self.told.keys().filter(is_it).cloned().collect();
        for told in resolved {
            match self.told.get_mut(&told) {
                Some(Standing { closes: Some(_), is_over: true, .. }) | None => {}
                Some(standing @ Standing { closes: Some(_), .. }) => {
                    standing.is_over = true;
                    self.over.extend(standing.notice);
                    self.touched.insert(told);
                }
                Some(_) => self.forget(told),
            }
        }
    }

    /// What was told of periods that are over at an instant is over.
    pub fn end_periods(&mut self, at: Instant) {
        let is_past = |own: &Standing| own.closes.is_some_and(|closes| closes <= at);
        let past = self.told.iter().filter(|(_, own)| is_past(own));
        let past: Vec<Told> = past.map(|(told, _)| told.clone()).collect();
        past.into_iter().for_each(|told| self.forget(told));
    }

    /// Forgets what names a value that is erased.
    pub fn erase(&mut self, erasure: &Erasure) {
        let is_named =
            |told: &&Told| told.period.as_ref().is_some_and(|(_, whose)| erasure.is_named(whose));
        let named: Vec<Told> = self.told.keys().filter(is_named).cloned().collect();
        named.into_iter().for_each(|told| self.forget(told));
    }

    fn forget(&mut self, told: Told) {
        let Some(standing) = self.told.remove(&told) else { return };
        if !standing.is_over {
            self.over.extend(standing.notice);
        }
        self.touched.insert(told);
    }

    /// What is new since this was last asked, with an identifier for each.
    pub fn take_raised(&mut self, mut id: impl FnMut() -> Uuid) -> Vec<NoticeRow> {
        let row = |(told, notice): (Option<Told>, NoticeBody)| {
            let id = id();
            let standing = told.as_ref().and_then(|told| self.told.get_mut(told));
            let is_over = told.is_some() && standing.as_ref().is_none_or(|own| own.is_over);
            if let Some(standing) = standing {
                standing.notice = Some(id);
            }
            let body = serde_json::to_vec(&notice).unwrap_or_default();
            NoticeRow { id, severity: notice.severity, body, is_over }
        };
        std::mem::take(&mut self.raised).into_iter().map(row).collect()
    }

    /// Notices that are over since this was last asked.
    pub fn take_over(&mut self) -> Vec<Uuid> {
        std::mem::take(&mut self.over)
    }

    /// What changed of what was told, once all that is new has its identifier.
    pub fn take_changed(&mut self) -> Vec<RecordRow> {
        let row = |told: Told| {
            let standing = self.told.get(&told);
            let body = standing.map(|own| serde_json::to_vec(own).unwrap_or_default());
            let name = serde_json::to_string(&told).unwrap_or_default();
            RecordRow { kind: TOLD.into(), name, body }
        };
        std::mem::take(&mut self.touched).into_iter().map(row).collect()
    }
}

impl NoticeRecord {
    /// None where a later engine wrote it.
    #[must_use]
    pub fn of(kept: KeptNotice) -> Option<Self> {
        let KeptNotice { id, at, body, over_at, acknowledged, .. } = kept;
        let notice = serde_json::from_slice(&body).ok()?;
        Some(Self { id, at, notice, over_at, acknowledged })
    }
}

/// A tenant's notices, the last first, from before one of them: a page. Open ones are neither over nor
/// acknowledged.
pub async fn notices<S: NoticeStore>(
    store: &S,
    tenant: &Tenant,
    before: Option<Uuid>,
    open: bool,
    limit: u32,
) -> Result<Vec<NoticeRecord>, StoreError> {
    let page = store.notices(tenant, before, open, limit).await?;
    Ok(page.into_iter().filter_map(NoticeRecord::of).collect())
}
