//! `tollgate policy push`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use tollgate_host::registry::{Registry, Upload};
use tollgate_host::store::{RegistryStore, Store};

use super::arguments::{Place, Signature};
use crate::components;
use crate::policy::read_settings;

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

impl Push {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        let bytes = components::read(&self.component)?;
        let settings = match &self.settings {
            Some(path) => read_settings(path)?,
            None => "{}".into(),
        };
        let signature = self.signed.as_ref().map(read_signature).transpose()?;
        let digest = self.digest.as_deref();
        let upload = Upload {
            digest: digest.map(|digest| digest.trim_start_matches("sha256:")),
            signature: signature.as_deref(),
            ..Upload::new(&self.policy, &bytes, &settings)
        };
        let pushed = registry.push(&self.place.owner(), &upload, &self.signature.by()).await?;
        let (id, digest, is_new) = (pushed.id.to_string(), &pushed.digest, pushed.is_new);
        if self.place.json {
            println!("{}", json!({ "revision": id, "digest": digest, "new": is_new }));
        } else if is_new {
            println!("`{id}` is new, of component sha256:{digest}");
        } else {
            println!("`{id}` is just that");
        }
        Ok(())
    }
}

/// 64 bytes, as they are.
fn read_signature(path: &PathBuf) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}
