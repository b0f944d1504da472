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
use serde_json::{Value as Json, json};
use tollgate_host::registry::{Change, Registry};
use tollgate_host::sandbox::Limits;
use tollgate_host::store::{RegistryStore, Scope, Store};

use crate::acts::{self, Act};
use crate::components;
use crate::stores::{AnyStore, Stores};
use crate::surroundings::random;
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
    /// Sets the order in which policies are asked
    Order(bind::Order),
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
        let place = &verb.place().store;
        // What is only looked at must be there.
        let store =
            if verb.act().is_some() { place.open().await? } else { place.open_there().await? };
        match store {
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
            Self::Order(own) => &own.changing.scoped.place,
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

    async fn on<S: Stores>(&self, registry: &Registry<S>) -> Result<()> {
        let Some((act, author)) = self.act() else { return self.carry_out(registry).await };
        let scope = Scope { owner: act.owner.clone(), plan: String::new() };
        let before = json!(registry.bound(&scope).await?.1);
        let act = Act { before, ..act };
        let store = &**registry.store();
        acts::carry_out(store, &random(), author, act, self.carry_out(registry)).await
    }

    /// What is about to be done, and by whom, where it is more than looking.
    fn act(&self) -> Option<(Act, String)> {
        let (act, signature, subject) = match self {
            Self::Push(own) => ("policy.push", &own.signature, own.policy.as_str()),
            Self::Bind(own) => ("policy.bind", &own.changing.signature, &*own.revision.policy),
            Self::Promote(own) => ("policy.promote", &own.changing.signature, &*own.policy),
            Self::Withdraw(own) => ("policy.withdraw", &own.changing.signature, &*own.policy),
            Self::Unbind(own) => ("policy.unbind", &own.changing.signature, &*own.policy),
            Self::Order(own) => ("policy.order", &own.changing.signature, ""),
            Self::Signing(own) => ("policy.signing", &own.signature, ""),
            Self::Tenant(own) => ("tenant.set", &own.signature, ""),
            Self::Rollback(own) => ("policy.roll_back", &own.signature, ""),
            Self::LetBack(own) => ("policy.let_back", &own.signature, &*own.policy),
            Self::List(_)
            | Self::Show(_)
            | Self::History(_)
            | Self::ShadowReport(_)
            | Self::Diff(_)
            | Self::Quarantined(_) => return None,
        };
        // The very words, but for where the store is.
        let words: Vec<String> = std::env::args().skip(1).collect();
        let is_store = |own: &String| own.contains("://");
        let after = json!(words.into_iter().filter(|own| !is_store(own)).collect::<Vec<_>>());
        let (owner, subject) = (self.place().owner(), subject.to_owned());
        let act = Act { owner, act, subject, before: Json::Null, after };
        Some((act, signature.by().author))
    }

    async fn carry_out<S: Store + RegistryStore>(&self, registry: &Registry<S>) -> Result<()> {
        match self {
            Self::Push(own) => own.run(registry).await,
            Self::List(own) => own.run(registry).await,
            Self::Show(own) => own.run(registry).await,
            Self::Bind(own) => own.run(registry).await,
            Self::Promote(own) => own.run(registry, Change::Promote).await,
            Self::Withdraw(own) => own.run(registry, Change::Withdraw).await,
            Self::Unbind(own) => own.run(registry, Change::Unbind).await,
            Self::Order(own) => own.run(registry).await,
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
