//! The target `ws_send` for libFuzzer; what it asserts is in `src/ws_send.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::ws_send::run(bytes));
