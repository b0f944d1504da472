//! What is bound beside policies: `tollgate policy signing` and `tenant`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chrono_tz::Tz;
use clap::Args;
use serde_json::{Map, Value as Json};
use tollgate_host::registry::{self, Change, Key, Registry};
use tollgate_host::store::{RegistryStore, Store};

use super::arguments::{Place, Signature};
use super::show::print;

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

impl Signing {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        let (version, bindings) = registry.bound(&self.place.scope()).await?;
        let mut signing = bindings.signing;
        signing.required = self.required.unwrap_or(signing.required);
        if let (Some(name), Some(public)) = (&self.key, &self.public) {
            signing.keys.retain(|key| key.name != *name);
            let public = std::fs::read_to_string(public)
                .with_context(|| format!("cannot read `{}`", public.display()))?;
            signing.keys.push(Key { name: name.clone(), public: public.parse()? });
        }
        if let Some(name) = &self.remove {
            let before = signing.keys.len();
            signing.keys.retain(|key| key.name != *name);
            if signing.keys.len() == before {
                bail!("there is no key `{name}`");
            }
        }
        change(registry, &self.place, &self.signature, version, Change::Signing(signing)).await
    }
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
    /// Others, a JSON file whose keys replace what stands: `language`, `first_day_of_week`, `prices`,
    /// `expiring`, `required_dimensions`, `meters`, and `proposals`, the bounds within which policies
    /// may propose limits
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
}

impl TenantSettings {
    pub async fn run<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        if self.place.tenant.is_none() {
            bail!("name the tenant with `--tenant`");
        }
        let (version, bindings) = registry.bound(&self.place.scope()).await?;
        let mut settings = match &self.settings {
            Some(file) => with_file(&bindings.tenant, file)
                .with_context(|| format!("`{}`", file.display()))?,
            None => bindings.tenant,
        };
        if let Some(plan) = &self.plan {
            settings.plan = (!plan.is_empty()).then(|| plan.clone());
        }
        settings.time_zone = self.time_zone.or(settings.time_zone);
        let settings = Change::Settings(Box::new(settings));
        change(registry, &self.place, &self.signature, version, settings).await
    }
}

fn with_file(settings: &registry::TenantSettings, file: &Path) -> Result<registry::TenantSettings> {
    let mut all = serde_json::to_value(settings)?;
    let own: Map<String, Json> = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    all.as_object_mut().into_iter().for_each(|all| all.extend(own.clone()));
    Ok(serde_json::from_value(all)?)
}

/// What was read is changed, or nothing where somebody else was faster.
async fn change<S: Store + RegistryStore>(
    registry: &Registry<S>,
    place: &Place,
    signature: &Signature,
    read: i64,
    change: Change,
) -> Result<()> {
    let scope = place.scope();
    let version = registry.change(&scope, Some(read), change, &signature.by()).await?;
    print(place, version, &registry.bound(&scope).await?.1);
    Ok(())
}
