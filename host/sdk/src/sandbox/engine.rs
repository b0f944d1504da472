//! The one engine of a sandbox: what code it accepts, and where instances live.

use std::time::Duration;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OperatorCost, OptLevel,
    PoolingAllocationConfig,
};

use super::limits::Limits;

/// How often the clock of running guests ticks.
pub const EPOCH_MS: u64 = 5;

/// The stack of a guest.
const STACK_BYTES: usize = 512 << 10;

/// What one component may consist of.
const CORE_INSTANCES: u32 = 16;
const MEMORIES: u32 = 4;
const TABLES: u32 = 16;

/// Where instances live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// In a pool of so many, whose pages stay warm from one call to the next.
    Pooled(u32),
    /// Each on its own: slower, and without the pool's need of address space.
    OnDemand,
}

/// What compiled code depends on. The child that compiles and the host that runs use the same.
pub fn config(limits: &Limits, instances: Instances) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .operator_cost(OperatorCost::new())
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .cranelift_opt_level(OptLevel::Speed)
        // One input has one answer, on every processor.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .concurrency_support(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8))
        .generate_address_map(false)
        .memory_init_cow(true);
    if let Instances::Pooled(count) = instances {
        let mut pool = PoolingAllocationConfig::new();
        let memory_bytes = limits.memory_bytes.next_multiple_of(64 << 10);
        // The pool has room for `count` of the largest components that it takes.
        pool.total_component_instances(count)
            .total_core_instances(count.saturating_mul(CORE_INSTANCES))
            .total_memories(count.saturating_mul(MEMORIES))
            .total_tables(count.saturating_mul(TABLES))
            .total_stacks(0)
            .total_gc_heaps(count)
            .max_core_instances_per_component(CORE_INSTANCES)
            .max_memories_per_component(MEMORIES)
            .max_memories_per_module(MEMORIES)
            .max_tables_per_component(TABLES)
            .max_tables_per_module(TABLES)
            .max_memory_size(memory_bytes)
            .table_elements(limits.table_elements)
            .max_unused_warm_slots(count)
            // What a decision touches stays in place, so the next one faults no page in.
            .linear_memory_keep_resident(256 << 10)
            .table_keep_resident(64 << 10)
            .pagemap_scan(Enabled::Auto);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// The engine, pooled where the address space suffices.
pub fn engine(limits: &Limits, instances: Instances) -> wasmtime::Result<(Engine, Instances)> {
    match Engine::new(&config(limits, instances)) {
        Ok(engine) => Ok((engine, instances)),
        Err(_) if instances != Instances::OnDemand => {
            Ok((Engine::new(&config(limits, Instances::OnDemand))?, Instances::OnDemand))
        }
        Err(error) => Err(error),
    }
}

/// Lets the clock of running guests tick for as long as the engine lives.
pub fn tick(engine: &Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("tollgate-epoch".into()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(Duration::from_millis(EPOCH_MS));
        }
    })?;
    Ok(())
}
