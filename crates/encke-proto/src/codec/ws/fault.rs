//! A protocol error of the peer, with the close status that answers it. Faults of the server itself and
//! errors of the API are not among them.

use super::CloseStatus;

/// What is wrong with the bytes that a peer sent. The connection cannot go on; the status says why in the
/// close frame (RFC 6455 section 7.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fault {
    /// Why, for programs.
    pub status: CloseStatus,
    /// Why, as text for logs.
    pub reason: &'static str,
}

impl Fault {
    /// Bytes that break the protocol: 1002.
    pub(super) const fn protocol(reason: &'static str) -> Self {
        Self { status: CloseStatus::PROTOCOL_ERROR, reason }
    }

    /// Content that is not what its type says: 1007.
    pub(super) const fn content(reason: &'static str) -> Self {
        Self { status: CloseStatus::INVALID_PAYLOAD, reason }
    }

    /// More than is taken: 1009.
    pub(super) const TOO_BIG: Self = Self { status: CloseStatus::TOO_BIG, reason: "the message is too big" };
}
