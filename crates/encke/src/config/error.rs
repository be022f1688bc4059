//! Why a configuration is refused.

use std::path::PathBuf;

use super::{DevKeysError, Mistake};

/// Why a configuration is refused. The words name the keys.
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
    /// Something in it is wrong: at least one mistake, in the order of the files' lines.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Mistakes(Vec<Mistake>),
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
