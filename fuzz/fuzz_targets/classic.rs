//! The target `classic` for libFuzzer; what it asserts is in `src/classic.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::classic::run(bytes));
