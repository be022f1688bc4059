//! Errors inside the log engine, divided by what has to follow. Callers outside see only `EngineError`.

use std::io;

use super::codec::Malformed;
use crate::EngineError;

/// Why something did not work, by what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// This one thing cannot be done; all else can.
    Refused(EngineError),
    /// There is no space. Nothing was written, and nothing else is wrong.
    Full(String),
    /// A frame may or may not be on the disk: nothing may be written behind it until it was taken back.
    InDoubt(String),
    /// A mistake in the program: nothing may follow until the store is opened again.
    Broken(String),
}

impl Fault {
    /// The store holds what it should not.
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Refused(EngineError::Damaged(what.into()))
    }

    /// A file of the store cannot be read, whatever the reason.
    pub(super) fn unreadable(name: &str, error: &io::Error) -> Self {
        Self::damaged(format!("{name} cannot be read: {error}"))
    }

    /// An operation on a file that failed before anything depended on it.
    pub(super) fn from_io(doing: &str, error: &io::Error) -> Self {
        let text = format!("{doing}: {error}");
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full(text)
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => Self::damaged(text),
            _ => Self::Refused(EngineError::Unavailable(text)),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(error: Malformed) -> Self {
        Self::damaged(format!("a record does not parse: {error}"))
    }
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => error,
            Fault::Full(text) | Fault::InDoubt(text) | Fault::Broken(text) => Self::Unavailable(text),
        }
    }
}
