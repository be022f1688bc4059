//! Why a configuration is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{DevKeysError, unknown};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// This file.
    File(PathBuf),
    /// This environment variable.
    Env(String),
    /// This option of the command line.
    Option(&'static str),
    /// It was not set.
    Default,
}

/// Where each key came from about which anything was said.
pub(crate) type Sources = BTreeMap<String, Source>;

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, " in {}", path.display()),
            Self::Env(name) => write!(f, " from {name}"),
            Self::Option(name) => write!(f, " from {name}"),
            Self::Default => Ok(()),
        }
    }
}

/// Why a configuration is refused. The words are one line and name the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} line {line}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// No such key exists.
    #[error("unknown key `{key}`{from}{}", unknown::meant(key).map(unknown::hint).unwrap_or_default())]
    Unknown {
        /// The key.
        key: String,
        /// Where it stands.
        from: Source,
    },
    /// No such dialect exists.
    #[error("unknown key `{key}`{from}: the dialects are {known}")]
    Dialect {
        /// The key, with its table in front.
        key: String,
        /// Where it stands.
        from: Source,
        /// Those that exist.
        known: String,
    },
    /// A value is of the wrong type or out of its bounds.
    #[error("`{key}`{from}: {problem}")]
    Value {
        /// The key, with its table in front.
        key: String,
        /// Where it stands.
        from: Source,
        /// What is wrong.
        problem: String,
    },
    /// Keys are needed outside dev mode.
    #[error("{}", no_keys(*api_key, *token_secret))]
    NoKeys {
        /// `api_key` is missing.
        api_key: bool,
        /// `token_secret` is missing.
        token_secret: bool,
    },
    /// The keys of dev mode cannot be read or made.
    #[error(transparent)]
    DevKeys(DevKeysError),
}

fn no_keys(api_key: bool, token_secret: bool) -> String {
    let (keys, verb, names) = match (api_key, token_secret) {
        (true, false) => ("`api_key`", "is", "ENCKE_API_KEY"),
        (false, _) => ("`token_secret`", "is", "ENCKE_TOKEN_SECRET"),
        (true, true) => ("`api_key` and `token_secret`", "are", "ENCKE_API_KEY and ENCKE_TOKEN_SECRET"),
    };
    format!(
        "{keys} {verb} not set: write {keys} into the configuration file or set {names} (make a key with `openssl rand -hex 32`), or try it out with `encke serve --dev`"
    )
}

/// The configuration lacks the key of the server API or the secret of the tokens;
/// [`super::Config::complete_keys`] sees to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys are not complete")]
pub struct KeysMissing;
