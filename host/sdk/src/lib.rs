//! The Tollgate host, to embed: asks policies before each run of an agent, and after it.

pub mod engine;
pub mod sandbox;
