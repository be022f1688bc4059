//! The target `iframe` for libFuzzer; what it asserts is in `src/iframe.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::iframe::run(bytes));
