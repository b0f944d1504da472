//! `tollgate policy`: what a component is, and whether it may serve.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use tollgate_host::sandbox::{Admitted, Limits};

use crate::{components, policies};

/// What can be done with components, and with the policies that they become.
#[derive(Subcommand)]
pub enum Verb {
    /// Shows what a component is: world, interfaces, imports, settings, counters
    Inspect(Component),
    /// Does all that admission does, and says what a refused component lacks
    Check(Component),
    #[command(flatten)]
    Registry(policies::Verb),
}

/// A component and its settings.
#[derive(Args)]
pub struct Component {
    /// A .wasm file, or the name of a standard component
    component: String,
    /// Its settings, a JSON file; none: `{}`
    #[arg(long)]
    settings: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Inspect(component) => {
            let admitted = component.admit()?;
            if component.json {
                println!("{}", serde_json::to_string_pretty(&as_json(&admitted))?);
            } else {
                inspect(&admitted)?;
            }
        }
        Verb::Check(component) => {
            let admitted = component.admit();
            if component.json {
                let told = match &admitted {
                    Ok(admitted) => json!({ "accepted": true, "digest": admitted.digest }),
                    Err(error) => json!({ "accepted": false, "reason": format!("{error:#}") }),
                };
                println!("{told}");
            }
            let admitted = admitted?;
            if !component.json {
                println!(
                    "accepted: {} with digest sha256:{}",
                    component.component, admitted.digest
                );
            }
        }
        Verb::Registry(verb) => policies::run(verb)?,
    }
    Ok(())
}

impl Component {
    /// Through all of admission, with no cache: what is shown was measured just now.
    fn admit(&self) -> Result<Admitted> {
        let bytes = components::read(&self.component)?;
        let settings = match &self.settings {
            Some(path) => read_settings(path)?,
            None => "{}".into(),
        };
        let sandbox = components::sandbox(Limits::default(), None)?;
        let policy = sandbox
            .load(&bytes, &settings)
            .with_context(|| format!("`{}` is refused", self.component))?;
        Ok(policy.admitted().clone())
    }
}

pub fn read_settings(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_str::<serde_json::Value>(&text)
        .with_context(|| format!("`{}` is not JSON", path.display()))?;
    Ok(text)
}

/// The world of the contract that has just these abilities, if there is one.
fn world(admitted: &Admitted) -> &'static str {
    match admitted.abilities.iter().map(|ability| ability.name()).collect::<Vec<_>>().as_slice() {
        ["quota"] => "quota-policy",
        ["pricing"] => "pricing-policy",
        ["alerting"] => "alert-policy",
        ["estimation"] => "estimator",
        ["quota", "pricing", "alerting", "estimation"] => "full-policy",
        _ => "a combination of its own",
    }
}

/// The version of the contract that it was built against.
fn wit_version(admitted: &Admitted) -> &str {
    admitted
        .exports
        .iter()
        .find_map(|export| export.strip_prefix("tollgate:policy/policy@"))
        .unwrap_or("unknown")
}

fn as_json(admitted: &Admitted) -> serde_json::Value {
    let schema = serde_json::from_str(&admitted.settings_schema)
        .unwrap_or_else(|_| json!(admitted.settings_schema));
    json!({
        "digest": admitted.digest,
        "name": admitted.name,
        "version": admitted.version,
        "world": world(admitted),
        "wit_version": wit_version(admitted),
        "abilities": admitted.abilities,
        "exports": admitted.exports,
        "imports": admitted.imports,
        "counters": admitted.manifest.counters,
        "reads": admitted.manifest.reads,
        "settings_schema": schema,
        "frozen": admitted.frozen,
        "component_bytes": admitted.component_bytes,
        "compile_ms": admitted.compile_ms,
    })
}

fn inspect(admitted: &Admitted) -> Result<()> {
    let or_none =
        |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "not said".into());
    println!("name          {}", known(&admitted.name));
    println!("version       {}", known(&admitted.version));
    println!("digest        sha256:{}", admitted.digest);
    println!("world         {}", world(admitted));
    println!("wit version   {}", wit_version(admitted));
    println!("exports       {}", or_none(&admitted.exports));
    println!("imports       {}", or_none(&admitted.imports));
    println!("size          {} bytes", admitted.component_bytes);
    println!("compile time  {} ms, with configuring and a trial call", admitted.compile_ms);
    println!(
        "each call     {}",
        if admitted.frozen {
            "starts from the configured state"
        } else {
            "configures anew: the component cannot be frozen"
        }
    );
    let reads: Vec<String> = admitted.manifest.reads.iter().map(ToString::to_string).collect();
    println!("reads         {}", or_none(&reads));
    println!("counters      {}", admitted.manifest.counters.len());
    for counter in &admitted.manifest.counters {
        let per = match counter.per.as_slice() {
            [] => "the tenant".into(),
            per => per.join(" and "),
        };
        let limit = counter.limit.map_or("no fixed limit".into(), |limit| format!("limit {limit}"));
        println!("  {} over {} for each {per}: {limit}", counter.meter, counter.window);
    }
    let schema: serde_json::Value = serde_json::from_str(&admitted.settings_schema)
        .context("the settings' schema is not JSON")?;
    println!("settings schema\n{}", serde_json::to_string_pretty(&schema)?);
    Ok(())
}
