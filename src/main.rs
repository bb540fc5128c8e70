//! The program `outhook`; what it can do is in [`outhook::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    outhook::cli::main()
}
