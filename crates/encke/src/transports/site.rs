//! What a transport may say of the server, the same for all connections of a shard.

use super::CompressionPolicy;
use crate::auth::{CloseKeys, Origins};

/// What a transport may say of the server.
#[derive(Clone, Debug)]
pub struct Site {
    /// The origins that may be answered, by the number in [`super::RequestState::origin`].
    pub origins: Origins,
    /// The longest silence of a stream, in seconds.
    pub heartbeat_s: u64,
    /// The keys by which pages end their sessions.
    pub close_keys: CloseKeys,
    /// Which messages over WebSocket are compressed.
    pub compression: CompressionPolicy,
}
