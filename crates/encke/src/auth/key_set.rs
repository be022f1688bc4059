//! All keys that tokens are verified with at a moment, and which of them are asked about a token.

use jsonwebtoken::Algorithm;

use super::{KeyError, TokenError, verifying_key::VerifyingKey};
use crate::config::Config;

/// The most keys that are tried for one token: each is a signature to verify.
const TRIES_MAX: usize = 8;

/// A key of the configuration cannot be used. The words name the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`auth.keys`: {name} {error}")]
pub struct BadKey {
    /// Which it is: its `kid`, or its place in the list.
    pub name: String,
    /// What is wrong with it.
    pub error: KeyError,
}

/// The keys that tokens are verified with.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
}

impl KeySet {
    /// These.
    pub(super) fn of(keys: Vec<VerifyingKey>) -> Self {
        Self { keys }
    }

    /// Those of the configuration: `token_secret` and `auth.keys`, whose files are read.
    ///
    /// # Errors
    /// [`BadKey`], the first one.
    pub fn load(config: &Config) -> Result<Self, BadKey> {
        let mut keys: Vec<_> = config.token_secret.iter().map(VerifyingKey::hs256).collect();
        for (index, key) in config.auth.keys.iter().enumerate() {
            let name = || key.kid.as_ref().map_or(format!("key {}", index + 1), |kid| format!("{kid:?}"));
            keys.push(VerifyingKey::configured(key).map_err(|error| BadKey { name: name(), error })?);
        }
        Ok(Self { keys })
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, VerifyingKey> {
        self.keys.iter()
    }

    /// Whose signature this is of the message: of a key of this algorithm, by its `kid` if the token names
    /// one, else of any. A key without a `kid` is tried whatever the token names.
    ///
    /// # Errors
    /// [`TokenError::WrongAlgorithm`], [`TokenError::UnknownKey`] or [`TokenError::BadSignature`].
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        message: &str,
        signature: &str,
    ) -> Result<(), TokenError> {
        let is_meant = |key: &&VerifyingKey| key.kid().is_none() || kid.is_none() || key.kid() == kid;
        let knows_kid = kid.is_none_or(|kid| self.keys.iter().any(|key| key.kid() == Some(kid)));
        let fitting: Vec<_> = self
            .keys
            .iter()
            .filter(is_meant)
            .filter(|key| key.algorithm() == algorithm)
            .take(TRIES_MAX)
            .collect();
        match fitting.as_slice() {
            [] if !knows_kid => Err(TokenError::UnknownKey),
            [] => Err(TokenError::WrongAlgorithm),
            keys if keys.iter().any(|key| key.verifies(message, signature)) => Ok(()),
            // The key that signed it may be one that is not there yet.
            _ if !knows_kid => Err(TokenError::UnknownKey),
            _ => Err(TokenError::BadSignature),
        }
    }
}
