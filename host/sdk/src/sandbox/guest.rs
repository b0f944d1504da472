//! One call's store: what a guest may have, and what it has taken.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use wasmtime::component::ResourceTable;
use wasmtime::{Engine, ResourceLimiter, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::engine::{self, EPOCH_MS};
use super::limits::Limits;
use super::wasi::{Frozen, Log};

/// The data of a store.
pub struct Guest {
    memory_left: usize,
    elements_left: usize,
    denied: bool,
    wasi: Option<Box<Wasi>>,
}

/// What only guests with WASI imports have.
pub struct Wasi {
    pub ctx: WasiCtx,
    pub table: ResourceTable,
    pub log: Log,
    pub frozen: Frozen,
}

impl Guest {
    /// A store with all limits set, since instantiating already spends from them.
    pub fn store(
        engine: &Engine,
        limits: &Limits,
        fuel: u64,
        wasi: Option<Box<Wasi>>,
    ) -> Store<Self> {
        let guest = Self {
            memory_left: limits.memory_bytes,
            elements_left: limits.table_elements,
            denied: false,
            wasi,
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| guest);
        // Both fail only where the engine has no fuel or epochs, and ours has.
        let _ = store.set_fuel(fuel);
        store.set_epoch_deadline(limits.call_ms.div_ceil(EPOCH_MS).saturating_add(1));
        store.set_hostcall_fuel(limits.output_bytes);
        store.set_max_component_handles(limits.handles);
        store
    }

    /// Whether it was refused memory or table space.
    pub fn memory_denied(&self) -> bool {
        self.denied
    }

    pub fn wasi(&mut self) -> &mut Wasi {
        // Guests without WASI are linked against nothing that could ask for it.
        self.wasi.as_mut().expect("only the linker with WASI asks for it")
    }

    /// What the guest wrote, if it could write.
    pub fn take_log(&mut self) -> String {
        self.wasi.as_ref().map(|wasi| wasi.log.text()).unwrap_or_default()
    }

    fn take(left: &mut usize, denied: &mut bool, current: usize, desired: usize) -> bool {
        match left.checked_sub(desired.saturating_sub(current)) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => {
                *denied = true;
                false
            }
        }
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let within = maximum.is_none_or(|maximum| desired <= maximum);
        self.denied |= !within;
        Ok(within && Self::take(&mut self.memory_left, &mut self.denied, current, desired))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let within = maximum.is_none_or(|maximum| desired <= maximum);
        self.denied |= !within;
        Ok(within && Self::take(&mut self.elements_left, &mut self.denied, current, desired))
    }

    fn instances(&self) -> usize {
        engine::CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        engine::TABLES as usize
    }

    fn memories(&self) -> usize {
        engine::MEMORIES as usize
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

/// How many instances may live at a time: the pool refuses, this waits.
pub struct Permits {
    count: Mutex<Count>,
    returned: Condvar,
}

struct Count {
    free: usize,
    /// Waking nobody is a system call too.
    waiting: usize,
}

/// The right to one instance.
pub struct Permit(Arc<Permits>);

impl Permits {
    pub fn new(free: usize) -> Arc<Self> {
        Arc::new(Self { count: Mutex::new(Count { free, waiting: 0 }), returned: Condvar::new() })
    }

    pub fn acquire(self: &Arc<Self>, timeout: std::time::Duration) -> Option<Permit> {
        let mut count = self.lock();
        if count.free == 0 {
            count.waiting += 1;
            (count, _) = self
                .returned
                .wait_timeout_while(count, timeout, |count| count.free == 0)
                .unwrap_or_else(PoisonError::into_inner);
            count.waiting -= 1;
        }
        count.free = count.free.checked_sub(1)?;
        Some(Permit(Arc::clone(self)))
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        count.free += 1;
        if count.waiting > 0 {
            self.0.returned.notify_one();
        }
    }
}
