#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outhook_fuzz::definition_record(bytes));
