//! What a reservation holds, or a usage booked, in the stretches of counters.

use serde::{Deserialize, Serialize};
use tollgate_policy_core::Decimal;
use tollgate_policy_core::window::Instant;

use super::tally::Tally;

/// So much in one stretch of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The counter and its values, as a tally knows them.
    pub slot: usize,
    /// Which stretch.
    pub opened: Instant,
    /// How much.
    pub amount: Decimal,
}

impl Part {
    pub fn negated(&self) -> Self {
        Self { amount: self.amount.negated(), ..*self }
    }
}

/// Parts as they are kept: the same for every host. Values stand once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptParts {
    values: Vec<String>,
    /// Counter, place of its values, stretch, amount.
    parts: Vec<(i64, usize, Instant, Decimal)>,
}

impl KeptParts {
    pub fn of(parts: &[Part], tally: &Tally) -> Self {
        let mut kept = Self::default();
        for Part { slot, opened, amount } in parts {
            let (counter, values) = tally.key(*slot);
            let known = kept.values.iter().position(|own| **own == **values);
            let place = known.unwrap_or_else(|| {
                kept.values.push(values.to_string());
                kept.values.len() - 1
            });
            kept.parts.push((counter, place, *opened, *amount));
        }
        kept
    }

    pub fn append(&mut self, more: Self) {
        for (counter, place, opened, amount) in more.parts {
            let Some(values) = more.values.get(place) else { continue };
            let known = self.values.iter().position(|own| own == values);
            let place = known.unwrap_or_else(|| {
                self.values.push(values.clone());
                self.values.len() - 1
            });
            self.parts.push((counter, place, opened, amount));
        }
    }

    /// Tells counters of other values, where there are others.
    pub fn rename(&mut self, new: impl Fn(i64, &str) -> Option<String>) {
        let mut renamed = Self::default();
        for (counter, place, opened, amount) in &self.parts {
            let Some(values) = self.values.get(*place) else { continue };
            let values = new(*counter, values).unwrap_or_else(|| values.clone());
            renamed.append(Self {
                values: vec![values],
                parts: vec![(*counter, 0, *opened, *amount)],
            });
        }
        *self = renamed;
    }

    /// Among the slots of a tally. Places that point nowhere were never written by us.
    pub fn placed(&self, tally: &mut Tally) -> Vec<Part> {
        let part = |(counter, place, opened, amount): &(i64, usize, Instant, Decimal)| {
            let slot = tally.slot(*counter, self.values.get(*place)?);
            Some(Part { slot, opened: *opened, amount: *amount })
        };
        self.parts.iter().filter_map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(values: &[&str], parts: &[(i64, usize)]) -> KeptParts {
        let part = |&(counter, place): &(i64, usize)| (counter, place, 0, Decimal::ONE);
        KeptParts {
            values: values.iter().map(|own| (*own).to_owned()).collect(),
            parts: parts.iter().map(part).collect(),
        }
    }

    #[test]
    fn appended_parts_keep_their_values_each_once() {
        let mut parts = kept(&["[]", "[\"ana\"]"], &[(1, 0), (2, 1)]);
        parts.append(kept(&["[\"ben\"]", "[\"ana\"]"], &[(2, 0), (3, 1), (9, 7)]));
        let whole = kept(&["[]", "[\"ana\"]", "[\"ben\"]"], &[(1, 0), (2, 1), (2, 2), (3, 1)]);
        assert_eq!(parts, whole);
    }

    #[test]
    fn values_are_renamed_by_their_counter() {
        let mut parts = kept(&["[\"ana\"]"], &[(1, 0), (2, 0)]);
        parts.rename(|counter, values| (counter == 2).then(|| values.replace("ana", "gone-1")));
        assert_eq!(parts, kept(&["[\"ana\"]", "[\"gone-1\"]"], &[(1, 0), (2, 1)]));
    }
}
