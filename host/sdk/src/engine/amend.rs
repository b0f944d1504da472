//! What is known of a tenant by name is changed under its head's lock, without a host.

use tollgate_policy_core::contract::Dimension;
use tollgate_policy_core::window::Instant;

use super::Random;
use super::host::HostError;
use super::operation::{Subject, check_subject};
use super::quarantine::{PolicyKey, quarantine_notice};
use super::records::{Author, Disabled, Records};
use crate::store::{Locked, Need, Store, StoreError, Tenant, Write, Written};

/// Lets a policy back. False: it was in no quarantine.
pub async fn let_back<S: Store>(
    store: &S,
    tenant: &Tenant,
    policy: &PolicyKey,
    random: &Random,
) -> Result<bool, HostError> {
    amend(store, tenant, random, |records, _| {
        let was_out = records.let_back(policy);
        if was_out {
            records.notices.resolve("", &quarantine_notice(policy), &[]);
        }
        Ok(was_out)
    })
    .await
}

/// Has a value of a dimension not go on, for this reason and until then. False: nothing changes, since it
/// is so already or somebody with more to say has disabled it. A value that is being erased is refused.
pub async fn disable<S: Store>(
    store: &S,
    tenant: &Tenant,
    dimension: &Dimension,
    (reason, until): (String, Option<Instant>),
    by: Author,
    random: &Random,
) -> Result<bool, HostError> {
    check_subject(&Subject::Disabled(dimension.clone(), Some((reason.clone(), until))))?;
    amend(store, tenant, random, |records, at| {
        is_kept(records, dimension)?;
        Ok(records.disable(dimension, Disabled { reason, until, by, since: at }, at)
            || records.disabled(dimension, at).is_some_and(|own| own.since == at))
    })
    .await
}

/// Lets a value of a dimension go on. False: it was not disabled, or by somebody with more to say. A
/// value that is being erased is refused.
pub async fn enable<S: Store>(
    store: &S,
    tenant: &Tenant,
    dimension: &Dimension,
    by: Author,
    random: &Random,
) -> Result<bool, HostError> {
    check_subject(&Subject::Disabled(dimension.clone(), None))?;
    amend(store, tenant, random, |records, _| {
        is_kept(records, dimension)?;
        Ok(records.enable(dimension, &by))
    })
    .await
}

/// What is being erased is written down nowhere.
fn is_kept(records: &Records, dimension: &Dimension) -> Result<(), HostError> {
    match records.erasing(std::slice::from_ref(dimension)) {
        Some(name) => Err(HostError::Erasing(name.to_owned())),
        None => Ok(()),
    }
}

/// Writes what changes; false: nothing does.
async fn amend<S: Store>(
    store: &S,
    tenant: &Tenant,
    random: &Random,
    change: impl FnOnce(&mut Records, Instant) -> Result<bool, HostError>,
) -> Result<bool, HostError> {
    let need = Need { whole: true, ..Need::head(tenant.clone()) };
    let mut locked = store.lock(tenant).await?;
    let found = match locked.read(&need).await {
        Ok(found) => found,
        Err(error) => {
            locked.release().await;
            return Err(error.into());
        }
    };
    let mut records = Records::default();
    records.load(&found.records);
    let at = found.now.max(found.head.at);
    match change(&mut records, at) {
        Ok(true) => {}
        nothing => {
            locked.release().await;
            return nothing;
        }
    }
    let mut write = Write::new(tenant.clone(), found.head, (random() >> 64) as i64, at);
    write.turned = records.notices.take_turned();
    write.records = records.take_changed();
    match locked.write(&write).await? {
        Written::Committed => Ok(true),
        Written::Missed => {
            Err(StoreError::Unavailable("the head moved under its lock".into()).into())
        }
    }
}
