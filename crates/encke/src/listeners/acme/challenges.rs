//! What is answered to a directory that checks whether this server has the names that it asks a certificate
//! for: over TLS (TLS-ALPN-01, RFC 8737) and over HTTP (HTTP-01, RFC 8555 section 8.3).

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use instant_acme::ChallengeType;
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

/// The longest token, in bytes; directories make some of 22 to 43.
const TOKEN_MAX_BYTES: usize = 128;

/// How a directory checks a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ChallengeKind {
    /// By a handshake at port 443 of the name.
    #[default]
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn,
    /// By a request at port 80 of it.
    #[serde(rename = "http-01")]
    Http,
}

impl ChallengeKind {
    /// The other one.
    pub(super) fn other(self) -> Self {
        match self {
            Self::TlsAlpn => Self::Http,
            Self::Http => Self::TlsAlpn,
        }
    }

    /// As the directory calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TlsAlpn => "tls-alpn-01",
            Self::Http => "http-01",
        }
    }

    pub(super) fn kind(self) -> ChallengeType {
        match self {
            Self::TlsAlpn => ChallengeType::TlsAlpn01,
            Self::Http => ChallengeType::Http01,
        }
    }
}

/// The challenges of the order that is under way: at most one for each name of it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Challenges(Arc<RwLock<Pending>>);

#[derive(Debug, Default)]
struct Pending {
    /// What is answered, by token.
    answers: HashMap<String, String>,
    /// What is shown, by name.
    certificates: HashMap<String, Arc<CertifiedKey>>,
}

impl Challenges {
    /// From now on this is answered for a token.
    pub(super) fn answer(&self, token: &str, answer: &str) {
        self.write().answers.insert(token.to_owned(), answer.to_owned());
    }

    /// From now on this is shown to a directory that checks a name.
    pub(super) fn show(&self, name: &str, certificate: Arc<CertifiedKey>) {
        self.write().certificates.insert(name.to_owned(), certificate);
    }

    /// What is answered for a token.
    pub(super) fn answer_of(&self, token: &str) -> Option<String> {
        self.read().answers.get(token).cloned()
    }

    /// What is shown for a name, as the hello has it.
    pub(super) fn certificate_of(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        // rustls gives names in lower case.
        self.read().certificates.get(name).cloned()
    }

    /// The order is over.
    pub(super) fn clear(&self) {
        *self.write() = Pending::default();
    }

    fn read(&self) -> RwLockReadGuard<'_, Pending> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Pending> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it may be a token: base64url without anything else (RFC 8555 section 8.3), so that it can be the
/// name of a file.
pub(super) fn is_token(text: &str) -> bool {
    (1..=TOKEN_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_pending_is_answered() {
        let challenges = Challenges::default();
        assert_eq!(challenges.answer_of("token"), None);
        challenges.clone().answer("token", "token.thumb");
        assert_eq!(challenges.answer_of("token").as_deref(), Some("token.thumb"));
        assert_eq!(challenges.answer_of("other"), None);
        challenges.clear();
        assert_eq!(challenges.answer_of("token"), None);
    }

    #[test]
    fn a_token_is_no_path() {
        for good in ["a", "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0", "-_"] {
            assert!(is_token(good), "{good}");
        }
        for wrong in ["", ".", "..", "a/b", "a.b", "a b", "a\0", "é", "%2e", "\\"] {
            assert!(!is_token(wrong), "{wrong}");
        }
        assert!(!is_token(&"a".repeat(TOKEN_MAX_BYTES + 1)));
    }
}
