//! What the fuzz targets assert, one function a target: bytes in, a panic when something does not hold.
//!
//! `fuzz_targets/` hands these functions to libFuzzer, `tests/corpus.rs` runs them on the corpus and on
//! mutations of it with a stable toolchain. They assert what holds for every input (a round trip, a bound,
//! the agreement of two readers), so that more is found than panics.
#![forbid(unsafe_code)]

mod input;

pub mod bayeux;
pub mod classic;
pub mod cursor;
#[cfg(feature = "server")]
pub mod heads;
pub mod hub_ops;
pub mod iframe;
pub mod json;
pub mod ndjson;
pub mod poll;
#[cfg(feature = "server")]
pub mod publish;
pub mod pusher;
pub mod short;
pub mod sse;
pub mod time;
#[cfg(feature = "server")]
pub mod token;
pub mod ws_read;
pub mod ws_send;

/// A target: its name, which is that of its program and of its folder in the corpus, and what it asserts.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("bayeux", bayeux::run),
    ("classic", classic::run),
    ("cursor", cursor::run),
    #[cfg(feature = "server")]
    ("heads", heads::run),
    ("hub_ops", hub_ops::run),
    ("iframe", iframe::run),
    ("json", json::run),
    ("ndjson", ndjson::run),
    ("poll", poll::run),
    #[cfg(feature = "server")]
    ("publish", publish::run),
    ("pusher", pusher::run),
    ("short", short::run),
    ("sse", sse::run),
    ("time", time::run),
    #[cfg(feature = "server")]
    ("token", token::run),
    ("ws_read", ws_read::run),
    ("ws_send", ws_send::run),
];
