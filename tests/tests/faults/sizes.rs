//! How much a test does. `TOLLGATE_SOAK` unset: as much as each build can bear; `quick`: for about
//! a minute; `full`: as much as a release must have stood.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The number for this run.
pub fn size(usual: usize, quick: usize, full: usize) -> usize {
    match std::env::var("TOLLGATE_SOAK").as_deref() {
        Err(_) => usual,
        Ok("quick") => quick,
        Ok("full") => full,
        Ok(other) => panic!("`TOLLGATE_SOAK` is `quick` or `full`, and not `{other}`"),
    }
}

/// Lets one test run at a time, since they measure how soon something serves again.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
