//! What is known of a tenant by name is changed under its head's lock, without a host.

use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::window::Instant;

use super::Random;
use super::quarantine::{PolicyKey, quarantine_notice};
use super::records::{Author, Disabled, Records};
use crate::store::{Locked, Need, Store, StoreError, Tenant, Write, Written};

/// Lets a policy back. False: it was in no quarantine.
pub async fn let_back<S: Store>(
    store: &S,
    tenant: &Tenant,
    policy: &PolicyKey,
    random: &Random,
) -> Result<bool, StoreError> {
    amend(store, tenant, random, |records, _| {
        let was_out = records.let_back(policy);
        if was_out {
            records.notices.resolve("", &quarantine_notice(policy), &[]);
        }
        was_out
    })
    .await
}

/// Has a value of a dimension not go on, for this reason and until then. False: nothing changes, since it
/// is so already or somebody with more to say has disabled it.
pub async fn disable<S: Store>(
    store: &S,
    tenant: &Tenant,
    dimension: &Dimension,
    (reason, until): (String, Option<Instant>),
    by: Author,
    random: &Random,
) -> Result<bool, StoreError> {
    amend(store, tenant, random, |records, at| {
        records.disable(dimension, Disabled { reason, until, by, since: at }, at)
            || records.disabled(dimension, at).is_some_and(|own| own.since == at)
    })
    .await
}

/// Lets a value of a dimension go on. False: it was not disabled, or by somebody with more to say.
pub async fn enable<S: Store>(
    store: &S,
    tenant: &Tenant,
    dimension: &Dimension,
    by: Author,
    random: &Random,
) -> Result<bool, StoreError> {
    amend(store, tenant, random, |records, _| records.enable(dimension, &by)).await
}

/// Writes what changes; false: nothing does.
async fn amend<S: Store>(
    store: &S,
    tenant: &Tenant,
    random: &Random,
    change: impl FnOnce(&mut Records, Instant) -> bool,
) -> Result<bool, StoreError> {
    let need = Need { whole: true, ..Need::head(tenant.clone()) };
    let mut locked = store.lock(tenant).await?;
    let found = locked.read(&need).await?;
    let mut records = Records::default();
    records.load(&found.records);
    let at = found.now.max(found.head.at);
    if !change(&mut records, at) {
        locked.release().await;
        return Ok(false);
    }
    let mut write = Write::new(tenant.clone(), found.head, (random() >> 64) as i64, at);
    write.turned = records.notices.take_turned();
    write.records = records.take_changed();
    match locked.write(&write).await? {
        Written::Committed => Ok(true),
        Written::Missed => Err(StoreError::Unavailable("the head moved under its lock".into())),
    }
}
