//! Policies, ready to be asked: what is loaded is shared by all who are judged with the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Registry, RegistryError};
use crate::sandbox::{Policy, Refused, digest};
use crate::store::{Owner, RegistryStore, RevisionId, Store};

/// So many policies at the most stay loaded.
const LOADED_MAX: usize = 4_096;

/// Of so many revisions it is remembered what they are.
const REVISIONS_MAX: usize = 65_536;

/// What is loaded, and what is known of it.
#[derive(Default)]
pub struct Loaded {
    /// By component and settings.
    policies: Mutex<HashMap<(String, String), Policy>>,
    /// What revisions are: components and settings.
    revisions: Mutex<HashMap<RevisionId, (String, String)>>,
    /// Components that hosts are embedded with, by digest: they are kept in no store.
    embedded: Mutex<HashMap<String, &'static [u8]>>,
}

impl Loaded {
    fn policy(&self, digest: &str, settings: &str) -> Option<Policy> {
        let policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        policies.get(&(digest.to_owned(), settings.to_owned())).cloned()
    }

    fn keep(&self, settings: &str, policy: &Policy) {
        let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        if policies.len() >= LOADED_MAX {
            // Those that serve are held by who they serve.
            policies.clear();
        }
        policies.insert((policy.admitted().digest.clone(), settings.to_owned()), policy.clone());
    }

    fn revision(&self, id: &RevisionId) -> Option<(String, String)> {
        let revisions = self.revisions.lock().unwrap_or_else(PoisonError::into_inner);
        revisions.get(id).cloned()
    }

    fn embedded(&self, digest: &str) -> Option<&'static [u8]> {
        let embedded = self.embedded.lock().unwrap_or_else(PoisonError::into_inner);
        embedded.get(digest).copied()
    }
}

impl<S: Store + RegistryStore> Registry<S> {
    /// Hosts may have judged with this component without its being pushed.
    pub fn know(&self, component: &'static [u8]) {
        let embedded = &self.0.loaded.embedded;
        let mut embedded = embedded.lock().unwrap_or_else(PoisonError::into_inner);
        embedded.insert(digest(component), component);
    }

    /// A revision's policy, ready to be asked.
    pub async fn load(&self, id: &RevisionId) -> Result<Policy, RegistryError> {
        self.learn(std::slice::from_ref(id)).await?;
        let unknown = || RegistryError::UnknownRevision(id.clone());
        let (component, settings) = self.0.loaded.revision(id).ok_or_else(unknown)?;
        let owners = std::slice::from_ref(&id.owner);
        let policy = self.load_digest(&id.policy, &component, &settings, owners).await?;
        policy.ok_or_else(unknown)
    }

    /// Looks revisions up that are not known yet, all at once: they never change.
    pub(super) async fn learn(&self, ids: &[RevisionId]) -> Result<(), RegistryError> {
        let unknown = |id: &&RevisionId| self.0.loaded.revision(id).is_none();
        let wanted: Vec<RevisionId> = ids.iter().filter(unknown).cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let rows = self.0.store.some_revisions(&wanted).await?;
        let revisions = &self.0.loaded.revisions;
        let mut revisions = revisions.lock().unwrap_or_else(PoisonError::into_inner);
        if revisions.len() + rows.len() > REVISIONS_MAX {
            revisions.clear();
        }
        revisions.extend(rows.into_iter().map(|row| (row.id(), (row.digest, row.settings))));
        Ok(())
    }

    /// A component of this digest with settings; none: it is kept by none of these owners.
    pub(super) async fn load_digest(
        &self,
        policy: &str,
        component: &str,
        settings: &str,
        owners: &[Owner],
    ) -> Result<Option<Policy>, RegistryError> {
        if let Some(policy) = self.0.loaded.policy(component, settings) {
            return Ok(Some(policy));
        }
        if let Some(policy) = self.load_known(component, settings).await {
            return Ok(Some(policy));
        }
        if let Some(bytes) = self.0.loaded.embedded(component) {
            return self.load_bytes(policy, bytes.to_vec(), settings).await.map(Some);
        }
        for owner in owners {
            let Some(bytes) = self.0.store.component(owner, component).await? else { continue };
            let found = digest(&bytes);
            if found != component {
                return Err(RegistryError::Digest { expected: component.to_owned(), found });
            }
            return self.load_bytes(policy, bytes, settings).await.map(Some);
        }
        Ok(None)
    }

    /// From the cache of compiled code, where it is known.
    async fn load_known(&self, component: &str, settings: &str) -> Option<Policy> {
        let (inner, own) = (Arc::clone(&self.0), (component.to_owned(), settings.to_owned()));
        let load = tokio::task::spawn_blocking(move || inner.sandbox.load_known(&own.0, &own.1));
        // What the cache cannot give is compiled anew.
        let policy = load.await.ok()??.ok()?;
        self.0.loaded.keep(settings, &policy);
        Some(policy)
    }

    /// A component's policy, ready to be asked, whether or not it was pushed. Compiling takes long, and
    /// happens beside those who wait for answers.
    pub async fn load_bytes(
        &self,
        policy: &str,
        bytes: Vec<u8>,
        settings: &str,
    ) -> Result<Policy, RegistryError> {
        let (inner, own) = (Arc::clone(&self.0), settings.to_owned());
        let load = tokio::task::spawn_blocking(move || inner.sandbox.load(&bytes, &own));
        let loaded = load.await.unwrap_or_else(|error| Err(Refused::Host(error.to_string())));
        let refused = |reason| RegistryError::Refused { policy: policy.to_owned(), reason };
        let policy = loaded.map_err(refused)?;
        self.0.loaded.keep(settings, &policy);
        Ok(policy)
    }
}
