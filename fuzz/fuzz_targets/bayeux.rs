//! The target `bayeux` for libFuzzer; what it asserts is in `src/bayeux.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::bayeux::run(bytes));
