//! Runs, as they are listed: a page in the order in which they began, which is that of their
//! identifiers.

use std::ops::Range;

use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::rows::{first_id_of, instant_of};

/// How many runs are under way, of a user or of everybody.
pub(super) const ACTIVE: &str = "SELECT count(*) FROM run WHERE tenant_id = $1 AND ended_at IS NULL \
     AND (CAST($2 AS text) IS NULL OR user_value = $2)";

/// Which runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunQuery {
    /// Whose; none: everybody's.
    pub user: Option<String>,
    /// When they began, the end not among it.
    pub began: Range<Instant>,
    /// Only those that are under way.
    pub is_active: bool,
    /// Only those after this one.
    pub after: Uuid,
    /// So many at the most.
    pub limit: u32,
}

impl RunQuery {
    /// The first of everybody's.
    #[must_use]
    pub fn first(limit: u32) -> Self {
        let began = Instant::MIN..Instant::MAX;
        Self { user: None, began, is_active: false, after: Uuid::nil(), limit }
    }

    /// In both databases' words: each is read along an index, and no further than its page.
    pub(super) fn sql(&self) -> &'static str {
        macro_rules! sql {
            ($own:literal, $order:literal) => {
                concat!(
                    "SELECT id, user_value, started_at, ended_at, body FROM run \
                     WHERE tenant_id = $1 AND id > $3 AND id < $4 AND started_at >= $5 AND started_at < $6 AND ",
                    $own,
                    " ORDER BY ",
                    $order,
                    " LIMIT $7"
                )
            };
        }
        match (self.is_active, &self.user) {
            (true, _) => {
                sql!("ended_at IS NULL AND (CAST($2 AS text) IS NULL OR user_value = $2)", "id")
            }
            (false, Some(_)) => sql!("user_value = $2", "started_at, id"),
            (false, None) => sql!("CAST($2 AS text) IS NULL", "id"),
        }
    }

    /// Between which identifiers, and from and until when.
    pub(super) fn bounds(&self) -> (Range<Uuid>, Range<Instant>) {
        let Range { start, end } = self.began;
        let before = Uuid::from_u128(first_id_of(start).as_u128().saturating_sub(1));
        let since = start.max(instant_of(self.after));
        (self.after.max(before)..first_id_of(end), since..end)
    }
}
