//! A throw-away Postgres cluster on a Unix socket, which ends with the process that asked for it.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, mpsc};
use std::time::Duration;
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use tempfile::TempDir;

use crate::disk::SmallDisk;

/// Postgres refuses to run as root; Debian's package makes this user.
const USER: &str = "postgres";

/// A cluster.
pub struct Cluster {
    directory: TempDir,
    /// Where its data is, if not on the machine's own disk.
    disk: Option<SmallDisk>,
    settings: Vec<String>,
    /// Who hears what it logs.
    log: Option<mpsc::Sender<String>>,
    server: Mutex<Server>,
    databases: AtomicUsize,
}

/// A running server.
struct Server {
    pid: u32,
    ended: mpsc::Receiver<()>,
}

/// What a server writes about what it does.
pub struct Log(mpsc::Receiver<String>);

/// What tells that all before it was logged.
const LAST: &str = "SELECT 'that is all'";

impl Log {
    /// What the server was told since the last time, each statement with its parameters and with what
    /// came of it.
    pub async fn told(&self, connection: &mut PgConnection) -> Vec<String> {
        connection.execute(LAST).await.expect("a word");
        let mut statements: Vec<String> = Vec::new();
        for line in self.0.iter() {
            if line.starts_with("LOG:") {
                if line.contains(LAST) {
                    return statements;
                }
                statements.push(String::new());
            }
            if let Some(statement) = statements.last_mut() {
                statement.push_str(&line);
                statement.push('\n');
            }
        }
        panic!("the server is gone");
    }
}

impl Cluster {
    /// The one of this process, with the durability of any Postgres.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| {
            let directory = directory();
            swept(directory.path());
            Self::initialised(directory, None, &[], None)
        })
    }

    /// One of its own, with settings like `fsync=off`.
    #[must_use]
    pub fn start(settings: &[&str]) -> Self {
        Self::initialised(directory(), None, settings, None)
    }

    /// One of its own that tells what it is told.
    #[must_use]
    pub fn logged(settings: &[&str]) -> (Self, Log) {
        let (log, lines) = mpsc::channel();
        let settings = [&["log_statement=all", "log_line_prefix="], settings].concat();
        (Self::initialised(directory(), None, &settings, Some(log)), Log(lines))
    }

    /// One of its own on a disk that can be filled. An error says why this machine has none.
    pub fn on_a_small_disk(megabytes: u32, settings: &[&str]) -> Result<Self, String> {
        let directory = directory();
        let data = directory.path().join("data");
        fs::create_dir(&data).expect("a directory");
        let disk = SmallDisk::mount(&data, megabytes)?;
        if let Some((user, group)) = demoted() {
            chown(disk.outside(), Some(user), Some(group)).expect("chown");
        }
        Ok(Self::initialised(directory, Some(disk), settings, None))
    }

    fn initialised(
        directory: TempDir,
        disk: Option<SmallDisk>,
        settings: &[&str],
        log: Option<mpsc::Sender<String>>,
    ) -> Self {
        let data = directory.path().join("data");
        let made = command(disk.as_ref(), "initdb")
            .args(["--username", USER, "--auth", "trust", "--no-sync", "--encoding", "UTF8"])
            .arg("--pgdata")
            .arg(&data)
            .output()
            .expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let server = Mutex::new(serve(disk.as_ref(), directory.path(), &settings, log.clone()));
        Self { directory, disk, settings, log, server, databases: AtomicUsize::new(0) }
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

    /// The disk of its data, if it has one of its own.
    pub fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }

    /// Ends the server and all of its processes without a word to them.
    pub fn kill(&self) {
        let server = self.server();
        // The first stays while its children are counted, so that none comes to it unseen.
        signal(server.pid, Signal::STOP);
        let children = children(server.pid);
        for pid in children.iter().copied().chain([server.pid]) {
            signal(pid, Signal::KILL);
        }
        let _ = server.ended.recv();
        wait_until(|| !children.iter().any(|pid| runs(*pid)));
    }

    /// Ends one process of the server, by its number in `pg_stat_activity`.
    pub fn kill_process(&self, pid: i64) {
        signal(u32::try_from(pid).expect("a process"), Signal::KILL);
    }

    /// The server and all of its processes do nothing more, and hang up on nobody.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// They go on where they were.
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, all: Signal) {
        let server = self.server();
        for pid in std::iter::once(server.pid).chain(children(server.pid)) {
            signal(pid, all);
        }
    }

    /// Shuts the server down without letting anybody finish.
    pub fn stop_at_once(&self) {
        let server = self.server();
        signal(server.pid, Signal::QUIT);
        let _ = server.ended.recv();
    }

    /// Starts the server again that was killed or stopped, on the data that it left.
    pub fn restart(&self) {
        let log = self.log.clone();
        *self.server() = serve(self.disk.as_ref(), self.directory.path(), &self.settings, log);
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().expect("no test that failed")
    }
}

/// One that Postgres accepts.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    if let Some((user, group)) = demoted() {
        chown(directory.path(), Some(user), Some(group)).expect("chown");
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
    directory
}

/// Nothing of this directory stays when the process has ended, in whatever way: what a `static`
/// holds is never dropped. The shell reads from a pipe that no other process has, until it closes.
fn swept(directory: &Path) {
    let sweep = "read -r _; until rm -rf \"$1\" 2>&-; do sleep 0.1; done";
    let mut shell = Command::new("sh");
    shell.args(["-c", sweep, "sweep"]).arg(directory).process_group(0).current_dir("/");
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Its end of the pipe is this process' to the last.
    std::mem::forget(shell.spawn().expect("sh"));
}

/// Starts the server in a thread that lives as long as it does, at most as long as the process:
/// with the thread's end the kernel ends the server.
fn serve(
    disk: Option<&SmallDisk>,
    directory: &Path,
    settings: &[String],
    hears: Option<mpsc::Sender<String>>,
) -> Server {
    let mut server = command(disk, "postgres");
    server
        .arg("-D")
        .arg(directory.join("data"))
        .arg("-k")
        .arg(directory)
        .args(["-c", "listen_addresses=", "-c", "max_connections=200"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for setting in settings {
        server.args(["-c", setting]);
    }
    let (ready, wait) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    thread::spawn(move || {
        let mut child = server.spawn().expect("postgres");
        let log = BufReader::new(child.stderr.take().expect("its log"));
        for line in log.lines().map_while(Result::ok) {
            if line.contains("ready to accept connections") {
                let _ = ready.send(child.id());
            }
            if let Some(hears) = &hears {
                let _ = hears.send(line);
            }
        }
        let _ = child.wait();
        let _ = end.send(());
    });
    let pid = wait.recv().expect("a Postgres that starts");
    Server { pid, ended }
}

/// One of Postgres' programs, as a user that it accepts, ended with the thread that starts it. All
/// that stand before it hand their process on to it.
fn command(disk: Option<&SmallDisk>, program: &str) -> Command {
    let mut words = disk.map_or_else(Vec::new, SmallDisk::enter);
    words.extend(["setpriv", "--pdeathsig", "QUIT"].map(str::to_owned));
    if demoted().is_some() {
        words.extend(["--reuid", USER, "--regid", USER, "--init-groups"].map(str::to_owned));
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg("--").arg(binaries().join(program)).current_dir("/");
    command
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    // One that has ended by itself needs none.
    let _ = kill_process(pid, signal);
}

/// The processes that this one started and that still run.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("a list of processes").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| status(*pid).is_some_and(|(_, of)| of == parent)).collect()
}

fn runs(pid: u32) -> bool {
    status(pid).is_some_and(|(state, _)| state != 'Z')
}

/// The state of a process, and its parent.
fn status(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name may hold anything, but it ends with the last parenthesis.
    let mut words = stat.rsplit(')').next()?.split_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// Waits for what shows nowhere but in a look at it.
fn wait_until(holds: impl Fn() -> bool) {
    while !holds() {
        thread::sleep(Duration::from_millis(1));
    }
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
