//! Policies on the move: what revisions there are, where they are bound, and how what is bound reaches
//! a host that runs.

mod bindings;
mod current;
mod flips;
mod follow;
mod layers;
mod loading;
mod ready;
mod replay;
mod shadow;
mod signing;
mod walk;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tollgate_policy_core::decimal::DecimalError;
use tollgate_policy_core::{Currency, Meter};

use crate::engine::{Setup, SetupError};
use crate::sandbox::{Refused, Sandbox};
use crate::store::{
    BindingSetRow, Owner, RegistryStore, RevisionId, RevisionRow, Scope, Signed, Store, StoreError,
    Tenant,
};
use current::Current;
use loading::Loaded;
use ready::Ready;

pub use bindings::{Bindings, Bound, Change, Prices, TenantSettings};
pub use flips::{Example, Flip, Hit, Sums};
use follow::Tried;
pub use follow::Trouble;
pub use layers::POLICIES_UNFIT;
pub use replay::ReplayReport;
pub use shadow::{Compared, Evidence};
pub use signing::{Key, NotAKey, NotVouched, PublicKey, Signing};
pub use walk::{Decided, KnownSetups};

/// How often a revision's number is sought anew while others push beside.
const ATTEMPTS: usize = 8;

/// The registry gave no answer, and nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The store's trouble.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The component may not serve with these settings.
    #[error("`{policy}` is refused: {reason}")]
    Refused {
        /// Which policy.
        policy: String,
        /// Why.
        reason: Refused,
    },
    /// It is another component than was meant.
    #[error(
        "the component's digest is sha256:{found}, and not sha256:{expected}: look at what is pushed"
    )]
    Digest {
        /// What it was to be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Nobody vouches for the component.
    #[error("`{policy}` is not taken: {reason}")]
    NotVouched {
        /// Which policy.
        policy: String,
        /// Why.
        reason: NotVouched,
    },
    /// Not a policy's name.
    #[error("`{0}` is not a policy's name: write 1 to 64 letters, digits, `-`, `_` or `.`")]
    Name(String),
    /// There is no such revision.
    #[error("there is no revision `{0}`: push it first, or look at `tollgate policy list`")]
    UnknownRevision(RevisionId),
    /// It is another tenant's.
    #[error(
        "`{revision}` cannot be bound by {scope}: bind one of its own, or one of the platform's"
    )]
    NotYours {
        /// Which one.
        revision: RevisionId,
        /// By whom.
        scope: Owner,
    },
    /// Somebody else bound something meanwhile.
    #[error(
        "version {expected} was to change and {found} stands: look at what is bound now, and try again"
    )]
    Moved {
        /// What was to change.
        expected: i64,
        /// What stands.
        found: i64,
    },
    /// There is no version to go back to.
    #[error("nothing was ever bound there")]
    NothingBound,
    /// There is nothing before the first version.
    #[error("there is no version {0} to go back to")]
    NoVersion(i64),
    /// No such policy is bound there.
    #[error("no policy `{0}` is bound there")]
    NotBound(String),
    /// Nothing stands beside what is enforced.
    #[error("`{0}` has no candidate there: bind one with `--shadow` or `--canary`")]
    NoCandidate(String),
    /// Not all that is bound, each once.
    #[error("these are bound there, and an order names each of them once: {0}")]
    Order(String),
    /// Calls are priced in one currency, and what is limited is another one.
    #[error(
        "`{policy}` counts `{meter}`, and what is bound prices in {currency}: count that, or have it \
         priced in the other"
    )]
    OtherCurrency {
        /// Which policy.
        policy: String,
        /// What it counts.
        meter: Meter,
        /// In what is priced.
        currency: Currency,
    },
    /// What is bound would limit a cost, or a price, that nothing tells.
    #[error(
        "`{policy}` counts `{meter}`, which no policy that is bound tells: bind one that prices, for \
         `cost` the platform's, for `price` the tenant's"
    )]
    Unpriced {
        /// Which policy.
        policy: String,
        /// What it counts.
        meter: Meter,
    },
    /// A tenant cannot be judged with all that is bound for it.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Something was judged with a component that is kept nowhere.
    #[error(
        "the component `sha256:{0}`, with which decisions were taken, is kept nowhere: push it"
    )]
    UnknownComponent(String),
    /// A sum does not fit.
    #[error("a sum of money does not fit: {0}")]
    Amount(#[from] DecimalError),
    /// It is not ready yet.
    #[error("`{0}` is being compiled")]
    Compiling(String),
    /// What is bound cannot be read.
    #[error("what is bound cannot be read, a later version wrote it: {0}")]
    Unreadable(String),
}

impl RegistryError {
    /// Whether it says nothing of what is bound, and may be better in a moment.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Compiling(_))
    }
}

/// Who does something, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub author: String,
    /// Why, in words.
    pub message: String,
}

/// A component to be pushed.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// What people call the policy.
    pub policy: &'a str,
    /// Its bytes.
    pub component: &'a [u8],
    /// JSON.
    pub settings: &'a str,
    /// What its digest must be, SHA-256 in hexadecimal; none: whatever it is.
    pub digest: Option<&'a str>,
    /// A signature over `sha256:` and the digest: 64 bytes.
    pub signature: Option<&'a [u8]>,
}

impl<'a> Upload<'a> {
    /// Whatever its digest is, and nobody signed it.
    #[must_use]
    pub fn new(policy: &'a str, component: &'a [u8], settings: &'a str) -> Self {
        Self { policy, component, settings, digest: None, signature: None }
    }
}

/// What a component that was pushed became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its revision.
    pub id: RevisionId,
    /// The component's digest.
    pub digest: String,
    /// Whether it is new: the last one may have been the same.
    pub is_new: bool,
}

/// The registry on a store. Cheap to clone.
pub struct Registry<S>(Arc<Inner<S>>);

impl<S> Clone for Registry<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<S> {
    store: Arc<S>,
    sandbox: Arc<Sandbox>,
    loaded: Loaded,
    current: tokio::sync::Mutex<Current>,
    /// Whom it served last, with what.
    served: Mutex<HashMap<Tenant, Ready>>,
    /// What served last of what was bound in a scope.
    last: Mutex<HashMap<Scope, Vec<Bound>>>,
    troubles: Mutex<HashMap<Tenant, Tried>>,
    /// One at a time brings what is bound, so that the last is what is left.
    bringing: tokio::sync::Mutex<()>,
    /// Those who compile beside that.
    turns: tokio::sync::Semaphore,
}

impl<S: Store + RegistryStore> Registry<S> {
    /// On a store; policies run in this sandbox.
    pub fn new(store: Arc<S>, sandbox: Arc<Sandbox>) -> Self {
        Self(Arc::new(Inner {
            store,
            sandbox,
            loaded: Loaded::default(),
            current: tokio::sync::Mutex::default(),
            served: Mutex::default(),
            last: Mutex::default(),
            troubles: Mutex::default(),
            bringing: tokio::sync::Mutex::default(),
            turns: tokio::sync::Semaphore::new(follow::COMPILED_AT_ONCE),
        }))
    }

    /// The store that it is on.
    #[must_use]
    pub fn store(&self) -> &Arc<S> {
        &self.0.store
    }

    /// Lets a component in with its settings, and makes it a policy's next revision.
    pub async fn push(
        &self,
        owner: &Owner,
        upload: &Upload<'_>,
        by: &By,
    ) -> Result<Pushed, RegistryError> {
        let Upload { policy, component, settings, .. } = *upload;
        check_name(policy)?;
        let signer = self.vouched(owner, upload).await?;
        let admitted = self.load_bytes(policy, component.to_vec(), settings).await?;
        let digest = admitted.admitted().digest.clone();
        let signed = self.signed(by).await?;
        let store = &self.0.store;
        store.put_component(owner, &digest, component, &signed).await?;
        let mut number = 0;
        for _ in 0..ATTEMPTS {
            let last = store.revisions(owner, Some(policy)).await?.pop();
            number = last.as_ref().map_or(1, |last| last.number + 1);
            let signature = upload.signature.map(<[u8]>::to_vec);
            if let Some(last) = last
                && (&*last.digest, &*last.settings) == (&*digest, settings)
                && (signature.is_none() || signature == last.signature)
            {
                return Ok(Pushed { id: last.id(), digest, is_new: false });
            }
            let revision = RevisionRow {
                owner: owner.clone(),
                policy: policy.to_owned(),
                number,
                digest: digest.clone(),
                settings: settings.to_owned(),
                signer: signer.clone(),
                signature,
                signed: signed.clone(),
            };
            if store.put_revision(&revision).await? {
                return Ok(Pushed { id: revision.id(), digest, is_new: true });
            }
        }
        Err(RegistryError::Moved { expected: number - 1, found: number })
    }

    /// Who signed what is pushed, if anybody did, and whether it is what it is said to be.
    async fn vouched(
        &self,
        owner: &Owner,
        upload: &Upload<'_>,
    ) -> Result<Option<String>, RegistryError> {
        let found = crate::sandbox::digest(upload.component);
        if let Some(expected) = upload.digest.filter(|expected| **expected != found) {
            return Err(RegistryError::Digest { expected: expected.to_owned(), found });
        }
        let (_, bindings) =
            self.bound(&Scope { owner: owner.clone(), plan: String::new() }).await?;
        let signer = bindings.signing.signer(&found, upload.signature);
        let policy = upload.policy.to_owned();
        let signer = signer.map_err(|reason| RegistryError::NotVouched { policy, reason })?;
        Ok(signer.map(str::to_owned))
    }

    /// All revisions of an owner, or of one policy.
    pub async fn revisions(
        &self,
        owner: &Owner,
        policy: Option<&str>,
    ) -> Result<Vec<RevisionRow>, RegistryError> {
        Ok(self.0.store.revisions(owner, policy).await?)
    }

    /// What is bound in a scope, and as of which version; version 0: nothing ever was.
    pub async fn bound(&self, scope: &Scope) -> Result<(i64, Bindings), RegistryError> {
        match self.0.store.bindings(scope, 1).await?.pop() {
            Some(row) => Ok((row.version, Bindings::read(&row.body)?)),
            None => Ok((0, Bindings::default())),
        }
    }

    /// What was bound in a scope, from the last version back, each as far as it can be read.
    pub async fn history(
        &self,
        scope: &Scope,
        limit: u32,
    ) -> Result<Vec<(BindingSetRow, Result<Bindings, RegistryError>)>, RegistryError> {
        let rows = self.0.store.bindings(scope, limit).await?;
        let read = |row: BindingSetRow| {
            let bindings = Bindings::read(&row.body);
            (row, bindings)
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Changes what is bound in a scope, all at once, if it stands at the expected version: the new
    /// version. Without one, whatever stands is changed.
    pub async fn change(
        &self,
        scope: &Scope,
        expected: Option<i64>,
        change: Change,
        by: &By,
    ) -> Result<i64, RegistryError> {
        let (version, bindings) = self.bound(scope).await?;
        if let Some(expected) = expected.filter(|expected| *expected != version) {
            return Err(RegistryError::Moved { expected, found: version });
        }
        let next = bindings.clone().with(change)?;
        self.bind(scope, version, &bindings, next, by).await
    }

    /// Goes back to what was bound in a scope as of a version, without one before the last, if the
    /// scope stands at the expected version. What is gone back to is bound anew. Who vouches for
    /// components stays as it is, so that no key comes back; and so does, where `policies_only`, what
    /// the platform set for a tenant.
    pub async fn roll_back(
        &self,
        scope: &Scope,
        to: Option<i64>,
        expected: Option<i64>,
        policies_only: bool,
        by: &By,
    ) -> Result<i64, RegistryError> {
        let now = self.0.store.bindings(scope, 1).await?.pop();
        let version = now.as_ref().map_or(0, |row| row.version);
        if let Some(expected) = expected.filter(|expected| *expected != version) {
            return Err(RegistryError::Moved { expected, found: version });
        }
        let then = self.version(scope, version, to).await?;
        let now = match now.map(|row| Bindings::read(&row.body)) {
            Some(Ok(now)) => now,
            // A later version wrote it: what can be read is better than that, but for its keys.
            Some(Err(_)) if !policies_only => {
                let signing = self.last_signing(scope, version).await?;
                Bindings { signing, ..Bindings::default() }
            }
            Some(Err(error)) => return Err(error),
            None => return Err(RegistryError::NothingBound),
        };
        let next = match policies_only {
            true => Bindings { policies: then.policies, ..now.clone() },
            false => Bindings { signing: now.signing.clone(), ..then },
        };
        self.bind(scope, version, &now, next, by).await
    }

    /// Who vouched for components as of the last version that can be read.
    async fn last_signing(&self, scope: &Scope, version: i64) -> Result<Signing, RegistryError> {
        let limit = u32::try_from(version).unwrap_or(u32::MAX);
        let rows = self.0.store.bindings(scope, limit).await?;
        #[derive(serde::Deserialize)]
        struct OfSigning {
            signing: Signing,
        }
        let mut read = rows.iter().filter_map(|row| serde_json::from_str(&row.body).ok());
        Ok(read.next().map(|OfSigning { signing }| signing).unwrap_or_default())
    }

    /// Binds these where nothing ever was bound; false: something was.
    pub async fn bind_first(
        &self,
        scope: &Scope,
        policies: Vec<Bound>,
        by: &By,
    ) -> Result<bool, RegistryError> {
        if self.bound(scope).await?.0 > 0 {
            return Ok(false);
        }
        let first = Bindings { policies, ..Bindings::default() };
        match self.bind(scope, 0, &Bindings::default(), first, by).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Moved { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What was bound as of a version before this one; without one as of the last before it.
    async fn version(
        &self,
        scope: &Scope,
        version: i64,
        to: Option<i64>,
    ) -> Result<Bindings, RegistryError> {
        if version == 0 {
            return Err(RegistryError::NothingBound);
        }
        let to = to.unwrap_or(version - 1);
        let back = u32::try_from(version - to).ok().filter(|back| *back > 0 && to > 0);
        let back = back.ok_or(RegistryError::NoVersion(to))?;
        let row = self.0.store.bindings(scope, back + 1).await?.pop();
        let row = row.filter(|row| row.version == to).ok_or(RegistryError::NoVersion(to))?;
        Bindings::read(&row.body)
    }

    async fn bind(
        &self,
        scope: &Scope,
        version: i64,
        before: &Bindings,
        bindings: Bindings,
        by: &By,
    ) -> Result<i64, RegistryError> {
        self.check(scope, before, &bindings).await?;
        self.check_signatures(scope, before, &bindings).await?;
        let (signed, body) = (self.signed(by).await?, bindings.to_string());
        let next = version + 1;
        let row = BindingSetRow { scope: scope.clone(), version: next, moved: 0, signed, body };
        if !self.0.store.put_bindings(&row).await? {
            let (found, _) = self.bound(scope).await?;
            return Err(RegistryError::Moved { expected: version, found });
        }
        Ok(next)
    }

    /// What comes to count for more than it did must be vouched for by a key that counts just now,
    /// where that is required.
    async fn check_signatures(
        &self,
        scope: &Scope,
        before: &Bindings,
        bindings: &Bindings,
    ) -> Result<(), RegistryError> {
        let is_new = |own: &&Bound| {
            before.policies.iter().all(|bound| (bound.id(), &bound.mode) != (own.id(), &own.mode))
        };
        let new: Vec<RevisionId> = bindings.policies.iter().filter(is_new).map(Bound::id).collect();
        for row in self.0.store.some_revisions(&new).await? {
            let own = Scope { owner: row.owner.clone(), plan: String::new() };
            let signing = match own == *scope {
                true => bindings.signing.clone(),
                false => self.bound(&own).await?.1.signing,
            };
            let reason = match (&row.signature, &row.signer) {
                _ if !signing.required => continue,
                // It was looked at before signatures were kept.
                (None, Some(signer)) if signing.keys.iter().any(|key| key.name == *signer) => {
                    continue;
                }
                (signature, _) => signing.signer(&row.digest, signature.as_deref()).err(),
            };
            if let Some(reason) = reason {
                return Err(RegistryError::NotVouched { policy: row.policy, reason });
            }
        }
        Ok(())
    }

    /// Refuses what no tenant could be judged with, unless what stood was no better: then any step
    /// may be one out of it. What a tenant is, and who signs, is never refused for its policies.
    async fn check(
        &self,
        scope: &Scope,
        before: &Bindings,
        bindings: &Bindings,
    ) -> Result<(), RegistryError> {
        for bound in &bindings.policies {
            if bound.of != Owner::Platform && bound.of != scope.owner {
                let scope = scope.owner.clone();
                return Err(RegistryError::NotYours { revision: bound.id(), scope });
            }
        }
        if before.policies == bindings.policies {
            return Ok(());
        }
        for new in bindings.policies.iter().filter(|own| !before.policies.contains(own)) {
            self.load(&new.id()).await?;
        }
        let mut current = self.0.current.lock().await;
        current.refresh(&*self.0.store).await?;
        let (next, stood) = (current.with(scope, bindings), current.with(scope, before));
        drop(current);
        // For those on each plan, in the same order.
        for (next, stood) in next?.iter().zip(stood?) {
            let Err(error) = self.assemble(next).await else { continue };
            let is_no_better = match self.assemble(&stood).await {
                Ok(_) | Err(RegistryError::Store(_)) => false,
                Err(_) => true,
            };
            if !is_no_better || matches!(error, RegistryError::Store(_)) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// What a tenant is judged with as of what is bound now. From then on this tenant is followed.
    pub async fn setup(&self, tenant: &Tenant) -> Result<Setup, RegistryError> {
        let mut current = self.0.current.lock().await;
        current.refresh(&*self.0.store).await?;
        current.know(tenant);
        let layers = current.of(tenant);
        drop(current);
        self.assemble(&layers?).await
    }

    async fn signed(&self, by: &By) -> Result<Signed, RegistryError> {
        let (author, message) = (by.author.clone(), by.message.clone());
        Ok(Signed { at: self.0.store.now().await?, author, message })
    }
}

fn check_name(policy: &str) -> Result<(), RegistryError> {
    // The same names that tenants have.
    let is_one = policy.parse::<Tenant>().is_ok();
    if is_one { Ok(()) } else { Err(RegistryError::Name(policy.chars().take(70).collect())) }
}
