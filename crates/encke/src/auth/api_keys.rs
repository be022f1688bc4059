//! The keys of the server API: which of them a request has, and what that allows. Client tokens are in
//! `token.rs`.
//!
//! What is kept of a key is its SHA-256, and once it was given also a short hash under a random key: so a
//! backend that comes back costs little. A wrong key costs the same whatever is wrong with it.

use std::sync::{
    Arc, OnceLock, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use encke_proto::Time;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use siphasher::sip128::SipHasher24;
use subtle::ConstantTimeEq;

use crate::{
    config::{ApiKeyEntry, Config, Scope, Scopes},
    reload::{Change, Problem, Reload},
};

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

/// For how long a key allows what it was checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Until then, or for good.
    pub until: Option<Time>,
    /// As long as these keys are in use.
    pub generation: u64,
    /// The key's place among them; see [`ApiKeys::name`].
    pub key: u16,
}

/// What a key is known by that is not kept itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Of this key.
    #[must_use]
    pub fn of(given: &str) -> Self {
        Self(digest(given))
    }
}

/// All keys of the server API.
#[derive(Debug)]
pub struct ApiKeys {
    keys: RwLock<Arc<[Key]>>,
    /// How often other keys have come into use.
    generation: AtomicU64,
    /// Whether any of them has a rate; most have none, and then nothing is looked up for a request.
    has_rates: AtomicBool,
    hasher: Option<SipHasher24>,
}

struct Key {
    name: Box<str>,
    digest: [u8; 32],
    scopes: Scopes,
    expires: Option<Time>,
    requests_per_s: Option<u64>,
    /// The hash by which it is known again, since it was given for the first time. A key that has the same
    /// cannot be made without the hasher's own key.
    mark: OnceLock<u128>,
}

impl ApiKeys {
    /// The configured ones. `random` is used for nothing else; without it each key that is given is hashed
    /// in full.
    #[must_use]
    pub fn new(entries: &[ApiKeyEntry], random: Option<u128>) -> Self {
        let keys = load(entries);
        Self {
            has_rates: AtomicBool::new(has_rates(&keys)),
            keys: RwLock::new(keys),
            generation: AtomicU64::new(0),
            hasher: random.map(|key| SipHasher24::new_with_key(&key.to_ne_bytes())),
        }
    }

    /// Which keys are in use: another number for others.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn replace(&self, keys: Arc<[Key]>) {
        self.has_rates.store(has_rates(&keys), Ordering::Relaxed);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Whether this key allows this, and for how long.
    ///
    /// # Errors
    /// [`ApiKeyError`].
    pub fn check(&self, given: &str, scope: Scope, now: Time) -> Result<Allowed, ApiKeyError> {
        // Before the keys: what is allowed by those before then counts as old at once.
        let generation = self.generation();
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let key = self.find(&keys, given).ok_or(ApiKeyError::Unknown)?;
        if key.expires.is_some_and(|expires| expires <= now) {
            return Err(ApiKeyError::Expired(key.name.clone()));
        }
        if !key.scopes.allow(scope) {
            return Err(ApiKeyError::Scope { name: key.name.clone(), scope });
        }
        let place = keys.iter().position(|other| std::ptr::eq(other, key)).unwrap_or(usize::MAX);
        let place = u16::try_from(place).unwrap_or(u16::MAX);
        Ok(Allowed { until: key.expires, generation, key: place })
    }

    /// Whether the key of this digest is in use and allows this.
    #[must_use]
    pub fn still_allows(&self, digest: &KeyDigest, scope: Scope, now: Time) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let allows = |key: &Key| key.scopes.allow(scope) && key.expires.is_none_or(|expires| expires > now);
        keys.iter().any(|key| key.digest == digest.0 && allows(key))
    }

    /// The name of the key at a place among those that are in use, and how many requests a second may come
    /// with it, if that is bounded.
    #[must_use]
    pub fn rate(&self, key: u16) -> Option<(Box<str>, u64)> {
        if !self.has_rates.load(Ordering::Relaxed) {
            return None;
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.get(usize::from(key))?;
        Some((key.name.clone(), key.requests_per_s?))
    }

    /// The name of the key at a place among those that are in use.
    #[must_use]
    pub fn name(&self, key: u16) -> Option<Box<str>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(usize::from(key)).map(|key| key.name.clone())
    }

    /// The name of this key, whatever it allows and however long.
    #[must_use]
    pub fn name_of(&self, given: &str) -> Option<Box<str>> {
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        self.find(&keys, given).map(|key| key.name.clone())
    }

    fn find<'a>(&self, keys: &'a [Key], given: &str) -> Option<&'a Key> {
        if given.len() > KEY_MAX_BYTES {
            return None;
        }
        let mark = self.hasher.map(|hasher| hasher.hash(given.as_bytes()).as_u128());
        if let Some(known) = keys.iter().find(|key| mark.is_some() && key.mark.get() == mark.as_ref()) {
            return Some(known);
        }
        let digest = digest(given);
        // All are looked at, so that the time does not tell which is nearest.
        let found = keys
            .iter()
            .fold(None, |found, key| if bool::from(key.digest.ct_eq(&digest)) { Some(key) } else { found })?;
        if let Some(mark) = mark {
            // Two threads that find it at once find the same.
            let _ = found.mark.set(mark);
        }
        Some(found)
    }
}

fn has_rates(keys: &[Key]) -> bool {
    keys.iter().any(|key| key.requests_per_s.is_some())
}

fn load(entries: &[ApiKeyEntry]) -> Arc<[Key]> {
    let keys = entries.iter().filter_map(|entry| {
        Some(Key {
            name: entry.name.as_str().into(),
            digest: entry.sha256()?,
            scopes: entry.scopes,
            expires: entry.expires,
            requests_per_s: entry.requests_per_s,
            mark: OnceLock::new(),
        })
    });
    keys.collect()
}

/// Keys change while the server runs, so that one can be taken from a backend at once.
impl Reload for Arc<ApiKeys> {
    fn keys(&self) -> &'static [&'static str] {
        &["api_key", "api_keys"]
    }

    fn prepare(&self, config: Arc<Config>) -> BoxFuture<'static, Result<Change, Problem>> {
        let api_keys = Self::clone(self);
        Box::pin(async move {
            let keys = load(&config.all_api_keys());
            Ok(Box::new(move || api_keys.replace(keys)) as Change)
        })
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

    fn until(checked: Result<Allowed, ApiKeyError>) -> Result<Option<Time>, ApiKeyError> {
        checked.map(|allowed| allowed.until)
    }

    fn entry(name: &str, key: &str, scopes: &[Scope]) -> ApiKeyEntry {
        ApiKeyEntry {
            name: name.into(),
            key: Some(Secret::new(key.into())),
            key_sha256: None,
            scopes: scopes.to_vec().into(),
            expires: None,
            requests_per_s: None,
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
            assert!(keys.check("4f1c9be07d3a4f1c", Scope::Push, NOW).is_ok());
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
            assert_eq!(until(keys.check("4f1c9be07d3a4f1c", Scope::Push, NOW)), Ok(None));
            let missing = keys.check("4f1c9be07d3a4f1c", Scope::Close, NOW).unwrap_err().to_string();
            assert_eq!(missing, "the API key \"billing\" does not have the scope close");
            let end = Time(NOW.0 + 1000);
            assert_eq!(until(keys.check("7d3a4f1c4f1c9be0", Scope::Close, NOW)), Ok(Some(end)));
            let over = keys.check("7d3a4f1c4f1c9be0", Scope::Close, end);
            assert_eq!(over, Err(ApiKeyError::Expired("hashed".into())));
        }
    }

    #[test]
    fn other_keys_come_into_use_and_those_before_are_good_for_nothing() {
        let keys = ApiKeys::new(&[entry("a", "4f1c9be07d3a4f1c", &[Scope::Admin])], Some(7));
        let before = keys.check("4f1c9be07d3a4f1c", Scope::Push, NOW).unwrap();
        assert_eq!(before.generation, keys.generation());
        keys.replace(load(&[entry("a", "7d3a4f1c4f1c9be0", &[Scope::Admin])]));
        assert_ne!(before.generation, keys.generation());
        assert_eq!(keys.check("4f1c9be07d3a4f1c", Scope::Push, NOW), Err(ApiKeyError::Unknown));
        assert_eq!(keys.check("7d3a4f1c4f1c9be0", Scope::Push, NOW).unwrap().generation, keys.generation());
    }

    #[test]
    fn no_key_is_in_the_debug_form() {
        let keys = ApiKeys::new(&[entry("a", "hush-hush", &[Scope::Admin])], Some(7));
        assert!(!format!("{keys:?}").contains("hush"));
    }
}
