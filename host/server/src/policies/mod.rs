//! `tollgate policy`, as far as it is about the registry: what is pushed, and where it is bound.

mod arguments;
mod diff;
mod quarantine;
mod shadow;
mod show;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::json;
use tollgate_host::engine::{BindingMode, Canary, Failing};
use tollgate_host::registry::{Bound, Change, Key, Registry, Upload};
use tollgate_host::sandbox::Limits;
use tollgate_host::store::{RegistryStore, RevisionId, Store};

use crate::components;
use crate::period::instant;
use crate::policy::read_settings;
use crate::stores::{AnyStore, StoreUrl};
use crate::surroundings::wall_clock;
pub use arguments::Named;
use arguments::{
    Bind, Candidate, Diff, History, LetBack, List, Place, Push, Quarantine, Rollback, ShadowReport,
    Share, Show, Signing, TenantSettings, Unbind,
};
use show::print;

/// What can be done with the registry.
#[derive(Subcommand)]
pub enum Verb {
    /// Lets a component in with its settings: it becomes the policy's next revision
    Push(Push),
    /// Lists revisions
    List(List),
    /// Shows what is bound: for all tenants, for a plan, or for a tenant
    Show(Show),
    /// Binds a revision: hosts judge by it within a second
    Bind(Bind),
    /// Has a policy's candidate enforced
    Promote(Candidate),
    /// Binds a policy's candidate no longer
    Withdraw(Candidate),
    /// Binds a policy no longer, nor its candidate
    Unbind(Unbind),
    /// Sets whose signatures of components count, and whether one is required
    Signing(Signing),
    /// Sets what a tenant is: its plan, its time zone
    Tenant(TenantSettings),
    /// Goes back to what was bound before
    Rollback(Rollback),
    /// Lists what was bound, the last first
    History(History),
    /// Tells what candidates said beside what is enforced, with examples
    ShadowReport(ShadowReport),
    /// Tells what differs between two revisions, and what the second would have decided; without
    /// `--since` on the last day
    Diff(Diff),
    /// Lists policies that failed too often, and are asked no longer
    Quarantined(Quarantine),
    /// Lets such a policy back
    LetBack(LetBack),
}

/// Runs the verb.
pub fn run(verb: &Verb) -> Result<()> {
    let place = verb.place();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let sandbox = components::sandbox(Limits::default(), components::cache_directory())?;
        let url = Some(&place.store);
        match StoreUrl::open(url, wall_clock()).await? {
            AnyStore::Postgres(store) => {
                verb.on(&Registry::new(Arc::new(store), Arc::new(sandbox))).await
            }
            AnyStore::Sqlite(store, _) => {
                verb.on(&Registry::new(Arc::new(store), Arc::new(sandbox))).await
            }
        }
    })
}

impl Verb {
    fn place(&self) -> &Place {
        match self {
            Self::Push(Push { place, .. })
            | Self::List(List { place, .. })
            | Self::Show(Show { place, .. })
            | Self::Bind(Bind { place, .. })
            | Self::Promote(Candidate { place, .. })
            | Self::Withdraw(Candidate { place, .. })
            | Self::Unbind(Unbind { place, .. })
            | Self::Signing(Signing { place, .. })
            | Self::Tenant(TenantSettings { place, .. })
            | Self::Rollback(Rollback { place, .. })
            | Self::History(History { place, .. })
            | Self::ShadowReport(ShadowReport { place, .. })
            | Self::Diff(Diff { place, .. })
            | Self::Quarantined(Quarantine { place })
            | Self::LetBack(LetBack { place, .. }) => place,
        }
    }

    async fn on<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        let place = self.place();
        match self {
            Self::Push(push) => {
                let bytes = components::read(&push.component)?;
                let settings = match &push.settings {
                    Some(path) => read_settings(path)?,
                    None => "{}".into(),
                };
                let by = push.signature.by();
                let signature = push.signed.as_ref().map(read_signature).transpose()?;
                let digest = push.digest.as_ref();
                let digest = digest.map(|digest| digest.trim_start_matches("sha256:").to_owned());
                let upload = Upload {
                    digest: digest.as_deref(),
                    signature: signature.as_deref(),
                    ..Upload::new(&push.policy, &bytes, &settings)
                };
                let pushed = registry.push(&place.owner(), &upload, &by).await?;
                let id = pushed.id.to_string();
                if place.json {
                    let digest = &pushed.digest;
                    println!(
                        "{}",
                        json!({ "revision": id, "digest": digest, "new": pushed.is_new })
                    );
                } else if pushed.is_new {
                    println!("`{id}` is new, of component sha256:{}", pushed.digest);
                } else {
                    println!("`{id}` is just that");
                }
            }
            Self::List(list) => {
                for row in registry.revisions(&place.owner(), list.policy.as_deref()).await? {
                    if place.json {
                        println!("{}", show::revision(&row));
                    } else {
                        let (at, signed) = (instant(row.signed.at), &row.signed);
                        let words = (&signed.author, &signed.message);
                        println!("{}  {at}  {}  {}", row.id(), words.0, words.1);
                    }
                }
            }
            Self::Show(show) => {
                let (version, bindings) = registry.bound(&place.scope(&show.plan)).await?;
                print(place, version, &bindings);
            }
            Self::Bind(bind) => {
                let RevisionId { owner: of, policy, number: revision } =
                    bind.revision.of(registry, place.owner()).await?;
                let failing = if bind.failing_open { Failing::Open } else { Failing::Closed };
                let mode = match (bind.canary, bind.shadow) {
                    (Some(Share(percent)), _) => {
                        BindingMode::Canary(Canary { percent, by: bind.by.clone() })
                    }
                    (None, true) => BindingMode::Shadow,
                    (None, false) => BindingMode::Enforce,
                };
                let change = Change::Bind(Bound { policy, of, revision, failing, mode });
                let (scope, by) = (place.scope(&bind.plan), bind.signature.by());
                let version = registry.change(&scope, bind.expect, change, &by).await?;
                print(place, version, &registry.bound(&scope).await?.1);
            }
            Self::Promote(own) => {
                own.change(registry, Change::Promote(own.policy.clone())).await?;
            }
            Self::Withdraw(own) => {
                own.change(registry, Change::Withdraw(own.policy.clone())).await?;
            }
            Self::Unbind(unbind) => {
                let (scope, by) = (place.scope(&unbind.plan), unbind.signature.by());
                let change = Change::Unbind(unbind.policy.clone());
                let version = registry.change(&scope, unbind.expect, change, &by).await?;
                print(place, version, &registry.bound(&scope).await?.1);
            }
            Self::Signing(own) => {
                let scope = place.scope(&None);
                let (version, bindings) = registry.bound(&scope).await?;
                let mut signing = bindings.signing;
                signing.required = own.required.unwrap_or(signing.required);
                if let (Some(name), Some(public)) = (&own.key, &own.public) {
                    signing.keys.retain(|key| key.name != *name);
                    let public = std::fs::read_to_string(public)
                        .with_context(|| format!("cannot read `{}`", public.display()))?;
                    signing.keys.push(Key { name: name.clone(), public: public.parse()? });
                }
                if let Some(name) = &own.remove {
                    let before = signing.keys.len();
                    signing.keys.retain(|key| key.name != *name);
                    if signing.keys.len() == before {
                        bail!("there is no key `{name}`");
                    }
                }
                let (change, by) = (Change::Signing(signing), own.signature.by());
                let version = registry.change(&scope, Some(version), change, &by).await?;
                print(place, version, &registry.bound(&scope).await?.1);
            }
            Self::Tenant(own) => {
                if place.tenant.is_none() {
                    bail!("name the tenant with `--tenant`");
                }
                let scope = place.scope(&None);
                let (version, bindings) = registry.bound(&scope).await?;
                let mut settings = bindings.tenant;
                if let Some(plan) = &own.plan {
                    settings.plan = (!plan.is_empty()).then(|| plan.clone());
                }
                settings.time_zone = own.time_zone.or(settings.time_zone);
                let (change, by) = (Change::Settings(Box::new(settings)), own.signature.by());
                let version = registry.change(&scope, Some(version), change, &by).await?;
                print(place, version, &registry.bound(&scope).await?.1);
            }
            Self::Rollback(back) => {
                let scope = place.scope(&back.plan);
                let version = registry.roll_back(&scope, back.to, &back.signature.by()).await?;
                print(place, version, &registry.bound(&scope).await?.1);
            }
            Self::History(history) => {
                let scope = place.scope(&history.plan);
                for (row, bindings) in registry.history(&scope, history.limit).await? {
                    let signed = &row.signed;
                    if !place.json {
                        let (at, author) = (instant(signed.at), &signed.author);
                        println!("version {}  {at}  {author}  {}", row.version, signed.message);
                    }
                    print(place, row.version, &bindings);
                }
            }
            Self::ShadowReport(own) => shadow::report(registry, own).await?,
            Self::Diff(own) => diff::diff(registry, own).await?,
            Self::Quarantined(own) => quarantine::list(registry, own).await?,
            Self::LetBack(own) => quarantine::let_back(registry, own).await?,
        }
        Ok(())
    }
}

/// 64 bytes, as they are.
fn read_signature(path: &PathBuf) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

impl Candidate {
    async fn change<S: Store + RegistryStore>(
        &self,
        registry: &Registry<S>,
        change: Change,
    ) -> Result<()> {
        let (scope, by) = (self.place.scope(&self.plan), self.signature.by());
        let version = registry.change(&scope, self.expect, change, &by).await?;
        print(&self.place, version, &registry.bound(&scope).await?.1);
        Ok(())
    }
}
