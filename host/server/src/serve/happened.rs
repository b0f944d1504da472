//! What happens to a tenant, in order: decisions, usage with what it cost, notices, and what is bound. Read
//! from the store, so that every host tells of what any host did.

use std::str::FromStr;

use serde::Serialize;
use serde_json::{Value, json};
use tollgate_host::engine::{DecisionRecord, NoticeRecord, Used, usages};
use tollgate_host::registry::{Decided, KnownSetups};
use tollgate_host::store::{
    BatchKey, BindingSetRow, Owner, Place, Tenant, first_id_of, instant_of,
};
use tollgate_policy_core::contract::Dimension;
use uuid::Uuid;

use super::Service;
use super::answers::{Decision, DenialBody};
use super::problem::Problem;
use super::shapes::{Amounts, MoneyBody, Time, dimensions_of};
use crate::notices::Notice;
use crate::stores::Stores;

/// So much is read at a time of each kind.
const PAGE: u32 = 256;

/// Decisions are told so much later: what two hosts deny at the same time is committed in any order,
/// and what is committed late must not be passed over.
const BEHIND_MS: i64 = 1_000;

/// Up to where somebody knows what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    decided: BatchKey,
    used: Place,
    moved: i64,
    told: Uuid,
}

/// Something that happened.
#[derive(Debug)]
pub struct Happened {
    pub kind: Kind,
    /// Where it stands among those of its kind.
    place: Among,
    /// Who hears of it and all before it knows so much. Of a batch of decisions all are told again
    /// where the last one was not heard.
    pub cursor: Cursor,
    /// Whom it is about; none: the tenant.
    pub dimensions: Vec<Dimension>,
    /// JSON.
    pub text: String,
}

#[derive(Clone, Copy, Debug)]
enum Among {
    Decided(BatchKey),
    Used(Place),
    Moved(i64),
    Told(Uuid),
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Decision,
    Usage,
    Policies,
    Notice,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Decision, Self::Usage, Self::Policies, Self::Notice];

    pub fn name(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Usage => "usage",
            Self::Policies => "policies",
            Self::Notice => "notice",
        }
    }
}

impl Cursor {
    /// All that happens from now on.
    pub async fn now<S: Stores>(service: &Service<S>) -> Result<Self, Problem> {
        let at = service.registry.store().now().await?;
        let moved = service.registry.moved().await;
        let (decided, used) = (BatchKey::before(at), Place::before(at));
        Ok(Self { decided, used, moved, told: first_id_of(at) })
    }

    /// Where whoever follows for others begins: decisions that are not told yet are told by it.
    pub fn for_all(self) -> Self {
        let at = self.decided.at.saturating_sub(BEHIND_MS);
        let told = first_id_of(instant_of(self.told).saturating_sub(BEHIND_MS));
        Self { decided: BatchKey::before(at), told, ..self }
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { decided, used, moved, told } = self;
        write!(f, "{}.{}.{}", decided.at, decided.version, decided.stamp)?;
        write!(f, ".{}.{}.{}.{moved}", used.at, used.version, used.ordinal)?;
        write!(f, ".{}", told.simple())
    }
}

/// Not where somebody was told that they are.
#[derive(Debug, thiserror::Error)]
#[error("not an event's `id`")]
pub struct NotACursor;

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let (text, told) = text.rsplit_once('.').ok_or(NotACursor)?;
        let told = told.parse().map_err(|_| NotACursor)?;
        let parts: Option<Vec<i64>> = text.split('.').map(|part| part.parse().ok()).collect();
        let [at, version, stamp, used_at, used_version, ordinal, moved] =
            parts.and_then(|parts| parts.try_into().ok()).ok_or(NotACursor)?;
        let ordinal = i32::try_from(ordinal).map_err(|_| NotACursor)?;
        let used = Place { at: used_at, version: used_version, ordinal };
        Ok(Self { decided: BatchKey { at, version, stamp }, used, moved, told })
    }
}

/// Follows what happens to a tenant.
pub struct Follower {
    pub tenant: Tenant,
    pub cursor: Cursor,
    known: KnownSetups,
}

impl Follower {
    /// From a cursor on.
    pub fn from(tenant: Tenant, cursor: Cursor) -> Self {
        Self { tenant, cursor, known: KnownSetups::default() }
    }

    /// What happened since: a page. Nothing: that was all, so far. Dropped while it waits, it has taken
    /// nothing.
    pub async fn next<S: Stores>(
        &mut self,
        service: &Service<S>,
    ) -> Result<Vec<Happened>, Problem> {
        loop {
            let before = self.cursor;
            let all = self.page(service).await?;
            // Much may happen that nobody is told of.
            if !all.is_empty() || self.cursor == before {
                return Ok(all);
            }
        }
    }

    async fn page<S: Stores>(&mut self, service: &Service<S>) -> Result<Vec<Happened>, Problem> {
        let mut all = Vec::new();
        let (store, registry) = (&**service.registry.store(), &service.registry);
        let until = store.now().await?.saturating_sub(BEHIND_MS);
        let (tenant, mut cursor) = (&self.tenant, self.cursor);
        let page = registry.decided(tenant, cursor.decided, PAGE, &mut self.known).await?;
        for (key, decided) in page.into_iter().take_while(|(key, _)| key.at <= until) {
            let decisions = decided.map(|Decided { decisions, .. }| decisions).unwrap_or_default();
            if let Some((last, others)) = decisions.split_last() {
                all.extend(others.iter().map(|own| Happened::decision(key, cursor, own)));
                cursor.decided = key;
                all.push(Happened::decision(key, cursor, last));
            }
            cursor.decided = key;
        }
        for (place, used) in usages(store, tenant, cursor.used, PAGE).await? {
            cursor.used = place;
            all.extend(used.map(|used| Happened::usage(cursor, &used)));
        }
        for kept in store.notices_after(tenant, cursor.told, PAGE).await? {
            if kept.at > until {
                break;
            }
            cursor.told = kept.id;
            let notice = NoticeRecord::of(kept);
            all.extend(notice.map(|notice| Happened::notice(cursor, tenant, notice)));
        }
        for row in store.bound_since(cursor.moved).await? {
            cursor.moved = row.moved;
            let own = Owner::Tenant(tenant.clone());
            // What is bound for a plan is nobody's matter but of those who are on it.
            let for_all = row.scope.owner == Owner::Platform && row.scope.plan.is_empty();
            if for_all || row.scope.owner == own {
                all.push(Happened::policies(cursor, &row));
            }
        }
        self.cursor = cursor;
        Ok(all)
    }
}

impl Happened {
    /// Whether somebody who knows so much has heard of it.
    pub fn is_before(&self, until: Cursor) -> bool {
        match self.place {
            Among::Decided(key) => key <= until.decided,
            Among::Used(place) => place <= until.used,
            Among::Moved(moved) => moved <= until.moved,
            Among::Told(id) => id <= until.told,
        }
    }

    fn new(place: Among, cursor: Cursor, dimensions: &[Dimension], body: Value) -> Self {
        let kind = match place {
            Among::Decided(_) => Kind::Decision,
            Among::Used(_) => Kind::Usage,
            Among::Moved(_) => Kind::Policies,
            Among::Told(_) => Kind::Notice,
        };
        let text = json!({ "type": kind, "id": cursor.to_string(), kind.name(): body });
        Self { kind, place, cursor, dimensions: dimensions.to_vec(), text: text.to_string() }
    }

    fn decision(key: BatchKey, cursor: Cursor, decision: &DecisionRecord) -> Self {
        let DecisionRecord { id, at, call, denial, .. } = decision;
        let decided = if denial.is_some() { Decision::Deny } else { Decision::Allow };
        let body = json!({
            "id": id,
            "at": Time(*at),
            "decision": decided,
            "dimensions": dimensions_of(&call.dimensions),
            "estimate": call.quantities.iter().cloned().collect::<Amounts>(),
            "denial": denial.clone().map(DenialBody::from),
        });
        Self::new(Among::Decided(key), cursor, &call.dimensions, body)
    }

    fn usage(cursor: Cursor, used: &Used) -> Self {
        let body = json!({
            "id": used.id,
            "reservation": used.reservation,
            "at": Time(used.used_at),
            "late": used.late,
            "dimensions": dimensions_of(&used.dimensions),
            "amounts": used.amounts.iter().cloned().collect::<Amounts>(),
            "cost": used.charged.cost.map(MoneyBody::from),
            "price": used.charged.price.map(MoneyBody::from),
            "voids": used.voids,
        });
        Self::new(Among::Used(cursor.used), cursor, &used.dimensions, body)
    }

    fn notice(cursor: Cursor, tenant: &Tenant, notice: NoticeRecord) -> Self {
        let dimensions = notice.notice.dimensions.clone();
        let body = json!(Notice::of(tenant, notice));
        Self::new(Among::Told(cursor.told), cursor, &dimensions, body)
    }

    fn policies(cursor: Cursor, row: &BindingSetRow) -> Self {
        let mut body = json!({
            "of": row.scope.owner.as_str(),
            "version": row.version,
            "at": Time(row.signed.at),
        });
        // Who runs the platform, and why they do so, is their own affair.
        if row.scope.owner != Owner::Platform {
            body["author"] = json!(row.signed.author);
            body["message"] = json!(row.signed.message);
        }
        Self::new(Among::Moved(row.moved), cursor, &[], body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = Cursor {
            decided: BatchKey { at: 3, version: i64::MIN, stamp: -7 },
            used: Place { at: 4, version: 5, ordinal: i32::MIN },
            moved: 6,
            told: first_id_of(8),
        };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for text in [
            "",
            "1",
            "1.2.3.4.5.6.7",
            "1.2.3.4.5.x.7.00000000000000000000000000000000",
            "1.2.3.4.5.99999999999.7.00000000000000000000000000000000",
            "1.2.3.4.5.6.7.8",
        ] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
