//! Roll-ups: what was used by quarter of an hour, and by the minute for the last day, of each model,
//! agent, user, session and run. They follow what was booked, a moment behind it, each usage once:
//! so no call waits for them, and what a dashboard reads costs what it shows.

use std::collections::BTreeMap;

use tollgate_policy_core::contract::{Dimension, dimension};
use tollgate_policy_core::window::Instant;
use tollgate_policy_core::{Decimal, Meter};

use super::body::{self, KeptUsage};
use super::host::HostError;
use crate::store::{Place, RollUp, RollUpRow, Store, Tenant, UsageRow};

/// So many usages are added up at a time.
const PAGE: u32 = 1_000;

/// How long what is rolled up is wide, in ms.
pub const GRAINS_MS: [i64; 2] = [60_000, 900_000];

/// By what it is rolled up, and the dimensions that make it up.
pub const GROUPINGS: [(&str, &[&str]); 5] = [
    ("model", &["model", "provider"]),
    ("agent", &["agent"]),
    ("user", &["user"]),
    ("session", &["session"]),
    ("run", &["run"]),
];

/// By this all usage is rolled up, also what names nothing of it, so that its rows come to a tenant's
/// total.
const WHOLE: &str = "model";

/// How many calls there were.
pub const CALLS: &str = "calls";

/// The meter under which callers tell how long a call took.
pub const LATENCY_MS: &str = "latency_ms";

/// The upper bounds of its histogram, `latency_ms.le_250` and so on; the last has none.
pub const LATENCY_BOUNDS_MS: [u32; 10] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

/// Adds up what was booked since the last time, to where there is no more, also where another host
/// does so at the same time.
pub async fn follow<S: Store>(store: &S, tenant: &Tenant) -> Result<(), HostError> {
    let mut from = store.rolled_up(tenant).await?;
    loop {
        let after = from.unwrap_or(Place::before(Instant::MIN));
        let page = store.usages(tenant, after, PAGE).await?;
        let Some((to, _)) = page.last() else { return Ok(()) };
        let (to, is_last) = (*to, page.len() < PAGE as usize);
        let rows = add_up(page.iter().map(|(_, row)| row));
        from = match store.roll_up(&RollUp { tenant: tenant.clone(), from, to, rows }).await? {
            // What was booked meanwhile is for the next time.
            true if is_last => return Ok(()),
            true => Some(to),
            false => store.rolled_up(tenant).await?,
        };
    }
}

/// A stretch of time, a grouping and its values.
type Slot = (i64, Instant, &'static str, String);

/// What usages come to. Where that does not fit it is the most that does, since nothing is decided by
/// it and what comes later is to be followed.
fn add_up<'a>(usages: impl Iterator<Item = &'a UsageRow>) -> Vec<RollUpRow> {
    let mut sums: BTreeMap<Slot, BTreeMap<String, Decimal>> = BTreeMap::new();
    for row in usages {
        let Some(used) = body::read::<KeptUsage>(&row.body) else { continue };
        let amounts = amounts(&used);
        for (grouping, names) in GROUPINGS {
            let Some(values) = values(grouping, &used.dimensions, names) else { continue };
            for grain in GRAINS_MS {
                let opened = row.used_at.div_euclid(grain).saturating_mul(grain);
                let slot = sums.entry((grain, opened, grouping, values.clone())).or_default();
                for (meter, amount) in &amounts {
                    match slot.get_mut(meter) {
                        Some(sum) => *sum = sum.saturating_add(*amount),
                        None => {
                            slot.insert(meter.clone(), *amount);
                        }
                    }
                }
            }
        }
    }
    let rows = |((grain_ms, opened, grouping, values), sums): (Slot, BTreeMap<String, Decimal>)| {
        let row = move |(meter, amount)| RollUpRow {
            grain_ms,
            opened,
            grouping: grouping.to_owned(),
            values: values.clone(),
            meter,
            amount,
        };
        sums.into_iter().map(row)
    };
    sums.into_iter().flat_map(rows).collect()
}

/// None where the call names none of them, and others account for it.
fn values(grouping: &str, dimensions: &[Dimension], names: &[&str]) -> Option<String> {
    let values: Vec<&str> = names.iter().map(|name| dimension(dimensions, name)).collect();
    let named = grouping == WHOLE || values.iter().any(|value| !value.is_empty());
    named.then(|| serde_json::to_string(&values).unwrap_or_default())
}

/// What counts of a usage, by meter: what it used, that it was one call, and where its latency lies.
fn amounts(used: &KeptUsage) -> Vec<(String, Decimal)> {
    let sign = if used.voids.is_some() { Decimal::ONE.negated() } else { Decimal::ONE };
    let mut amounts: Vec<(String, Decimal)> =
        used.used.iter().map(|own| (own.meter.to_string(), own.amount)).collect();
    amounts.push((CALLS.to_owned(), sign));
    if let Some(latency) = used.used.get(LATENCY_MS) {
        let latency = if used.voids.is_some() { latency.negated() } else { latency };
        amounts.push((latency_meter(latency), sign));
    }
    amounts
}

/// The part of the histogram that a latency falls into.
#[must_use]
pub fn latency_meter(latency_ms: Decimal) -> String {
    let bound = LATENCY_BOUNDS_MS.into_iter().find(|bound| latency_ms <= Decimal::from(*bound));
    bound.map_or_else(|| format!("{LATENCY_MS}.more"), |bound| format!("{LATENCY_MS}.le_{bound}"))
}

/// What a run, or any other value of a grouping, came to between two instants, by meter.
pub async fn metrics<S: Store>(
    store: &S,
    tenant: &Tenant,
    grouping: &str,
    values: &[&str],
    used: std::ops::Range<Instant>,
) -> Result<BTreeMap<Meter, Decimal>, HostError> {
    let values = serde_json::to_string(values).unwrap_or_default();
    let [_, grain] = GRAINS_MS;
    let rows = store.rollups(tenant, grouping, Some(&values), grain, used).await?;
    let mut sums: BTreeMap<Meter, Decimal> = BTreeMap::new();
    for row in rows {
        let Ok(meter) = row.meter.parse() else { continue };
        let sum = sums.entry(meter).or_default();
        *sum = sum.saturating_add(row.amount);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_one_part_of_its_histogram() {
        for (latency, meter) in [
            (0_u32, "latency_ms.le_50"),
            (50, "latency_ms.le_50"),
            (51, "latency_ms.le_100"),
            (60_000, "latency_ms.le_60000"),
            (60_001, "latency_ms.more"),
        ] {
            assert_eq!(latency_meter(latency.into()), meter);
            assert!(meter.parse::<Meter>().is_ok());
        }
    }
}
