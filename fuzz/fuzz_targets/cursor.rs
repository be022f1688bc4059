//! The target `cursor` for libFuzzer; what it asserts is in `src/cursor.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::cursor::run(bytes));
