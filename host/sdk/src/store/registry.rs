//! What policies there are, and where they are bound.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tollgate_policy_core::window::Instant;

use super::{StoreError, Tenant};

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// Who runs it all.
    Platform,
    /// One of those it is run for.
    Tenant(Tenant),
}

/// The platform's name among tenants: none can be called that.
const PLATFORM: &str = "*";

impl Owner {
    /// As the store knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Platform => PLATFORM,
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }

    /// None: a store never wrote it.
    pub(super) fn read(name: &str) -> Option<Self> {
        match name {
            PLATFORM => Some(Self::Platform),
            name => name.parse().ok().map(Self::Tenant),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str("the platform"),
            Self::Tenant(tenant) => write!(f, "tenant `{tenant}`"),
        }
    }
}

/// Where policies are bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Whose it is.
    pub owner: Owner,
    /// Of the platform, for tenants that are on this plan; empty: for all.
    pub plan: String,
}

impl Scope {
    /// For all.
    #[must_use]
    pub fn platform() -> Self {
        Self { owner: Owner::Platform, plan: String::new() }
    }

    /// For those on a plan.
    #[must_use]
    pub fn plan(plan: String) -> Self {
        Self { owner: Owner::Platform, plan }
    }

    /// For a tenant.
    #[must_use]
    pub fn of(tenant: &Tenant) -> Self {
        Self { owner: Owner::Tenant(tenant.clone()), plan: String::new() }
    }
}

/// Who did something, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// When.
    pub at: Instant,
    /// Who.
    pub author: String,
    /// Why, in words.
    pub message: String,
}

/// A component with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionRow {
    /// Whose.
    pub owner: Owner,
    /// Of which policy, as people call it.
    pub policy: String,
    /// The policy's how-manieth, from 1 on.
    pub number: i64,
    /// The component's, SHA-256 in hexadecimal.
    pub digest: String,
    /// JSON.
    pub settings: String,
    /// Whose key signed the component, by its name.
    pub signer: Option<String>,
    /// The signature itself.
    pub signature: Option<Vec<u8>>,
    /// By whom it was made.
    pub signed: Signed,
}

impl RevisionRow {
    /// By which it is known.
    #[must_use]
    pub fn id(&self) -> RevisionId {
        let (owner, policy) = (self.owner.clone(), self.policy.clone());
        RevisionId { owner, policy, number: self.number }
    }
}

/// By which a revision is known: `acme/monthly@3`, and of the platform `*/monthly@3`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RevisionId {
    /// Whose.
    pub owner: Owner,
    /// Of which policy.
    pub policy: String,
    /// The policy's how-manieth.
    pub number: i64,
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.owner.as_str(), self.policy, self.number)
    }
}

/// All that is bound in a scope as of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingSetRow {
    /// Where.
    pub scope: Scope,
    /// From 1 on, without a gap.
    pub version: i64,
    /// Its number among those of all places, in the order in which they were committed; told by the
    /// store.
    pub moved: i64,
    /// By whom it was bound.
    pub signed: Signed,
    /// What the registry keeps of it.
    pub body: String,
}

/// Tells that something was bound.
pub struct Announcements {
    heard: Arc<Notify>,
    /// Listens for as long as this is there.
    listening: Option<AbortHandle>,
}

impl Announcements {
    /// Nobody tells.
    pub(super) fn none() -> Self {
        Self { heard: Arc::default(), listening: None }
    }

    /// Told by a task.
    pub(super) fn by(heard: Arc<Notify>, listening: AbortHandle) -> Self {
        Self { heard, listening: Some(listening) }
    }

    /// Something was bound since this was last asked.
    pub async fn next(&self) {
        self.heard.notified().await;
    }
}

impl Drop for Announcements {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// Keeps what policies there are.
pub trait RegistryStore: Send + Sync + 'static {
    /// Keeps a component; whether it was not there before.
    fn put_component(
        &self,
        owner: &Owner,
        digest: &str,
        bytes: &[u8],
        signed: &Signed,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// A component's bytes.
    fn component(
        &self,
        owner: &Owner,
        digest: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;

    /// Keeps a revision; false: there is one of this number.
    fn put_revision(
        &self,
        revision: &RevisionRow,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// All revisions of an owner, or of one policy, in the order of their numbers.
    fn revisions(
        &self,
        owner: &Owner,
        policy: Option<&str>,
    ) -> impl Future<Output = Result<Vec<RevisionRow>, StoreError>> + Send;

    /// These revisions, as far as there are such, in no order.
    fn some_revisions(
        &self,
        ids: &[RevisionId],
    ) -> impl Future<Output = Result<Vec<RevisionRow>, StoreError>> + Send;

    /// Binds, as of the next version of a scope; false: that is taken, somebody else bound.
    fn put_bindings(
        &self,
        bindings: &BindingSetRow,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// What was bound in a scope, from the last version back: so many.
    fn bindings(
        &self,
        scope: &Scope,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<BindingSetRow>, StoreError>> + Send;

    /// Hears of what is bound from now on, as far as the store tells. What is missed is found by
    /// asking.
    fn announcements(&self) -> Announcements;

    /// What is bound now in places where something was bound after this.
    fn bound_since(
        &self,
        moved: i64,
    ) -> impl Future<Output = Result<Vec<BindingSetRow>, StoreError>> + Send;
}
