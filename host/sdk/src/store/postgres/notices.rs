//! What people are told.

use std::future::Future;

use super::{PostgresStore, failed, in_time};
use crate::store::notices::statements::notice_store;

notice_store!(
    PostgresStore,
    sqlx::postgres::PgRow,
    pool,
    pool,
    told,
    "FOR UPDATE SKIP LOCKED",
    "SELECT pair->>0, pair->>1 FROM json_array_elements($5::json) AS pair"
);

async fn told<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    in_time(answer).await.map_err(|error| failed(&error))
}
