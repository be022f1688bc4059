//! The keys of the server API: which of them a request has, and what that allows. Client tokens are in
//! `token.rs`.
//!
//! What is kept of a key is its SHA-256, and once it was given also a short hash under a random key: so a
//! backend that comes back costs little. A wrong key costs the same whatever is wrong with it.

use std::sync::OnceLock;

use encke_proto::Time;
use sha2::{Digest, Sha256};
use siphasher::sip128::SipHasher24;
use subtle::ConstantTimeEq;

use crate::config::{ApiKeyEntry, Scope, Scopes};

/// The longest key that is looked at, in bytes; none is configured that is longer.
const KEY_MAX_BYTES: usize = 512;

/// Why a key allows nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// It is none of those that are configured.
    #[error("this is not the API key")]
    Unknown,
    /// Its time is over.
    #[error("the API key {0:?} has expired")]
    Expired(Box<str>),
    /// It is for other things.
    #[error("the API key {name:?} does not have the scope {}", scope.as_str())]
    Scope {
        /// The key's name.
        name: Box<str>,
        /// What is missing.
        scope: Scope,
    },
}

/// All keys of the server API.
#[derive(Debug)]
pub struct ApiKeys {
    keys: Vec<Key>,
    hasher: Option<SipHasher24>,
}

struct Key {
    name: Box<str>,
    digest: [u8; 32],
    scopes: Scopes,
    expires: Option<Time>,
    /// The hash by which it is known again, since it was given for the first time. A key that has the same
    /// cannot be made without the hasher's own key.
    mark: OnceLock<u128>,
}

impl ApiKeys {
    /// The configured ones. `random` is used for nothing else; without it each key that is given is hashed
    /// in full.
    #[must_use]
    pub fn new(entries: &[ApiKeyEntry], random: Option<u128>) -> Self {
        let keys = entries.iter().filter_map(|entry| {
            let digest = entry.key_sha256.or_else(|| Some(digest(entry.key.as_ref()?.expose())))?;
            Some(Key {
                name: entry.name.as_str().into(),
                digest,
                scopes: entry.scopes,
                expires: entry.expires,
                mark: OnceLock::new(),
            })
        });
        Self { keys: keys.collect(), hasher: random.map(|key| SipHasher24::new_with_key(&key.to_ne_bytes())) }
    }

    /// Whether this key allows this. Returns when that ends, if ever.
    ///
    /// # Errors
    /// [`ApiKeyError`].
    pub fn check(&self, given: &str, scope: Scope, now: Time) -> Result<Option<Time>, ApiKeyError> {
        let key = self.find(given).ok_or(ApiKeyError::Unknown)?;
        if key.expires.is_some_and(|expires| expires <= now) {
            return Err(ApiKeyError::Expired(key.name.clone()));
        }
        if !key.scopes.allow(scope) {
            return Err(ApiKeyError::Scope { name: key.name.clone(), scope });
        }
        Ok(key.expires)
    }

    fn find(&self, given: &str) -> Option<&Key> {
        if given.len() > KEY_MAX_BYTES {
            return None;
        }
        let mark = self.hasher.map(|hasher| hasher.hash(given.as_bytes()).as_u128());
        if let Some(known) = self.keys.iter().find(|key| mark.is_some() && key.mark.get() == mark.as_ref()) {
            return Some(known);
        }
        let digest = digest(given);
        // All are looked at, so that the time does not tell which is nearest.
        let found = self
            .keys
            .iter()
            .fold(None, |found, key| if bool::from(key.digest.ct_eq(&digest)) { Some(key) } else { found })?;
        if let Some(mark) = mark {
            // Two threads that find it at once find the same.
            let _ = found.mark.set(mark);
        }
        Some(found)
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    const NOW: Time = Time(1_800_000_000_000);

    fn entry(name: &str, key: &str, scopes: &[Scope]) -> ApiKeyEntry {
        ApiKeyEntry {
            name: name.into(),
            key: Some(Secret::new(key.into())),
            key_sha256: None,
            scopes: scopes.to_vec().into(),
            expires: None,
        }
    }

    #[test]
    fn only_the_whole_key_fits() {
        let keys = ApiKeys::new(&[entry("a", "4f1c9be07d3a4f1c", &[Scope::Admin])], Some(7));
        let long = "4f1c9be07d3a4f1c".repeat(64);
        // Before it was given for the first time, and afterwards.
        for _ in 0..2 {
            for wrong in [
                "",
                "4f1c9be07d3a4f1",
                "4f1c9be07d3a4f1c\0",
                "4f1c9be07d3a4f1d",
                "5f1c9be07d3a4f1c",
                "4F1C9BE07D3A4F1C",
                &long,
            ] {
                assert_eq!(keys.check(wrong, Scope::Push, NOW), Err(ApiKeyError::Unknown), "{wrong:?}");
            }
            assert_eq!(keys.check("4f1c9be07d3a4f1c", Scope::Push, NOW), Ok(None));
        }
    }

    #[test]
    fn each_key_allows_what_its_scopes_say_until_it_ends() {
        let billing = entry("billing", "4f1c9be07d3a4f1c", &[Scope::Push, Scope::Read]);
        let hashed = ApiKeyEntry {
            key: None,
            key_sha256: Some(digest("7d3a4f1c4f1c9be0")),
            expires: Some(Time(NOW.0 + 1000)),
            ..entry("hashed", "", &[Scope::Close])
        };
        let keys = ApiKeys::new(&[billing, hashed], Some(7));
        for _ in 0..2 {
            assert_eq!(keys.check("4f1c9be07d3a4f1c", Scope::Push, NOW), Ok(None));
            let missing = keys.check("4f1c9be07d3a4f1c", Scope::Close, NOW).unwrap_err().to_string();
            assert_eq!(missing, "the API key \"billing\" does not have the scope close");
            let end = Time(NOW.0 + 1000);
            assert_eq!(keys.check("7d3a4f1c4f1c9be0", Scope::Close, NOW), Ok(Some(end)));
            let over = keys.check("7d3a4f1c4f1c9be0", Scope::Close, end);
            assert_eq!(over, Err(ApiKeyError::Expired("hashed".into())));
        }
    }

    #[test]
    fn no_key_is_in_the_debug_form() {
        let keys = ApiKeys::new(&[entry("a", "hush-hush", &[Scope::Admin])], Some(7));
        assert!(!format!("{keys:?}").contains("hush"));
    }
}
