//! Which server is measured.

use std::io;

use crate::peers::{self, Peer, PeerSettings};

/// Which server is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct PeerOptions {
    /// Which server; `template` is the one at --peer-address
    #[arg(long, value_parser = peers::names(), default_value = "encke")]
    pub peer: String,
    #[command(flatten)]
    settings: PeerSettings,
}

impl PeerOptions {
    /// Starts it, does something with it, and stops it.
    ///
    /// # Errors
    /// When it cannot be started, and whatever goes wrong then.
    pub fn with<T>(&self, act: impl FnOnce(&dyn Peer) -> io::Result<T>) -> io::Result<T> {
        act(&*peers::open(&self.peer, &self.settings)?)
    }
}
