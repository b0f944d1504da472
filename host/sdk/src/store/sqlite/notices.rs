//! What people are told.

use std::future::Future;

use super::{SqliteStore, failed};
use crate::store::notices::statements::notice_store;

// There is one writer: nobody has taken anything meanwhile.
notice_store!(
    SqliteStore,
    sqlx::sqlite::SqliteRow,
    readers,
    pool,
    told,
    "",
    "SELECT value->>0, value->>1 FROM json_each($5)"
);

async fn told<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    answer.await.map_err(|error| failed(&error))
}
