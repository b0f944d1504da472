//! Builds the standard policies for wasm32-unknown-unknown and wraps them into components.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use wasm_encoder::{ComponentSection, CustomSection};
use wasm_metadata::{AddMetadata, AddMetadataField};
use wit_component::ComponentEncoder;

const TARGET: &str = "wasm32-unknown-unknown";
const PLUGINS: [&str; 4] = ["quota", "pricing", "alerts", "estimate"];

/// A small stack below the data touches few pages, and a heap that is there from the start need
/// not grow in a call.
const LINK_ARGUMENTS: [&str; 3] =
    ["-zstack-size=65536", "--stack-first", "--initial-memory=524288"];

fn main() -> Result<()> {
    let plugins = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = plugins.parent().context("the plugins lie in the workspace")?.to_owned();
    for path in
        ["plugins", "policy-core/src", "policy-core/Cargo.toml", "wit", "Cargo.toml", "Cargo.lock"]
    {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    let target = workspace.join("target").join("guests");
    build(&workspace, &target)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for plugin in PLUGINS {
        let module = target.join(TARGET).join("guest").join(format!("tollgate_{plugin}.wasm"));
        let component = componentize(plugin, &module)?;
        fs::write(out.join(format!("{plugin}.wasm")), component)?;
    }
    Ok(())
}

fn build(workspace: &Path, target: &Path) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What the outer build set for itself must not reach the inner one.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_") && name != "CARGO_HOME"
            || name.starts_with("RUSTC")
            || name == "RUSTFLAGS"
        {
            cargo.env_remove(&*name);
        }
    }
    let home = env::var("CARGO_HOME")
        .or_else(|_| env::var("HOME").map(|home| format!("{home}/.cargo")))?;
    let mut flags = vec![
        // Paths would end up in panic messages, and make the bytes differ from machine to machine.
        format!("--remap-path-prefix={}=tollgate", workspace.display()),
        format!("--remap-path-prefix={home}=cargo"),
    ];
    flags.extend(LINK_ARGUMENTS.iter().map(|argument| format!("-Clink-arg={argument}")));
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .current_dir(workspace)
        .args([
            "build",
            "--quiet",
            "--lib",
            "--profile",
            "guest",
            "--target",
            TARGET,
            "--target-dir",
        ])
        .arg(target);
    if env::var("CARGO_NET_OFFLINE").is_ok_and(|offline| offline == "true") {
        cargo.arg("--offline");
    }
    for plugin in PLUGINS {
        cargo.args(["--package", &format!("tollgate-{plugin}")]);
    }
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(
        status.success(),
        "the standard policies do not build for `{TARGET}`: `cargo xtask guests` adds the target and says more"
    );
    Ok(())
}

fn componentize(plugin: &str, module: &Path) -> Result<Vec<u8>> {
    let module = fs::read(module).with_context(|| format!("cannot read `{}`", module.display()))?;
    let component = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .with_context(|| format!("`{plugin}` does not make a component"))?;
    let mut metadata = AddMetadata::default();
    metadata.name = AddMetadataField::Set(format!("tollgate-{plugin}"));
    let mut component = metadata.to_wasm(&component)?;
    let version = env::var("CARGO_PKG_VERSION")?;
    let section = CustomSection { name: "version".into(), data: version.as_bytes().into() };
    section.append_to_component(&mut component);
    Ok(component)
}
