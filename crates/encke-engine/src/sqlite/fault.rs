//! Errors inside the SQLite engine, divided by what has to follow: refuse one call, wait for space, or reopen
//! the database. Callers outside see only `EngineError`.

use rusqlite::ErrorCode;

use crate::EngineError;

/// Why something did not work, by what is to be done about it.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// This one thing cannot be done; all else can.
    Refused(EngineError),
    /// There is no space. Nothing is wrong with the connection.
    Full(String),
    /// The connection, or what is behind it, cannot be trusted any more: it is closed and opened again.
    Broken(String),
}

impl Fault {
    /// The store holds what it should not.
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Refused(EngineError::Damaged(what.into()))
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let text = error.to_string();
        match error {
            E::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DiskFull => Self::Full(text),
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::damaged(text),
                // Rows that contradict each other: what was read before does not fit what is there.
                ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch => Self::damaged(text),
                ErrorCode::TooBig => Self::Refused(EngineError::Unavailable(text)),
                _ => Self::Broken(text),
            },
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::InvalidColumnType(..)
            | E::QueryReturnedNoRows
            | E::Utf8Error(..) => Self::damaged(text),
            _ => Self::Broken(text),
        }
    }
}

impl From<Fault> for EngineError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => error,
            Fault::Full(text) | Fault::Broken(text) => Self::Unavailable(text),
        }
    }
}
