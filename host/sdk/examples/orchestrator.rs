//! An orchestrator that embeds the host: it asks before each call of an agent, and reports after
//! it. Its ledger is a file in the temporary directory.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tollgate_host::engine::{Binding, Call, Host, Setup};
use tollgate_host::sandbox::{Compiler, Instances, Limits, Sandbox, Settings};
use tollgate_host::store::{Clock, Durability, SqliteStore, Tenant};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Policies are let in once, and serve any number of tenants.
    let sandbox = Sandbox::new(Settings {
        limits: Limits::default(),
        instances: Instances::Pooled(32),
        compiler: Compiler::InProcess,
        cache: None,
    })?;
    let load = |name: &str, settings: &str| -> Result<Binding, Box<dyn Error>> {
        let component = tollgate_plugins::standard(name).ok_or("no such component")?;
        Ok(Binding::new(name, sandbox.load(component, settings)?))
    };
    let limit = r#"{"limits":[{"meter":"llm_tokens","period":"day","limit":2000,"per":["user"]}]}"#;
    let bindings = vec![load("pricing", "{}")?, load("quota", limit)?];

    let directory = tempfile::tempdir()?;
    let file = directory.path().join("ledger.db");
    let clock: Clock =
        Arc::new(|| UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64));
    let store = Arc::new(SqliteStore::open(&file, Durability::Required, clock.clone()).await?);
    let acme: Tenant = "acme".parse()?;
    let setup = Setup { bindings, ..Setup::default() };
    let random = Arc::new(|| uuid::Uuid::new_v4().as_u128());
    let host = Host::builder(store, clock, random).tenant(acme.clone(), setup).start().await?;

    let call = |tokens: u32| {
        let call = Call::of([("user", "ana"), ("model", "gpt-4o")]);
        call.asking("llm_tokens", tokens)?.asking("llm_tokens.input", tokens)
    };
    println!("denied before: {:?}", host.check(&acme, call(3_000)?).await?.denial);
    for number in 1..=3 {
        // Asked again with the same key, the answer is the same, and it is held once.
        let key = format!("call-{number}");
        match host.reserve(&acme, Some(&key), call(900)?, Duration::from_secs(60)).await? {
            Ok(reserved) => {
                // Here the model is called. It says what was used in the end.
                let used = call(850)?.quantities;
                let settled = host.settle(&acme, Some(&key), reserved.id, used).await?;
                println!("call {number} cost {:?}", settled.charged.cost);
            }
            Err(denied) => println!("call {number}: {}", denied.denial.message),
        }
    }
    Ok(())
}
