//! The generated bindings of the host's side.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "full-policy",
});

pub use tollgate::policy::types;

tollgate_policy_core::convert_wire_types!(crate::sandbox::wire::types);
