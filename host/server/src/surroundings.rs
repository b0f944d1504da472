//! What the program takes from around it: time, chance, and when to stop.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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

/// Time that never jumps, whatever becomes of the time of day.
pub fn steady_clock() -> Clock {
    let (began, at) = (Instant::now(), wall_clock()());
    Arc::new(move || {
        let since = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        at.saturating_add(since)
    })
}

/// Chance, for identifiers and stamps.
pub fn random() -> Random {
    Arc::new(|| Uuid::new_v4().as_u128())
}

/// A signal of the system's to stop, or of a person's.
pub async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::error!(%error, "cannot be told to stop");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
