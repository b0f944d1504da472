//! What a tenant's books forget: the store knows it as well, and is asked when it is needed again.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::book::Book;

impl Book {
    /// Whether the counters alone are so many that it is better to open the books anew.
    pub fn is_full(&self, counters_max: usize) -> bool {
        self.judge.tally.len() > counters_max
    }

    /// Forgets the older half of the reservations, and what was answered and looked for, once all
    /// that is more than so much. What the batch at hand touches stays, since the store has it
    /// otherwise; so this is for when no other write is under way.
    pub fn forget(&mut self, remembered_max: usize) {
        let answered = self.keys.len() + self.sought_keys.len();
        let looked_for = self.sought.len() + self.usages.len();
        if self.open.len() + self.ended.len() + answered + looked_for <= remembered_max {
            return;
        }
        self.sought.clear();
        self.sought_keys.clear();
        self.usages.clear();
        let mut touched: HashSet<Uuid> = self.due.iter().copied().collect();
        let mut answered = std::mem::take(&mut self.keys);
        if let Some(write) = self.writing() {
            touched.extend(write.new_holds.iter().chain(&write.holds).map(|row| row.id));
            touched.extend(write.closures.iter().map(|row| row.id));
            let keys = write.keys.iter().map(|row| (row.operation.clone(), row.key.clone()));
            self.keys = keys.filter_map(|key| answered.remove_entry(&key)).collect();
        }
        forget_older(&mut self.open, &touched);
        forget_older(&mut self.ended, &touched);
    }
}

/// Identifiers begin with their instant.
fn forget_older<V>(all: &mut HashMap<Uuid, V>, touched: &HashSet<Uuid>) {
    let mut ids: Vec<Uuid> = all.keys().copied().collect();
    let middle = ids.len() / 2;
    if middle < ids.len() {
        let (_, middle, _) = ids.select_nth_unstable(middle);
        all.retain(|id, _| *id >= *middle || touched.contains(id));
    }
}
