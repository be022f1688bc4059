//! The target `ndjson` for libFuzzer; what it asserts is in `src/ndjson.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::ndjson::run(bytes));
