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

/// What one component may consist of, with or without a pool; the freezer adds an instance of
/// its own.
pub const CORE_INSTANCES: u32 = 16;
pub const MEMORIES: u32 = 4;
pub const TABLES: u32 = 16;

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
        .operator_cost(costs())
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .cranelift_opt_level(OptLevel::Speed)
        // One input has one answer, on every processor.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .concurrency_support(false)
        // Collected memory is counted and paid for otherwise than linear memory; policies do
        // without, and without exceptions, which live in it.
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
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
            .total_gc_heaps(0)
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

/// What an instruction costs in fuel: about a nanosecond a unit, so that fuel runs out before the
/// clock does, whatever a guest repeats. Those that call into the host cost what that takes.
fn costs() -> OperatorCost {
    const DIVISION: u8 = 8;
    const HOST_CALL: u8 = 30;
    let mut costs = OperatorCost {
        I32DivS: DIVISION,
        I32DivU: DIVISION,
        I32RemS: DIVISION,
        I32RemU: DIVISION,
        I64DivS: DIVISION,
        I64DivU: DIVISION,
        I64RemS: DIVISION,
        I64RemU: DIVISION,
        F64Div: DIVISION,
        F64Sqrt: DIVISION,
        MemoryCopy: HOST_CALL,
        MemoryFill: HOST_CALL,
        MemoryInit: HOST_CALL,
        DataDrop: HOST_CALL,
        TableCopy: HOST_CALL,
        TableFill: HOST_CALL,
        TableInit: HOST_CALL,
        ElemDrop: HOST_CALL,
        RefFunc: HOST_CALL,
        TableGrow: u8::MAX,
        MemoryGrow: u8::MAX,
        ..OperatorCost::new()
    };
    // A page is 64 KiB of zeros.
    costs.variable.memory_grow_per_page = u8::MAX;
    costs
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
