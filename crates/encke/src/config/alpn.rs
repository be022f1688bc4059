//! The versions of HTTP that TLS offers.

use serde::Deserialize;

/// A version of HTTP, by its name in the handshake (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Alpn {
    /// HTTP/2.
    #[serde(rename = "h2")]
    Http2,
    /// HTTP/1.1.
    #[serde(rename = "http/1.1")]
    Http11,
}

impl Alpn {
    /// What is said in the handshake.
    #[must_use]
    pub fn protocol(self) -> &'static [u8] {
        match self {
            Self::Http2 => b"h2",
            Self::Http11 => b"http/1.1",
        }
    }
}
