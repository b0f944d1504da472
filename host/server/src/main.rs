//! See the library of the same name.

use std::process::ExitCode;

/// A decision allocates much that another thread frees: the system's allocator took half as long
/// again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tollgate::main()
}
