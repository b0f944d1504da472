//! The service over HTTP: real processes, on a file and on Postgres.

mod access;
mod attacks;
mod budgets;
mod delivering;
mod events;
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
mod receivers;
mod stopping;
mod strangers;
mod stream;
mod tasks;
mod telemetry;
mod tokens;
