//! Administrative acts: each is written down before it is done, and what became of it after.

use std::fmt::Display;
use std::future::Future;

use serde_json::Value as Json;
use tollgate_host::engine::Random;
use tollgate_host::store::{AuditRow, Owner, StoreError};
use uuid::Uuid;

use crate::stores::Stores;

/// What somebody is about to do.
pub struct Act {
    /// In whose affairs.
    pub owner: Owner,
    /// `limit.set`
    pub act: &'static str,
    /// On what.
    pub subject: String,
    /// What that is; null: it is not there.
    pub before: Json,
    /// What it is to become; null: it is to be gone.
    pub after: Json,
}

/// Writes an act down and does it. What is not written down is not done.
pub async fn carry_out<S: Stores, T, E: From<StoreError> + Display>(
    store: &S,
    random: &Random,
    who: String,
    act: Act,
    doing: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Act { owner, act, subject, before, after } = act;
    let text = |json: Json| (!json.is_null()).then(|| json.to_string());
    let row = AuditRow {
        id: Uuid::from_u128(random()),
        owner,
        at: store.now().await?,
        who,
        act: act.to_owned(),
        subject,
        before: text(before),
        after: text(after),
        outcome: None,
    };
    store.audit(&row).await?;
    let done = doing.await;
    let outcome = match &done {
        Ok(_) => "done".to_owned(),
        Err(error) => error.to_string().replace('\0', ""),
    };
    if let Err(error) = store.audited(&row.owner, row.id, &outcome).await {
        tracing::warn!(%error, id = %row.id, "what became of an act was not written down");
    }
    done
}
