//! The process in which the tests' sandboxes compile what they do not trust.

fn main() -> std::process::ExitCode {
    tollgate_host::sandbox::worker_main()
}
