//! Which messages of duplex connections are compressed.

use encke_proto::{Entry, codec::ws::Compression};

/// Which messages are compressed for clients that agreed on it. By default none, and none may agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompressionPolicy {
    /// Whether clients may agree on it.
    pub is_offered: bool,
    /// Whether only those are that several connections receive: they are compressed once for all.
    pub shared_only: bool,
    /// How long one is at least, in bytes.
    pub min_bytes: usize,
}

impl CompressionPolicy {
    /// Whether a message that takes so many bytes is compressed for a client that agreed on this.
    #[must_use]
    pub fn compresses(self, entry: &Entry, bytes: usize, agreed: Compression) -> bool {
        bytes >= self.min_bytes && (!self.shared_only || entry.is_shared()) && agreed.fits(bytes)
    }
}
