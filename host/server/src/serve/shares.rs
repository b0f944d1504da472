//! How much of what all share one tenant's tokens take: never all of it, however slowly it asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tollgate_host::store::Tenant;

/// What is taken, by tenant.
#[derive(Clone, Default)]
pub struct Shares(Arc<Mutex<HashMap<Tenant, usize>>>);

/// So much of a tenant's, until it is dropped.
pub struct Share {
    shares: Shares,
    tenant: Tenant,
    count: usize,
}

impl Shares {
    /// So much more; none where the tenant would have more than it may.
    pub fn take(&self, tenant: &Tenant, count: usize, most: usize) -> Option<Share> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all.get(tenant).copied().unwrap_or_default();
        let taken = taken.checked_add(count).filter(|taken| *taken <= most)?;
        all.insert(tenant.clone(), taken);
        Some(Share { shares: self.clone(), tenant: tenant.clone(), count })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.tenant) {
            *count -= self.count;
            if *count == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

/// So much of something there is for all, and of that so much for one tenant.
pub struct Budget {
    all: Arc<Semaphore>,
    of_tenants: Shares,
    most: usize,
    most_of_one: usize,
}

/// A part of a budget, until it is dropped.
pub struct Part(
    #[allow(dead_code, reason = "it is given back when dropped")]
    (OwnedSemaphorePermit, Option<Share>),
);

impl Budget {
    pub fn new(most: usize, most_of_one: usize) -> Self {
        let most = most.clamp(1, u32::MAX as usize);
        let all = Arc::new(Semaphore::new(most));
        Self { all, of_tenants: Shares::default(), most, most_of_one }
    }

    /// So much of it, where there is that much left for all and for this tenant. Who needs more than
    /// there ever is has all of it.
    pub fn take(&self, count: usize, tenant: Option<&Tenant>) -> Option<Part> {
        let most = if tenant.is_some() { self.most_of_one } else { self.most };
        let count = count.min(most);
        let share = match tenant {
            Some(own) => Some(self.of_tenants.take(own, count, most)?),
            None => None,
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let all = Arc::clone(&self.all).try_acquire_many_owned(count).ok()?;
        Some(Part((all, share)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_takes_its_share_and_gives_it_back() {
        let (acme, rival): (Tenant, Tenant) = ("acme".parse().unwrap(), "rival".parse().unwrap());
        let shares = Shares::default();
        let [first, second] = [(), ()].map(|()| shares.take(&acme, 1, 2));
        assert!(first.is_some() && second.is_some());
        assert!(shares.take(&acme, 1, 2).is_none() && shares.take(&rival, 2, 2).is_some());
        drop(first);
        assert!(shares.take(&acme, 2, 2).is_none() && shares.take(&acme, 1, 2).is_some());
        drop(second);
        assert!(shares.0.lock().unwrap().is_empty());
    }
}
