//! The API against its own document: whatever the document allows is asked, and much that it does not.
//! Nothing may end in a 5xx, or in an answer that the document does not tell of.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{run as step, setup, workspace};

/// What must hold of each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

/// So many requests are made up for each route.
const EXAMPLES: &str = "25";

/// A service that ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks the program that the tests have built.
pub fn run() -> Result<()> {
    let schemathesis = setup::schemathesis()?;
    let directory = workspace().join("target/document");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    step(tollgate(&directory).args(["policy", "tenant", "--tenant", "acme", "--store", STORE]))?;
    let mut server = tollgate(&directory);
    server.args(["serve", "--store", STORE, "--listen", "127.0.0.1:0"]);
    let mut server =
        Server(server.stdout(Stdio::piped()).spawn().context("cannot start `tollgate`")?);
    let said = server.0.stdout.take().context("the service says nothing")?;
    let (mut token, mut url) = (None, None);
    for line in BufReader::new(said).lines() {
        let line = line?;
        if line.starts_with("tg_") {
            token = Some(line);
        } else if let Some(address) = line.strip_prefix("listening on ") {
            url = Some(address.to_owned());
            break;
        }
    }
    let (Some(token), Some(url)) = (token, url) else { bail!("the service did not start") };
    let mut command = Command::new(schemathesis);
    // It leaves a folder of its own where it is run.
    command
        .current_dir(&directory)
        .args(["run", &format!("{url}/v1/openapi.json"), "--no-color"])
        .args(["--header", &format!("authorization: Bearer {token}")])
        .args(["--header", "tollgate-tenant: acme"])
        // The one never ends, and the other takes components and not what is made up.
        .args(["--exclude-path", "/v1/stream", "--exclude-path", "/v1/components"])
        .args(["--checks", CHECKS, "--max-examples", EXAMPLES, "--seed", "1"]);
    step(&mut command)
}

/// Beside the program's own folder.
const STORE: &str = "ledger.db";

fn tollgate(directory: &Path) -> Command {
    let program: PathBuf = workspace().join("target/debug/tollgate-under-test");
    let mut command = Command::new(program);
    command.current_dir(directory).env("TOLLGATE_CACHE", directory.join("compiled"));
    command.env("TOLLGATE_LOG", "error");
    command
}
