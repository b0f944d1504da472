//! The standard policies, compiled to components.

/// The component of this name: `quota`, `pricing`, `alerts` or `estimate`.
#[must_use]
pub fn standard(name: &str) -> Option<&'static [u8]> {
    STANDARD.iter().find(|(standard, _)| *standard == name).map(|(_, component)| *component)
}

/// All of them, by name.
pub const STANDARD: [(&str, &[u8]); 4] = [
    ("quota", include_bytes!(concat!(env!("OUT_DIR"), "/quota.wasm"))),
    ("pricing", include_bytes!(concat!(env!("OUT_DIR"), "/pricing.wasm"))),
    ("alerts", include_bytes!(concat!(env!("OUT_DIR"), "/alerts.wasm"))),
    ("estimate", include_bytes!(concat!(env!("OUT_DIR"), "/estimate.wasm"))),
];
