//! A key or secret that does not get into logs.

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Words that stand in examples; a secret that holds one is none. Compared in lower case, without what is not
/// a letter.
const PLACEHOLDERS: &[&str] = &[
    "changeme",
    "changethis",
    "changeit",
    "replaceme",
    "secret",
    "mysecret",
    "yoursecret",
    "password",
    "example",
    "placeholder",
    "insecure",
    "default",
    "apikey",
    "yourapikey",
    "tokensecret",
    "todo",
];

/// How many different characters a secret has at least.
const DISTINCT_MIN: usize = 6;

/// A key or a secret. Its `Debug` form is redacted, and it cannot be serialised; [`expose`](Secret::expose)
/// hands it out on purpose.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret over.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its SHA-256.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// Why this is no secret, if it is none. The words never hold the secret itself.
    pub(crate) fn weakness(&self, min_bytes: usize) -> Option<String> {
        let alphabetic: String =
            self.0.chars().filter(|c| c.is_ascii_alphabetic()).collect::<String>().to_ascii_lowercase();
        let mut characters: Vec<u8> = self.0.bytes().collect();
        characters.sort_unstable();
        characters.dedup();
        if self.0.is_empty() {
            return Some("must not be empty".to_owned());
        }
        if PLACEHOLDERS.iter().any(|word| repeats(&alphabetic, word)) {
            return Some("is a placeholder: make one with `openssl rand -hex 32`".to_owned());
        }
        if self.0.len() < min_bytes {
            let len = self.0.len();
            return Some(format!(
                "must have at least {min_bytes} bytes, has {len}: make one with `openssl rand -hex 32`"
            ));
        }
        // Of 16 random hexadecimal digits fewer than 6 are different once in 30,000 times.
        if min_bytes > 1 && characters.len() < DISTINCT_MIN {
            return Some(
                "is a few characters over and over: make one with `openssl rand -hex 32`".to_owned(),
            );
        }
        if self.0.bytes().any(|b| !b.is_ascii_graphic()) {
            return Some(
                "must hold ASCII characters without spaces only, or no header could carry it".to_owned(),
            );
        }
        None
    }
}

/// Whether the text is the word, once or several times over.
fn repeats(text: &str, word: &str) -> bool {
    !text.is_empty()
        && text.len().is_multiple_of(word.len())
        && text.as_bytes().chunks(word.len()).all(|chunk| chunk == word.as_bytes())
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weakness(secret: &str, min_bytes: usize) -> Option<String> {
        Secret::new(secret.to_owned()).weakness(min_bytes)
    }

    #[test]
    fn a_secret_is_not_in_its_debug_form() {
        assert_eq!(format!("{:?}", Secret::new("hush".into())), "Secret(redacted)");
    }

    #[test]
    fn t19_t24_short_and_placeholder_secrets_are_refused() {
        assert_eq!(weakness("4f1c9be07d3a4f1c9be07d3a4f1c9be0", 32), None);
        assert!(weakness("4f1c9be07d3a", 32).unwrap().contains("32 bytes"));
        for placeholder in [
            "changeme",
            "Change-Me",
            "secret",
            "CHANGEME-CHANGEME-CHANGEME-CHANGEME",
            "secret123",
            "your_api_key",
        ] {
            assert!(weakness(placeholder, 1).unwrap().contains("placeholder"), "{placeholder}");
        }
        assert!(weakness("", 1).is_some());
        assert!(weakness(&"a".repeat(32), 32).is_some());
        assert!(weakness("with space 4f1c9be07d3a4f1c9be07d3a", 32).is_some());
        assert_eq!(weakness("test-key", 1), None);
    }
}
