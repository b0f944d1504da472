use crate::compiling::*;
use crate::guest::*;
use tollgate_host::sandbox::*;
#[test]
fn scratch_bomb() {
    for (l, n) in [(1000, 1000), (500, 500), (300, 300)] {
        let b = bomb(l, n);
        let s = std::time::Instant::now();
        let r = load(WORKER, &[], Limits { compile_cpu_seconds: 40, ..Limits::default() }, &b)
            .map(|_| ())
            .map_err(|e| e.to_string());
        eprintln!("{} {:?} {:?}", b.len(), s.elapsed(), r);
    }
}
#[test]
fn scratch_mem() {
    for mb in [8, 16, 24, 32, 48, 64, 96, 128] {
        let r = load(
            WORKER,
            &[],
            Limits { compile_cpu_seconds: 40, compile_memory_bytes: mb << 20, ..Limits::default() },
            &Guest::default().component(),
        )
        .map(|_| ())
        .map_err(|e| e.to_string());
        let s = std::time::Instant::now();
        let q = load(
            WORKER,
            &[],
            Limits { compile_cpu_seconds: 40, compile_memory_bytes: mb << 20, ..Limits::default() },
            &bomb(1000, 1000),
        )
        .map(|_| ())
        .map_err(|e| e.to_string());
        eprintln!("{mb} {:?} {:?} {:?}", r, s.elapsed(), q);
    }
}
