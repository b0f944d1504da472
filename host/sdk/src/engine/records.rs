//! What is known of a tenant by name, and changes at once: agents, limits, disablements, which
//! notices were told, which counters are kept, and from when on history is whole.

use std::collections::{BTreeMap, HashMap};

use chrono_tz::Tz;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tollgate_policy_core::calendar::TenantCalendar;
use tollgate_policy_core::contract::{Counter, Dimension};
use tollgate_policy_core::window::{Instant, Weekday};

use super::body::{self, ExpiredBody, KeptUsage};
use super::erasure::{Erasure, Erasures};
use super::limit::{Limit, LimitKey};
use super::listing::Directory;
use super::notices::{Notices, TOLD};
use super::origin::Allowed;
use super::quarantine::{PolicyKey, Quarantined};
use super::tally::id_of;
use crate::store::RecordRow;

pub const AGENT: &str = "agent";
const LIMIT: &str = "limit";
const DISABLEMENT: &str = "disablement";
const COUNTERS: &str = "counters";
const CARRIED: &str = "carried";
pub const ERASURE: &str = "erasure";
/// What `verify` put right.
pub const REPAIR: &str = "repair";
const QUARANTINE: &str = "quarantine";
const ERASURES: &str = "erasures";

/// An agent: its settings are fed to policies that read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// As people call it; none: by what it is known by.
    #[serde(default)]
    pub name: Option<String>,
    /// As its owner wrote them; what no policy reads is left alone.
    #[serde(default)]
    pub settings: Json,
    /// Whether it may run at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether its settings, or that it is stopped, are the platform's word: no tenant's changes it. The
    /// host says so, by who asks.
    #[serde(default)]
    pub is_platforms: bool,
}

fn yes() -> bool {
    true
}

/// A value of a dimension that may not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disabled {
    /// In words, told with each denial.
    pub reason: String,
    /// When it ends by itself; none: when it is enabled again.
    pub until: Option<Instant>,
    /// Who did it.
    pub by: Author,
    /// Since when.
    #[serde(default)]
    pub since: Instant,
}

/// Who changed something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// A policy of the tenant's, by its name.
    Policy(String),
    /// A policy of the platform's, by its name. No policy of a tenant's undoes what it did.
    Platform(String),
    /// A person of the platform's, or a program on their behalf. Nobody else undoes what they did.
    Person(String),
    /// A person of the tenant's. No policy of the tenant's undoes what they did.
    Member(String),
}

impl Author {
    /// Whether they speak for the platform.
    pub(super) fn is_platforms(&self) -> bool {
        matches!(self, Self::Platform(_) | Self::Person(_))
    }

    /// Who undoes what another one did has the last word at least as much.
    #[must_use]
    pub fn may_undo(&self, other: &Self) -> bool {
        let word = |author: &Self| match author {
            Self::Policy(_) => 0,
            Self::Member(_) => 1,
            Self::Platform(_) => 2,
            Self::Person(_) => 3,
        };
        word(self) >= word(other)
    }
}

/// A counter whose totals are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCounter {
    pub counter: Counter,
    /// By whose days and weeks.
    pub time_zone: Tz,
    pub first_day_of_week: Weekday,
    /// Its stretches are whole from then on.
    pub since: Instant,
    /// What was written of it before this version is of a time when it was kept before, or never.
    pub version: i64,
}

impl KeptCounter {
    pub fn new(counter: Counter, calendar: TenantCalendar, since: Instant, version: i64) -> Self {
        let TenantCalendar { zone: time_zone, first_day_of_week } = calendar;
        Self { counter, time_zone, first_day_of_week, since, version }
    }

    pub fn calendar(&self) -> TenantCalendar {
        let Self { time_zone: zone, first_day_of_week, .. } = *self;
        TenantCalendar { zone, first_day_of_week }
    }
}

/// The records of one tenant, and which of them changed.
#[derive(Debug, Default)]
pub struct Records {
    agents: BTreeMap<String, Agent>,
    limits: BTreeMap<LimitKey, Limit>,
    disabled: HashMap<Dimension, Disabled>,
    pub notices: Notices,
    quarantined: BTreeMap<PolicyKey, Quarantined>,
    counters: BTreeMap<i64, KeptCounter>,
    carried: Option<Instant>,
    erasures: Erasures,
    changed: BTreeMap<(&'static str, String), Option<Vec<u8>>>,
}

impl Records {
    /// Takes in the records of a store. What is not read here is of a later engine's making.
    pub fn load(&mut self, rows: &[RecordRow]) {
        for RecordRow { kind, name, body } in rows {
            let body = body.as_deref().unwrap_or_default();
            match kind.as_str() {
                AGENT => self.agents.extend(read(body).map(|agent| (name.clone(), agent))),
                LIMIT => self.limits.extend(named(name, body)),
                DISABLEMENT => self.disabled.extend(named(name, body)),
                TOLD => self.notices.load(body),
                COUNTERS => self.counters = read(body).unwrap_or_default(),
                QUARANTINE => self.quarantined.extend(named(name, body)),
                CARRIED => self.carried = read(body),
                ERASURE => self.erasures.under_way.extend(read::<Erasure>(body)),
                ERASURES => self.erasures.begun = read(body).unwrap_or_default(),
                _ => {}
            }
        }
    }

    /// Of these what people look at, as of an instant.
    pub fn directory(self, at: Instant) -> Directory {
        let Self { agents, limits, disabled, .. } = self;
        let stands = |(_, own): &(Dimension, Disabled)| own.until.is_none_or(|until| at < until);
        let mut disabled: Vec<_> = disabled.into_iter().filter(stands).collect();
        disabled.sort_by(|one, other| one.0.cmp(&other.0));
        Directory { agents, limits, disabled }
    }

    pub fn agent(&self, name: &str) -> Option<&Agent> {
        self.agents.get(name)
    }

    pub fn set_agent(&mut self, name: &str, agent: Option<Agent>) {
        let body = agent.as_ref().map(json);
        match agent {
            Some(agent) => self.agents.insert(name.to_owned(), agent),
            None => self.agents.remove(name),
        };
        self.changed.insert((AGENT, name.to_owned()), body);
    }

    pub fn limits(&self) -> &BTreeMap<LimitKey, Limit> {
        &self.limits
    }

    pub fn set_limit(&mut self, key: LimitKey, limit: Option<Limit>) {
        self.change(LIMIT, &key, limit.as_ref().map(json));
        match limit {
            Some(limit) => self.limits.insert(key, limit),
            None => self.limits.remove(&key),
        };
    }

    pub fn disabled(&self, dimension: &Dimension, at: Instant) -> Option<&Disabled> {
        let stands = |disabled: &&Disabled| disabled.until.is_none_or(|until| at < until);
        self.disabled.get(dimension).filter(stands)
    }

    /// Whether it was not disabled before. What a person disabled stays as they left it, unless
    /// a person disables it anew; and so for the platform and its tenants.
    pub fn disable(&mut self, dimension: &Dimension, disabled: Disabled, at: Instant) -> bool {
        let Some(before) = self.disabled(dimension, at) else {
            self.put_disabled(dimension, disabled);
            return true;
        };
        if !disabled.by.may_undo(&before.by) {
            return false;
        }
        let mut disabled = disabled;
        if disabled.by != before.by {
            // Whoever stops it as well does not start it earlier.
            disabled.until = disabled.until.zip(before.until).map(|(one, other)| one.max(other));
        }
        // Nobody need hear of what is so already.
        let says = |own: &Disabled| (own.reason.clone(), own.until, own.by.clone());
        if says(&disabled) != says(before) {
            self.put_disabled(dimension, disabled);
        }
        false
    }

    fn put_disabled(&mut self, dimension: &Dimension, disabled: Disabled) {
        self.change(DISABLEMENT, dimension, Some(json(&disabled)));
        self.disabled.insert(dimension.clone(), disabled);
    }

    /// A person lifts any disablement, a policy of the platform's those of policies, and one of a
    /// tenant's those of the tenant's. Whether there was one.
    pub fn enable(&mut self, dimension: &Dimension, by: &Author) -> bool {
        let may = |disabled: &Disabled| by.may_undo(&disabled.by);
        let there = self.disabled.get(dimension).is_some_and(may);
        if there {
            self.disabled.remove(dimension);
            self.change(DISABLEMENT, dimension, None);
        }
        there
    }

    /// Agents that have a record, and all that was disabled, also if that has ended by itself.
    pub fn known_by_name(&self) -> impl Iterator<Item = Dimension> {
        let agent = |agent: &String| Dimension { name: AGENT.to_owned(), value: agent.clone() };
        self.agents.keys().map(agent).chain(self.disabled.keys().cloned())
    }

    /// What disabled a value before the period that began at an instant, and is over with it.
    pub fn disabled_before(&self, dimension: &Dimension, opened: Instant) -> Option<&Disabled> {
        let is_before =
            |own: &&Disabled| own.since < opened && own.until.is_none_or(|until| until <= opened);
        self.disabled.get(dimension).filter(is_before)
    }

    /// Forgets what disabled a value until before an instant. Whether anything did.
    pub fn end_disablement(&mut self, dimension: &Dimension, at: Instant) -> bool {
        let is_past = |own: &Disabled| own.until.is_some_and(|until| until <= at);
        let ended = self.disabled.get(dimension).is_some_and(is_past);
        if ended {
            self.disabled.remove(dimension);
            self.change(DISABLEMENT, dimension, None);
        }
        ended
    }

    /// Policies that failed too often, and are asked no longer.
    pub fn quarantined(&self) -> &BTreeMap<PolicyKey, Quarantined> {
        &self.quarantined
    }

    pub fn quarantine(&mut self, policy: &PolicyKey, quarantined: Quarantined) {
        self.change(QUARANTINE, policy, Some(json(&quarantined)));
        self.quarantined.insert(policy.clone(), quarantined);
    }

    /// Lets one back. Whether it was in quarantine.
    pub fn let_back(&mut self, policy: &PolicyKey) -> bool {
        let there = self.quarantined.remove(policy).is_some();
        if there {
            self.change(QUARANTINE, policy, None);
        }
        there
    }

    pub fn counters(&self) -> &BTreeMap<i64, KeptCounter> {
        &self.counters
    }

    /// Whether what was written at a version of a counter counts.
    pub fn counts(&self, counter: i64, version: i64) -> bool {
        self.counters.get(&counter).is_some_and(|kept| kept.version <= version)
    }

    pub fn keep(&mut self, id: i64, kept: KeptCounter) {
        self.counters.insert(id, kept);
        self.change_counters();
    }

    /// Of counters by another calendar: their windows no longer are.
    pub fn forget_other_calendars(&mut self, calendar: TenantCalendar) {
        let other = |_: &i64, kept: &mut KeptCounter| {
            id_of(&kept.counter, &calendar) != id_of(&kept.counter, &kept.calendar())
        };
        if self.counters.extract_if(.., other).count() > 0 {
            self.change_counters();
        }
    }

    /// They stand in one record, since a tenant that is new has all of them at once.
    fn change_counters(&mut self) {
        self.changed.insert((COUNTERS, String::new()), Some(json(&self.counters)));
    }

    /// What was booked before then is carried forward, and may be gone.
    pub fn carried(&self) -> Instant {
        self.carried.unwrap_or(Instant::MIN)
    }

    pub fn carry(&mut self, until: Instant) {
        self.carried = Some(until);
        self.changed.insert((CARRIED, String::new()), Some(json(&until)));
    }

    /// What is being erased: counters stand under the pseudonym already, and history need not yet.
    pub fn erasures(&self) -> &[Erasure] {
        &self.erasures.under_way
    }

    /// The same, with how often something was erased: what was read before another time is of another
    /// past.
    pub fn erased_so_far(&self) -> &Erasures {
        &self.erasures
    }

    /// The dimension of which these name a value that is being erased.
    pub fn erasing(&self, dimensions: &[Dimension]) -> Option<&str> {
        let named = self.erasures.under_way.iter().find(|own| own.is_named(dimensions))?;
        Some(&named.dimension.name)
    }

    /// Begins: what is known under the value's name is known no longer.
    pub fn erase(&mut self, erasure: &Erasure) {
        let Dimension { name, value } = &erasure.dimension;
        if name == AGENT && self.agents.contains_key(value) {
            self.set_agent(value, None);
        }
        let limits: Vec<LimitKey> = self.limits.keys().cloned().collect();
        for key in limits.into_iter().filter(|key| erasure.is_named(&key.dimensions)) {
            self.set_limit(key, None);
        }
        if self.disabled.remove(&erasure.dimension).is_some() {
            self.change(DISABLEMENT, &erasure.dimension, None);
        }
        self.notices.erase(erasure);
        self.changed.insert((ERASURE, erasure.pseudonym.clone()), Some(json(erasure)));
        self.erasures.under_way.push(erasure.clone());
        self.erasures.begun += 1;
        self.changed.insert((ERASURES, String::new()), Some(json(&self.erasures.begun)));
    }

    /// Ends: the value stands nowhere.
    pub fn erased(&mut self, erasure: &Erasure) {
        self.erasures.under_way.retain(|own| own != erasure);
        self.changed.insert((ERASURE, erasure.pseudonym.clone()), None);
    }

    /// A usage, whether or not it tells of what is being erased. None where a later engine wrote it.
    pub fn usage(&self, body: &[u8]) -> Option<KeptUsage> {
        let mut used: KeptUsage = body::read(body)?;
        for erasure in &self.erasures.under_way {
            erasure.usage(&mut used, &self.counters);
        }
        Some(used)
    }

    /// The same of what expired.
    pub fn expired(&self, body: &[u8]) -> Option<(ExpiredBody, Allowed)> {
        let (mut expired, allowed) = body::read_with::<ExpiredBody, _>(body)?;
        for erasure in &self.erasures.under_way {
            erasure.expired(&mut expired, &self.counters);
        }
        Some((expired, allowed))
    }

    /// What changed since this was last asked.
    pub fn take_changed(&mut self) -> Vec<RecordRow> {
        let changed = std::mem::take(&mut self.changed);
        let row =
            |((kind, name), body): ((&str, String), _)| RecordRow { kind: kind.into(), name, body };
        changed.into_iter().map(row).chain(self.notices.take_changed()).collect()
    }

    fn change(&mut self, kind: &'static str, name: &impl Serialize, body: Option<Vec<u8>>) {
        // Of strings and numbers: there is nothing in it that JSON could not hold.
        let name = serde_json::to_string(name).unwrap_or_default();
        self.changed.insert((kind, name), body);
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

fn named<N: DeserializeOwned, B: DeserializeOwned>(name: &str, body: &[u8]) -> Option<(N, B)> {
    Some((read(name.as_bytes())?, read(body)?))
}
