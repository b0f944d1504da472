//! Every check there is.

use std::process::Command;

use anyhow::Result;

use crate::{BENCHMARKS, cargo, demo, document, run as step, setup};

/// Runs them, the quick ones first.
pub fn run() -> Result<()> {
    setup::toolchain()?;
    setup::postgres()?;
    step(&mut cargo(&["fmt", "--all", "--check"]))?;
    let tests = ["test", "--workspace", "--exclude", BENCHMARKS];
    step(cargo(&tests).arg("--no-run"))?;
    // What was built is written out first: what tests sync would wait for it.
    step(&mut Command::new("sync"))?;
    step(&mut cargo(&tests))?;
    step(&mut cargo(&[
        "clippy",
        "--workspace",
        "--exclude",
        BENCHMARKS,
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    step(
        cargo(&["doc", "--workspace", "--exclude", BENCHMARKS, "--no-deps"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )?;
    demo::run(demo::Profile::Dev)?;
    document::run()?;
    dependencies()
}

/// Licences, sources and advisories, where the tool is there: it is long to build, and the
/// advisories come over a network that not every machine has.
fn dependencies() -> Result<()> {
    let there = Command::new("cargo-deny").arg("--version").output().is_ok();
    if there {
        step(&mut cargo(&["deny", "check", "bans", "licenses", "sources"]))
    } else {
        eprintln!(
            "`cargo-deny` is not installed: licences and sources of dependencies were not checked"
        );
        Ok(())
    }
}
