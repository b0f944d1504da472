//! `tollgate policy quarantined` and `let-back`.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use tollgate_host::engine::{self, quarantined};
use tollgate_host::registry::Registry;
use tollgate_host::store::{RegistryStore, Store};

use super::arguments::{Place, Signature};
use crate::period::instant;
use crate::surroundings::random;

/// Policies that failed too often.
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    pub place: Place,
}

impl List {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        for tenant in self.place.tenants(registry).await? {
            for (policy, why) in quarantined(&**registry.store(), &tenant).await? {
                if self.place.json {
                    println!("{}", json!({ "tenant": tenant, "policy": policy, "why": why }));
                } else {
                    let (at, reason) = (instant(why.at), &why.reason);
                    println!("{tenant}: `{}` since {at}: {reason}", policy.revision);
                }
            }
        }
        Ok(())
    }
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

impl LetBack {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        let Some(tenant) = &self.place.tenant else {
            bail!("name the tenant for whom it failed with `--tenant`");
        };
        let store = registry.store();
        let all = quarantined(&**store, tenant).await?;
        let all: Vec<_> = all.into_iter().filter(|(key, _)| key.policy == self.policy).collect();
        if all.is_empty() {
            bail!("policy `{}` of tenant `{tenant}` is in no quarantine", self.policy);
        }
        for (policy, _) in all {
            if engine::let_back(&**store, tenant, &policy, &random()).await? {
                println!("`{}` is asked again", policy.revision);
            }
        }
        Ok(())
    }
}
