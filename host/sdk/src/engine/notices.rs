//! Notices: what people are told, once for each key and period, and when it is over.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tollgate_policy_core::contract::{Dimension, Fact, Value, dimension};
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::erasure::Erasure;
use crate::store::{KeptNotice, NoticeRow, NoticeStore, RecordRow, StoreError, Tenant};

/// Under this kind of records stands what was told.
pub const TOLD: &str = "told";

/// So many notices are raised for a tenant in an hour, by each host; what is more is told later, if it
/// still holds.
const RAISED_MAX: u32 = 1_000;
const HOUR_MS: i64 = 3_600_000;

/// So much may stand as told of a tenant, in bytes: a host has it in memory.
const TOLD_BYTES_MAX: usize = 16 << 20;

/// The longest texts that people are told, in bytes.
pub const TITLE_MAX: usize = 500;
const BODY_MAX: usize = 8_000;

/// What was told: once for its key and period.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Told {
    /// By which policy, `*/` before the platform's; empty: by the host itself.
    pub policy: String,
    pub key: String,
    /// When the counter's window opened, and whose it is.
    pub period: Option<(Instant, Vec<Dimension>)>,
}

/// What something is told of; of the periods of the same one the last one counts.
type Subject = (String, String);
type Whose = Option<Vec<Dimension>>;

impl Told {
    /// By the host itself, until it is over.
    pub fn by_host(key: String) -> Self {
        Self { policy: String::new(), key, period: None }
    }

    fn parts(&self) -> (Subject, Whose, Option<Instant>) {
        let (opened, whose) = self.period.clone().unzip();
        ((self.policy.clone(), self.key.clone()), whose, opened)
    }

    fn of((policy, key): Subject, whose: Whose, opened: Option<Instant>) -> Self {
        Self { policy, key, period: opened.zip(whose) }
    }
}

/// A record of what was told. It is found by a digest, since a name may be long.
#[derive(Serialize, Deserialize)]
struct Record {
    told: Told,
    #[serde(flatten)]
    standing: Standing,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Standing {
    #[serde(skip)]
    opened: Option<Instant>,
    /// The notice; none: it is about to get its identifier.
    notice: Option<Uuid>,
    /// When its period closes; none: it may be told again once it is over.
    closes: Option<Instant>,
    is_over: bool,
}

/// A notice, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeBody {
    /// By which policy, `*/` before the platform's; empty: by the host itself.
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

impl NoticeBody {
    /// No longer than people read.
    pub(super) fn bounded(mut self) -> Self {
        self.title = one_line(&self.title, TITLE_MAX);
        self.body = cut(&self.body, BODY_MAX);
        if facts_size(&self.facts) > BODY_MAX {
            self.facts.clear();
        }
        self
    }
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

/// A notice that has no identifier yet.
#[derive(Debug)]
struct Raised {
    told: Told,
    notice: NoticeBody,
    is_over: bool,
}

/// Whom something was told of.
#[derive(Debug, Default)]
struct Heard {
    all: HashMap<Whose, Standing>,
    /// On which dimensions they stand: mostly the same.
    names: BTreeSet<Option<Vec<String>>>,
}

/// A tenant's notices, as far as it matters whether something was told.
#[derive(Debug, Default)]
pub struct Notices {
    told: HashMap<Subject, Heard>,
    bytes: usize,
    /// When the next period closes of which something was told.
    next_close: Option<Instant>,
    touched: BTreeSet<Told>,
    raised: Vec<Raised>,
    /// Notices that are over, or are so no longer.
    turned: Vec<(Uuid, bool)>,
    /// In which hour how many were raised.
    lately: (i64, u32),
}

impl Notices {
    pub fn load(&mut self, body: &[u8]) {
        if let Ok(Record { told, standing }) = serde_json::from_slice(body) {
            self.keep(&told, standing);
        }
    }

    /// Raises a notice, unless it was told before. Whether it was not: only then it is written. What was over and is so again
    /// within its period is told by the same notice.
    pub fn raise(
        &mut self,
        told: Told,
        closes: Option<Instant>,
        at: Instant,
        notice: impl FnOnce() -> NoticeBody,
    ) -> bool {
        let (subject, whose, opened) = told.parts();
        let before = self.told.get(&subject).and_then(|heard| heard.all.get(&whose));
        match before.map(|own| own.opened) {
            Some(own) if own == opened => {
                self.reopen(&told);
                return false;
            }
            _ if !self.has_room(&told, at) => return false,
            // The period before is over, and nobody looks at it any more.
            Some(own) => self.forget(Told::of(subject, whose, own)),
            None => {}
        }
        self.keep(&told, Standing { closes, ..Standing::default() });
        self.touched.insert(told.clone());
        self.raised.push(Raised { told, notice: notice(), is_over: false });
        true
    }

    fn reopen(&mut self, told: &Told) {
        let (subject, whose, _) = told.parts();
        let standing = self.told.get_mut(&subject).and_then(|heard| heard.all.get_mut(&whose));
        if let Some(standing) = standing.filter(|own| own.is_over) {
            standing.is_over = false;
            match standing.notice {
                Some(notice) => self.turned.push((notice, false)),
                None => self.turn_raised(told, false),
            }
            self.touched.insert(told.clone());
        }
    }

    fn has_room(&mut self, told: &Told, at: Instant) -> bool {
        let hour = at.div_euclid(HOUR_MS);
        if self.lately.0 != hour {
            self.lately = (hour, 0);
        }
        let has_room = self.lately.1 < RAISED_MAX && self.bytes + size(told) <= TOLD_BYTES_MAX;
        self.lately.1 += u32::from(has_room);
        has_room
    }

    /// It is over for these values. What has a period that ends is not told again in it.
    pub fn resolve(&mut self, policy: &str, key: &str, dimensions: &[Dimension]) {
        let subject = (policy.to_owned(), key.to_owned());
        let Some(heard) = self.told.get(&subject) else { return };
        let of = |names: &Option<Vec<String>>| -> Whose {
            let own = |name: &String| Dimension {
                name: name.clone(),
                value: dimension(dimensions, name).to_owned(),
            };
            names.as_ref().map(|names| names.iter().map(own).collect())
        };
        let whose: Vec<Whose> = heard.names.iter().map(of).collect();
        for whose in whose {
            let Some(heard) = self.told.get_mut(&subject) else { return };
            let Some(standing) = heard.all.get_mut(&whose) else { continue };
            let told = Told::of(subject.clone(), whose, standing.opened);
            if standing.closes.is_none() {
                self.forget(told);
            } else if !standing.is_over {
                standing.is_over = true;
                match standing.notice {
                    Some(notice) => self.turned.push((notice, true)),
                    None => self.turn_raised(&told, true),
                }
                self.touched.insert(told);
            }
        }
    }

    /// What was told by the host itself is over, of keys that begin so and are not among these.
    pub fn resolve_others(&mut self, kind: &str, standing: &[String]) {
        let is_other = |(policy, key): &&Subject| {
            policy.is_empty() && key.starts_with(kind) && !standing.contains(key)
        };
        let others: Vec<Subject> = self.told.keys().filter(is_other).cloned().collect();
        for subject in others {
            self.forget(Told::of(subject, None, None));
        }
    }

    /// What was told of periods that are over at an instant is over.
    pub fn end_periods(&mut self, at: Instant) {
        if self.next_close.is_none_or(|next| at < next) {
            return;
        }
        let past: Vec<Told> = self
            .all()
            .filter(|(_, own)| own.closes.is_some_and(|closes| closes <= at))
            .map(|(told, _)| told)
            .collect();
        past.into_iter().for_each(|told| self.forget(told));
        self.next_close = self.all().filter_map(|(_, own)| own.closes).min();
    }

    /// Forgets what names a value that is erased.
    pub fn erase(&mut self, erasure: &Erasure) {
        let is_named =
            |told: &Told| told.period.as_ref().is_some_and(|(_, whose)| erasure.is_named(whose));
        let named: Vec<Told> = self.all().map(|(told, _)| told).filter(is_named).collect();
        named.into_iter().for_each(|told| self.forget(told));
    }

    fn all(&self) -> impl Iterator<Item = (Told, &Standing)> {
        self.told.iter().flat_map(|(subject, heard)| {
            heard
                .all
                .iter()
                .map(|(whose, own)| (Told::of(subject.clone(), whose.clone(), own.opened), own))
        })
    }

    fn keep(&mut self, told: &Told, standing: Standing) {
        let (subject, whose, opened) = told.parts();
        self.next_close = self.next_close.into_iter().chain(standing.closes).min();
        self.bytes += size(told);
        let heard = self.told.entry(subject).or_default();
        heard
            .names
            .insert(whose.as_ref().map(|whose| whose.iter().map(|own| own.name.clone()).collect()));
        heard.all.insert(whose, Standing { opened, ..standing });
    }

    fn forget(&mut self, told: Told) {
        let (subject, whose, _) = told.parts();
        let Some(heard) = self.told.get_mut(&subject) else { return };
        let Some(standing) = heard.all.remove(&whose) else { return };
        if heard.all.is_empty() {
            self.told.remove(&subject);
        }
        self.bytes = self.bytes.saturating_sub(size(&told));
        match standing.notice {
            _ if standing.is_over => {}
            Some(notice) => self.turned.push((notice, true)),
            None => self.turn_raised(&told, true),
        }
        self.touched.insert(told);
    }

    /// It is over, or is so no longer, before it has its identifier.
    fn turn_raised(&mut self, told: &Told, is_over: bool) {
        let is_it = |own: &&mut Raised| own.told == *told;
        if let Some(own) = self.raised.iter_mut().rev().find(is_it) {
            own.is_over = is_over;
        }
    }

    /// What is new since this was last asked, with an identifier for each.
    pub fn take_raised(&mut self, mut id: impl FnMut() -> Uuid) -> Vec<NoticeRow> {
        let mut rows = Vec::with_capacity(self.raised.len());
        for Raised { told, notice, is_over } in std::mem::take(&mut self.raised) {
            let id = id();
            let (subject, whose, opened) = told.parts();
            let heard = self.told.get_mut(&subject);
            let standing = heard.and_then(|heard| heard.all.get_mut(&whose));
            let is_it = |own: &&mut Standing| own.opened == opened && !is_over || own.is_over;
            if let Some(standing) = standing.filter(is_it) {
                standing.notice = Some(id);
            }
            let body = serde_json::to_vec(&notice).unwrap_or_default();
            rows.push(NoticeRow { id, severity: notice.severity, body, is_over });
        }
        rows
    }

    /// Notices that are over, or are so no longer, since this was last asked.
    pub fn take_turned(&mut self) -> Vec<(Uuid, bool)> {
        // Of one that turned twice the last turn counts.
        let turned: HashMap<Uuid, bool> = std::mem::take(&mut self.turned).into_iter().collect();
        turned.into_iter().collect()
    }

    /// What changed of what was told, once all that is new has its identifier.
    pub fn take_changed(&mut self) -> Vec<RecordRow> {
        let row = |told: Told| {
            let (subject, whose, opened) = told.parts();
            let standing = self.told.get(&subject).and_then(|heard| heard.all.get(&whose));
            let standing = standing.filter(|own| own.opened == opened);
            let standing = standing.cloned();
            let name = Sha256::digest(serde_json::to_vec(&told).unwrap_or_default());
            let name = name.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            let record = standing.map(|standing| Record { told, standing });
            let body = record.map(|record| serde_json::to_vec(&record).unwrap_or_default());
            RecordRow { kind: TOLD.into(), name, body }
        };
        std::mem::take(&mut self.touched).into_iter().map(row).collect()
    }
}

/// What it takes to remember it, roughly.
fn size(told: &Told) -> usize {
    let whose = told.period.iter().flat_map(|(_, whose)| whose);
    let whose: usize = whose.map(|own| own.name.len() + own.value.len() + 64).sum();
    told.policy.len() + told.key.len() + whose + 256
}

/// So much of a text, whole characters, on one line.
pub fn one_line(text: &str, longest: usize) -> String {
    cut(text, longest).replace(char::is_control, " ")
}

fn cut(text: &str, longest: usize) -> String {
    text[..text.floor_char_boundary(longest)].to_owned()
}

fn facts_size(facts: &[Fact]) -> usize {
    let text = |fact: &Fact| if let Value::Text(text) = &fact.value { text.len() } else { 32 };
    facts.iter().map(|fact| fact.name.len() + text(fact)).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(agent: &str, opened: Instant) -> Told {
        let whose = vec![Dimension { name: "agent".into(), value: agent.into() }];
        Told { policy: "own".into(), key: "limit".into(), period: Some((opened, whose)) }
    }

    fn standing() -> Told {
        Told { policy: "own".into(), key: "runs".into(), period: None }
    }

    fn agent(name: &str) -> Vec<Dimension> {
        let own = |name: &str, value: &str| Dimension { name: name.into(), value: value.into() };
        vec![own("user", "ana"), own("agent", name)]
    }

    fn body(title: &str) -> NoticeBody {
        NoticeBody { title: title.into(), ..NoticeBody::default() }
    }

    /// Notices by their numbers, and whether they are over.
    type States = Vec<(u128, bool)>;

    /// What a batch writes: notices with whether they are over, what turned, and how many records.
    fn batch(notices: &mut Notices, ids: &mut u128) -> (States, States, usize) {
        let rows = notices.take_raised(|| {
            *ids += 1;
            Uuid::from_u128(*ids)
        });
        let rows = rows.iter().map(|row| (row.id.as_u128(), row.is_over)).collect();
        let turned = notices.take_turned().into_iter();
        let turned = turned.map(|(id, is_over)| (id.as_u128(), is_over)).collect();
        (rows, turned, notices.take_changed().len())
    }

    #[test]
    fn what_is_over_and_so_again_within_its_period_is_the_same_notice() {
        let (mut notices, mut ids) = (Notices::default(), 0);
        assert!(notices.raise(told("a", 0), Some(100), 1, || body("1")));
        assert!(!notices.raise(told("a", 0), Some(100), 2, || body("2")));
        assert_eq!(batch(&mut notices, &mut ids), (vec![(1, false)], vec![], 1));
        notices.resolve("own", "limit", &agent("b"));
        notices.resolve("other", "limit", &agent("a"));
        assert_eq!(batch(&mut notices, &mut ids), (vec![], vec![], 0));
        notices.resolve("own", "limit", &agent("a"));
        notices.resolve("own", "limit", &agent("a"));
        assert_eq!(batch(&mut notices, &mut ids), (vec![], vec![(1, true)], 1));
        assert!(!notices.raise(told("a", 0), Some(100), 3, || body("3")));
        assert_eq!(batch(&mut notices, &mut ids), (vec![], vec![(1, false)], 1));
        // The next period is another matter, and ends the one before.
        assert!(notices.raise(told("a", 100), Some(200), 100, || body("4")));
        assert_eq!(batch(&mut notices, &mut ids), (vec![(2, false)], vec![(1, true)], 2));
        notices.end_periods(199);
        assert_eq!(batch(&mut notices, &mut ids), (vec![], vec![], 0));
        notices.end_periods(200);
        assert_eq!(batch(&mut notices, &mut ids), (vec![], vec![(2, true)], 1));
        assert_eq!(notices.bytes, 0);
    }

    #[test]
    fn what_turns_within_a_batch_is_written_as_it_is_at_its_end() {
        let (mut notices, mut ids) = (Notices::default(), 0);
        notices.raise(standing(), None, 1, || body("1"));
        notices.resolve("own", "runs", &[]);
        notices.raise(standing(), None, 1, || body("2"));
        notices.raise(told("a", 0), Some(9), 1, || body("3"));
        notices.resolve("own", "limit", &agent("a"));
        notices.raise(told("b", 0), Some(9), 1, || body("4"));
        notices.resolve("own", "limit", &agent("b"));
        notices.raise(told("b", 0), Some(9), 1, || body("5"));
        let rows = vec![(1, true), (2, false), (3, true), (4, false)];
        assert_eq!(batch(&mut notices, &mut ids), (rows, vec![], 3));
        // Each is known by its notice from now on.
        notices.resolve("own", "runs", &[]);
        assert_eq!(batch(&mut notices, &mut ids).1, [(2, true)]);
        notices.raise(told("a", 0), Some(9), 1, || body("6"));
        assert_eq!(batch(&mut notices, &mut ids).1, [(3, false)]);
    }

    #[test]
    fn what_stood_stands_for_who_reads_it() {
        let (mut notices, mut ids) = (Notices::default(), 0);
        let long = "x".repeat(5_000);
        notices.raise(told(&long, 5), Some(9), 5, || body("1"));
        batch(&mut notices, &mut ids);
        notices.resolve("own", "limit", &agent(&long));
        let rows = notices.take_changed();
        assert!(rows.iter().all(|row| row.name.len() == 32), "{rows:?}");
        let mut other = Notices::default();
        other.load(rows[0].body.as_deref().unwrap_or_default());
        assert!(!other.raise(told(&long, 5), Some(9), 6, || body("2")));
        assert_eq!(other.take_turned(), [(Uuid::from_u128(1), false)]);
    }

    #[test]
    fn nobody_is_told_without_end() {
        let mut notices = Notices::default();
        let raised = |notices: &mut Notices, agents: std::ops::Range<u32>, at| {
            let raise = |agent| notices.raise(told(&format!("{agent}"), 0), None, at, || body("1"));
            agents.map(raise).filter(|raised| *raised).count()
        };
        assert_eq!(raised(&mut notices, 0..5_000, 1), 1_000);
        // What was not told is told later.
        assert_eq!(raised(&mut notices, 1_000..1_500, HOUR_MS), 500);
        let long = told(&"x".repeat(TOLD_BYTES_MAX), 0);
        assert!(!notices.raise(long, None, HOUR_MS, || body("1")));
    }
}
