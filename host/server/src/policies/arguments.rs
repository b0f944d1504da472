//! What the verbs of `tollgate policy` are told.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};
use chrono_tz::Tz;
use clap::Args;
use tollgate_host::engine::Percent;
use tollgate_host::registry::{By, Registry};
use tollgate_host::store::{Owner, RegistryStore, RevisionId, Scope, Store, Tenant};

use crate::period::Period;
use crate::stores::StoreUrl;

/// Where the registry is, and whose part of it.
#[derive(Args)]
pub struct Place {
    /// Where it is kept: `postgres://…`, or the path of a SQLite file
    #[arg(long, value_name = "URL")]
    pub store: StoreUrl,
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

#[derive(Args)]
pub struct Push {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub signature: Signature,
    /// What people call the policy
    pub policy: String,
    /// A .wasm file, or the name of a standard component
    pub component: String,
    /// Its settings, a JSON file; none: `{}`
    #[arg(long)]
    pub settings: Option<PathBuf>,
    /// Only if this is its digest: `sha256:…`
    #[arg(long)]
    pub digest: Option<String>,
    /// A file of 64 bytes: an Ed25519 signature over `sha256:` and the digest in hexadecimal
    #[arg(long, value_name = "FILE")]
    pub signed: Option<PathBuf>,
}

/// Whose signatures count.
#[derive(Args)]
pub struct Signing {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub signature: Signature,
    /// Takes a key up, under this name
    #[arg(long, value_name = "NAME", requires = "public")]
    pub key: Option<String>,
    /// The key, a file: in PEM, or 32 bytes in hexadecimal
    #[arg(long, value_name = "FILE", requires = "key")]
    pub public: Option<PathBuf>,
    /// Takes a key away
    #[arg(long, value_name = "NAME")]
    pub remove: Option<String>,
    /// Whether a component without a signature is refused
    #[arg(long)]
    pub required: Option<bool>,
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    pub place: Place,
    /// Of one policy
    pub policy: Option<String>,
}

#[derive(Args)]
pub struct Show {
    #[command(flatten)]
    pub place: Place,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    pub plan: Option<String>,
}

#[derive(Args)]
pub struct Bind {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub signature: Signature,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    pub plan: Option<String>,
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
    /// Only if this version is bound
    #[arg(long, value_name = "VERSION")]
    pub expect: Option<i64>,
}

/// A policy whose candidate it is about.
#[derive(Args)]
pub struct Candidate {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub signature: Signature,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    pub plan: Option<String>,
    /// The policy
    pub policy: String,
    /// Only if this version is bound
    #[arg(long, value_name = "VERSION")]
    pub expect: Option<i64>,
}

#[derive(Args)]
pub struct Unbind {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub signature: Signature,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    pub plan: Option<String>,
    /// The policy
    pub policy: String,
    /// Only if this version is bound
    #[arg(long, value_name = "VERSION")]
    pub expect: Option<i64>,
}

#[derive(Args)]
pub struct TenantSettings {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub signature: Signature,
    /// The plan that it is on; empty: on no plan
    #[arg(long)]
    pub plan: Option<String>,
    /// Its time zone, by its IANA name
    #[arg(long)]
    pub time_zone: Option<Tz>,
}

#[derive(Args)]
pub struct Rollback {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub signature: Signature,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    pub plan: Option<String>,
    /// To this version; none: to the one before the last
    #[arg(long, value_name = "VERSION")]
    pub to: Option<i64>,
}

#[derive(Args)]
pub struct History {
    #[command(flatten)]
    pub place: Place,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    pub plan: Option<String>,
    /// So many at the most
    #[arg(long, default_value_t = 20)]
    pub limit: u32,
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

/// What candidates said.
#[derive(Args)]
pub struct ShadowReport {
    #[command(flatten)]
    pub place: Place,
    /// Of one policy
    pub policy: Option<String>,
    #[command(flatten)]
    pub period: Period,
}

/// Two revisions.
#[derive(Args)]
pub struct Diff {
    #[command(flatten)]
    pub place: Place,
    /// What is compared: `monthly@3`
    pub from: Named,
    /// With what: `monthly@4`
    pub to: Named,
    #[command(flatten)]
    pub period: Period,
}

/// Policies that failed too often.
#[derive(Args)]
pub struct Quarantine {
    #[command(flatten)]
    pub place: Place,
}

/// A policy that failed too often.
#[derive(Args)]
pub struct LetBack {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub signature: Signature,
    /// The policy
    pub policy: String,
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

    pub fn scope(&self, plan: &Option<String>) -> Scope {
        Scope { owner: self.owner(), plan: plan.clone().unwrap_or_default() }
    }
}

impl Signature {
    pub fn by(&self) -> By {
        By { author: self.author.clone(), message: self.message.clone() }
    }
}
