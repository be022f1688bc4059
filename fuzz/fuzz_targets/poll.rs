//! The target `poll` for libFuzzer; what it asserts is in `src/poll.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::poll::run(bytes));
