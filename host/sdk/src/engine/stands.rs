//! What stands of the counters that a tenant keeps.

use std::collections::BTreeMap;

use tollgate_policy_core::window::Instant;

use super::host::HostError;
use super::records::Records;
use super::sums::PAGE;
use crate::store::{CounterRow, Found, LatestKey, LatestRow, Since, Store, Tenant, Total};

/// A stretch of a counter, for certain values.
pub type Stretch = (i64, String, Instant);

/// The version of a row that is put right, which is yet to be written.
const MENDED: i64 = -1;

/// What stands of the counters that are kept.
pub struct Stands {
    latest: Vec<LatestRow>,
    apart: Vec<CounterRow>,
}

impl Stands {
    pub async fn read<S: Store>(
        store: &S,
        tenant: &Tenant,
        found: &Found,
    ) -> Result<Self, HostError> {
        let mut records = Records::default();
        records.load(&found.records);
        let (mut latest, mut apart) = (Vec::new(), Vec::new());
        let mut after = Since { counter: i64::MIN, values: String::new(), opened: Instant::MIN };
        loop {
            let page = store.counters(tenant, &after, PAGE).await?;
            let Some(CounterRow { counter, values, opened, .. }) = page.last() else { break };
            after = Since { counter: *counter, values: values.clone(), opened: *opened };
            apart.extend(page.into_iter().filter(|row| records.counts(row.counter, row.version)));
        }
        let mut after = LatestKey { per: String::new(), values: String::new() };
        loop {
            let page = store.latest(tenant, &after, PAGE).await?;
            let Some(LatestRow { key, .. }) = page.last() else { break };
            after = key.clone();
            for LatestRow { key, version, mut totals } in page {
                totals.retain(|(counter, ..)| records.counts(*counter, version));
                latest.push(LatestRow { key, version, totals });
            }
        }
        Ok(Self { latest, apart })
    }

    /// Puts one of the latest stretches right; false: it is not among them.
    pub fn set(&mut self, counter: i64, values: &str, opened: Instant, should: Total) -> bool {
        for row in self.latest.iter_mut().filter(|row| row.key.values == values) {
            let own = |own: &&mut (i64, Instant, Total)| (own.0, own.1) == (counter, opened);
            if let Some((.., total)) = row.totals.iter_mut().find(own) {
                *total = should;
                row.version = MENDED;
                return true;
            }
        }
        false
    }

    /// A stretch that stands in both was filled from history and has moved since.
    pub fn totals(&self) -> BTreeMap<Stretch, Total> {
        let apart = self.apart.iter().map(|row| {
            let CounterRow { counter, values, opened, total, .. } = row;
            ((*counter, values.clone(), *opened), *total)
        });
        let latest = self.latest.iter().flat_map(|LatestRow { key, totals, .. }| {
            let total =
                |&(counter, opened, total): &_| ((counter, key.values.clone(), opened), total);
            totals.iter().map(total)
        });
        apart.chain(latest).collect()
    }

    /// The rows in which something was put right.
    pub fn into_mended(self) -> Vec<LatestRow> {
        self.latest.into_iter().filter(|row| row.version == MENDED).collect()
    }
}
