//! The target `time` for libFuzzer; what it asserts is in `src/time.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::time::run(bytes));
