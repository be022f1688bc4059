//! The target `sse` for libFuzzer; what it asserts is in `src/sse.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::sse::run(bytes));
