//! `tollgate policy quarantined` and `let-back`.

use std::sync::Arc;

use anyhow::{Result, bail};
use serde_json::json;
use tollgate_host::engine::{Author, Host, Operation, Subject, quarantined};
use tollgate_host::registry::Registry;
use tollgate_host::store::{RegistryStore, Store};

use super::arguments::{LetBack, Quarantine};
use crate::period::instant;
use crate::surroundings::{random, wall_clock};

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
    let setup = registry.setup(tenant).await?;
    let host = Host::builder(Arc::clone(store), wall_clock(), random());
    let host = host.tenant(tenant.clone(), setup).start().await?;
    for (policy, _) in all {
        let revision = policy.revision.clone();
        let (subject, by) =
            (Subject::LetBack(policy), Author::Person(own.signature.author.clone()));
        host.ask(tenant, None, Operation::Set { subject, by }).await?;
        println!("`{revision}` is asked again");
    }
    Ok(())
}
