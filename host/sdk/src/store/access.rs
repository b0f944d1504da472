//! Who is let in, and what was done by whom.

use std::future::Future;

use tollgate_policy_core::window::Instant;
use uuid::Uuid;

use super::{Owner, StoreError, Tenant};

/// A token as the store knows it: never its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// By which it is found; no secret.
    pub id: String,
    /// Of its secret, SHA-256.
    pub digest: [u8; 32],
    /// For whom it speaks; none: for all tenants.
    pub tenant: Option<Tenant>,
    /// What it may do.
    pub role: String,
    /// As people call it.
    pub name: String,
    /// When it was made.
    pub created_at: Instant,
    /// By whom.
    pub created_by: String,
    /// From then on it counts no longer; none: it does not end by itself.
    pub expires_at: Option<Instant>,
    /// When it was revoked; none: it was not.
    pub revoked_at: Option<Instant>,
    /// Its older secret; none: it was not rotated.
    pub older: Option<OlderSecret>,
}

/// The secret that a token had before it was rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlderSecret {
    /// Since when it is the older one.
    pub rotated_at: Instant,
    /// SHA-256 of it.
    pub digest: [u8; 32],
    /// From then on it counts no longer.
    pub until: Instant,
}

/// A new secret for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationRow {
    /// SHA-256 of it.
    pub digest: [u8; 32],
    /// From when.
    pub at: Instant,
    /// From then on it counts no longer; none: it does not end by itself.
    pub expires_at: Option<Instant>,
    /// From then on the older secret counts no longer.
    pub older_until: Instant,
}

impl TokenRow {
    /// Whose it is: what speaks for all tenants is the platform's.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.tenant.clone().map_or(Owner::Platform, Owner::Tenant)
    }
}

/// An administrative act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its own, among all acts.
    pub id: Uuid,
    /// In whose affairs.
    pub owner: Owner,
    /// When.
    pub at: Instant,
    /// Who.
    pub who: String,
    /// What kind of act: `limit.set`.
    pub act: String,
    /// On what.
    pub subject: String,
    /// What that was, JSON; none: it was not there.
    pub before: Option<String>,
    /// What it was to become, JSON; none: it was to be gone.
    pub after: Option<String>,
    /// What became of the act; none: that was never told.
    pub outcome: Option<String>,
}

/// Keeps who is let in, and what was done by whom.
pub trait AccessStore: Send + Sync + 'static {
    /// Keeps a token; false: there is one of this identifier.
    fn put_token(&self, token: &TokenRow) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// A token, whether it still counts or not.
    fn token(&self, id: &str) -> impl Future<Output = Result<Option<TokenRow>, StoreError>> + Send;

    /// All tokens there are, in the order in which they were made; of a tenant, or everybody's.
    fn tokens(
        &self,
        tenant: Option<&Tenant>,
    ) -> impl Future<Output = Result<Vec<TokenRow>, StoreError>> + Send;

    /// From then on a token counts no longer; false: there is none (of this tenant, if one is
    /// given), or it was revoked before.
    fn revoke_token(
        &self,
        tenant: Option<&Tenant>,
        id: &str,
        at: Instant,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Gives a token a new secret. The older one counts until then and no longer, nor longer than it
    /// did; where there are two older ones, the later one ends at once, since nobody may have it. False:
    /// there is no such token (of this tenant, if one is given) that counts at its instant.
    fn rotate_token(
        &self,
        tenant: Option<&Tenant>,
        id: &str,
        rotation: &RotationRow,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Writes down an act before it is done, so that none is done that was not written down. A
    /// second time it is refused.
    fn audit(&self, act: &AuditRow) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What became of an act: the first word stays.
    fn audited(
        &self,
        owner: &Owner,
        id: Uuid,
        outcome: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Acts, the last first, from before one of them: a page; of one owner, or everybody's.
    fn audits(
        &self,
        owner: Option<&Owner>,
        before: Option<(Instant, Uuid)>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<AuditRow>, StoreError>> + Send;
}
