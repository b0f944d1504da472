//! A proxy before Postgres that reads along: it lets a commit happen, and then cuts the connection
//! in place of handing on the answer, or keeps the answer and the connection; or it cuts the connection
//! in place of handing on the commit.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

const SOCKET: &str = ".s.PGSQL.5432";

/// In the place of a version number: may it be encrypted?
const SSL_REQUEST: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// What the statement contains that writes a batch by itself.
const WRITES: &[u8] = b"INSERT INTO batch";

/// A proxy, in threads that end with their connections.
pub struct Proxy {
    directory: TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    behind: PathBuf,
    seen: AtomicUsize,
    cut: AtomicUsize,
    /// Of so many commits one is cut; 0: none.
    one_in: AtomicUsize,
    /// Whether the connection stays.
    silent: AtomicBool,
    /// Whether what is cut never happens.
    early: AtomicBool,
}

/// What a connection is about to be answered.
#[derive(Default)]
struct Asked {
    /// The prepared statements that write a batch.
    writing: HashSet<Vec<u8>>,
    /// For each answer that ends with the server being ready: whether it tells of a commit.
    rounds: VecDeque<bool>,
    /// Of the round that is being asked.
    commits: bool,
}

impl Proxy {
    /// Stands before a server, and cuts nothing yet.
    pub fn before(options: &PgConnectOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let behind = options.get_socket().expect("a socket").join(SOCKET);
        let [seen, cut, one_in] = [0; 3].map(AtomicUsize::new);
        let [silent, early] = [false; 2].map(AtomicBool::new);
        let shared = Arc::new(Shared { behind, seen, cut, one_in, silent, early });
        let listener = UnixListener::bind(directory.path().join(SOCKET)).expect("a socket");
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&own);
                thread::spawn(move || shared.serve(client));
            }
        });
        Self { directory, shared }
    }

    /// The directory in which clients find it.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// From now on one commit in so many is not told; 0: all are.
    pub fn cut_one_in(&self, number: usize) {
        self.shared.one_in.store(number, Ordering::Relaxed);
    }

    /// From now on whoever is not told is not cut off either.
    pub fn keep_connections(&self) {
        self.shared.silent.store(true, Ordering::Relaxed);
    }

    /// From now on transactions are cut off before they commit.
    pub fn cut_before(&self) {
        self.shared.early.store(true, Ordering::Relaxed);
    }

    /// How many commits were cut.
    pub fn cut(&self) -> usize {
        self.shared.cut.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn serve(&self, client: UnixStream) {
        // A server that is not there is a connection that ends.
        let Ok(server) = UnixStream::connect(&self.behind) else { return };
        let asked = Mutex::new(Asked::default());
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = self.there(&client, &server, &asked);
                hang_up(&client, &server);
            });
            let _ = self.back(&server, &client, &asked);
            hang_up(&client, &server);
        });
    }

    /// Hands answers on, whole rounds at a time once the session has begun.
    fn back(
        &self,
        mut server: &UnixStream,
        mut client: &UnixStream,
        asked: &Mutex<Asked>,
    ) -> io::Result<()> {
        let (mut round, mut done) = (Vec::new(), false);
        loop {
            let (kind, message) = message(&mut server)?;
            done |= kind == b'C';
            let idle = kind == b'Z' && message.last() == Some(&b'I');
            round.extend(message);
            if kind == b'Z' {
                let commits = asked.lock().expect("asked").rounds.pop_front() == Some(true);
                let is_late = !self.early.load(Ordering::Relaxed);
                if commits && done && idle && is_late && self.chosen() {
                    if self.silent.load(Ordering::Relaxed) {
                        io::copy(&mut server, &mut io::sink())?;
                    }
                    return Ok(());
                }
                done = false;
            }
            let more = kind != b'Z' && !asked.lock().expect("asked").rounds.is_empty();
            if !more {
                client.write_all(&round)?;
                round.clear();
            }
        }
    }

    /// Hands requests on, and notes which rounds of them commit.
    fn there(
        &self,
        mut client: &UnixStream,
        mut server: &UnixStream,
        asked: &Mutex<Asked>,
    ) -> io::Result<()> {
        loop {
            let first = untyped(&mut client)?;
            if first[4..] != SSL_REQUEST {
                server.write_all(&first)?;
                break;
            }
            client.write_all(b"N")?;
        }
        loop {
            let (kind, message) = message(&mut client)?;
            let mut text = message[5..].split(|byte| *byte == 0);
            let mut next = || text.next().unwrap_or_default();
            let mut asked = asked.lock().expect("asked");
            match kind {
                // Parse: the statement's name and text.
                b'P' => {
                    let (name, text) = (next().to_vec(), next());
                    if text.windows(WRITES.len()).any(|part| part == WRITES) {
                        asked.writing.insert(name);
                    }
                }
                // Bind: the portal's name, and the statement's.
                b'B' => {
                    next();
                    let commits = asked.writing.contains(next());
                    asked.commits |= commits;
                }
                // Query: its text.
                b'Q' => {
                    let commits = next().eq_ignore_ascii_case(b"COMMIT");
                    if commits && self.early.load(Ordering::Relaxed) && self.chosen() {
                        return Ok(());
                    }
                    asked.rounds.push_back(commits);
                }
                // Sync.
                b'S' => {
                    let commits = std::mem::take(&mut asked.commits);
                    asked.rounds.push_back(commits);
                }
                _ => {}
            }
            drop(asked);
            server.write_all(&message)?;
        }
    }

    fn chosen(&self) -> bool {
        let one_in = self.one_in.load(Ordering::Relaxed);
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        let chosen = one_in > 0 && seen.is_multiple_of(one_in);
        if chosen {
            self.cut.fetch_add(1, Ordering::Relaxed);
        }
        chosen
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Nobody can connect any more; what is connected goes on until it hangs up.
        let _ = fs::remove_file(self.path().join(SOCKET));
    }
}

/// A message as it is on the wire: its kind, its length, what it says.
fn message(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut kind = [0];
    from.read_exact(&mut kind)?;
    let rest = untyped(from)?;
    Ok((kind[0], [&kind[..], &rest].concat()))
}

/// A message without a kind, as the first one is.
fn untyped(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut message = vec![0; u32::from_be_bytes(length).max(4) as usize];
    message[..4].copy_from_slice(&length);
    from.read_exact(&mut message[4..])?;
    Ok(message)
}

fn hang_up(client: &UnixStream, server: &UnixStream) {
    for stream in [client, server] {
        // One that is closed already stays so.
        let _ = stream.shutdown(Shutdown::Both);
    }
}
