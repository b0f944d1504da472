//! What there is: `tollgate policy list`, `show` and `history`.

use anyhow::Result;
use clap::Args;
use serde_json::{Value as Json, json};
use tollgate_host::engine::{BindingMode, Failing};
use tollgate_host::registry::{Bindings, Registry};
use tollgate_host::store::{RegistryStore, RevisionRow, Store};

use super::arguments::{Place, Scoped};
use crate::period::instant;

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    pub place: Place,
    /// Of one policy
    pub policy: Option<String>,
}

impl List {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        for row in registry.revisions(&self.place.owner(), self.policy.as_deref()).await? {
            if self.place.json {
                println!("{}", revision(&row));
            } else {
                let (at, author, message) =
                    (instant(row.signed.at), &row.signed.author, &row.signed.message);
                println!("{}  {at}  {author}  {message}", row.id());
            }
        }
        Ok(())
    }
}

#[derive(Args)]
pub struct Show {
    #[command(flatten)]
    pub scoped: Scoped,
}

impl Show {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        let (version, bindings) = registry.bound(&self.scoped.scope()).await?;
        print(&self.scoped.place, version, &bindings);
        Ok(())
    }
}

#[derive(Args)]
pub struct History {
    #[command(flatten)]
    pub scoped: Scoped,
    /// So many at the most
    #[arg(long, default_value_t = 20)]
    pub limit: u32,
}

impl History {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        let place = &self.scoped.place;
        for (row, bindings) in registry.history(&self.scoped.scope(), self.limit).await? {
            let signed = &row.signed;
            if !place.json {
                let (at, author) = (instant(signed.at), &signed.author);
                println!("version {}  {at}  {author}  {}", row.version, signed.message);
            }
            match bindings {
                Ok(bindings) => print(place, row.version, &bindings),
                Err(error) if place.json => {
                    println!("{}", json!({ "version": row.version, "error": error.to_string() }));
                }
                Err(error) => println!("  {error}"),
            }
        }
        Ok(())
    }
}

fn revision(row: &RevisionRow) -> Json {
    json!({
        "revision": row.id().to_string(),
        "digest": row.digest,
        "settings": serde_json::from_str::<Json>(&row.settings).unwrap_or_default(),
        "signer": row.signer,
        "at": instant(row.signed.at),
        "author": row.signed.author,
        "message": row.signed.message,
    })
}

/// What is bound, as of a version.
pub fn print(place: &Place, version: i64, bindings: &Bindings) {
    if place.json {
        println!("{}", json!({ "version": version, "bound": bindings }));
        return;
    }
    for bound in &bindings.policies {
        let open = if bound.failing == Failing::Open { ", open where it fails" } else { "" };
        let mode = match &bound.mode {
            BindingMode::Enforce => String::new(),
            mode => format!(", {mode}"),
        };
        println!("  {}{mode}{open}", bound.id());
    }
    for key in &bindings.signing.keys {
        println!("  signed by `{}` {}", key.name, key.public);
    }
    if bindings.signing.required {
        println!("  a signature is required");
    }
    if let Some(plan) = &bindings.tenant.plan {
        println!("  on plan `{plan}`");
    }
    println!("  as of version {version}");
}
