//! The program itself, where the tests find it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tollgate::main()
}
