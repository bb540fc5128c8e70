//! The program `outhook`; what it can do is in [`outhook::cli`].

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Calls are made in one thread and freed in another, and an outage fills memory for a while: glibc's allocator keeps
/// what was freed, this one gives it back. It serves librdkafka too.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    outhook::cli::main()
}
