//! The target `heads` for libFuzzer; what it asserts is in `src/heads.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::heads::run(bytes));
