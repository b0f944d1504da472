//! WASI for guests that import it: deterministic and empty. Clocks stand at the call's instant
//! and cannot be waited on, randomness follows from the input, there are no files and no sockets,
//! and what is written to stdout and stderr is the policy's log.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::clocks::HostWallClock;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::guest::{Guest, Wasi};
use super::limits::Limits;

/// What a guest may be given of randomness in one go.
const RANDOM_BYTES: u64 = 64 << 10;

/// The clock and the randomness of one call.
pub struct Frozen {
    /// Nanoseconds since 1970, zero before it.
    nanoseconds: u64,
    seed: [u8; 32],
    drawn: u64,
}

/// What the policy wrote, up to a limit.
#[derive(Clone)]
pub struct Log {
    kept: Arc<Mutex<Vec<u8>>>,
    bytes: usize,
}

/// The WASI of a call at `at` (ms since 1970) whose input is `input`.
pub fn frozen(limits: &Limits, at: i64, input: &[u8]) -> Box<Wasi> {
    let log = Log { kept: Arc::default(), bytes: limits.log_bytes };
    let nanoseconds = u64::try_from(at).unwrap_or(0).saturating_mul(1_000_000);
    let mut table = ResourceTable::new();
    table.set_max_capacity(limits.handles);
    let ctx = WasiCtxBuilder::new()
        .stdout(log.clone())
        .stderr(log.clone())
        .wall_clock(Standing(Duration::from_nanos(nanoseconds)))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build();
    let frozen = Frozen { nanoseconds, seed: Sha256::digest(input).into(), drawn: 0 };
    Box::new(Wasi { ctx, table, log, frozen })
}

/// Adds it to a linker.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    // Frozen clocks do not keep a guest from sleeping, since waiting is done in real time: so
    // the functions themselves are replaced.
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<_, Frozen>(linker, |guest| &mut guest.wasi().frozen)?;
    random::add_to_linker::<_, Frozen>(linker, |guest| &mut guest.wasi().frozen)?;
    insecure::add_to_linker::<_, Frozen>(linker, |guest| &mut guest.wasi().frozen)?;
    insecure_seed::add_to_linker::<_, Frozen>(linker, |guest| &mut guest.wasi().frozen)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl HasData for Frozen {
    type Data<'a> = &'a mut Frozen;
}

impl Frozen {
    fn draw(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        if bytes > RANDOM_BYTES {
            wasmtime::bail!("a policy may draw at most {RANDOM_BYTES} random bytes at a time");
        }
        let bytes = usize::try_from(bytes)?;
        let mut drawn = Vec::with_capacity(bytes + 32);
        while drawn.len() < bytes {
            self.drawn += 1;
            let block =
                Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_le_bytes());
            drawn.extend_from_slice(&block.finalize());
        }
        drawn.truncate(bytes);
        Ok(drawn)
    }

    fn draw_u64(&mut self) -> wasmtime::Result<u64> {
        let bytes = self.draw(8)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

impl monotonic_clock::Host for &mut Frozen {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.nanoseconds)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1_000_000)
    }

    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        wasmtime::bail!("a policy cannot wait: its clock stands still")
    }

    fn subscribe_duration(&mut self, _duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        wasmtime::bail!("a policy cannot wait: its clock stands still")
    }
}

impl random::Host for &mut Frozen {
    fn get_random_bytes(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw(bytes)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw_u64()
    }
}

impl insecure::Host for &mut Frozen {
    fn get_insecure_random_bytes(&mut self, bytes: u64) -> wasmtime::Result<Vec<u8>> {
        self.draw(bytes)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.draw_u64()
    }
}

impl insecure_seed::Host for &mut Frozen {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.draw_u64()?, self.draw_u64()?))
    }
}

struct Standing(Duration);

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl Log {
    /// What was kept, with control characters taken out: a log must not speak to a terminal.
    pub fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept)
            .chars()
            .filter(|character| !character.is_control() || *character == '\n')
            .collect()
    }
}

impl IsTerminal for Log {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Log {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl tokio::io::AsyncWrite for Log {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.bytes.saturating_sub(kept.len()).min(bytes.len());
        kept.extend_from_slice(&bytes[..room]);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
