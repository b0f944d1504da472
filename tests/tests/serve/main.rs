//! The service over HTTP: real processes, on a file and on Postgres.

mod access;
mod attacks;
mod budgets;
mod house;
mod killed;
mod looking;
mod notices;
mod paths;
mod stream;
mod telemetry;
