//! What totals take from the store, and what they give back to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tollgate_policy_core::window::{Instant, Window};

use super::kept::part_of;
use super::slot::LEVEL_AT;
use super::{Part, Places, Tally, TallyError, group};
use crate::store::{CounterRow, LatestKey, LatestRow, Since};

/// What moved since this was last asked.
#[derive(Debug, Default)]
pub struct Moved {
    /// For each list of dimensions and their values the latest stretch of each counter, where the
    /// store has no row of them.
    pub new_latest: Vec<LatestRow>,
    /// The same, where it has one.
    pub latest: Vec<LatestRow>,
    /// All other stretches.
    pub counters: Vec<CounterRow>,
}

impl Tally {
    /// What must be learnt before a call at an instant can be judged, and before these parts can
    /// be given back.
    pub fn missing(
        &self,
        at: Instant,
        places: &Places,
        parts: &[Part],
        wanted: &mut BTreeMap<usize, Instant>,
    ) -> Result<(), TallyError> {
        let mut want = |slot: usize, opened: Instant| {
            if self.slots[slot].learnt.is_none_or(|learnt| learnt > opened) {
                let since = wanted.entry(slot).or_insert(opened);
                *since = (*since).min(opened);
            }
        };
        for kept in &self.kept {
            let opened = match kept.counter.window {
                Window::Request => continue,
                Window::Calendar(_) => kept.span(&self.calendar, at)?.opened,
                Window::Rolling(seconds) => part_of(kept.span(&self.calendar, at)?.opened, seconds),
                // There is but the one row, which always comes along.
                Window::Lifetime | Window::InFlight => Instant::MAX,
                Window::Level => LEVEL_AT,
            };
            want(kept.slot(places), opened);
        }
        for Part { slot, opened, .. } in parts {
            want(*slot, if *opened == Instant::MIN { Instant::MAX } else { *opened });
        }
        Ok(())
    }

    /// A wanted slot as the store is asked for it.
    pub fn since(&self, slot: usize, opened: Instant) -> Since {
        let (counter, values) = &self.slots[slot].key;
        Since { counter: *counter, values: values.as_ref().to_owned(), opened }
    }

    /// Where the store has the latest stretches of a slot's counter, if that is not known yet.
    pub fn unknown_latest(&self, slot: usize) -> Option<LatestKey> {
        let (counter, values) = &self.slots[slot].key;
        let list = &self.lists[self.kept.iter().find(|kept| kept.id == *counter)?.list];
        let known = list.groups.get(values).is_some_and(|group| group.known);
        (!known).then(|| LatestKey { per: list.name.clone(), values: values.as_ref().to_owned() })
    }

    /// Takes in what the store has of what is not known yet: what is known may have moved since, on
    /// its way to the store. The latest stretches are newer than what else stands of them.
    pub fn learn(
        &mut self,
        wanted: Vec<Since>,
        wanted_latest: &[LatestKey],
        latest: Vec<LatestRow>,
        rows: Vec<CounterRow>,
    ) {
        for LatestRow { key, totals, .. } in &latest {
            for &(counter, opened, total) in totals {
                let slot = self.slot(counter, &key.values);
                let slot = &mut self.slots[slot];
                slot.kept_as_latest = Some(opened);
                slot.learn(opened, total);
            }
        }
        for CounterRow { counter, values, opened, total, .. } in rows {
            let slot = self.slot(counter, &values);
            let slot = &mut self.slots[slot];
            // One that was filled from history and moved since stands in both.
            if slot.kept_as_latest != Some(opened) {
                slot.learn(opened, total);
            }
        }
        for Since { counter, values, opened } in wanted {
            let slot = self.slot(counter, &values);
            self.slots[slot].learnt = Some(opened);
        }
        let Self { lists, slots, index, .. } = self;
        for key @ LatestKey { per, values } in wanted_latest {
            if let Some(list) = lists.iter_mut().find(|list| list.name == *per) {
                let group = group(list, slots, index, values);
                group.known = true;
                group.is_stored |= latest.iter().any(|row| row.key == *key);
            }
        }
    }

    /// Takes in totals that the store does not have yet.
    pub fn adopt(&mut self, rows: Vec<CounterRow>) {
        for CounterRow { counter, values, opened, total, .. } in rows {
            let slot = self.slot(counter, &values);
            self.slots[slot].learnt = Some(Instant::MIN);
            if self.slots[slot].set(opened, total, true) {
                self.moved.push((slot, opened));
            }
        }
    }

    /// What moved since this was last asked, with what it stands at. Of counters that are not kept
    /// nothing is told. Where it is not known what the store has beside a stretch, it stands alone.
    pub fn take_moved(&mut self) -> Moved {
        let mut apart = BTreeSet::new();
        let mut groups = BTreeSet::new();
        for (slot, opened) in std::mem::take(&mut self.moved) {
            if let Some(stretch) = self.slots[slot].stretch_mut(opened) {
                stretch.moved = false;
            }
            let (counter, values) = &self.slots[slot].key;
            let Some(kept) = self.kept.iter().find(|kept| kept.id == *counter) else { continue };
            let latest = kept.latest(&self.slots[slot]);
            let known =
                || self.lists[kept.list].groups.get(values).is_some_and(|group| group.known);
            if latest.is_some_and(|latest| latest.opened == opened) && known() {
                groups.insert((kept.list, values.clone()));
            } else {
                apart.insert((slot, opened));
            }
        }
        let mut moved = Moved::default();
        for (list, values) in groups {
            let Some(group) = self.lists[list].groups.get_mut(&values) else { continue };
            let is_stored = std::mem::replace(&mut group.is_stored, true);
            let rows = if is_stored { &mut moved.latest } else { &mut moved.new_latest };
            rows.extend(self.latest_row(list, &values, &mut apart));
        }
        moved.counters = apart.into_iter().map(|(slot, at)| self.row(slot, at)).collect();
        moved
    }

    /// The row of a group. A stretch that gives way in it is one `apart` from now on.
    fn latest_row(
        &mut self,
        list: usize,
        values: &str,
        apart: &mut BTreeSet<(usize, Instant)>,
    ) -> Option<LatestRow> {
        let slots = Arc::clone(&self.lists[list].groups.get(values)?.slots);
        let mut totals = Vec::with_capacity(slots.len());
        for kept in self.kept.iter().filter(|kept| kept.list == list) {
            let slot = slots[kept.rank];
            let Some(latest) = kept.latest(&self.slots[slot]).copied() else { continue };
            totals.push((kept.id, latest.opened, latest.total));
            let before = self.slots[slot].kept_as_latest.replace(latest.opened);
            apart.extend(before.filter(|before| *before != latest.opened).map(|at| (slot, at)));
        }
        let key = LatestKey { per: self.lists[list].name.clone(), values: values.to_owned() };
        Some(LatestRow { key, version: 0, totals })
    }

    fn row(&self, slot: usize, opened: Instant) -> CounterRow {
        let (counter, values) = &self.slots[slot].key;
        let total = self.slots[slot].at(opened);
        let (counter, values) = (*counter, values.as_ref().to_owned());
        CounterRow { counter, values, opened, version: 0, total }
    }
}
