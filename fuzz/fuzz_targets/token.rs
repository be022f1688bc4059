//! The target `token` for libFuzzer; what it asserts is in `src/token.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::token::run(bytes));
