//! What the program takes from around it: time and chance.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tollgate_host::engine::Random;
use tollgate_host::store::Clock;
use uuid::Uuid;

/// The time of day, for stores that have no clock of their own.
pub fn wall_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Chance, for identifiers and stamps.
pub fn random() -> Random {
    Arc::new(|| Uuid::new_v4().as_u128())
}
