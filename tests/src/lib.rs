//! Tests of Tollgate as a whole; the programs they start are in `src/bin`, what several of them
//! need is here.

pub mod disk;
pub mod embedded;
pub mod postgres;

/// Runs a test on two workers, as a host has at the least.
pub fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}
