//! What changes what is bound: `tollgate policy bind`, `promote`, `withdraw`, `unbind`, `rollback`.

use anyhow::Result;
use clap::Args;
use tollgate_host::engine::{BindingMode, Canary, Failing};
use tollgate_host::registry::{Bound, Change, Registry};
use tollgate_host::store::{RegistryStore, RevisionId, Store};

use super::arguments::{Changing, Named, Scoped, Share, Signature};
use super::show::print;

#[derive(Args)]
pub struct Bind {
    #[command(flatten)]
    pub changing: Changing,
    /// The policy, its last revision or another: `monthly`, `monthly@3`; for a tenant its own, or one
    /// of the platform's: `*/monthly`
    pub revision: Named,
    /// A call goes ahead where the policy fails
    #[arg(long)]
    pub failing_open: bool,
    /// As a candidate: it is asked beside what is enforced, and its word does not count
    #[arg(long)]
    pub shadow: bool,
    /// As a candidate that counts for so many of a hundred: `10%`
    #[arg(long, value_name = "SHARE", conflicts_with = "shadow")]
    pub canary: Option<Share>,
    /// Of a hundred what: always the same ones
    #[arg(long, value_name = "DIMENSION", default_value = "user", requires = "canary")]
    pub by: String,
}

impl Bind {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        let owner = self.changing.scoped.place.owner();
        let RevisionId { owner: of, policy, number: revision } =
            self.revision.of(registry, owner).await?;
        let failing = if self.failing_open { Failing::Open } else { Failing::Closed };
        let mode = match (self.canary, self.shadow) {
            (Some(Share(percent)), _) => {
                BindingMode::Canary(Canary { percent, by: self.by.clone() })
            }
            (None, true) => BindingMode::Shadow,
            (None, false) => BindingMode::Enforce,
        };
        let change = Change::Bind(Bound { policy, of, revision, failing, mode });
        self.changing.make(registry, change).await
    }
}

/// A policy that is bound.
#[derive(Args)]
pub struct BoundPolicy {
    #[command(flatten)]
    pub changing: Changing,
    /// The policy
    pub policy: String,
}

impl BoundPolicy {
    pub async fn run<S: Store + RegistryStore>(
        &self,
        registry: &Registry<S>,
        change: impl FnOnce(String) -> Change,
    ) -> Result<()> {
        self.changing.make(registry, change(self.policy.clone())).await
    }
}

/// In which order policies are asked: the first denial is the answer.
#[derive(Args)]
pub struct Order {
    #[command(flatten)]
    pub changing: Changing,
    /// All that are bound there, each once
    #[arg(required = true)]
    pub policies: Vec<String>,
}

impl Order {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        self.changing.make(registry, Change::Order(self.policies.clone())).await
    }
}

#[derive(Args)]
pub struct Rollback {
    #[command(flatten)]
    pub scoped: Scoped,
    #[command(flatten)]
    pub signature: Signature,
    /// To this version; none: to the one before the last
    #[arg(long, value_name = "VERSION")]
    pub to: Option<i64>,
    /// Only if this version is bound
    #[arg(long, value_name = "VERSION")]
    pub expect: Option<i64>,
}

impl Rollback {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        let scope = self.scoped.scope();
        let Self { to, expect, .. } = self;
        let by = self.signature.by();
        let version = registry.roll_back(&scope, *to, *expect, false, &by).await?;
        print(&self.scoped.place, version, &registry.bound(&scope).await?.1);
        Ok(())
    }
}
