//! A host on a store, judging by all that is bound there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tollgate_host::engine::{Host, Random, Retention};
use tollgate_host::registry::Registry;
use tollgate_host::sandbox::Limits;

use crate::components;
use crate::period::Length;
use crate::stores::Stores;
use crate::surroundings::steady_clock;

/// The registry on a store.
pub fn registry<S: Stores>(store: Arc<S>) -> Result<Registry<S>> {
    registry_with(store, components::cache_directory())
}

/// The same, with compiled code kept there.
pub fn registry_with<S: Stores>(store: Arc<S>, cache: Option<PathBuf>) -> Result<Registry<S>> {
    let sandbox = components::sandbox(Limits::default(), cache)?;
    let registry = Registry::new(store, Arc::new(sandbox));
    components::know_standard(&registry);
    Ok(registry)
}

/// How long what happened is kept.
#[derive(Args)]
pub struct Keeping {
    /// How long decisions are kept, a day at the least, and whole months at a time; without it for ever
    #[arg(long, env = "TOLLGATE_KEEP_DECISIONS", value_name = "TIME")]
    keep_decisions: Option<Length>,
    /// How long usages and entries of the ledger are kept, a day at the least, and whole months at a time;
    /// without it for ever. What they come to stays
    #[arg(long, env = "TOLLGATE_KEEP_LEDGER", value_name = "TIME")]
    keep_ledger: Option<Length>,
    /// How long a request is known by its key
    #[arg(long, env = "TOLLGATE_KEEP_KEYS", value_name = "TIME", default_value = "30d")]
    keep_keys: Length,
    /// How long notices are kept
    #[arg(long, env = "TOLLGATE_KEEP_NOTICES", value_name = "TIME", default_value = "400d")]
    keep_notices: Length,
    /// How long roll-ups by the minute are kept
    #[arg(long, env = "TOLLGATE_KEEP_MINUTES", value_name = "TIME", default_value = "1d")]
    keep_minutes: Length,
}

impl Keeping {
    pub fn retention(&self) -> Retention {
        let time = |Length(ms): Length| Duration::from_millis(ms.unsigned_abs());
        Retention {
            decisions: self.keep_decisions.map(time),
            ledger: self.keep_ledger.map(time),
            keys: time(self.keep_keys),
            notices: time(self.keep_notices),
            minutes: time(self.keep_minutes),
        }
    }
}

/// A host that serves all tenants there are. Without a retention it leaves all that is old to others.
pub async fn start<S: Stores>(
    registry: &Registry<S>,
    random: &Random,
    retention: Option<Retention>,
) -> Result<Host> {
    let store = Arc::clone(registry.store());
    let builder = Host::builder(store, steady_clock(), random.clone());
    let builder = match retention {
        Some(retention) => builder.retention(retention),
        None => builder.without_upkeep(),
    };
    let host = builder.start().await?;
    registry.follow_tenants().await?;
    registry.bring(&host).await?;
    for (tenant, trouble) in registry.troubles() {
        tracing::error!(%tenant, %trouble, "a tenant cannot be served");
    }
    Ok(host)
}
