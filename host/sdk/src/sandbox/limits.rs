//! What a policy may spend.

use serde::{Deserialize, Serialize};

/// The bounds of one call of a policy, and of its admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Fuel of one call: deterministic, about one unit an instruction.
    pub call_fuel: u64,
    /// Fuel of `configure`.
    pub configure_fuel: u64,
    /// The wall-clock backstop of a call; what it stops is the host's doing and not replayed.
    pub call_ms: u64,
    /// Linear memory, summed over all memories of an instance.
    pub memory_bytes: usize,
    /// Elements, summed over all tables of an instance.
    pub table_elements: usize,
    /// What one call may hand back, in bytes of strings and lists.
    pub output_bytes: usize,
    /// Handles and resources that a guest may hold at a time.
    pub handles: usize,
    /// What a guest's log keeps of one call; the rest is dropped.
    pub log_bytes: usize,
    /// Counters that a manifest may declare.
    pub counters: usize,
    /// Dimensions that a counter may have.
    pub counter_dimensions: usize,
    /// What a manifest may ask to read, and the facts that it may hold about the policy.
    pub manifest_entries: usize,
    /// The size of a component.
    pub component_bytes: usize,
    /// The size of its compiled code.
    pub code_bytes: usize,
    /// Processor time of compiling, freezing and trying a component.
    pub compile_cpu_seconds: u64,
    /// Wall-clock time of the same.
    pub compile_seconds: u64,
    /// Memory of the same.
    pub compile_memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_fuel: 20_000_000,
            configure_fuel: 1_000_000_000,
            call_ms: 250,
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            output_bytes: 1 << 20,
            handles: 1_000,
            log_bytes: 16 << 10,
            counters: 256,
            counter_dimensions: 8,
            manifest_entries: 256,
            component_bytes: 32 << 20,
            code_bytes: 256 << 20,
            compile_cpu_seconds: 60,
            compile_seconds: 90,
            compile_memory_bytes: 2 << 30,
        }
    }
}
