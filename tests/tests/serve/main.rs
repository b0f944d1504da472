//! The service over HTTP: real processes, on a file and on Postgres.

mod budgets;
mod house;
mod paths;
