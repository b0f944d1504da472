//! A host on a store, judging by all that is bound there.

use std::sync::Arc;

use anyhow::Result;
use tollgate_host::engine::{Host, Random};
use tollgate_host::registry::Registry;
use tollgate_host::sandbox::Limits;

use crate::components;
use crate::stores::Stores;
use crate::surroundings::steady_clock;

/// The registry on a store.
pub fn registry<S: Stores>(store: Arc<S>) -> Result<Registry<S>> {
    let sandbox = components::sandbox(Limits::default(), components::cache_directory())?;
    let registry = Registry::new(store, Arc::new(sandbox));
    components::know_standard(&registry);
    Ok(registry)
}

/// A host that serves all tenants there are.
pub async fn start<S: Stores>(registry: &Registry<S>, random: &Random) -> Result<Host> {
    let store = Arc::clone(registry.store());
    let host = Host::builder(store, steady_clock(), random.clone()).start().await?;
    registry.follow_tenants().await?;
    registry.bring(&host).await?;
    for (tenant, trouble) in registry.troubles() {
        tracing::error!(%tenant, %trouble, "a tenant cannot be served");
    }
    Ok(host)
}
