//! `tollgate doctor`: whether all that the service needs is there and well.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use tokio::net::TcpListener;
use tollgate_host::sandbox::Limits;
use tollgate_host::store::{Owner, Scope};

use crate::stores::{AnyStore, Stores};
use crate::surroundings::wall_clock;
use crate::{components, hosts, serve};

/// Clocks that are further apart make times hard to read.
const APART_MS: u64 = 1_000;

/// So many files should be open at a time, for as many connections.
const FILES_MIN: u64 = 4_096;

/// What to look at.
#[derive(Args)]
#[group(skip)]
pub struct Arguments {
    /// The settings are those of the service: its flags, environment and file
    #[command(flatten)]
    serve: serve::Arguments,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// The file of settings.
    pub fn config(&self) -> &Option<PathBuf> {
        &self.serve.config
    }
}

/// What was looked at, and how it is.
#[derive(Serialize)]
struct Finding {
    about: &'static str,
    state: State,
    words: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Well,
    /// It serves all the same.
    Doubtful,
    /// It does not serve.
    Ill,
}

/// Looks at everything. An error: something is ill.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let findings = runtime.block_on(look(arguments));
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        for Finding { about, state, words } in &findings {
            let mark = match state {
                State::Well => "well",
                State::Doubtful => "doubtful",
                State::Ill => "ILL",
            };
            println!("{about:10} {mark:9} {words}");
        }
    }
    let ill = findings.iter().filter(|own| own.state == State::Ill).count();
    if ill > 0 {
        bail!("{ill} of {} are ill: see above", findings.len());
    }
    Ok(())
}

async fn look(arguments: &Arguments) -> Vec<Finding> {
    let mut findings = vec![
        found("settings", settings(&arguments.serve).await),
        found("cache", cache(arguments.serve.cache.directory()).map(|words| (State::Well, words))),
        found("files", files()),
        found("wasm", wasm().map(|words| (State::Well, words))),
    ];
    match arguments.serve.place.open_there().await {
        Ok(AnyStore::Postgres(store)) => {
            findings.extend(look_at(arguments, store, "postgres").await);
        }
        Ok(AnyStore::Sqlite(store, _)) => {
            findings.extend(look_at(arguments, store, "sqlite").await);
        }
        Err(error) => findings.push(found("store", Err(error))),
    }
    findings
}

fn found(about: &'static str, looked: Result<(State, String)>) -> Finding {
    let (state, words) = looked.unwrap_or_else(|error| (State::Ill, format!("{error:#}")));
    Finding { about, state, words }
}

/// Whether the service would start with these; what is no setting was refused as they were read.
async fn settings(serve: &serve::Arguments) -> Result<(State, String)> {
    serve.sending.outgoing()?;
    let from = match &serve.config {
        Some(file) => format!("`{}`, flags and environment", file.display()),
        None => "flags and environment; no file is named".to_owned(),
    };
    Ok(match TcpListener::bind(&serve.listen).await {
        Ok(_) => (State::Well, format!("{from}; `{}` is free", serve.listen)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            (State::Doubtful, format!("{from}; `{}` is in use: by the service?", serve.listen))
        }
        Err(error) => bail!("{from}; cannot listen on `{}`: {error}", serve.listen),
    })
}

/// A store that could lose what it acknowledges was not opened.
async fn look_at<S: Stores>(arguments: &Arguments, store: S, kind: &str) -> Vec<Finding> {
    let store = Arc::new(store);
    let words = format!("{kind}, and it keeps what it acknowledges");
    vec![
        found("store", Ok((State::Well, words))),
        found("clock", clock(&*store).await),
        found("policies", policies(&store, arguments.serve.cache.directory()).await),
        found("tokens", tokens(&*store).await),
    ]
}

async fn clock<S: Stores>(store: &S) -> Result<(State, String)> {
    let apart = store.now().await?.abs_diff(wall_clock()());
    let state = if apart < APART_MS { State::Well } else { State::Doubtful };
    Ok((state, format!("the store's is {apart} ms from this machine's")))
}

/// Whether what is bound for each tenant loads here.
async fn policies<S: Stores>(store: &Arc<S>, cache: Option<PathBuf>) -> Result<(State, String)> {
    let registry = hosts::registry_with(Arc::clone(store), cache)?;
    let scope = Scope { owner: Owner::Platform, plan: String::new() };
    let (version, bindings) = registry.bound(&scope).await?;
    let tenants = store.tenants().await?;
    for tenant in &tenants {
        registry.setup(tenant).await.with_context(|| format!("tenant `{tenant}`"))?;
    }
    let (bound, count) = (bindings.policies.len(), tenants.len());
    let words = format!("{bound} bound for all as of version {version}; {count} tenants load");
    Ok((if bound == 0 { State::Doubtful } else { State::Well }, words))
}

async fn tokens<S: Stores>(store: &S) -> Result<(State, String)> {
    let at = store.now().await?;
    let counts = |own: &&tollgate_host::store::TokenRow| {
        own.revoked_at.is_none() && own.expires_at.is_none_or(|until| at < until)
    };
    let count = store.tokens(None).await?.iter().filter(counts).count();
    let state = if count == 0 { State::Doubtful } else { State::Well };
    Ok((state, format!("{count} count; more are made with `tollgate token create`")))
}

fn cache(directory: Option<PathBuf>) -> Result<String> {
    let Some(directory) = directory else {
        bail!("there is no place to keep compiled components: name one with `--cache`");
    };
    // Of nobody else, as the sandbox wants it.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .and_then(|()| tempfile::tempfile_in(&directory))
        .with_context(|| format!("cannot write to `{}`", directory.display()))?;
    Ok(format!("`{}` can be written to", directory.display()))
}

fn files() -> Result<(State, String)> {
    use rustix::process::{Resource, getrlimit};
    let Some(most) = getrlimit(Resource::Nofile).current else {
        return Ok((State::Well, "any number may be open".into()));
    };
    let state = if most < FILES_MIN { State::Doubtful } else { State::Well };
    Ok((state, format!("{most} may be open; a connection takes one")))
}

/// Compiles the standard policies within the limits that hold for all, without what was kept.
fn wasm() -> Result<String> {
    let sandbox = components::sandbox(Limits::default(), None)?;
    for (name, component) in tollgate_plugins::STANDARD {
        sandbox.load(component, "{}").with_context(|| format!("`{name}`"))?;
    }
    Ok("the standard policies compile, and answer within their limits".into())
}
