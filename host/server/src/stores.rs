//! Stores by their address.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tollgate_host::store::{
    AccessStore, Clock, Durability, PostgresStore, RegistryStore, SqliteStore, Store,
};

use crate::surroundings::wall_clock;

/// So many connections to Postgres.
const CONNECTIONS: u32 = 16;

/// All that the program asks of a store.
pub trait Stores: Store + RegistryStore + AccessStore {}

impl<S: Store + RegistryStore + AccessStore> Stores for S {}

/// Where a store is.
#[derive(Clone, Debug)]
pub enum StoreUrl {
    /// `postgres://user@host/database`.
    Postgres(Box<PgConnectOptions>),
    /// A file, also as `sqlite:FILE`.
    Sqlite(PathBuf),
}

/// Where a verb finds its store.
#[derive(clap::Args)]
pub struct StorePlace {
    /// Where the ledger is kept: `postgres://…`, or the path of a SQLite file
    #[arg(
        long,
        env = "TOLLGATE_STORE",
        hide_env_values = true,
        value_name = "URL",
        default_value = "tollgate.db"
    )]
    pub store: StoreUrl,
    /// Takes a Postgres with `fsync`, `full_page_writes` or `synchronous_commit` off: it may lose what was
    /// acknowledged
    #[arg(long, env = "TOLLGATE_WAIVE_DURABILITY")]
    waive_durability: bool,
}

impl StorePlace {
    /// Opens it, by its own clock. A file that is not there is made.
    pub async fn open(&self) -> Result<AnyStore> {
        let durability =
            if self.waive_durability { Durability::Waived } else { Durability::Required };
        StoreUrl::open(Some(&self.store), Clocks::Own(wall_clock()), durability).await
    }

    /// Opens what must be there already.
    pub async fn open_there(&self) -> Result<AnyStore> {
        if let StoreUrl::Sqlite(path) = &self.store
            && !path.exists()
        {
            bail!("there is no file `{}`", path.display());
        }
        self.open().await
    }
}

/// A store of either kind. What is temporary goes with it.
pub enum AnyStore {
    /// On Postgres.
    Postgres(PostgresStore),
    /// In a file.
    Sqlite(SqliteStore, Option<TempDir>),
}

/// By which clock a store goes.
pub enum Clocks {
    /// By its own, which all servers on it share; a file has none, and goes by this one.
    Own(Clock),
    /// By this one, as time in a simulation does.
    All(Clock),
}

impl Clocks {
    fn of_a_file(self) -> Clock {
        match self {
            Self::Own(clock) | Self::All(clock) => clock,
        }
    }
}

impl FromStr for StoreUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("postgres" | "postgresql", _)) => {
                let options = text.parse().context("not an address of a Postgres database")?;
                Ok(Self::Postgres(Box::new(options)))
            }
            Some(("sqlite", path)) => {
                Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into()))
            }
            Some((scheme, rest)) if rest.starts_with("//") => {
                bail!("`{scheme}:` is no store: write `postgres://…`, or the path of a file")
            }
            _ if text.is_empty() => bail!("write `postgres://…`, or the path of a file"),
            _ => Ok(Self::Sqlite(text.into())),
        }
    }
}

impl StoreUrl {
    /// Opens it; where none is named, a temporary file whose loss is no loss.
    pub async fn open(
        url: Option<&Self>,
        clock: Clocks,
        durability: Durability,
    ) -> Result<AnyStore> {
        Ok(match url {
            Some(Self::Postgres(options)) => {
                let options = (**options).clone();
                let store = PostgresStore::connect(options, CONNECTIONS, durability).await?;
                AnyStore::Postgres(match clock {
                    Clocks::Own(_) => store,
                    Clocks::All(clock) => store.with_clock(clock),
                })
            }
            Some(Self::Sqlite(path)) => {
                let store = SqliteStore::open(path, durability, clock.of_a_file()).await;
                let store = store.with_context(|| format!("`{}`", path.display()))?;
                AnyStore::Sqlite(store, None)
            }
            None => {
                let directory = tempfile::tempdir().context("no temporary directory")?;
                let path = directory.path().join("ledger.db");
                let store = SqliteStore::open(&path, Durability::Waived, clock.of_a_file()).await?;
                AnyStore::Sqlite(store, Some(directory))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_known_by_their_address() {
        for text in ["ledger.db", "sqlite:ledger.db", "sqlite://ledger.db"] {
            let url = text.parse().unwrap();
            assert!(matches!(url, StoreUrl::Sqlite(path) if path.as_os_str() == "ledger.db"));
        }
        let url = "postgres://tollgate@localhost/ledger".parse().unwrap();
        assert!(
            matches!(url, StoreUrl::Postgres(options) if options.get_database() == Some("ledger"))
        );
        for text in ["", "mysql://localhost/ledger"] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
    }
}
