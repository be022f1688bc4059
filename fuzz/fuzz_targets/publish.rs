//! The target `publish` for libFuzzer; what it asserts is in `src/publish.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::publish::run(bytes));
