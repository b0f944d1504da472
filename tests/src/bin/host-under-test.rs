//! A host in a process of its own, to be killed. It takes requests as lines of JSON and answers
//! each, as its answer comes, by a line of JSON; the first line says `ready`.
//!
//! `host-under-test CACHE TENANTS LIMIT postgres SOCKETS DATABASE CONNECTIONS`
//! `host-under-test CACHE TENANTS LIMIT sqlite FILE`

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use tollgate_host::store::{Durability, PostgresStore, RegistryStore, SqliteStore, Store};
use tollgate_tests::embedded::{Embedded, Reply, Request, clock_ms};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut code = ExitCode::SUCCESS;
    tollgate_tests::run(async {
        if let Err(words) = serve(&arguments).await {
            println!("{words}");
            code = ExitCode::FAILURE;
        }
    });
    code
}

async fn serve(arguments: &[&str]) -> Result<(), String> {
    let [cache, tenants, limit, store @ ..] = arguments else {
        return Err("arguments are missing".into());
    };
    let (cache, tenants) = (Path::new(cache), tenants.parse().expect("how many tenants"));
    let limit = limit.parse().expect("a limit");
    let required = Durability::Required;
    let host = match store {
        ["postgres", sockets, database, connections] => {
            let options = PgConnectOptions::new_without_pgpass()
                .socket(sockets)
                .username("postgres")
                .database(database);
            let connections = connections.parse().expect("how many connections");
            start(
                PostgresStore::connect(options, connections, required).await,
                cache,
                tenants,
                limit,
            )
            .await
        }
        ["sqlite", file] => {
            let store = SqliteStore::open(Path::new(file), required, Arc::new(clock_ms)).await;
            start(store, cache, tenants, limit).await
        }
        _ => return Err("a store is missing".into()),
    }?;
    println!("ready");
    // The lines come in a thread of their own, since nothing else may wait for them.
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let request: Request = serde_json::from_str(&line).expect("a request");
            if sender.send(request).is_err() {
                break;
            }
        }
    });
    while let Some(request) = requests.recv().await {
        let host = host.clone();
        tokio::spawn(async move {
            let answer = host.ask(&request).await;
            let reply = Reply { number: request.number, answer };
            let line = serde_json::to_string(&reply).expect("a reply is JSON") + "\n";
            // Nobody listens to a test that has ended.
            let _ = std::io::stdout().lock().write_all(line.as_bytes());
        });
    }
    Ok(())
}

async fn start<S: Store + RegistryStore>(
    store: Result<S, tollgate_host::store::StoreError>,
    cache: &Path,
    tenants: usize,
    limit: tollgate_policy_core::Decimal,
) -> Result<Embedded, String> {
    let store = store.map_err(|error| error.to_string())?;
    Embedded::start(Arc::new(store), cache, tenants, limit).await
}
