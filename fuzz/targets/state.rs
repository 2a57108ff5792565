#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shmooze_fuzz::state::check(bytes));
