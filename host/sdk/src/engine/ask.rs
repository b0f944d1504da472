//! Requests on their way to the shard that owns their tenant.

use tokio::sync::oneshot;
use tollgate_policy_core::contract::Dimension;

use super::Call;
use super::host::HostError;
use super::look::Account;
use super::look::Checked;
use super::operation::{Mode, Operation, Outcome};
use super::price::Beforehand;
use crate::store::Tenant;

/// A request.
pub struct Ask {
    pub tenant: Tenant,
    /// Under which it is done once, however often it is asked.
    pub key: Option<Key>,
    /// Whether its key is looked for in the store before it is judged.
    pub seeks_key: bool,
    /// What was found before its turn came.
    pub beforehand: Option<Beforehand>,
    /// Why it cannot be done as things are now: that is its answer, unless its key has one.
    pub refused: Option<HostError>,
    pub work: Work,
}

/// An idempotency key.
pub struct Key {
    /// Of which operation, and what the caller calls it.
    pub name: (String, String),
    /// What is asked for under it.
    pub hash: [u8; 32],
}

/// What is asked for, and where the answer goes.
pub enum Work {
    Do(Operation, oneshot::Sender<Result<Outcome, HostError>>),
    Look(Look, oneshot::Sender<Result<Seen, HostError>>),
}

/// A question that changes nothing.
pub enum Look {
    /// What would become of this call?
    Check(Call, Mode),
    /// What do the ledger's accounts stand at?
    Accounts,
}

/// Its answer.
pub enum Seen {
    Checked(Box<Checked>),
    Accounts(Vec<Account>),
}

/// Answers that wait for their batch.
pub type Answers = Vec<(Ask, Result<Outcome, HostError>)>;

impl Look {
    pub fn dimensions(&self) -> &[Dimension] {
        match self {
            Self::Check(call, _) => &call.dimensions,
            Self::Accounts => &[],
        }
    }
}

impl Ask {
    pub fn new(tenant: Tenant, work: Work) -> Self {
        Self { tenant, key: None, seeks_key: false, beforehand: None, refused: None, work }
    }

    /// Answers a question.
    pub fn seen(self, seen: Result<Seen, HostError>) {
        if let Work::Look(_, reply) = self.work {
            drop(reply.send(seen));
        }
    }

    pub fn refuse(self, error: &HostError) {
        // Whoever no longer waits asks again with the same key, or not at all.
        match self.work {
            Work::Do(_, reply) => drop(reply.send(Err(error.clone()))),
            Work::Look(_, reply) => drop(reply.send(Err(error.clone()))),
        }
    }
}

pub fn answer(answers: Answers) {
    for (ask, outcome) in answers {
        if let Work::Do(_, reply) = ask.work {
            drop(reply.send(outcome));
        }
    }
}

pub fn refuse(asks: impl IntoIterator<Item = Ask>, error: &HostError) {
    asks.into_iter().for_each(|ask| ask.refuse(error));
}
