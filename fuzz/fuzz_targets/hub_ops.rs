//! The target `hub_ops` for libFuzzer; what it asserts is in `src/hub_ops.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encke_fuzz::hub_ops::run(bytes));
