//! `tollgate erase`: a pseudonym takes the place of a value, mostly of a person's name.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value as Json, json};
use tollgate_host::engine::erase;
use tollgate_host::store::{Owner, Tenant};
use tollgate_policy_core::contract::Dimension;

use crate::acts::{Act, carry_out};
use crate::stores::{AnyStore, StorePlace, Stores};
use crate::surroundings::random;

/// What is erased.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: StorePlace,
    /// From whose records
    #[arg(long)]
    tenant: Tenant,
    /// Of which dimension
    #[arg(long, default_value = "user")]
    dimension: String,
    /// The value that is to stand nowhere any more
    value: String,
    /// Prints a JSON object
    #[arg(long)]
    json: bool,
    /// Who erases it
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
}

/// Erases, and prints the pseudonym.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let pseudonym = runtime.block_on(async {
        match arguments.place.open_there().await? {
            AnyStore::Postgres(store) => of(&store, arguments).await,
            AnyStore::Sqlite(store, _) => of(&store, arguments).await,
        }
    })?;
    if arguments.json {
        println!("{}", json!({ "pseudonym": pseudonym }));
    } else {
        println!("`{pseudonym}` has taken its place");
    }
    Ok(ExitCode::SUCCESS)
}

async fn of(store: &impl Stores, arguments: &Arguments) -> Result<String> {
    let Arguments { tenant, dimension, value, author, .. } = arguments;
    // The value itself is to stand nowhere.
    let act = Act {
        owner: Owner::Tenant(tenant.clone()),
        act: "dimension.erase",
        subject: dimension.clone(),
        before: Json::Null,
        after: Json::Null,
    };
    let (random, who) = (random(), author.clone());
    let dimension = Dimension { name: dimension.clone(), value: value.clone() };
    let erased = async { Ok(erase(store, tenant, &dimension, &random).await?) };
    carry_out(store, &random, who, act, erased).await
}
