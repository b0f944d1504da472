//! `tollgate disable` and `tollgate enable`: what may not go on, until a time or until it may again.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value as Json, json};
use tollgate_host::engine::{self, Author, directory};
use tollgate_host::store::{Owner, Tenant};
use tollgate_policy_core::contract::Dimension;

use crate::acts::{Act, carry_out};
use crate::period::{Length, instant};
use crate::stores::{AnyStore, StorePlace, Stores};
use crate::surroundings::{random, wall_clock};

/// What is meant.
#[derive(Args)]
struct What {
    #[command(flatten)]
    place: StorePlace,
    /// Of which tenant
    #[arg(long)]
    tenant: Tenant,
    /// Of which dimension: `agent`, `user`, `session`, …
    #[arg(long, default_value = "agent")]
    dimension: String,
    /// Which one
    value: String,
    /// Who does it
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
}

#[derive(Args)]
pub struct Disable {
    #[command(flatten)]
    what: What,
    /// Why, in words: whoever is denied is told
    #[arg(long)]
    reason: String,
    /// For how long, `12h` for example; without it until it is enabled again
    #[arg(long = "for", value_name = "TIME")]
    length: Option<Length>,
}

#[derive(Args)]
pub struct Enable {
    #[command(flatten)]
    what: What,
}

/// `tollgate disable`
pub fn disable(arguments: &Disable) -> Result<()> {
    let Disable { what, reason, length } = arguments;
    let until = length.map(|length| wall_clock()().saturating_add(length.0));
    what.set(Some((reason.clone(), until)))?;
    let until = until.map(|until| format!(" until {}", instant(until))).unwrap_or_default();
    println!("{} `{}` is disabled{until}", what.dimension, what.value);
    Ok(())
}

/// `tollgate enable`
pub fn enable(arguments: &Enable) -> Result<()> {
    let what = &arguments.what;
    what.set(None)?;
    println!("{} `{}` may go on", what.dimension, what.value);
    Ok(())
}

impl What {
    fn set(&self, disabled: Option<(String, Option<i64>)>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            match self.place.open_there().await? {
                AnyStore::Postgres(store) => self.on(&store, disabled).await,
                AnyStore::Sqlite(store, _) => self.on(&store, disabled).await,
            }
        })
    }

    async fn on(&self, store: &impl Stores, disabled: Option<(String, Option<i64>)>) -> Result<()> {
        let Self { tenant, dimension, value, author, .. } = self;
        let dimension = Dimension { name: dimension.clone(), value: value.clone() };
        let known = directory(store, tenant).await?;
        let before = known.disabled.iter().find(|(own, _)| *own == dimension);
        let act = Act {
            owner: Owner::Tenant(tenant.clone()),
            act: if disabled.is_some() { "dimension.disable" } else { "dimension.enable" },
            subject: format!("{}={value}", dimension.name),
            before: before.map_or(Json::Null, |(_, own)| json!(own)),
            after: disabled
                .as_ref()
                .map_or(Json::Null, |(reason, until)| json!({ "reason": reason, "until": until })),
        };
        let (random, by) = (random(), Author::Person(author.clone()));
        let done = async {
            match disabled {
                // Again it changes nothing.
                Some(how) => {
                    engine::disable(store, tenant, &dimension, how, by, &random).await?;
                }
                None if engine::enable(store, tenant, &dimension, by, &random).await? => {}
                None => bail!("{} `{}` is not disabled", dimension.name, dimension.value),
            }
            Ok(())
        };
        carry_out(store, &random, author.clone(), act, done).await
    }
}
