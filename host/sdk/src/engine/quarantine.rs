//! A policy that fails again and again is asked no longer, as if it failed each time: until a person
//! lets it back, or another revision takes its place. Each tenant has its own.

use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tollgate_policy_core::window::Instant;

use super::records::Records;
use super::{Binding, Layer, Setup};
use crate::sandbox::Fault;
use crate::store::{Need, Store, StoreError, Tenant};

/// It is taken out once it failed so often in a row.
pub const FAILURES_MAX: u32 = 10;

/// By which a policy is known to have failed: another revision is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyKey {
    /// Whose it is.
    pub layer: Layer,
    /// What people call it.
    pub policy: String,
    /// `acme/own@3`; of one that was embedded a digest of component and settings.
    pub revision: String,
}

/// Since when a policy is asked no longer, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Since when.
    pub at: Instant,
    /// How it failed last, in words.
    pub reason: String,
}

impl PolicyKey {
    /// Of a policy in its place.
    #[must_use]
    pub fn of(binding: &Binding) -> Self {
        let Binding { name, policy, layer, revision, .. } = binding;
        let embedded = || {
            let hasher = Sha256::new().chain_update(&policy.admitted().digest);
            let digest = hasher.chain_update(policy.settings()).finalize();
            digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
        };
        let revision = revision.as_ref().map_or_else(embedded, ToString::to_string);
        Self { layer: *layer, policy: name.clone(), revision }
    }
}

/// How often each of a tenant's policies failed in a row, on this host.
pub struct Watch(Vec<(PolicyKey, AtomicU32)>);

impl Watch {
    pub fn over(setup: &Setup) -> Self {
        let watched = |binding| (PolicyKey::of(binding), AtomicU32::new(0));
        Self(setup.bindings.iter().map(watched).collect())
    }

    pub fn key(&self, place: usize) -> Option<&PolicyKey> {
        Some(&self.0.get(place)?.0)
    }

    /// The policy in a place answered, or failed. What the host cut short counts for neither.
    pub fn saw(&self, place: usize, fault: Option<&Fault>) {
        let Some((_, failures)) = self.0.get(place) else { return };
        match fault {
            // Mostly it is zero, and stays in everybody's cache.
            None if failures.load(Ordering::Relaxed) > 0 => failures.store(0, Ordering::Relaxed),
            Some(fault) if !fault.is_hosts() => {
                failures.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Whether the policy in a place failed often enough; then counting begins anew.
    pub fn is_enough(&self, place: usize) -> bool {
        let Some((_, failures)) = self.0.get(place) else { return false };
        let enough = failures.load(Ordering::Relaxed) >= FAILURES_MAX;
        if enough {
            failures.store(0, Ordering::Relaxed);
        }
        enough
    }
}

/// Which of a tenant's policies are asked no longer, and why.
pub async fn quarantined<S: Store>(
    store: &S,
    tenant: &Tenant,
) -> Result<Vec<(PolicyKey, Quarantined)>, StoreError> {
    let need = Need { whole: true, ..Need::head(tenant.clone()) };
    let mut records = Records::default();
    if let Some(found) = store.read(&[need]).await?.pop() {
        records.load(&found.records);
    }
    let all = records.quarantined().iter();
    Ok(all.map(|(policy, why)| (policy.clone(), why.clone())).collect())
}
