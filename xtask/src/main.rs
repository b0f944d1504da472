//! Set-up, demo, tests and benchmarks: `cargo xtask demo`, `cargo xtask test`.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod audit;
mod bench;
mod demo;
mod document;
mod setup;
mod soak;
mod test;
mod trace;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Builds Tollgate, simulates the sample trace, and has an auditor agree with what came out
    Demo {
        /// Takes the program that the tests have built
        #[arg(long, hide = true)]
        dev: bool,
    },
    /// Runs every check: format, lints, tests, documentation, the demo
    Test,
    /// Asks the API that the tests have built whatever its document allows
    Document,
    /// Runs a benchmark and prints its table
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Runs the tests of faults for longer, one after the other
    Soak(soak::Soak),
    /// Adds the WebAssembly targets and builds the standard components to target/components
    Guests,
    /// Writes the sample trace anew, as its generator makes it
    Trace,
}

/// The competitors that benchmarks compare with take longer to build than all of Tollgate.
const BENCHMARKS: &str = "tollgate-benchmarks";

fn main() -> Result<()> {
    match Arguments::parse().verb {
        Verb::Demo { dev: true } => demo::run(demo::Profile::Dev),
        Verb::Demo { dev: false } => demo::run(demo::Profile::Release),
        Verb::Test => test::run(),
        Verb::Document => document::run(),
        Verb::Bench { bench } => bench::run(&bench),
        Verb::Soak(soak) => soak::run(&soak),
        Verb::Guests => setup::guests(),
        Verb::Trace => {
            let path = workspace().join("tests/data/sample_trace.csv");
            std::fs::write(&path, trace::generate(trace::SEED, trace::ROWS))
                .with_context(|| format!("cannot write `{}`", path.display()))
        }
    }
}

/// The workspace's folder.
fn workspace() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Says what is run, and runs it, in the workspace's folder unless it is told another one.
fn run(command: &mut Command) -> Result<()> {
    if command.get_current_dir().is_none() {
        command.current_dir(workspace());
    }
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    let words = words.join(" ");
    eprintln!("→ {words}");
    let status = command.status().with_context(|| format!("cannot start `{words}`"))?;
    ensure!(status.success(), "`{words}` failed with {status}");
    Ok(())
}

/// The cargo that runs this.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}
