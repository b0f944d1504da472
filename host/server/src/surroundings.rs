//! What the program takes from around it: time, chance, and when to stop.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
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

/// A signal of the system's to stop, or of a person's. It is heard from this call on, whenever it is
/// waited for.
pub fn told_to_stop() -> Result<impl Future<Output = ()> + Send> {
    let (mut terminate, mut interrupt) =
        (heard(SignalKind::terminate())?, heard(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn heard(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("cannot hear when it is to stop")
}
