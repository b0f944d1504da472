//! Benchmarks, with their tables.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use crate::{cargo, run as step, setup, workspace};

/// What can be measured.
#[derive(Subcommand)]
pub enum Bench {
    /// One quota decision: fresh, reused, native, and the same rule in Rego and Cedar
    Decision(Output),
    /// Durable reservations on Postgres, beside a transaction for each
    Reserve(Output),
    /// How many reservations a second as their tables grow
    Growth {
        /// So many in all, for one tenant; none of them ends
        #[arg(long, default_value_t = 10_000_000)]
        reservations: u64,
        #[command(flatten)]
        output: Output,
    },
    /// Decisions judged again, changes that hosts see, and many tenants made ready
    Policies(Output),
    /// The service over HTTP, at 5,000 requests a second and as fast as it goes, beside a transaction
    /// for each behind a server of its own
    Http(Output),
}

#[derive(Args)]
pub struct Output {
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

const WAYS: [&str; 5] = ["fresh", "reused", "native", "regorus", "cedar"];
const COUNTERS: [&str; 3] = ["3", "12", "24"];

/// Runs it.
pub fn run(bench: &Bench) -> Result<()> {
    setup::toolchain()?;
    match bench {
        Bench::Decision(arguments) => decision(arguments.json),
        Bench::Reserve(arguments) => {
            setup::postgres()?;
            reserve(arguments.json)
        }
        Bench::Growth { reservations, output } => {
            setup::postgres()?;
            growth(*reservations, output.json)
        }
        Bench::Policies(arguments) => {
            setup::postgres()?;
            policies(arguments.json)
        }
        Bench::Http(arguments) => {
            setup::postgres()?;
            http(arguments.json)
        }
    }
}

/// What the benchmark prints, and what that is.
const FIGURES: [(&str, &str); 7] = [
    ("transaction_per_s", "a transaction for each, a second"),
    ("hot_per_s", "one tenant, a second"),
    ("hot_to_transaction", "one tenant, as a multiple of a transaction for each"),
    ("spread_per_s", "10,000 tenants, a second"),
    ("four_hosts_per_s", "four hosts on one tenant, a second"),
    ("pairs_per_s", "reserved and settled, one tenant, a second"),
    ("p99_ms", "one tenant at half load, 99th percentile in ms"),
];

/// The same of policies on the move.
const MOVES: [(&str, &str); 6] = [
    ("replay_per_s", "decisions judged again, a second on each processor"),
    ("swap_seen_ms", "a change seen by four hosts, median in ms"),
    ("swap_seen_untold_ms", "the same where hosts ask for it every 250 ms, median in ms"),
    ("p99_ms", "a reservation, 99th percentile in ms"),
    ("p99_swapping_ms", "the same with ten swaps a second"),
    ("ready_ms", "1,000 tenants on 100 components ready, warm, in ms"),
];

/// The same of the service over HTTP.
const REQUESTS: [(&str, &str); 17] = [
    ("offered_per_s", "requests offered, a second"),
    ("served_per_s", "requests served, a second"),
    ("p50_ms", "from when a request was due until its answer, median in ms"),
    ("p95_ms", "the same, 95th percentile in ms"),
    ("p99_ms", "the same, 99th percentile in ms"),
    ("max_ms", "the same, longest in ms"),
    ("errors", "requests that were not served"),
    ("memory_mb_at_10", "the service's memory after a tenth of the time, in MB"),
    ("memory_mb_at_50", "the same after half of it"),
    ("memory_mb_at_100", "the same at the end"),
    ("processors_client", "processors that the clients took"),
    ("processors_service", "processors that the service took"),
    ("processors_postgres", "processors that Postgres took"),
    ("most_per_s", "requests as fast as they go, a second, median"),
    ("most_p99_ms", "the same, 99th percentile in ms, median"),
    ("transaction_per_s", "a transaction for each, a second, median"),
    ("transaction_p99_ms", "the same, 99th percentile in ms, median"),
];

fn http(json: bool) -> Result<()> {
    let Some(figures) = tell("http", &REQUESTS, json)? else { return Ok(()) };
    let ratio = &figures["most_to_transaction"];
    println!("{:>12}  as a multiple of a transaction for each", ratio.to_string());
    Ok(())
}

fn policies(json: bool) -> Result<()> {
    tell("policies", &MOVES, json).map(drop)
}

fn growth(reservations: u64, json: bool) -> Result<()> {
    let mut bench = bench("reserve");
    bench.env("TOLLGATE_BENCH_RESERVATIONS", reservations.to_string());
    let figures = printed(&mut bench)?;
    if json {
        println!("{figures}");
        return Ok(());
    }
    println!("\n{:>12}  reservations a second, after", "");
    let tenths = figures["per_s_by_tenth"].as_array().context("no figures")?;
    for (tenth, per_s) in (1..).zip(tenths) {
        println!("{:>12}  {}", per_s.to_string(), reservations * tenth / 10);
    }
    Ok(())
}

fn bench(name: &str) -> Command {
    let mut bench = cargo(&["bench", "--package", "tollgate-benchmarks", "--bench", name]);
    bench.current_dir(workspace()).stderr(Stdio::inherit());
    bench
}

/// Runs a benchmark that prints one JSON object.
fn printed(bench: &mut Command) -> Result<Json> {
    let output = bench.output().context("cannot start the benchmark")?;
    ensure!(output.status.success(), "the benchmark failed with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    last.context("the benchmark printed no figures")
}

/// Runs a benchmark, and tells its figures.
fn tell(name: &str, told: &[(&str, &str)], json: bool) -> Result<Option<Json>> {
    let figures = printed(&mut bench(name))?;
    if json {
        println!("{figures}");
        return Ok(None);
    }
    println!();
    for (name, words) in told {
        println!("{:>12}  {words}", figures[name].to_string());
    }
    Ok(Some(figures))
}

fn reserve(json: bool) -> Result<()> {
    let Some(figures) = tell("reserve", &FIGURES, json)? else { return Ok(()) };
    let check = &figures["check_us"];
    println!("{:>12}  a check, median in µs", check["p50"].to_string());
    println!("{:>12}  a check, 99th percentile in µs", check["p99"].to_string());
    Ok(())
}

fn decision(json: bool) -> Result<()> {
    let mut bench = cargo(&[
        "bench",
        "--package",
        "tollgate-benchmarks",
        "--bench",
        "decision",
        "--",
        "--noplot",
    ]);
    if json {
        bench.stdout(std::io::stderr());
    }
    step(&mut bench)?;
    let mut medians: BTreeMap<&str, BTreeMap<&str, f64>> = BTreeMap::new();
    for way in WAYS {
        for counters in COUNTERS {
            medians.entry(way).or_default().insert(counters, median_us(way, counters)?);
        }
    }
    let us = |way: &str, counters: &str| medians[way][counters];
    if json {
        let all = WAYS.map(|way| (format!("{way}_us"), json!(medians[way])));
        println!("{}", serde_json::to_string_pretty(&Json::Object(all.into_iter().collect()))?);
        return Ok(());
    }
    println!("\nmedian of a quota decision in µs, by number of counters");
    println!("{:<10}{:>10}{:>10}{:>10}", "", COUNTERS[0], COUNTERS[1], COUNTERS[2]);
    for way in WAYS {
        let [a, b, c] = COUNTERS.map(|counters| us(way, counters));
        println!("{way:<10}{a:>10.2}{b:>10.2}{c:>10.2}");
    }
    println!("\nas a multiple of a fresh sandbox");
    for way in &WAYS[1..] {
        let [a, b, c] = COUNTERS.map(|counters| us(way, counters) / us("fresh", counters));
        println!("{way:<10}{a:>10.2}{b:>10.2}{c:>10.2}");
    }
    Ok(())
}

/// What the benchmark's harness wrote down.
fn median_us(way: &str, counters: &str) -> Result<f64> {
    let path = workspace()
        .join("target/criterion/decision")
        .join(way)
        .join(counters)
        .join("new/estimates.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let estimates: Json = serde_json::from_str(&text)?;
    let nanoseconds = estimates["median"]["point_estimate"].as_f64().context("no median")?;
    Ok((nanoseconds / 10.0).round() / 100.0)
}
