//! Policies, ready to be asked: what is loaded is shared by all who are judged with the same.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Registry, RegistryError};
use crate::sandbox::{Policy, Refused, digest};
use crate::store::{Owner, RegistryStore, RevisionId, Store};

/// So many policies at the most stay loaded.
const LOADED_MAX: usize = 4_096;

/// Of so many revisions it is remembered what they are.
const REVISIONS_MAX: usize = 65_536;

/// So long a component that was refused is not compiled again for those for whom it is bound.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// So many refusals are remembered.
const REFUSED_MAX: usize = 4_096;

/// What is loaded, and what is known of it.
#[derive(Default)]
pub struct Loaded {
    /// By component and settings.
    policies: Mutex<HashMap<(String, String), Policy>>,
    /// The same of what was refused, and until when that counts.
    refused: Mutex<HashMap<(String, String), (Refused, Instant)>>,
    /// What is being compiled for those who follow.
    compiling: Mutex<HashSet<RevisionId>>,
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

    fn refusal(&self, digest: &str, settings: &str) -> Option<Refused> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (reason, until) = refused.get(&(digest.to_owned(), settings.to_owned()))?;
        (Instant::now() < *until).then(|| reason.clone())
    }

    fn refuse(&self, digest: &str, settings: &str, reason: &Refused) {
        let (now, mut refused) =
            (Instant::now(), self.refused.lock().unwrap_or_else(PoisonError::into_inner));
        if refused.len() >= REFUSED_MAX {
            refused.clear();
        }
        let name = (digest.to_owned(), settings.to_owned());
        refused.insert(name, (reason.clone(), now + REFUSED_FOR));
    }

    /// Whether nobody else compiles it for those who follow: whoever does has to say when it is over.
    pub fn begin(&self, id: &RevisionId) -> bool {
        self.compiling.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone())
    }

    pub fn end(&self, id: &RevisionId) {
        self.compiling.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
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

    /// Whether a revision that was learnt of is ready, or is known never to be, without compiling it.
    pub(super) async fn is_compiled(&self, id: &RevisionId) -> bool {
        let loaded = &self.0.loaded;
        let Some((component, settings)) = loaded.revision(id) else { return true };
        loaded.policy(&component, &settings).is_some()
            || loaded.refusal(&component, &settings).is_some()
            || self.load_known(&component, &settings).await.is_some()
    }

    /// A revision's policy, where it is loaded.
    pub(super) fn at_hand(&self, id: &RevisionId) -> Option<Policy> {
        let (component, settings) = self.0.loaded.revision(id)?;
        self.0.loaded.policy(&component, &settings)
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
        if let Some(reason) = self.0.loaded.refusal(component, settings) {
            return Err(RegistryError::Refused { policy: policy.to_owned(), reason });
        }
        if let Some(policy) = self.load_known(component, settings).await {
            return Ok(Some(policy));
        }
        let Some(bytes) = self.bytes(component, owners).await? else { return Ok(None) };
        let loaded = self.load_bytes(policy, bytes, settings).await;
        if let Err(RegistryError::Refused { reason, .. }) = &loaded {
            self.0.loaded.refuse(component, settings, reason);
        }
        loaded.map(Some)
    }

    async fn bytes(
        &self,
        component: &str,
        owners: &[Owner],
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        if let Some(bytes) = self.0.loaded.embedded(component) {
            return Ok(Some(bytes.to_vec()));
        }
        for owner in owners {
            let Some(bytes) = self.0.store.component(owner, component).await? else { continue };
            let found = digest(&bytes);
            if found != component {
                return Err(RegistryError::Digest { expected: component.to_owned(), found });
            }
            return Ok(Some(bytes));
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
