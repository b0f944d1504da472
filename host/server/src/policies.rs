//! `tollgate policy`, as far as it is about the registry: what is pushed, and where it is bound.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use chrono::DateTime;
use chrono_tz::Tz;
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use tollgate_host::engine::{BindingMode, Canary, Failing, Percent};
use tollgate_host::registry::{Bindings, Bound, By, Change, Registry};
use tollgate_host::sandbox::Limits;
use tollgate_host::store::{Owner, RegistryStore, RevisionRow, Scope, Store, Tenant};

use crate::components;
use crate::policy::read_settings;
use crate::stores::{AnyStore, StoreUrl};
use crate::surroundings::wall_clock;

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
    /// Sets what a tenant is: its plan, its time zone
    Tenant(TenantSettings),
    /// Goes back to what was bound before
    Rollback(Rollback),
    /// Lists what was bound, the last first
    History(History),
}

/// Where the registry is, and whose part of it.
#[derive(Args)]
pub struct Place {
    /// Where it is kept: `postgres://…`, or the path of a SQLite file
    #[arg(long, value_name = "URL")]
    store: StoreUrl,
    /// A tenant's; without it the platform's
    #[arg(long)]
    tenant: Option<Tenant>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Who changes something, and why.
#[derive(Args)]
pub struct Signature {
    /// Who does it
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
    /// Why
    #[arg(long, short, default_value = "")]
    message: String,
}

#[derive(Args)]
pub struct Push {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    signature: Signature,
    /// What people call the policy
    policy: String,
    /// A .wasm file, or the name of a standard component
    component: String,
    /// Its settings, a JSON file; none: `{}`
    #[arg(long)]
    settings: Option<PathBuf>,
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
    /// Of one policy
    policy: Option<String>,
}

#[derive(Args)]
pub struct Show {
    #[command(flatten)]
    place: Place,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    plan: Option<String>,
}

#[derive(Args)]
pub struct Bind {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    signature: Signature,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    plan: Option<String>,
    /// The policy, its last revision or another: `monthly`, `monthly@3`
    revision: Named,
    /// The revision is the platform's
    #[arg(long)]
    of_platform: bool,
    /// A call goes ahead where the policy fails
    #[arg(long)]
    failing_open: bool,
    /// As a candidate: it is asked beside what is enforced, and its word does not count
    #[arg(long)]
    shadow: bool,
    /// As a candidate that counts for so many of a hundred: `10%`
    #[arg(long, value_name = "SHARE", conflicts_with = "shadow")]
    canary: Option<Share>,
    /// Of a hundred what: always the same ones
    #[arg(long, value_name = "DIMENSION", default_value = "user", requires = "canary")]
    by: String,
    /// Only if this version is bound
    #[arg(long, value_name = "VERSION")]
    expect: Option<i64>,
}

/// A policy whose candidate it is about.
#[derive(Args)]
pub struct Candidate {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    signature: Signature,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    plan: Option<String>,
    /// The policy
    policy: String,
    /// Only if this version is bound
    #[arg(long, value_name = "VERSION")]
    expect: Option<i64>,
}

#[derive(Args)]
pub struct Unbind {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    signature: Signature,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    plan: Option<String>,
    /// The policy
    policy: String,
    /// Only if this version is bound
    #[arg(long, value_name = "VERSION")]
    expect: Option<i64>,
}

#[derive(Args)]
pub struct TenantSettings {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    signature: Signature,
    /// The plan that it is on; empty: on no plan
    #[arg(long)]
    plan: Option<String>,
    /// Its time zone, by its IANA name
    #[arg(long)]
    time_zone: Option<Tz>,
}

#[derive(Args)]
pub struct Rollback {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    signature: Signature,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    plan: Option<String>,
    /// To this version; none: to the one before the last
    #[arg(long, value_name = "VERSION")]
    to: Option<i64>,
}

#[derive(Args)]
pub struct History {
    #[command(flatten)]
    place: Place,
    /// For tenants on this plan
    #[arg(long, conflicts_with = "tenant")]
    plan: Option<String>,
    /// So many at the most
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// `POLICY` or `POLICY@NUMBER`.
#[derive(Clone, Debug)]
pub struct Named {
    policy: String,
    number: Option<i64>,
}

impl FromStr for Named {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((policy, number)) = text.split_once('@') else {
            return Ok(Self { policy: text.to_owned(), number: None });
        };
        let number = number.parse().ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| anyhow!("write `POLICY` or `POLICY@NUMBER`"))?;
        Ok(Self { policy: policy.to_owned(), number: Some(number) })
    }
}

/// `10` or `10%`.
#[derive(Clone, Copy, Debug)]
pub struct Share(Percent);

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
            | Self::Tenant(TenantSettings { place, .. })
            | Self::Rollback(Rollback { place, .. })
            | Self::History(History { place, .. }) => place,
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
                let pushed =
                    registry.push(&place.owner(), &push.policy, &bytes, &settings, &by).await?;
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
                        println!("{}", revision(&row));
                    } else {
                        let (at, signed) = (time(row.signed.at), &row.signed);
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
                let of = if bind.of_platform { Owner::Platform } else { place.owner() };
                let Named { policy, number } = bind.revision.clone();
                let revision = match number {
                    Some(number) => number,
                    None => {
                        let last = registry.revisions(&of, Some(&policy)).await?.pop();
                        let last = last.with_context(|| {
                            format!("there is no policy `{policy}` of {of}: push it first")
                        });
                        last?.number
                    }
                };
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
                        let (at, author) = (time(signed.at), &signed.author);
                        println!("version {}  {at}  {author}  {}", row.version, signed.message);
                    }
                    print(place, row.version, &bindings);
                }
            }
        }
        Ok(())
    }
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

impl Place {
    fn owner(&self) -> Owner {
        self.tenant.clone().map_or(Owner::Platform, Owner::Tenant)
    }

    fn scope(&self, plan: &Option<String>) -> Scope {
        Scope { owner: self.owner(), plan: plan.clone().unwrap_or_default() }
    }
}

impl Signature {
    fn by(&self) -> By {
        By { author: self.author.clone(), message: self.message.clone() }
    }
}

fn revision(row: &RevisionRow) -> Json {
    json!({
        "revision": row.id().to_string(),
        "digest": row.digest,
        "settings": serde_json::from_str::<Json>(&row.settings).unwrap_or_default(),
        "at": time(row.signed.at),
        "author": row.signed.author,
        "message": row.signed.message,
    })
}

fn print(place: &Place, version: i64, bindings: &Bindings) {
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
    if let Some(plan) = &bindings.tenant.plan {
        println!("  on plan `{plan}`");
    }
    println!("  as of version {version}");
}

fn time(at: i64) -> String {
    let time = DateTime::from_timestamp_millis(at);
    time.map_or_else(
        || at.to_string(),
        |time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    )
}
