//! Compiling what strangers hand in: in a child process with limits, since ten kilobytes can keep
//! a compiler busy for minutes.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::admit::{Admitted, admit};
use super::engine::Instances;
use super::limits::Limits;
use super::refusal::Refused;

/// How long a child may take to end once it has said all.
const GRACE_MS: u64 = 1_000;

/// What a child may say beside the code: a manifest and a schema.
const HEADER_BYTES: usize = 16 << 20;

/// Where components are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In a child: this program with these arguments, which calls [`worker_main`].
    Child {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// In this process, without limits on processor time and memory: for components that are
    /// the host's own.
    InProcess,
}

#[derive(Serialize, Deserialize)]
struct Job {
    settings: String,
    limits: Limits,
    pool: Option<u32>,
}

impl Compiler {
    pub(super) fn run(
        &self,
        component: &[u8],
        settings: &str,
        limits: Limits,
        instances: Instances,
    ) -> Result<(Admitted, Vec<u8>), Refused> {
        // Compiled code does not depend on the pool's size, only on there being one.
        let pool = match instances {
            Instances::Pooled(_) => Some(2),
            Instances::OnDemand => None,
        };
        match self {
            Self::InProcess => admit(component, settings, limits, of_pool(pool)),
            Self::Child { program, arguments } => {
                let job = Job { settings: settings.to_owned(), limits, pool };
                let mut input = serde_json::to_vec(&job).map_err(host)?;
                input.push(b'\n');
                input.extend_from_slice(component);
                let child = Command::new(program)
                    .args(arguments)
                    .env_clear()
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
                    .map_err(|error| {
                        Refused::Host(format!("cannot start `{}`: {error}", program.display()))
                    })?;
                converse(child, input, limits)
            }
        }
    }
}

fn of_pool(pool: Option<u32>) -> Instances {
    pool.map_or(Instances::OnDemand, Instances::Pooled)
}

fn host(error: impl std::fmt::Display) -> Refused {
    Refused::Host(error.to_string())
}

/// Hands the job over and waits for its end, at most as long as it may take.
fn converse(
    mut child: Child,
    input: Vec<u8>,
    limits: Limits,
) -> Result<(Admitted, Vec<u8>), Refused> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(host("the child has no pipes"));
    };
    // A child that does not read must not block us, nor one that writes while it reads.
    thread::spawn(move || stdin.write_all(&input));
    let (sender, receiver) = mpsc::channel();
    let bytes_max = HEADER_BYTES.saturating_add(limits.code_bytes);
    thread::spawn(move || {
        let mut output = Vec::new();
        let mut stdout = stdout.take(u64::try_from(bytes_max).unwrap_or(u64::MAX));
        let read = stdout.read_to_end(&mut output).map(|_| output);
        // The receiver is gone when time ran out.
        let _ = sender.send(read);
    });
    let output = receiver.recv_timeout(Duration::from_secs(limits.compile_seconds));
    let grace_ms = if output.is_ok() { GRACE_MS } else { 0 };
    let status = end(&mut child, grace_ms).map_err(host)?;
    let Ok(output) = output else {
        return Err(Refused::CompileTime { seconds: limits.compile_seconds });
    };
    let output = output.map_err(host)?;
    if !status.success() {
        use std::os::unix::process::ExitStatusExt;
        if status.signal() == Some(rustix::process::Signal::XCPU.as_raw()) {
            return Err(Refused::CompileTime { seconds: limits.compile_cpu_seconds });
        }
        return Err(Refused::CompileCrashed { status: status.to_string() });
    }
    let end = output.iter().position(|byte| *byte == b'\n').unwrap_or(output.len());
    let (header, code) = output.split_at(end);
    let answer: Result<Admitted, Refused> = serde_json::from_slice(header).map_err(host)?;
    answer.map(|admitted| (admitted, code.get(1..).unwrap_or_default().to_vec()))
}

/// How a child ended that has nothing more to say; one that lingers is made to.
fn end(child: &mut Child, grace_ms: u64) -> io::Result<ExitStatus> {
    for _ in 0..grace_ms {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(1));
    }
    // It may have ended by itself just now.
    let _ = child.kill();
    child.wait()
}

/// The child's whole life: reads a component on stdin, writes its compiled code to stdout.
#[must_use]
pub fn worker_main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> io::Result<()> {
    let mut input = Vec::new();
    io::stdin().lock().read_to_end(&mut input)?;
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let job: Job = serde_json::from_slice(&input[..end])?;
    let component = input.get(end + 1..).unwrap_or_default();
    confine(&job.limits)?;

    let (answer, code) = match admit(component, &job.settings, job.limits, of_pool(job.pool)) {
        Ok((admitted, code)) => (Ok(admitted), code),
        Err(refused) => (Err(refused), Vec::new()),
    };
    let mut stdout = io::stdout().lock();
    serde_json::to_writer::<_, Result<Admitted, Refused>>(&mut stdout, &answer)?;
    stdout.write_all(b"\n")?;
    stdout.write_all(&code)?;
    stdout.flush()
}

/// Data and not address space is limited: engines reserve much of the latter and use little.
fn confine(limits: &Limits) -> io::Result<()> {
    let limit =
        |current: u64, maximum: u64| Rlimit { current: Some(current), maximum: Some(maximum) };
    let cpu = limits.compile_cpu_seconds;
    setrlimit(Resource::Cpu, limit(cpu, cpu.saturating_add(1)))?;
    setrlimit(Resource::Data, limit(limits.compile_memory_bytes, limits.compile_memory_bytes))?;
    setrlimit(Resource::Core, limit(0, 0))?;
    Ok(())
}
