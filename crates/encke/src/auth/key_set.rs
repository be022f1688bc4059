//! All keys that tokens are verified with at a moment, and which of them are asked about a token.

use encke_proto::Object;
use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::{KeyError, TokenError, configured_key::configured, jwk::Jwk, verifying_key::VerifyingKey};
use crate::config::{AuthKey, Config};

/// The most keys that are tried for one token: each is a signature to verify.
const TRIES_MAX: usize = 8;
/// The most keys that are taken from a set.
const FETCHED_MAX: usize = 64;

/// A key of the configuration cannot be used. The words name the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`auth.keys`: {name} {error}")]
pub struct BadKey {
    /// Which it is: its `kid`, or its place in the list.
    pub name: String,
    /// What is wrong with it.
    pub error: KeyError,
}

/// Why a text is no JWK set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// No JSON object with a list `keys`.
    #[error("it is no set of keys")]
    Malformed,
    /// None of its keys can be used.
    #[error("it has no key that tokens can be verified with")]
    Empty,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// The keys that tokens are verified with.
#[derive(Clone, Debug, Default, PartialEq)]
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
            keys.push(load_one(index, key)?);
        }
        Ok(Self { keys })
    }

    /// What is wrong with keys of the configuration, and at which places of `auth.keys` they stand.
    #[must_use]
    pub fn problems(config: &Config) -> Vec<(usize, BadKey)> {
        let keys = config.auth.keys.iter().enumerate();
        keys.filter_map(|(index, key)| load_one(index, key).err().map(|bad| (index, bad))).collect()
    }

    /// Those of a JWK set (RFC 7517 section 5). A member that is for something else, of a kind that is not
    /// known, weak, private or a shared secret is passed over: a set has keys for others too.
    ///
    /// # Errors
    /// [`JwksError`], when there is nothing in it to verify tokens with.
    pub fn of_jwks(json: &[u8]) -> Result<Self, JwksError> {
        let Object(set) = serde_json::from_slice::<Object<Set>>(json).map_err(|_| JwksError::Malformed)?;
        let jwks = set.keys.into_iter().filter_map(|member| serde_json::from_value::<Jwk>(member).ok());
        let usable = jwks.filter(|jwk| !jwk.is_secret()).filter_map(|jwk| jwk.key(None, None).ok());
        let keys: Vec<_> = usable.take(FETCHED_MAX).collect();
        if keys.is_empty() { Err(JwksError::Empty) } else { Ok(Self { keys }) }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
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
/// A key of the configuration, which stands at this place of the list.
fn load_one(index: usize, key: &AuthKey) -> Result<VerifyingKey, BadKey> {
    let name = || key.kid.as_ref().map_or(format!("key {}", index + 1), |kid| format!("{kid:?}"));
    configured(key).map_err(|error| BadKey { name: name(), error })
}
