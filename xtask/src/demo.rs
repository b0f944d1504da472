//! The demo: thousands of calls, each priced and judged by sandboxed components, and an auditor
//! that shares no code with them.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;

use crate::{audit, cargo, run as step, setup, workspace};

/// How the program is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As users run it.
    Release,
    /// As the tests have just built it.
    Dev,
}

/// Builds, simulates, audits.
pub fn run(profile: Profile) -> Result<()> {
    setup::toolchain()?;
    let target = workspace().join("target");
    let program = match profile {
        Profile::Release => {
            step(&mut cargo(&["build", "--release", "--package", "tollgate"]))?;
            target.join("release/tollgate")
        }
        // Building one package alone would build its dependencies anew, with fewer features.
        Profile::Dev => target.join("debug/tollgate-under-test"),
    };
    let trace = workspace().join("tests/data/sample_trace.csv");
    let config = workspace().join("tests/data/demo.toml");
    let simulate = || {
        let mut command = Command::new(&program);
        command.arg("simulate").arg("--trace").arg(&trace).arg("--config").arg(&config);
        command
    };

    step(&mut simulate())?;
    let output = simulate()
        .arg("--json")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start `tollgate`")?;
    ensure!(output.status.success(), "`tollgate simulate --json` failed with {}", output.status);
    let report: Json = serde_json::from_slice(&output.stdout).context("the report is not JSON")?;

    let csv = fs::read_to_string(&trace)?;
    let predicted = audit::predict(&csv, &audit::demo_rules()).map_err(anyhow::Error::msg)?;
    let differences = audit::compare(&predicted, &report);
    for difference in &differences {
        eprintln!("the auditor disagrees: {difference}");
    }
    ensure!(
        differences.is_empty(),
        "{} differences from what the auditor predicts",
        differences.len()
    );
    all_happened(&report)?;
    println!("\nthe auditor, who shares no code with the engine, agrees to the last digit");
    Ok(())
}

/// A demo in which something never happens shows nothing of it.
fn all_happened(report: &Json) -> Result<()> {
    let warned = report["notices"]
        .as_array()
        .is_some_and(|notices| notices.iter().any(|notice| notice["severity"] == "warning"));
    let some = |name: &str| report[name].as_u64().is_some_and(|count| count > 0);
    let disabled = report["disabled"].as_array().is_some_and(|disabled| !disabled.is_empty());
    for (what, happened) in [
        ("allowed", some("allowed")),
        ("warned", warned),
        ("denied", some("denied")),
        ("disabled", disabled),
    ] {
        if !happened {
            bail!("nothing was {what} in the demo: change its limits");
        }
    }
    Ok(())
}
