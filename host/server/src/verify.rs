//! `tollgate verify`: recomputes what stands from what happened.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use tollgate_host::engine::{Difference, verify};
use tollgate_host::store::{Owner, Tenant};

use crate::acts::{Act, carry_out};
use crate::stores::{AnyStore, StorePlace, Stores};
use crate::surroundings::random;

/// What is verified.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: StorePlace,
    /// Whose counters, holds and balances; without it everybody's
    #[arg(long)]
    tenant: Option<Tenant>,
    /// Puts right what differs, and keeps what was found
    #[arg(long)]
    repair: bool,
    /// Prints one JSON object for each difference
    #[arg(long)]
    json: bool,
    /// Who repairs it
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
}

/// Prints every difference; a failure if there is any.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let count = runtime.block_on(async {
        match arguments.place.open_there().await? {
            AnyStore::Postgres(store) => all(&store, arguments).await,
            AnyStore::Sqlite(store, _) => all(&store, arguments).await,
        }
    })?;
    if !arguments.json {
        println!("{count} differences");
    }
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn all(store: &impl Stores, arguments: &Arguments) -> Result<usize> {
    let tenants = match &arguments.tenant {
        Some(tenant) => vec![tenant.clone()],
        None => store.tenants().await?,
    };
    let mut count = 0;
    for tenant in tenants {
        let mut differences = verify(store, &tenant, None).await?;
        if arguments.repair && !differences.is_empty() {
            differences = repair(store, &tenant, differences.len(), &arguments.author).await?;
        }
        for difference in differences {
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

/// Puts right what differs by then, and tells it.
async fn repair(
    store: &impl Stores,
    tenant: &Tenant,
    differences: usize,
    author: &str,
) -> Result<Vec<Difference>> {
    let act = Act {
        owner: Owner::Tenant(tenant.clone()),
        act: "ledger.repair",
        subject: String::new(),
        before: json!({ "differences": differences }),
        after: json!({ "differences": 0 }),
    };
    let random = random();
    let repaired = async { Ok(verify(store, tenant, Some(&random)).await?) };
    carry_out(store, &random, author.to_owned(), act, repaired).await
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
