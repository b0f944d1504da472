//! The rows that cross the border between engine and store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::Instant;
use uuid::Uuid;

/// A tenant's name: 1 to 64 letters, digits, `-`, `_` or `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(Arc<str>);

/// Not a tenant's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a tenant's name: write 1 to 64 letters, digits, `-`, `_` or `.`")]
pub struct TenantError(String);

impl Tenant {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = TenantError;

    fn from_str(name: &str) -> Result<Self, TenantError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            let shown = name.chars().filter(|character| !character.is_control()).take(70);
            Err(TenantError(shown.collect()))
        }
    }
}

impl TryFrom<String> for Tenant {
    type Error = TenantError;

    fn try_from(name: String) -> Result<Self, TenantError> {
        name.parse()
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> Self {
        tenant.as_str().to_owned()
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// What it stands at, all in all.
    pub total: Total,
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

/// How a reservation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closure {
    /// Its use is booked.
    Settled,
    /// It was given back.
    Released,
    /// Its time ran out.
    Expired,
}

impl Closure {
    pub(super) fn code(self) -> i16 {
        match self {
            Self::Settled => 1,
            Self::Released => 2,
            Self::Expired => 3,
        }
    }

    pub(super) fn of(code: i16) -> Option<Self> {
        [Self::Settled, Self::Released, Self::Expired].into_iter().find(|own| own.code() == code)
    }
}

/// The end of a reservation: a second one is refused by the store itself.
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

/// A request and what was decided on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRow {
    /// The reservation's, or one of its own.
    pub id: Uuid,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Everything that is needed to judge it again.
    pub body: Vec<u8>,
}

/// Something that was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The reservation's, or one of its own.
    pub id: Uuid,
    /// When it was used.
    pub used_at: Instant,
    /// Whether it was told after its reservation's time.
    pub late: bool,
    /// What was used, and by whom.
    pub body: Vec<u8>,
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    /// Its own.
    pub id: Uuid,
    /// `cost`, `price`, `balance`, …
    pub account: String,
    /// `charge`, `credit`, `adjustment`, `refund`, `expiry`.
    pub kind: String,
    /// Of the account's currency.
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
    /// Where it stands then, one version on.
    pub next: Head,
    /// What counters stand at then.
    pub counters: Vec<CounterRow>,
    /// Reservations that open.
    pub holds: Vec<HoldRow>,
    /// Reservations that end.
    pub closures: Vec<ClosureRow>,
    /// Keys that are answered.
    pub keys: Vec<KeyRow>,
    /// What else changes.
    pub records: Vec<RecordRow>,
    /// In the order in which they were taken.
    pub decisions: Vec<DecisionRow>,
    /// In the order in which they were told.
    pub usages: Vec<UsageRow>,
    /// In order.
    pub entries: Vec<EntryRow>,
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
            counters: Vec::new(),
            holds: Vec::new(),
            closures: Vec::new(),
            keys: Vec::new(),
            records: Vec::new(),
            decisions: Vec::new(),
            usages: Vec::new(),
            entries: Vec::new(),
        }
    }
}

/// What is asked of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Whose.
    pub tenant: Tenant,
    /// Counters.
    pub counters: Vec<Since>,
    /// Reservations.
    pub holds: Vec<Uuid>,
    /// Idempotency keys, as (operation, key).
    pub keys: Vec<(String, String)>,
    /// Whether all records are asked for.
    pub records: bool,
}

impl Need {
    /// The head alone.
    #[must_use]
    pub fn head(tenant: Tenant) -> Self {
        Self { tenant, counters: Vec::new(), holds: Vec::new(), keys: Vec::new(), records: false }
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
    /// Those there are.
    pub holds: Vec<HoldState>,
    /// Those that were answered.
    pub keys: Vec<KeyRow>,
    /// All, where they were asked for.
    pub records: Vec<RecordRow>,
}
