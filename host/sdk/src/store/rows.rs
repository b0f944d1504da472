//! The rows that cross the border between engine and store.

use serde::{Deserialize, Serialize};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::Tenant;

/// Where a tenant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many batches were written.
    pub version: i64,
    /// Chosen at random by the last writer, so that no two pasts share a version and a stamp.
    pub stamp: i64,
    /// The instant of the last batch.
    pub at: Instant,
}

/// What a counter's row stands at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Settled.
    pub used: Decimal,
    /// Held.
    pub held: Decimal,
}

/// One stretch of a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRow {
    /// Which counter: a digest of its definition.
    pub counter: i64,
    /// The values of its dimensions, as a JSON list.
    pub values: String,
    /// When the stretch begins: a window, a part of a rolling one, or [`Instant::MIN`] for what
    /// has no beginning.
    pub opened: Instant,
    /// The version that the batch led to that wrote it, told by the store.
    pub version: i64,
    /// What it stands at, all in all.
    pub total: Total,
}

/// A list of dimensions and values of them, each as a JSON list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LatestKey {
    /// The dimensions, in the order of their names.
    pub per: String,
    /// Their values.
    pub values: String,
}

/// The latest stretch of each counter that stands on the same dimensions, for the same values: what
/// a call moves stands in few rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestRow {
    /// Of which.
    pub key: LatestKey,
    /// The version that the batch led to that wrote it, told by the store.
    pub version: i64,
    /// Which counter, when the stretch begins, and what it stands at.
    pub totals: Vec<(i64, Instant, Total)>,
}

impl LatestRow {
    /// The totals as they are kept: a JSON list of lists, each of a counter, an instant, what is
    /// used and what is held.
    pub(super) fn written(&self) -> String {
        let total = |(counter, opened, total): &(i64, Instant, Total)| {
            format!("[{counter},{opened},{},{}]", total.used, total.held)
        };
        let totals: Vec<String> = self.totals.iter().map(total).collect();
        format!("[{}]", totals.join(","))
    }

    pub(super) fn read(text: &str) -> serde_json::Result<Vec<(i64, Instant, Total)>> {
        let totals: Vec<(i64, Instant, serde_json::Number, serde_json::Number)> =
            serde_json::from_str(text)?;
        let amount =
            |number: serde_json::Number| number.as_str().parse().map_err(serde::de::Error::custom);
        let total = |(counter, opened, used, held)| {
            Ok((counter, opened, Total { used: amount(used)?, held: amount(held)? }))
        };
        totals.into_iter().map(total).collect()
    }
}

/// The rows of a counter from an instant on, with the one that has no beginning.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Since {
    /// Which counter: a digest of its definition.
    pub counter: i64,
    /// The values of its dimensions, as a JSON list.
    pub values: String,
    /// From there on.
    pub opened: Instant,
}

/// An open reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRow {
    /// The reservation's.
    pub id: Uuid,
    /// When it expires.
    pub expires_at: Instant,
    /// What the engine keeps of it.
    pub body: Vec<u8>,
}

/// What an account of the ledger stands at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// `cost`, `price`.
    pub account: String,
    /// ISO 4217.
    pub currency: String,
    /// The sum of its entries.
    pub balance: Decimal,
    /// What open reservations hold against it.
    pub held: Decimal,
}

/// A run, open or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Its reservation's.
    pub id: Uuid,
    /// Whose; empty where nobody was named.
    pub user: String,
    /// When it began.
    pub started_at: Instant,
    /// When it ended; none: it is open.
    pub ended_at: Option<Instant>,
    /// What the engine keeps of it.
    pub body: Vec<u8>,
}

/// How a reservation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closure {
    /// Its use is booked.
    Settled,
    /// It was given back.
    Released,
    /// Its time ran out. It may still be settled.
    Expired,
    /// It was a usage, and was undone.
    Voided,
}

impl Closure {
    pub(super) fn code(self) -> i16 {
        match self {
            Self::Settled => 1,
            Self::Released => 2,
            Self::Expired => 3,
            Self::Voided => 4,
        }
    }

    pub(super) fn of(code: i16) -> Option<Self> {
        let all = [Self::Settled, Self::Released, Self::Expired, Self::Voided];
        all.into_iter().find(|own| own.code() == code)
    }
}

/// The end of a reservation: a second one is refused by the store itself, but that what expired may
/// be settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosureRow {
    /// The reservation's.
    pub id: Uuid,
    /// How it ended.
    pub how: Closure,
    /// Whether its hold stands in the store: one that opened in the same batch does not.
    pub held: bool,
    /// What the engine keeps of it.
    pub body: Vec<u8>,
}

/// An idempotency key and what was answered under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Keys of different operations do not meet.
    pub operation: String,
    /// As the caller chose it.
    pub key: String,
    /// Of the request.
    pub hash: [u8; 32],
    /// As it was given.
    pub answer: Vec<u8>,
}

/// Something that is known by name and changes: an agent, a limit, a disablement, a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// What it is.
    pub kind: String,
    /// Its name, unique within the kind.
    pub name: String,
    /// What the engine keeps of it; none: it is gone.
    pub body: Option<Vec<u8>>,
}

/// Something that people are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeRow {
    /// Its own; it begins with the batch's instant.
    pub id: Uuid,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// What the engine keeps of it.
    pub body: Vec<u8>,
    /// Whether it was over in the same batch.
    pub is_over: bool,
}

/// A batch as it was written: what was decided in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// Which.
    pub key: BatchKey,
    /// What was allowed, in order.
    pub allowed: Vec<Uuid>,
    /// What was denied, in order.
    pub denied: Vec<Uuid>,
    /// What the engine keeps of it: why.
    pub body: Vec<u8>,
}

/// A batch of a tenant, in the order in which they were written; of those that left the head where
/// it stood in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchKey {
    /// Its instant.
    pub at: Instant,
    /// The version that it led to.
    pub version: i64,
    /// Its writer's stamp.
    pub stamp: i64,
}

impl BatchKey {
    /// Before all batches from an instant on.
    #[must_use]
    pub fn before(at: Instant) -> Self {
        Self { at, version: i64::MIN, stamp: i64::MIN }
    }
}

/// Something that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Its own.
    pub id: Uuid,
    /// The reservation's that it settles; none: it was told without one.
    pub reservation: Option<Uuid>,
    /// When it was used.
    pub used_at: Instant,
    /// Whether it was told after its time.
    pub late: bool,
    /// Whether it is more than was held for it.
    pub overshoot: bool,
    /// What was used, and by whom.
    pub body: Vec<u8>,
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// Its own.
    pub id: Uuid,
    /// The usage's that it is for; none: no usage's.
    pub usage: Option<Uuid>,
    /// `cost`, `price`.
    pub account: String,
    /// `charge`, `credit`, `adjustment`, `refund`, `expiry`.
    pub kind: String,
    /// What the account moves by: charges lie below zero.
    pub amount: Decimal,
    /// ISO 4217.
    pub currency: String,
    /// Its cause and the quote's lines.
    pub body: Vec<u8>,
}

/// One batch of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Whose.
    pub tenant: Tenant,
    /// Where the head must stand.
    pub expected: Head,
    /// Where it stands then: one version on, or where it stood if nothing moves.
    pub next: Head,
    /// What was allowed, in order: reservations, and what these needed more.
    pub allowed: Vec<Uuid>,
    /// What was denied, in order.
    pub denied: Vec<Uuid>,
    /// What the engine keeps of the batch: why it decided so.
    pub body: Vec<u8>,
    /// What the latest stretches of counters stand at then, of keys that the store has no row of.
    pub new_latest: Vec<LatestRow>,
    /// The same, where it has one.
    pub latest: Vec<LatestRow>,
    /// What other stretches stand at then.
    pub counters: Vec<CounterRow>,
    /// What accounts stand at then that the store has no row of.
    pub new_accounts: Vec<AccountRow>,
    /// The same, where it has one.
    pub accounts: Vec<AccountRow>,
    /// Reservations that open.
    pub new_holds: Vec<HoldRow>,
    /// Open reservations that change.
    pub holds: Vec<HoldRow>,
    /// Reservations that end.
    pub closures: Vec<ClosureRow>,
    /// Runs that begin, or end.
    pub runs: Vec<RunRow>,
    /// Keys that are answered.
    pub keys: Vec<KeyRow>,
    /// What else changes.
    pub records: Vec<RecordRow>,
    /// In the order in which they were told.
    pub usages: Vec<UsageRow>,
    /// In order.
    pub entries: Vec<EntryRow>,
    /// What people are to be told.
    pub notices: Vec<NoticeRow>,
    /// Notices that are over, or are so no longer. What is there no longer is passed over.
    pub turned: Vec<(Uuid, bool)>,
}

impl Write {
    /// A batch with nothing in it yet.
    #[must_use]
    pub fn new(tenant: Tenant, expected: Head, stamp: i64, at: Instant) -> Self {
        let next = Head { version: expected.version.saturating_add(1), stamp, at };
        Self {
            tenant,
            expected,
            next,
            allowed: Vec::new(),
            denied: Vec::new(),
            body: Vec::new(),
            new_latest: Vec::new(),
            latest: Vec::new(),
            counters: Vec::new(),
            new_accounts: Vec::new(),
            accounts: Vec::new(),
            new_holds: Vec::new(),
            holds: Vec::new(),
            closures: Vec::new(),
            runs: Vec::new(),
            keys: Vec::new(),
            records: Vec::new(),
            usages: Vec::new(),
            entries: Vec::new(),
            notices: Vec::new(),
            turned: Vec::new(),
        }
    }

    /// Whether anything that decisions depend on moves: answers and decisions alone do not.
    #[must_use]
    pub fn moves(&self) -> bool {
        !(self.counters.is_empty()
            && self.new_latest.is_empty()
            && self.latest.is_empty()
            && self.new_accounts.is_empty()
            && self.accounts.is_empty()
            && self.new_holds.is_empty()
            && self.holds.is_empty()
            && self.closures.is_empty()
            && self.runs.is_empty()
            && self.records.is_empty()
            && self.usages.is_empty()
            && self.entries.is_empty()
            && self.notices.is_empty()
            && self.turned.is_empty())
    }

    /// Whether there is anything to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.moves() && self.keys.is_empty() && self.allowed.is_empty() && self.denied.is_empty()
    }

    /// Where the head stands once this is written.
    #[must_use]
    pub fn leaves(&self) -> Head {
        if self.moves() { self.next } else { self.expected }
    }
}

/// How many reservations whose time is over a need brings at the most.
pub const DUE_MAX: usize = 256;

/// What is asked of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Whose.
    pub tenant: Tenant,
    /// Counters, but for their latest stretches.
    pub counters: Vec<Since>,
    /// The latest stretches of counters.
    pub latest: Vec<LatestKey>,
    /// Reservations.
    pub holds: Vec<Uuid>,
    /// Idempotency keys, as (operation, key).
    pub keys: Vec<(String, String)>,
    /// Usages, by their identifiers, which begin with when they were booked.
    pub usages: Vec<Uuid>,
    /// Reservations whose time is over by then, the first [`DUE_MAX`] of them.
    pub due: Option<Instant>,
    /// Whether all records and accounts are asked for, and when the next reservation expires.
    pub whole: bool,
}

impl Need {
    /// The head alone.
    #[must_use]
    pub fn head(tenant: Tenant) -> Self {
        Self {
            tenant,
            counters: Vec::new(),
            latest: Vec::new(),
            holds: Vec::new(),
            keys: Vec::new(),
            usages: Vec::new(),
            due: None,
            whole: false,
        }
    }

    /// Whether it asks for no more than the head.
    #[must_use]
    pub fn is_head(&self) -> bool {
        *self == Self::head(self.tenant.clone())
    }
}

/// A reservation as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// Still open.
    Open(HoldRow),
    /// Ended, and how.
    Closed {
        /// The reservation's.
        id: Uuid,
        /// How it ended.
        how: Closure,
        /// What the engine keeps of its end.
        body: Vec<u8>,
    },
}

/// What stands under a need, as of one head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where the tenant stands.
    pub head: Head,
    /// The store's clock.
    pub now: Instant,
    /// The rows there are.
    pub counters: Vec<CounterRow>,
    /// The rows there are.
    pub latest: Vec<LatestRow>,
    /// Those there are.
    pub holds: Vec<HoldState>,
    /// Those that were answered.
    pub keys: Vec<KeyRow>,
    /// Those there are.
    pub usages: Vec<UsageRow>,
    /// The first whose time is over, where they were asked for.
    pub due: Vec<HoldRow>,
    /// When the next one expires of those that are not due.
    pub next_expiry: Option<Instant>,
    /// All, where they were asked for.
    pub records: Vec<RecordRow>,
    /// All, where they were asked for.
    pub accounts: Vec<AccountRow>,
}

impl Found {
    pub(super) fn new(head: Head, now: Instant, next_expiry: Option<Instant>) -> Self {
        Self {
            head,
            now,
            counters: Vec::new(),
            latest: Vec::new(),
            holds: Vec::new(),
            keys: Vec::new(),
            usages: Vec::new(),
            due: Vec::new(),
            next_expiry,
            records: Vec::new(),
            accounts: Vec::new(),
        }
    }
}

/// A place in a tenant's history: when, the version, and the place in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The batch's instant.
    pub at: Instant,
    /// The version that the batch led to.
    pub version: i64,
    /// The place in the batch.
    pub ordinal: i32,
}

impl Place {
    /// Before all that was booked from an instant on.
    #[must_use]
    pub fn before(at: Instant) -> Self {
        Self { at, version: i64::MIN, ordinal: i32::MIN }
    }
}

/// So much of a meter, of all usage in a stretch of time that shares some dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollUpRow {
    /// How long the stretch is, in ms.
    pub grain_ms: i64,
    /// When it begins.
    pub opened: Instant,
    /// By which dimensions: `user`, `model`, …
    pub grouping: String,
    /// Their values, as a JSON list.
    pub values: String,
    /// Of what.
    pub meter: String,
    /// How much.
    pub amount: Decimal,
}

/// What usages come to that lie between two places of a tenant's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollUp {
    /// Whose.
    pub tenant: Tenant,
    /// To where it was added up before; none: from the beginning.
    pub from: Option<Place>,
    /// To where it is then.
    pub to: Place,
    /// What is added.
    pub rows: Vec<RollUpRow>,
}

/// What a tenant's usages and entries come to that were booked before an instant, so that they may
/// go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carry {
    /// Whose.
    pub tenant: Tenant,
    /// Up to where it was carried before; [`Instant::MIN`]: it never was.
    pub from: Instant,
    /// Up to where it is then.
    pub until: Instant,
    /// What counters come to, of those that moved; nothing is held.
    pub counters: Vec<CounterRow>,
    /// What accounts come to; nothing is held.
    pub accounts: Vec<AccountRow>,
}

/// The instant with which an identifier begins.
#[must_use]
pub fn instant_of(id: Uuid) -> Instant {
    i64::try_from(id.as_u128() >> 80).unwrap_or_default()
}

/// What no identifier that begins with an earlier instant comes after.
#[must_use]
pub fn first_id_of(at: Instant) -> Uuid {
    Uuid::from_u128(u128::from(at.clamp(0, (1 << 48) - 1).unsigned_abs()) << 80)
}
