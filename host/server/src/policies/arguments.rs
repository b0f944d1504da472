//! What several verbs of `tollgate policy` are told.

use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use tollgate_host::engine::Percent;
use tollgate_host::registry::{By, Change, Registry};
use tollgate_host::store::{Owner, RegistryStore, RevisionId, Scope, Store, Tenant};

use super::show::print;
use crate::stores::StorePlace;

/// Where the registry is, and whose part of it.
#[derive(Args)]
pub struct Place {
    #[command(flatten)]
    pub store: StorePlace,
    /// A tenant's; without it the platform's
    #[arg(long)]
    pub tenant: Option<Tenant>,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
}

/// Who changes something, and why.
#[derive(Args)]
pub struct Signature {
    /// Who does it
    #[arg(long, env = "USER", default_value = "unknown")]
    pub author: String,
    /// Why
    #[arg(long, short, default_value = "")]
    pub message: String,
}

/// What is bound for whom.
#[derive(Args)]
pub struct Scoped {
    #[command(flatten)]
    pub place: Place,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    pub plan: Option<String>,
}

/// A change of what is bound.
#[derive(Args)]
pub struct Changing {
    #[command(flatten)]
    pub scoped: Scoped,
    #[command(flatten)]
    pub signature: Signature,
    /// Only if this version is bound
    #[arg(long, value_name = "VERSION")]
    pub expect: Option<i64>,
}

/// A revision, or the last one of a policy: `monthly@3`, `monthly`, of a tenant `acme/monthly@3`.
#[derive(Clone, Debug)]
pub struct Named {
    pub owner: Option<Owner>,
    pub policy: String,
    pub number: Option<i64>,
}

impl FromStr for Named {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (owner, rest) = match text.split_once('/') {
            None => (None, text),
            Some(("*", rest)) => (Some(Owner::Platform), rest),
            Some((tenant, rest)) => (Some(Owner::Tenant(tenant.parse()?)), rest),
        };
        let Some((policy, number)) = rest.split_once('@') else {
            return Ok(Self { owner, policy: rest.to_owned(), number: None });
        };
        let number = number.parse().ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| anyhow!("write `POLICY` or `POLICY@NUMBER`"))?;
        Ok(Self { owner, policy: policy.to_owned(), number: Some(number) })
    }
}

impl Named {
    /// The platform's, where no owner is named.
    pub async fn revision<S: Store + RegistryStore>(
        &self,
        registry: &Registry<S>,
    ) -> Result<RevisionId> {
        self.of(registry, self.owner.clone().unwrap_or(Owner::Platform)).await
    }

    /// An owner's, where none is named.
    pub async fn of<S: Store + RegistryStore>(
        &self,
        registry: &Registry<S>,
        owner: Owner,
    ) -> Result<RevisionId> {
        let owner = self.owner.clone().unwrap_or(owner);
        let policy = self.policy.clone();
        let number = match self.number {
            Some(number) => number,
            None => {
                let last = registry.revisions(&owner, Some(&policy)).await?.pop();
                let words = || format!("there is no policy `{policy}` of {owner}: push it first");
                last.with_context(words)?.number
            }
        };
        Ok(RevisionId { owner, policy, number })
    }
}

/// `10` or `10%`.
#[derive(Clone, Copy, Debug)]
pub struct Share(pub Percent);

impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.strip_suffix('%').unwrap_or(text).trim();
        let number: u8 = number
            .parse()
            .map_err(|_| anyhow!("`{text}` is no share: write a whole number from 0 to 100"))?;
        Ok(Self(Percent::try_from(number)?))
    }
}

impl Place {
    /// The one that is named, or all.
    pub async fn tenants<S: Store + RegistryStore>(
        &self,
        registry: &Registry<S>,
    ) -> Result<Vec<Tenant>> {
        match &self.tenant {
            Some(tenant) => Ok(vec![tenant.clone()]),
            None => Ok(registry.store().tenants().await?),
        }
    }

    pub fn owner(&self) -> Owner {
        self.tenant.clone().map_or(Owner::Platform, Owner::Tenant)
    }

    /// What is bound for all that it names.
    pub fn scope(&self) -> Scope {
        Scope { owner: self.owner(), plan: String::new() }
    }
}

impl Scoped {
    pub fn scope(&self) -> Scope {
        Scope { plan: self.plan.clone().unwrap_or_default(), ..self.place.scope() }
    }
}

impl Changing {
    /// Does it, and tells what is bound then.
    pub async fn make<S: Store + RegistryStore>(
        &self,
        registry: &Registry<S>,
        change: Change,
    ) -> Result<()> {
        let (scope, by) = (self.scoped.scope(), self.signature.by());
        let version = registry.change(&scope, self.expect, change, &by).await?;
        print(&self.scoped.place, version, &registry.bound(&scope).await?.1);
        Ok(())
    }
}

impl Signature {
    pub fn by(&self) -> By {
        By { author: self.author.clone(), message: self.message.clone() }
    }
}
