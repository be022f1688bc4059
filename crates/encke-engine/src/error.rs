//! The errors that every engine returns, narrow enough that the server maps each to a status. Each engine's
//! own faults are turned into these in its folder.

use crate::LogRefusal;

/// Why an engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Not now: a full disk, a failed fsync, a lost connection, too much waiting. Nothing was accepted. Retry
    /// with the same key.
    #[error("the engine is not available: {0}")]
    Unavailable(String),
    /// The idempotency key was first used for another request. Nothing was accepted, nor will be under it.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The store holds what it should not: a message that does not parse, a row that is missing.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A log does not take what was sent to it. Nothing was done, and sending it again changes nothing.
    #[error("refused: {0}")]
    Refused(#[from] LogRefusal),
    /// This engine cannot do that at all. Nothing was done.
    #[error("this engine cannot {0}")]
    Unsupported(&'static str),
}
