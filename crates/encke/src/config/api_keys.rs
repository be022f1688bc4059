//! The keys of the server API, each with a name, what it allows and when it ends.

use encke_proto::Time;
use serde::{Deserialize, Deserializer, de::Error};

use super::rates::RATE_MAX;
use super::setting::{number, secret, settings, text, words};
use super::{Config, Scope, Scopes, Secret};

/// The name of the one key that `api_key` gives.
const ONLY: &str = "api_key";

settings! {
    /// A key of the server API.
    #[derive(Debug, Clone, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct ApiKeyEntry {
        /// Its name, for logs: 1 to 64 ASCII letters, digits, `.`, `-`, `_`, and not that of another.
        name: String => text().unset("required").sample("\"billing\"");
        /// The key itself, of 16 to 512 bytes. Either this or `key_sha256`.
        key: Option<Secret> => secret().sample("\"changeme\"");
        /// The SHA-256 of the key, as 64 hexadecimal digits, so that the file does not hold the key:
        /// `printf %s "$KEY" | sha256sum`.
        #[serde(default, deserialize_with = "digest")]
        key_sha256: Option<[u8; 32]> => secret().sample(DIGEST);
        /// What it allows; `admin` is all of it.
        scopes: Scopes => words(Scope::NAMES).unset("required").sample("[\"push\", \"read\"]");
        /// When it ends to be good: RFC 3339, in quotes.
        #[serde(default)]
        expires: Option<Time> => text().unset("never").sample("\"2027-12-31T00:00:00Z\"");
        /// How many requests may come with it, a second; as many as come in `limits.burst_s` seconds may come
        /// at once.
        #[serde(default)]
        requests_per_s: Option<u64> => number(1, RATE_MAX).unset("no bound").sample("500");
    }
}

/// The digest of the example.
const DIGEST: &str = "\"0f4e8c1b0f4e8c1b0f4e8c1b0f4e8c1b0f4e8c1b0f4e8c1b0f4e8c1b0f4e8c1b\"";

impl ApiKeyEntry {
    /// The SHA-256 of the key; none of an entry without a key.
    #[must_use]
    pub fn sha256(&self) -> Option<[u8; 32]> {
        self.key_sha256.or_else(|| self.key.as_ref().map(Secret::sha256))
    }
}

impl Config {
    /// All keys of the server API: those of `api_keys`, and `api_key`, which allows everything.
    #[must_use]
    pub fn all_api_keys(&self) -> Vec<ApiKeyEntry> {
        let only = self.api_key.clone().map(|key| ApiKeyEntry {
            name: ONLY.to_owned(),
            key: Some(key),
            key_sha256: None,
            scopes: Scopes::ALL,
            expires: None,
            requests_per_s: None,
        });
        only.into_iter().chain(self.api_keys.iter().cloned()).collect()
    }

    /// Whether there is any key of the server API.
    #[must_use]
    pub fn has_api_key(&self) -> bool {
        self.api_key.is_some() || !self.api_keys.is_empty()
    }
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[u8; 32]>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.map(Some).ok_or_else(|| D::Error::custom("key_sha256 must be 64 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Result<ApiKeyEntry, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        let of = |digits: &str| entry(&format!("name = \"a\"\nscopes = []\nkey_sha256 = \"{digits}\""));
        let mut expected = [0xab; 32];
        expected[31] = 0x01;
        assert_eq!(of(&("aB".repeat(31) + "01")).unwrap().key_sha256, Some(expected));
        for wrong in [String::new(), "ab".repeat(31), "ab".repeat(33), "x".repeat(64), "ab".repeat(31) + "a"]
        {
            assert!(of(&wrong).unwrap_err().to_string().contains("64 hexadecimal digits"), "{wrong}");
        }
    }

    #[test]
    fn scopes_have_to_be_said_and_known() {
        assert!(entry("name = \"a\"\nkey = \"k\"").unwrap_err().to_string().contains("scopes"));
        assert!(entry("name = \"a\"\nscopes = [\"all\"]").unwrap_err().to_string().contains("admin"));
    }
}
