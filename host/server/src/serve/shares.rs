//! How many of the places one tenant's tokens take: never all of them, however slowly it asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tollgate_host::store::Tenant;

/// The places that are taken, by tenant.
#[derive(Clone, Default)]
pub struct Shares(Arc<Mutex<HashMap<Tenant, usize>>>);

/// A place of a tenant's, until it is dropped.
pub struct Share {
    shares: Shares,
    tenant: Tenant,
}

impl Shares {
    /// One place more; none where the tenant has that many.
    pub fn take(&self, tenant: &Tenant, most: usize) -> Option<Share> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(tenant.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Share { shares: self.clone(), tenant: tenant.clone() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_takes_its_share_and_gives_it_back() {
        let (acme, rival): (Tenant, Tenant) = ("acme".parse().unwrap(), "rival".parse().unwrap());
        let shares = Shares::default();
        let [first, second] = [(), ()].map(|()| shares.take(&acme, 2));
        assert!(first.is_some() && second.is_some());
        assert!(shares.take(&acme, 2).is_none() && shares.take(&rival, 2).is_some());
        drop(first);
        assert!(shares.take(&acme, 2).is_some());
        drop(second);
        assert!(shares.0.lock().unwrap().is_empty());
    }
}
