//! Errors inside the NATS engine, divided by whether anything was stored. Callers outside see only
//! `EngineError`.

use crate::{EngineError, LogRefusal};

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Another writer stored something there meanwhile; nothing was stored.
    #[error("another writer stored at the same time")]
    Mismatch,
    /// The servers ask to come back in a moment; nothing was stored.
    #[error("NATS is busy: {0}")]
    Busy(String),
    /// The stream is not there.
    #[error("the stream is not there")]
    NoStream,
    /// It was refused, or no server was there to take it; nothing was stored.
    #[error("{0}")]
    Refused(String),
    /// No answer came, so whether it was stored is not known.
    #[error("{0}")]
    Unknown(String),
    /// The idempotency key was used for another request; nothing was stored.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// A log does not take it; nothing was stored.
    #[error("{0}")]
    Log(LogRefusal),
    /// What is stored cannot be understood.
    #[error("{0}")]
    Damaged(String),
}

impl Fault {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

impl From<LogRefusal> for Fault {
    fn from(refusal: LogRefusal) -> Self {
        Self::Log(refusal)
    }
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged(what) => Self::Damaged(what),
            Fault::KeyReused => Self::KeyReused,
            Fault::Log(refusal) => refusal.into(),
            other => Self::Unavailable(other.to_string()),
        }
    }
}
