//! What a run of chaos consists of. How it is carried out is in `run.rs`, and for several nodes in `cluster`.

use super::{faults::Counts, mutation::Mutation};

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where everything that is left to chance begins.
    pub seed: u64,
    /// The server's engine.
    pub engine: String,
    /// Whether what goes through the proxies goes on to the server under TLS.
    pub tls: bool,
    /// How many faults of each kind.
    pub counts: Counts,
    /// How many deliveries there are at least.
    pub deliveries: u64,
    /// How many subscribers.
    pub clients: usize,
    /// How many channels, publishers, and messages a second of all publishers.
    pub channels: usize,
    /// See `channels`.
    pub publishers: u64,
    /// See `channels`.
    pub rate: f64,
    /// What a subscriber mutations about.
    pub mutation: Option<Mutation>,
}
