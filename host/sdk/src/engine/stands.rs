//! What stands of the counters that a tenant keeps.

use std::collections::BTreeMap;

use tollgate_policy_core::window::Instant;

use super::host::HostError;
use super::records::Records;
use super::sums::LONG_PAGE;
use crate::store::{CounterRow, Found, LatestKey, LatestRow, Pages, Since, Tenant, Total};

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
    /// All of it, by the counters that are kept as of a head.
    pub async fn read<P: Pages>(
        pages: &P,
        tenant: &Tenant,
        found: &Found,
    ) -> Result<Self, HostError> {
        let (mut latest, mut apart) = (Vec::new(), Vec::new());
        let mut after = Since { counter: i64::MIN, values: String::new(), opened: Instant::MIN };
        loop {
            let page = pages.counters(tenant, &after, LONG_PAGE).await?;
            let Some(CounterRow { counter, values, opened, .. }) = page.last() else { break };
            after = Since { counter: *counter, values: values.clone(), opened: *opened };
            apart.extend(page);
        }
        let mut after = LatestKey { per: String::new(), values: String::new() };
        loop {
            let page = pages.latest(tenant, &after, LONG_PAGE).await?;
            let Some(LatestRow { key, .. }) = page.last() else { break };
            after = key.clone();
            latest.extend(page);
        }
        Ok(Self::of(latest, apart, found))
    }

    /// What was found of it.
    pub fn found(found: &mut Found) -> Self {
        let latest = std::mem::take(&mut found.latest);
        let apart = std::mem::take(&mut found.counters);
        Self::of(latest, apart, found)
    }

    fn of(mut latest: Vec<LatestRow>, mut apart: Vec<CounterRow>, found: &Found) -> Self {
        let mut records = Records::default();
        records.load(&found.records);
        apart.retain(|row| records.counts(row.counter, row.version));
        for LatestRow { version, totals, .. } in &mut latest {
            totals.retain(|(counter, ..)| records.counts(*counter, *version));
        }
        Self { latest, apart }
    }

    /// A stretch that is put right. One that stands in both was filled from history and has moved since.
    pub fn mend(&mut self, counter: i64, values: &str, opened: Instant) -> &mut Total {
        let own = |(row, LatestRow { totals, .. }): (usize, &LatestRow)| {
            let own = |own: &(i64, Instant, Total)| (own.0, own.1) == (counter, opened);
            Some((row, totals.iter().position(own)?))
        };
        let mut latest = self.latest.iter().enumerate().filter(|(_, row)| row.key.values == values);
        if let Some((row, own)) = latest.find_map(own) {
            let LatestRow { version, totals, .. } = &mut self.latest[row];
            *version = MENDED;
            return &mut totals[own].2;
        }
        let own = |row: &CounterRow| {
            (row.counter, row.values.as_str(), row.opened) == (counter, values, opened)
        };
        let place = self.apart.iter().position(own).unwrap_or_else(|| {
            let (values, total) = (values.to_owned(), Total::default());
            self.apart.push(CounterRow { counter, values, opened, version: MENDED, total });
            self.apart.len() - 1
        });
        let CounterRow { version, total, .. } = &mut self.apart[place];
        *version = MENDED;
        total
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

    /// The rows in which something was put right: the latest stretches, and others.
    pub fn into_mended(self) -> (Vec<LatestRow>, Vec<CounterRow>) {
        let Self { mut latest, mut apart } = self;
        latest.retain(|row| row.version == MENDED);
        apart.retain(|row| row.version == MENDED);
        (latest, apart)
    }
}
