//! Components by name or path, and the sandbox that they run in.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use tollgate_host::registry::Registry;
use tollgate_host::sandbox::{Compiler, Instances, Limits, Sandbox, Settings};
use tollgate_host::store::{RegistryStore, Store};

/// The hidden verb under which this program compiles.
pub const WORKER: &str = "compile-worker";

/// So many instances live at a time.
const INSTANCES: u32 = 64;

/// A sandbox whose compiler is this program itself.
pub fn sandbox(limits: Limits, cache: Option<PathBuf>) -> Result<Sandbox> {
    let program = std::env::current_exe().context("cannot find this program itself")?;
    let compiler = Compiler::Child { program, arguments: vec![WORKER.into()] };
    let instances = Instances::Pooled(INSTANCES);
    Ok(Sandbox::new(Settings { limits, instances, compiler, cache })?)
}

/// Where the service keeps compiled code.
#[derive(Args)]
pub struct Cache {
    /// Where compiled components are kept; below the user's cache directory unless said otherwise
    #[arg(long, env = "TOLLGATE_CACHE", value_name = "DIRECTORY")]
    cache: Option<PathBuf>,
}

impl Cache {
    /// None: there is no such place.
    pub fn directory(&self) -> Option<PathBuf> {
        self.cache.clone().or_else(cache_directory)
    }
}

/// Where compiled code is kept: `$TOLLGATE_CACHE`, or below the user's cache directory. None where
/// there is no such place.
pub fn cache_directory() -> Option<PathBuf> {
    let path =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    path("TOLLGATE_CACHE")
        .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("tollgate")))
        .or_else(|| path("HOME").map(|home| home.join(".cache").join("tollgate")))
}

/// Hosts may have judged with standard components that were never pushed.
pub fn know_standard<S: Store + RegistryStore>(registry: &Registry<S>) {
    for (_, component) in tollgate_plugins::STANDARD {
        registry.know(component);
    }
}

/// The bytes of a standard component by its name, or of a file.
pub fn read(component: &str) -> Result<Cow<'static, [u8]>> {
    if let Some(standard) = tollgate_plugins::standard(component) {
        return Ok(Cow::Borrowed(standard));
    }
    if !component.contains(['/', '.']) {
        let names: Vec<&str> = tollgate_plugins::STANDARD.iter().map(|(name, _)| *name).collect();
        bail!(
            "`{component}` is not a standard component: write one of `{}`, or the path of a .wasm file",
            names.join("`, `")
        );
    }
    let bytes = std::fs::read(Path::new(component))
        .with_context(|| format!("cannot read `{component}`"))?;
    Ok(Cow::Owned(bytes))
}
