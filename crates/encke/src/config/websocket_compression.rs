//! Which messages over WebSocket are compressed.

use serde::Deserialize;

/// Which messages over WebSocket are compressed, for clients that offer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebsocketCompression {
    /// None.
    Off,
    /// Those that several connections receive: they are compressed once for all of them.
    Shared,
    /// All.
    All,
}
