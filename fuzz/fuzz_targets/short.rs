//! The target `short` for libFuzzer; what it asserts is in `src/short.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::short::run(bytes));
