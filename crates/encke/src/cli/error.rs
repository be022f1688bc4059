//! Why a command failed, and the status that the program ends with.

use std::path::PathBuf;

use std::io;

use crate::ServeError;
use crate::auth::TokenError;
use crate::config::{ConfigError, Mistake};
use crate::logging::LogTaken;
use crate::wire::WireError;

/// Why a command failed. The words are one line.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file was checked that has mistakes, which were printed.
    #[error("{} has {}: {}", file.display(), counted(mistakes.len()), keys_of(mistakes))]
    ConfigMistakes {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        mistakes: Vec<Mistake>,
    },
    /// A key is needed and nowhere to be found.
    #[error("`{key}` is not known: {hint}")]
    NoKey {
        /// The configuration's name for it.
        key: &'static str,
        /// Where it could be.
        hint: &'static str,
    },
    /// The file that is to hold a key does not.
    #[error("{}: {problem}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The server refused, or could not be reached.
    #[error(transparent)]
    Client(#[from] encke_client::Error),
    /// The server did not start, or stopped.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// There was nothing to close.
    #[error("nothing was closed: {0} has no session here")]
    NothingClosed(String),
    /// Not every user has got the push in the time that was given.
    #[error("after {within_s} s {queued} of the users have not got the push; it stays in the log")]
    StillQueued {
        /// The time that was given.
        within_s: u64,
        /// How many users have not got it.
        queued: u64,
    },
    /// Some of the pushes of a stream were not accepted.
    #[error("{refused} of {of} pushes were not accepted")]
    NotAccepted {
        /// How many were not.
        refused: u64,
        /// How many there were.
        of: u64,
    },
    /// What is to be sent cannot be read.
    #[error("cannot read {0}: {1}")]
    Input(String, #[source] io::Error),
    /// A token cannot be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The store cannot be read or written.
    #[error("{}", store_words(.0))]
    Store(#[from] encke_engine::EngineError),
    /// A copy is not finished, or was changed since it was made.
    #[error("the copy is damaged: {0}")]
    CopyDamaged(String),
    /// Something in the store is damaged; what, was printed.
    #[error("the store is damaged")]
    StoreDamaged,
    /// A store that is damaged is not copied without a word.
    #[error("the store is damaged: {0}; `--damaged` copies it all the same")]
    StoreNotCopied(String),
    /// Nothing can be logged.
    #[error(transparent)]
    Log(#[from] LogTaken),
    /// A file cannot be written in this directory.
    #[error("cannot write in {}: {error}", path.display())]
    Unwritten {
        /// The directory.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Nothing can be written to the standard output.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
    /// The operating system gives no threads or signals.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
}

fn counted(mistakes: usize) -> String {
    if mistakes == 1 { "a mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

/// The keys that are wrong, or what is wrong where there is no key.
fn keys_of(mistakes: &[Mistake]) -> String {
    let name = |one: &Mistake| if one.key.is_empty() { one.problem.clone() } else { one.key.clone() };
    mistakes.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// What a command says that has the store before it, and no engine.
fn store_words(error: &encke_engine::EngineError) -> String {
    match error {
        encke_engine::EngineError::Unavailable(what) => what.clone(),
        error => error.to_string(),
    }
}

impl CliError {
    /// The status that the program ends with.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Client(
                encke_client::Error::BadAddress(_)
                | encke_client::Error::BadCredentials
                | encke_client::Error::BadName(_),
            ) => 2,
            Self::Config(_)
            | Self::NoKey { .. }
            | Self::KeyFile { .. }
            | Self::ConfigMistakes { .. }
            | Self::Serve(ServeError::Wire(
                WireError::EngineAddress(_)
                | WireError::App(_)
                | WireError::OldStore(_)
                | WireError::AccessLog(_),
            )) => 64,
            Self::Client(encke_client::Error::Unreachable(_)) => 69,
            _ => 1,
        }
    }
}
