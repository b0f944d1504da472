//! The service over HTTP: real processes, on a file and on Postgres.

mod access;
mod attacks;
mod budgets;
#[path = "../hostile/guest.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod guest;
mod house;
mod killed;
mod looking;
mod notices;
mod operating;
mod paths;
mod policies;
mod stopping;
mod stream;
mod telemetry;
