//! What keeps a tenant whose policies take long from holding up the others: it has a turn of so much
//! fuel, which is time that does not hang on the machine, and what needs more waits for the next one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use super::ask::Ask;
use crate::store::Tenant;

/// A turn, in fuel: about five milliseconds. It ends with the request that takes more.
pub const TURN_FUEL: u64 = 5_000_000;

/// Whether what a tenant asks took more than a turn, the last time that it was asked.
#[derive(Default)]
pub struct Pace(AtomicBool);

impl Pace {
    pub fn is_slow(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A turn took so much.
    pub fn took(&self, fuel: u64) {
        self.set(fuel > TURN_FUEL);
    }

    /// Part of one did.
    pub fn beyond(&self, fuel: u64) {
        if fuel > TURN_FUEL {
            self.set(true);
        }
    }

    /// It hardly ever is another one, and many read it.
    fn set(&self, is_slow: bool) {
        if self.is_slow() != is_slow {
            self.0.store(is_slow, Ordering::Relaxed);
        }
    }
}

/// What is asked of tenants that are slow: one of them has its turn at a time, the next one after it.
#[derive(Default)]
pub struct Lane {
    asks: HashMap<Tenant, VecDeque<Ask>>,
    order: VecDeque<Tenant>,
}

impl Lane {
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Behind what waits already.
    pub fn wait(&mut self, tenant: &Tenant, asks: Vec<Ask>) {
        self.queue(tenant).extend(asks);
    }

    /// What was left of a turn, before what waits.
    pub fn put_back(&mut self, tenant: &Tenant, left: Vec<Ask>) {
        let queue = self.queue(tenant);
        left.into_iter().rev().for_each(|ask| queue.push_front(ask));
    }

    /// Whose turn it is, with so many requests at the most.
    pub fn next(&mut self, most: usize) -> Option<(Tenant, Vec<Ask>)> {
        let tenant = self.order.pop_front()?;
        let mut queue = self.asks.remove(&tenant)?;
        let turn = queue.drain(..most.min(queue.len())).collect();
        if !queue.is_empty() {
            self.order.push_back(tenant.clone());
            self.asks.insert(tenant.clone(), queue);
        }
        Some((tenant, turn))
    }

    fn queue(&mut self, tenant: &Tenant) -> &mut VecDeque<Ask> {
        if !self.asks.contains_key(tenant) {
            self.order.push_back(tenant.clone());
        }
        self.asks.entry(tenant.clone()).or_default()
    }
}
