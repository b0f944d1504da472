//! The Tollgate host, to embed: asks policies before each run of an agent, and after it.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod engine;
pub mod registry;
pub mod sandbox;
pub mod store;
