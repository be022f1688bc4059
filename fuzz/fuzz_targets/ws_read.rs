//! The target `ws_read` for libFuzzer; what it asserts is in `src/ws_read.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::ws_read::run(bytes));
