//! A key of the configuration: a secret, a JWK, or a file with a JWK or PEM in it.

use std::{io, path::Path};

use super::{
    jwk::Jwk,
    verifying_key::{KeyError, Material, VerifyingKey, pem},
};
use crate::{config::AuthKey, regular_file};

/// The longest file of a key, in bytes.
pub const FILE_MAX_BYTES: u64 = 64 * 1024;

/// A key of the configuration, which has one source.
///
/// # Errors
/// [`KeyError`].
pub(super) fn configured(key: &AuthKey) -> Result<VerifyingKey, KeyError> {
    let (kid, algorithm) = (key.kid.clone(), key.algorithm);
    if let Some(secret) = &key.secret {
        let secret = Material::Secret(secret.expose().as_bytes().to_vec());
        return VerifyingKey::new(kid, algorithm.ok_or(KeyError::NoAlgorithm)?, secret);
    }
    let text = match (&key.jwk, &key.file) {
        (Some(jwk), _) => jwk.expose().to_owned(),
        (None, Some(file)) => read_file(file)?,
        (None, None) => return Err(KeyError::Unreadable),
    };
    if text.trim_start().starts_with('{') {
        let jwk: Jwk = serde_json::from_str(&text).map_err(|_| KeyError::Malformed)?;
        return jwk.key(kid, algorithm);
    }
    VerifyingKey::new(kid, algorithm.ok_or(KeyError::NoAlgorithm)?, pem(&text)?)
}

fn read_file(path: &Path) -> Result<String, KeyError> {
    let bytes = regular_file::read(path, FILE_MAX_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => KeyError::Malformed,
        _ => KeyError::Unreadable,
    })?;
    String::from_utf8(bytes).map_err(|_| KeyError::Malformed)
}
