//! `tollgate verify`: recomputes what stands from what happened.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use tollgate_host::engine::{Difference, verify};
use tollgate_host::store::{Store, Tenant};

use crate::stores::{AnyStore, StoreUrl};
use crate::surroundings::{random, wall_clock};

/// What is verified.
#[derive(clap::Args)]
pub struct Arguments {
    /// Where the ledger is kept: `postgres://…`, or the path of a SQLite file
    #[arg(long, value_name = "URL")]
    store: StoreUrl,
    /// Whose counters, holds and balances; without it everybody's
    #[arg(long)]
    tenant: Option<Tenant>,
    /// Puts right what differs, and keeps what was found
    #[arg(long)]
    repair: bool,
    /// Prints one JSON object for each difference
    #[arg(long)]
    json: bool,
}

/// Prints every difference; a failure if there is any.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let count = runtime.block_on(async {
        match StoreUrl::open_there(&arguments.store, wall_clock()).await? {
            AnyStore::Postgres(store) => all(&store, arguments).await,
            AnyStore::Sqlite(store, _) => all(&store, arguments).await,
        }
    })?;
    if !arguments.json {
        println!("{count} differences");
    }
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn all(store: &impl Store, arguments: &Arguments) -> Result<usize> {
    let tenants = match &arguments.tenant {
        Some(tenant) => vec![tenant.clone()],
        None => store.tenants().await?,
    };
    let random = random();
    let mut count = 0;
    for tenant in tenants {
        let repair = arguments.repair.then_some(&random);
        for difference in verify(store, &tenant, repair).await? {
            count += 1;
            if arguments.json {
                println!("{}", json!({ "tenant": tenant, "difference": difference }));
            } else {
                println!("{tenant}: {}", words(&difference));
            }
        }
    }
    Ok(count)
}

fn words(difference: &Difference) -> String {
    match difference {
        Difference::Counter { counter, values, opened, stands, should } => format!(
            "counter {counter:016x} {values} from {opened} on stands at {} used and {} held, and comes to {} and {}",
            stands.used, stands.held, should.used, should.held
        ),
        Difference::Account { account, currency, stands, should } => format!(
            "account `{account}` in {currency} stands at {} with {} held, and comes to {} with {}",
            stands.used, stands.held, should.used, should.held
        ),
        Difference::Hold(id) => format!("reservation {id} cannot be read"),
        Difference::Usage(id) => format!("usage {id} cannot be read"),
    }
}
