//! `tollgate policy quarantined` and `let-back`.

use anyhow::{Result, bail};
use serde_json::json;
use tollgate_host::engine::{self, quarantined};
use tollgate_host::registry::Registry;
use tollgate_host::store::{RegistryStore, Store};

use super::arguments::{LetBack, Quarantine};
use crate::period::instant;
use crate::surroundings::random;

pub async fn list<S: Store + RegistryStore>(
    registry: &Registry<S>,
    list: &Quarantine,
) -> Result<()> {
    for tenant in list.place.tenants(registry).await? {
        for (policy, why) in quarantined(&**registry.store(), &tenant).await? {
            if list.place.json {
                println!("{}", json!({ "tenant": tenant, "policy": policy, "why": why }));
            } else {
                let (at, reason) = (instant(why.at), &why.reason);
                println!("{tenant}: `{}` since {at}: {reason}", policy.revision);
            }
        }
    }
    Ok(())
}

pub async fn let_back<S: Store + RegistryStore>(
    registry: &Registry<S>,
    own: &LetBack,
) -> Result<()> {
    let Some(tenant) = &own.place.tenant else {
        bail!("name the tenant for whom it failed with `--tenant`");
    };
    let store = registry.store();
    let all = quarantined(&**store, tenant).await?;
    let all: Vec<_> = all.into_iter().filter(|(key, _)| key.policy == own.policy).collect();
    if all.is_empty() {
        bail!("policy `{}` of tenant `{tenant}` is in no quarantine", own.policy);
    }
    for (policy, _) in all {
        if engine::let_back(&**store, tenant, &policy, &random()).await? {
            println!("`{}` is asked again", policy.revision);
        }
    }
    Ok(())
}
