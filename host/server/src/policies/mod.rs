//! `tollgate policy`, as far as it is about the registry: what is pushed, and where it is bound.

mod arguments;
mod bind;
mod diff;
mod push;
mod quarantine;
mod settings;
mod shadow;
mod show;

use std::sync::Arc;

use anyhow::Result;
use clap::Subcommand;
use tollgate_host::registry::{Change, Registry};
use tollgate_host::sandbox::Limits;
use tollgate_host::store::{RegistryStore, Store};

use crate::components;
use crate::stores::{AnyStore, Clocks, StoreUrl};
use crate::surroundings::wall_clock;
pub use arguments::Named;
use arguments::Place;

/// What can be done with the registry.
#[derive(Subcommand)]
pub enum Verb {
    /// Lets a component in with its settings: it becomes the policy's next revision
    Push(push::Push),
    /// Lists revisions
    List(show::List),
    /// Shows what is bound: for all tenants, for a plan, or for a tenant
    Show(show::Show),
    /// Binds a revision: hosts judge by it within a second
    Bind(bind::Bind),
    /// Has a policy's candidate enforced
    Promote(bind::BoundPolicy),
    /// Binds a policy's candidate no longer
    Withdraw(bind::BoundPolicy),
    /// Binds a policy no longer, nor its candidate
    Unbind(bind::BoundPolicy),
    /// Sets whose signatures of components count, and whether one is required
    Signing(settings::Signing),
    /// Sets what a tenant is: its plan, its time zone
    Tenant(settings::TenantSettings),
    /// Goes back to what was bound before
    Rollback(bind::Rollback),
    /// Lists what was bound, the last first
    History(show::History),
    /// Tells what candidates said beside what is enforced, with examples
    ShadowReport(shadow::ShadowReport),
    /// Tells what differs between two revisions, and what the second would have decided; without
    /// `--since` on the last day
    Diff(diff::Diff),
    /// Lists policies that failed too often, and are asked no longer
    Quarantined(quarantine::List),
    /// Lets such a policy back
    LetBack(quarantine::LetBack),
}

/// Runs the verb.
pub fn run(verb: &Verb) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let sandbox = components::sandbox(Limits::default(), components::cache_directory())?;
        let url = Some(&verb.place().store);
        match StoreUrl::open(url, Clocks::Own(wall_clock())).await? {
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
            Self::Push(own) => &own.place,
            Self::List(own) => &own.place,
            Self::Show(own) => &own.scoped.place,
            Self::Bind(own) => &own.changing.scoped.place,
            Self::Promote(own) | Self::Withdraw(own) | Self::Unbind(own) => {
                &own.changing.scoped.place
            }
            Self::Signing(own) => &own.place,
            Self::Tenant(own) => &own.place,
            Self::Rollback(own) => &own.scoped.place,
            Self::History(own) => &own.scoped.place,
            Self::ShadowReport(own) => &own.place,
            Self::Diff(own) => &own.place,
            Self::Quarantined(own) => &own.place,
            Self::LetBack(own) => &own.place,
        }
    }

    async fn on<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        match self {
            Self::Push(own) => own.run(registry).await,
            Self::List(own) => own.run(registry).await,
            Self::Show(own) => own.run(registry).await,
            Self::Bind(own) => own.run(registry).await,
            Self::Promote(own) => own.run(registry, Change::Promote).await,
            Self::Withdraw(own) => own.run(registry, Change::Withdraw).await,
            Self::Unbind(own) => own.run(registry, Change::Unbind).await,
            Self::Signing(own) => own.run(registry).await,
            Self::Tenant(own) => own.run(registry).await,
            Self::Rollback(own) => own.run(registry).await,
            Self::History(own) => own.run(registry).await,
            Self::ShadowReport(own) => own.run(registry).await,
            Self::Diff(own) => own.run(registry).await,
            Self::Quarantined(own) => own.run(registry).await,
            Self::LetBack(own) => own.run(registry).await,
        }
    }
}
