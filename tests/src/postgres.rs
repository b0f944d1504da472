//! A throw-away Postgres cluster on a Unix socket, which ends with the process that asked for it.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{OnceLock, mpsc};
use std::{fs, thread};

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tempfile::TempDir;

/// Postgres refuses to run as root; Debian's package makes this user.
const USER: &str = "postgres";

/// A cluster.
pub struct Cluster {
    directory: TempDir,
    databases: AtomicUsize,
}

impl Cluster {
    /// The one of this process, with the durability of any Postgres.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// One of its own, with settings like `fsync=off`.
    #[must_use]
    pub fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        if let Some((user, group)) = demoted() {
            chown(directory.path(), Some(user), Some(group)).expect("chown");
        }
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
        let data = directory.path().join("data");
        let made = command("initdb")
            .args(["--username", USER, "--auth", "trust", "--no-sync", "--encoding", "UTF8"])
            .arg("--pgdata")
            .arg(&data)
            .output()
            .expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        serve(&data, directory.path(), settings);
        Self { directory, databases: AtomicUsize::new(0) }
    }

    /// How to connect to a new and empty database of it.
    pub async fn database(&self) -> PgConnectOptions {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(self.options("postgres"))
            .await
            .expect("a connection");
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        pool.execute(create).await.expect("a database");
        pool.close().await;
        self.options(&name)
    }

    fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(self.directory.path())
            .username(USER)
            .database(database)
    }
}

/// Starts the server in a thread that lives as long as the process: with its end the kernel ends
/// the server.
fn serve(data: &Path, sockets: &Path, settings: &[&str]) {
    let mut server = command("postgres");
    server
        .arg("-D")
        .arg(data)
        .arg("-k")
        .arg(sockets)
        .args(["-c", "listen_addresses=", "-c", "max_connections=200"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for setting in settings {
        server.args(["-c", setting]);
    }
    let (ready, wait) = mpsc::channel();
    thread::spawn(move || {
        let mut child = server.spawn().expect("postgres");
        let log = BufReader::new(child.stderr.take().expect("its log"));
        for line in log.lines().map_while(Result::ok) {
            if line.contains("ready to accept connections") {
                let _ = ready.send(());
            }
        }
        let _ = child.wait();
    });
    wait.recv().expect("a Postgres that starts");
}

/// One of Postgres' programs, as a user that it accepts, ended with the thread that starts it.
fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]).current_dir("/");
    if demoted().is_some() {
        command.args(["--reuid", USER, "--regid", USER, "--init-groups"]);
    }
    command.arg("--").arg(binaries().join(program));
    command
}

/// User and group to become, where this is root.
fn demoted() -> Option<(u32, u32)> {
    let id = |flag: &str, user: &[&str]| -> u32 {
        let output = Command::new("id").arg(flag).args(user).output().expect("id");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
    };
    (id("-u", &[]) == 0).then(|| (id("-u", &[USER]), id("-g", &[USER])))
}

/// Debian keeps them off the path.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().unwrap_or_else(|| PathBuf::from("/usr/bin"))
}
