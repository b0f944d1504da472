//! `tollgate audit`: every administrative act that was written down, for whoever keeps it elsewhere.

use std::io::{BufWriter, Write, stdout};

use anyhow::Result;
use clap::Args;
use tollgate_host::store::{AccessStore, Owner, Tenant};

use crate::serve::ActBody;
use crate::stores::{AnyStore, StorePlace};

/// So many are read at a time.
const PAGE: u32 = 1_000;

/// What to print.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    place: StorePlace,
    /// In a tenant's affairs alone
    #[arg(long)]
    tenant: Option<Tenant>,
}

/// Prints them, the last first, a line of JSON each.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.place.open_there().await? {
            AnyStore::Postgres(store) => arguments.print(&store).await,
            AnyStore::Sqlite(store, _) => arguments.print(&store).await,
        }
    })
}

impl Arguments {
    async fn print<S: AccessStore>(&self, store: &S) -> Result<()> {
        let owner = self.tenant.clone().map(Owner::Tenant);
        let (mut out, mut before) = (BufWriter::new(stdout().lock()), None);
        loop {
            let rows = store.audits(owner.as_ref(), before, PAGE).await?;
            before = rows.last().map(|row| (row.at, row.id));
            for row in rows {
                writeln!(out, "{}", serde_json::to_string(&ActBody::from(row))?)?;
            }
            if before.is_none() {
                return Ok(out.flush()?);
            }
        }
    }
}
