//! What a fresh machine lacks beside Rust itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cargo, run, workspace};

/// The standard components are built for the first, policies of tenants mostly for the second.
const TARGETS: [&str; 2] = ["wasm32-unknown-unknown", "wasm32-wasip2"];

/// Adds the toolchain's missing parts. Where rustup does not install by itself, it leaves out
/// targets without a word.
pub fn toolchain() -> Result<()> {
    for target in TARGETS {
        if has(target)? {
            continue;
        }
        eprintln!("the target `{target}` is missing: adding it");
        // Without a name it reads rust-toolchain.toml.
        let installed = run(Command::new("rustup").args(["toolchain", "install"]));
        if installed.is_err() || !has(target)? {
            run(Command::new("rustup").args(["target", "add", target]))?;
        }
        if !has(target)? {
            bail!(
                "the target `{target}` is still missing: install Rust by rustup, or build its std"
            );
        }
    }
    Ok(())
}

fn has(target: &str) -> Result<bool> {
    let output = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(workspace())
        .output()
        .context("cannot start `rustc`")?;
    let directory = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success() && Path::new(directory.trim()).is_dir())
}

/// Installs the Postgres that tests run, on Debian and its kin.
pub fn postgres() -> Result<()> {
    if has_postgres() {
        return Ok(());
    }
    install(&["postgresql"])?;
    if !has_postgres() {
        bail!("postgres is still missing: install its server programs below `/usr/lib/postgresql`");
    }
    Ok(())
}

/// Installs packages of Debian's.
fn install(packages: &[&str]) -> Result<()> {
    eprintln!("installing the packages `{}`", packages.join("`, `"));
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let apt = |arguments: &[&str], packages: &[&str]| {
        let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
        if !root {
            command.arg("apt-get");
        }
        command.args(arguments).args(packages).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command)
    };
    apt(&["update", "--quiet"], &[])?;
    apt(&["install", "--quiet", "--yes", "--no-install-recommends"], packages)
}

fn has_postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    Path::new("/usr/bin/initdb").exists()
        || versions.into_iter().any(|version| version.path().join("bin/initdb").exists())
}

/// Builds the standard components and puts them where a person finds them.
pub fn guests() -> Result<()> {
    toolchain()?;
    let messages = cargo(&["build", "--package", "tollgate-plugins", "--message-format", "json"])
        .current_dir(workspace())
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    let built = String::from_utf8_lossy(&messages.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["reason"] == "build-script-executed")
        .filter(|message| message["package_id"].as_str().is_some_and(|id| id.contains("plugins")))
        .find_map(|message| message["out_dir"].as_str().map(str::to_owned))
        .context("the standard components were not built")?;
    let components = workspace().join("target").join("components");
    fs::create_dir_all(&components)?;
    for entry in fs::read_dir(built)? {
        let entry = entry?;
        let to = components.join(entry.file_name());
        fs::copy(entry.path(), &to)?;
        println!("{}", to.display());
    }
    Ok(())
}

/// What asks the API whatever its document allows.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// Installs it in a folder of its own, and tells where it is.
pub fn schemathesis() -> Result<PathBuf> {
    let home = workspace().join("target/schemathesis");
    let (program, installed) = (home.join("bin/schemathesis"), home.join("installed"));
    if fs::read_to_string(&installed).is_ok_and(|version| version == SCHEMATHESIS) {
        return Ok(program);
    }
    eprintln!("`{SCHEMATHESIS}` is missing: installing it");
    let make = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
    if make().is_err() {
        install(&["python3", "python3-venv"])?;
        make()?;
    }
    run(Command::new(home.join("bin/pip")).args(["install", "--quiet", SCHEMATHESIS]))?;
    fs::write(&installed, SCHEMATHESIS).context("cannot write what was installed")?;
    Ok(program)
}
