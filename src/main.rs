//! The program `outhook`. Its commands are in [`outhook::cli`].

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// jemalloc, because it returns freed memory to the system. Calls are allocated in one thread and freed in another,
/// and an outage fills memory for a while; glibc's allocator keeps such memory. librdkafka uses this allocator too.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Settings of the allocator: it returns pages to the system when they have been free for half a second. With the
/// default of 10 s it held tens of MiB that librdkafka had used to decompress bursts. jemalloc reads this symbol when
/// it starts (jemalloc(3), TUNING).
#[expect(unsafe_code, reason = "jemalloc reads its settings from this symbol, which nothing else defines")]
#[unsafe(export_name = "malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 38] = b"dirty_decay_ms:500,muzzy_decay_ms:500\0";

fn main() -> ExitCode {
    outhook::cli::main()
}
