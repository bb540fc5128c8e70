//! The program `outhook`; what it can do is in [`outhook::cli`].

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Calls are made in one thread and freed in another, and an outage fills memory for a while: glibc's allocator keeps
/// what was freed, this one gives it back. It serves librdkafka too.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// How the allocator behaves: pages that are free for half a second go back to the system. Its own 10 s held tens of MiB
/// of what librdkafka decompresses in bursts. It reads the symbol at its start (jemalloc(3), TUNING).
#[expect(unsafe_code, reason = "the allocator's own way to be set up: a symbol that nothing else has")]
#[unsafe(export_name = "malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 38] = b"dirty_decay_ms:500,muzzy_decay_ms:500\0";

fn main() -> ExitCode {
    outhook::cli::main()
}
