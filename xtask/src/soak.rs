//! The fault tests, for longer than a build can bear.

#![allow(clippy::disallowed_methods, reason = "it tells how long each took")]

use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::{BENCHMARKS, cargo, run as step, setup};

#[derive(Args)]
pub struct Soak {
    /// Only what has this number: 1 hosts killed, 2 the database killed, 3 answers lost,
    /// 4 callers that hang up, 5 four hosts on one budget, 6 keys, 7 ends, 8 swaps, 9 migrations,
    /// 11 money, 14 outages, 15 poisoned requests
    #[arg(long)]
    row: Option<u32>,
    /// About a minute each, in place of as long as a release must stand
    #[arg(long)]
    quick: bool,
}

/// The modules of the tests, by number.
const ROWS: [(u32, &str); 13] = [
    (1, "hosts_killed::"),
    (2, "database_killed::"),
    (3, "lost_answers::"),
    (4, "cancellation::"),
    (5, "four_hosts::"),
    (6, "keys::"),
    (7, "endings::"),
    (8, "swaps::"),
    (9, "migrations::"),
    (MONEY, ""),
    (14, "outages::"),
    (14, "full_disks::"),
    (15, "poison::"),
];

/// The one whose tests are those of decimals and money, with so many cases.
const MONEY: u32 = 11;
const CASES: u32 = 10_000_000;
const CASES_QUICK: u32 = 1_000_000;

/// Runs them one after the other, and tells of each.
pub fn run(soak: &Soak) -> Result<()> {
    let chosen: Vec<_> =
        ROWS.iter().filter(|(row, _)| soak.row.is_none_or(|wanted| wanted == *row)).collect();
    if chosen.is_empty() {
        bail!("there is no such number: `cargo xtask soak --help` names those there are");
    }
    setup::toolchain()?;
    setup::postgres()?;
    let tests = |name| ["test", "--workspace", "--exclude", BENCHMARKS, "--test", name];
    // So that building counts for none of them.
    for name in ["faults", "money"] {
        step(cargo(&tests(name)).arg("--no-run"))?;
    }
    let mut told = Vec::new();
    for (row, filter) in chosen {
        let from = Instant::now();
        let mut test = cargo(&tests(if *row == MONEY { "money" } else { "faults" }));
        test.args(["--", "--nocapture", *filter]);
        let cases = if soak.quick { CASES_QUICK } else { CASES };
        test.env("TOLLGATE_CASES", cases.to_string());
        test.env("TOLLGATE_SOAK", if soak.quick { "quick" } else { "full" });
        told.push((row, filter, step(&mut test).is_ok(), from.elapsed()));
    }
    println!("\n{:>3}  {:<20}{:>10}", "row", "tests", "seconds");
    for (row, filter, passed, took) in &told {
        let verdict = if *passed { "passed" } else { "FAILED" };
        println!("{row:>3}  {filter:<20}{:>10.1}  {verdict}", took.as_secs_f64());
    }
    let failed = told.iter().filter(|(_, _, passed, _)| !passed).count();
    if failed > 0 {
        bail!("{failed} of {} failed", told.len());
    }
    Ok(())
}
