//! The sandbox: components are let in, compiled, frozen in their configured state, and asked, each
//! time in a fresh instance with bounds on all it can take. Knows no database.

mod ability;
mod admit;
mod cache;
mod compile;
mod engine;
mod fault;
mod freeze;
mod guest;
mod limits;
mod policy;
mod refusal;
mod runtime;
mod schema;
mod wasi;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

pub use ability::Ability;
pub use admit::Admitted;
pub use cache::CacheError;
pub use compile::{Compiler, worker_main};
pub use engine::Instances;
pub use fault::Fault;
pub use limits::Limits;
pub use policy::{Answer, Policy, Reused};
pub use refusal::Refused;

use cache::Cache;
use runtime::Runtime;

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What policies may spend.
    pub limits: Limits,
    /// Where instances live, and how many at a time.
    pub instances: Instances,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// Where compiled code is kept; none: it is compiled at each start.
    pub cache: Option<PathBuf>,
}

/// A sandbox could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine does not start.
    #[error("the WebAssembly engine does not start: {0}")]
    Engine(String),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Lets components in and hands out [`Policy`]s. One for a process: all share its pool.
pub struct Sandbox {
    runtime: Arc<Runtime>,
    compiler: Compiler,
    cache: Option<Cache>,
    /// What compiled code depends on beside the component and its settings.
    compatibility: String,
}

impl Sandbox {
    /// Starts the engine.
    pub fn new(settings: Settings) -> Result<Self, SandboxError> {
        let Settings { limits, instances, compiler, cache } = settings;
        let runtime = Runtime::new(limits, instances)
            .map_err(|error| SandboxError::Engine(format!("{error:#}")))?;
        let cache = cache.as_deref().map(Cache::open).transpose()?;
        let mut hasher = DigestHasher(Sha256::new());
        std::hash::Hash::hash(&runtime.engine.precompile_compatibility_hash(), &mut hasher);
        let compatibility = hex(&hasher.0.finalize());
        Ok(Self { runtime, compiler, cache, compatibility })
    }

    /// Where instances live after all: a pool that found no room gives way to single ones.
    #[must_use]
    pub fn instances(&self) -> Instances {
        self.runtime.instances
    }

    /// Lets a component in with its settings (JSON): from the cache where it is known, through
    /// every check of admission where it is not.
    pub fn load(&self, component: &[u8], settings: &str) -> Result<Policy, Refused> {
        let limits = self.runtime.limits;
        admit::precheck(component, &limits)?;
        let digest = digest(component);
        if let Some(policy) = self.load_known(&digest, settings) {
            return policy;
        }
        let instances = self.runtime.instances;
        let (admitted, code) = self.compiler.run(component, settings, limits, instances)?;
        if let Some(cache) = &self.cache {
            // A full disk costs the next start its time, and nothing else.
            let _ = cache.put(&self.entry_name(&digest, settings, &limits), &admitted, &code);
        }
        self.policy(admitted, &code, settings)
    }

    /// The same of a component of which only the digest is at hand, where the cache knows it with
    /// these settings.
    #[must_use]
    pub fn load_known(&self, digest: &str, settings: &str) -> Option<Result<Policy, Refused>> {
        let name = self.entry_name(digest, settings, &self.runtime.limits);
        let (admitted, code) = self.cache.as_ref()?.get(&name)?;
        Some(self.policy(admitted, &code, settings))
    }

    fn policy(&self, admitted: Admitted, code: &[u8], settings: &str) -> Result<Policy, Refused> {
        // SAFETY: the bytes come from our own compiler, just now or by way of a cache that only
        // we can write to and whose entries are authenticated.
        #[allow(unsafe_code)]
        let component = unsafe { Component::deserialize(&self.runtime.engine, code) }
            .map_err(|error| Refused::Host(format!("{error:#}")))?;
        Policy::new(Arc::clone(&self.runtime), &component, admitted, settings.to_owned())
    }

    fn entry_name(&self, component: &str, settings: &str, limits: &Limits) -> String {
        let parts = [
            component.as_bytes(),
            digest(settings.as_bytes()).as_bytes(),
            self.compatibility.as_bytes(),
            format!("{limits:?}").as_bytes(),
            env!("CARGO_PKG_VERSION").as_bytes(),
        ]
        .concat();
        digest(&parts)
    }
}

/// SHA-256 in hexadecimal: how components are known.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A hasher whose result is the same in every process.
struct DigestHasher(Sha256);

impl std::hash::Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}
