//! A policy that fails again and again is asked no longer, as if it failed each time: until a person
//! lets it back, or another revision takes its place. Each tenant has its own.

use std::sync::Arc;
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
    /// How it failed last, for programs: what the policy said of it may name people.
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

/// So begin the keys under which people are told of it.
pub const QUARANTINED: &str = "policy_quarantined:";

/// Under this key people are told of it.
pub fn quarantine_notice(policy: &PolicyKey) -> String {
    let PolicyKey { layer, policy, revision } = policy;
    let of = if *layer == Layer::Tenant { "" } else { "*/" };
    format!("{QUARANTINED}{of}{policy}:{revision}")
}

/// How often each of a tenant's policies failed in a row, on this host.
pub struct Watch {
    keys: Arc<[PolicyKey]>,
    failures: Box<[AtomicU32]>,
}

impl Watch {
    pub fn over(setup: &Setup) -> Self {
        Self::of(setup.bindings.iter().map(PolicyKey::of).collect())
    }

    /// Over another tenant's, with the same policies.
    pub fn of_another(&self) -> Self {
        Self::of(Arc::clone(&self.keys))
    }

    fn of(keys: Arc<[PolicyKey]>) -> Self {
        let failures = keys.iter().map(|_| AtomicU32::new(0)).collect();
        Self { keys, failures }
    }

    pub fn keys(&self) -> &[PolicyKey] {
        &self.keys
    }

    pub fn key(&self, place: usize) -> Option<&PolicyKey> {
        self.keys.get(place)
    }

    /// The policy in a place answered a call that is decided, or failed: how often in a row by now.
    /// What the host cut short counts for neither; once it is out, counting begins anew.
    pub fn saw(&self, place: usize, fault: Option<&Fault>) -> u32 {
        let Some(failures) = self.failures.get(place) else { return 0 };
        match fault {
            None | Some(Fault::Quarantined) => {
                // Mostly it is zero, and stays in everybody's cache.
                if failures.load(Ordering::Relaxed) > 0 {
                    failures.store(0, Ordering::Relaxed);
                }
                0
            }
            Some(fault) if fault.is_hosts() => 0,
            Some(_) => failures.fetch_add(1, Ordering::Relaxed) + 1,
        }
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
