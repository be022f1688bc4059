//! The target `pusher` for libFuzzer; what it asserts is in `src/pusher.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::pusher::run(bytes));
