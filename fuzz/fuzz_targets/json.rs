//! The target `json` for libFuzzer; what it asserts is in `src/json.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::json::run(bytes));
