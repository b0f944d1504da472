//! What takes the place of values that are erased.

use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::access::AuditRow;
use super::rows::{BatchKey, LatestKey};

/// What stood for some values and stands for others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renamed {
    /// The latest stretches, and their new values.
    pub latest: Vec<(LatestKey, String)>,
    /// By counter, all other stretches of old values, and the new ones; also what was carried
    /// forward.
    pub counters: Vec<(i64, String, String)>,
}

/// New bodies of what happened. What is there no longer is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Of batches.
    pub batches: Vec<(BatchKey, Vec<u8>)>,
    /// Of usages, by when they were booked and their identifier.
    pub usages: Vec<(Instant, Uuid, Vec<u8>)>,
    /// Of entries of the ledger, in the same way.
    pub entries: Vec<(Instant, Uuid, Vec<u8>)>,
    /// Of reservations whose time was over, unless they were settled meanwhile.
    pub expired: Vec<(Uuid, Vec<u8>)>,
    /// Of runs, with whose they are.
    pub runs: Vec<(Uuid, String, Vec<u8>)>,
    /// Of changes, with their new name.
    pub changes: Vec<(ChangeKey, String, Option<Vec<u8>>)>,
    /// Of notices. What receivers answered to them gives way as well: it may name whom they are about.
    pub notices: Vec<(Uuid, Vec<u8>)>,
    /// Of administrative acts: what they were on, before, after, and what became of them.
    pub acts: Vec<AuditRow>,
}

impl Rewritten {
    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// By which changes are in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeKey {
    /// The record's kind.
    pub kind: String,
    /// The record's name.
    pub name: String,
    /// The version that it came with.
    pub version: i64,
}

/// How a record came to be what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRow {
    /// Which.
    pub key: ChangeKey,
    /// When.
    pub at: Instant,
    /// As it was from then on; none: gone.
    pub body: Option<Vec<u8>>,
}
