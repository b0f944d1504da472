//! Benchmarks beside the alternatives, kept apart since those take longer to build than Tollgate.
//! What several of them need is here: a call, twelve counters, and how answers are timed.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "it measures")]

pub mod http;
pub mod processes;
pub mod transactions;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::task::{JoinError, JoinSet};
use tollgate_host::engine::Call;
use tollgate_host::store::Tenant;
use tollgate_policy_core::contract::{Dimension, Quantity};

/// How long each part runs.
#[must_use]
pub fn seconds() -> f64 {
    std::env::var("TOLLGATE_BENCH_SECONDS").map_or(5.0, |seconds| seconds.parse().unwrap())
}

#[must_use]
pub fn tenant(number: usize) -> Tenant {
    format!("tenant-{number}").parse().unwrap()
}

#[must_use]
pub fn random() -> u128 {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
    let process = u128::from(std::process::id()) << 64;
    (u128::from(drawn) ^ process).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

/// Twelve counters.
#[must_use]
pub fn quota_settings() -> String {
    let meters = ["llm_requests", "llm_tokens", "cost.usd"];
    let periods = ["minute", "hour", "day", "month"];
    let limits: Vec<_> = (0..12)
        .map(|index| {
            let (meter, period) = (meters[index % 3], periods[index / 3]);
            json!({ "meter": meter, "period": period, "per": ["user"], "limit": "900000000000" })
        })
        .collect();
    json!({ "limits": limits }).to_string()
}

/// Gives a Postgres a log whose files were used before, as it has once it ran for a while: the first
/// time, each is filled with zeros beforehand, for which all that write wait some ten milliseconds.
pub async fn use_log(database: &PgConnectOptions) {
    let mut session = database.connect().await.unwrap();
    let much = "SELECT count(pg_logical_emit_message(false, '', repeat('x', 1000000))) FROM generate_series(1, 900)";
    session.execute(much).await.unwrap();
    session.execute("CHECKPOINT").await.unwrap();
    session.close().await.unwrap();
}

#[must_use]
pub fn call() -> Call {
    let dimensions = [
        ("user", "ana"),
        ("agent", "research"),
        ("model", "gpt-4o"),
        ("provider", "openai"),
        ("session", "a-session-of-a-user"),
    ];
    let dimensions =
        dimensions.map(|(name, value)| Dimension { name: name.into(), value: value.into() });
    Call { dimensions: dimensions.to_vec(), quantities: quantities() }
}

#[must_use]
pub fn quantities() -> Vec<Quantity> {
    [
        ("llm_requests", 1),
        ("llm_tokens", 1_200),
        ("llm_tokens.input", 1_000),
        ("llm_tokens.output", 200_u32),
    ]
    .map(|(meter, amount)| Quantity { meter: meter.parse().unwrap(), amount: amount.into() })
    .to_vec()
}

/// Answers a second, and what they took, in ms.
pub struct Run {
    pub per_s: f64,
    pub p50: f64,
    pub p99: f64,
}

impl Run {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort();
        let per_s = (took.len() as f64 / seconds()).round();
        Self { per_s, p50: percentile_ms(&took, 50), p99: percentile_ms(&took, 99) }
    }
}

/// Of what is sorted.
fn percentile_ms(took: &[Duration], percent: usize) -> f64 {
    let place = (took.len() * percent / 100).min(took.len() - 1);
    (took[place].as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// A fifth of the time to get going, and when it ends.
fn phases() -> (Instant, Instant) {
    let warm = Instant::now() + Duration::from_secs_f64(seconds() / 5.0);
    (warm, warm + Duration::from_secs_f64(seconds()))
}

/// Lets so many callers ask again and again.
pub async fn measure<F, A>(callers: usize, asked: F) -> Run
where
    F: Fn(usize) -> A + Clone + Send + 'static,
    A: Future<Output = ()> + Send,
{
    let (warm, end) = phases();
    let caller = |number: usize| {
        let asked = asked.clone();
        tokio::spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                asked(number).await;
                if start > warm {
                    took.push(start.elapsed());
                }
            }
            took
        })
    };
    let callers: Vec<_> = (0..callers).map(caller).collect();
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await.unwrap());
    }
    Run::of(took)
}

/// Asks so many times a second, whether answers have come or not.
pub async fn paced<F, A>(per_s: f64, asked: F) -> Run
where
    F: Fn(usize) -> A + Clone + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let (warm, end) = phases();
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let (mut callers, mut begun, mut took) = (JoinSet::new(), 0, Vec::new());
    let mut heard = |answered: Result<(Instant, Duration), JoinError>| {
        let (start, elapsed) = answered.unwrap();
        if start > warm {
            took.push(elapsed);
        }
    };
    while Instant::now() < end {
        ticks.tick().await;
        let due = (began.elapsed().as_secs_f64() * per_s) as usize;
        while begun < due {
            let start = Instant::now();
            let asking = asked(begun);
            begun += 1;
            callers.spawn(async move {
                asking.await;
                (start, start.elapsed())
            });
        }
        // A task's memory is its caller's until it is looked at: what is measured is not how long it
        // takes to get more of it.
        while let Some(answered) = callers.try_join_next() {
            heard(answered);
        }
    }
    while let Some(answered) = callers.join_next().await {
        heard(answered);
    }
    Run::of(took)
}
