//! How clients' tokens are read: the keys that they are verified with, and what their claims have to say.

use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::Secret;

/// How tokens are read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// What `iss` of every token has to be. Default: it is not looked at.
    pub issuer: Option<String>,
    /// Whom tokens are meant for: `aud` of every token has to name one of these, at most 100. Default: none,
    /// and a token that has an `aud` is refused.
    pub audience: Vec<String>,
    /// The claim that names the user. Default `sub`.
    pub user_claim: String,
    /// The claim that lists the channels to subscribe to. Default `channels`.
    pub channels_claim: String,
    /// The claim that lists the channels to publish to. Default `publish`.
    pub publish_claim: String,
    /// By how much the clock of a token's issuer may be ahead, in seconds, up to 300: for `nbf` and `iat`.
    /// `exp` has no leeway. Default 30.
    pub leeway_s: u64,
    /// For how long a revocation is kept, in seconds, 60 to 315,360,000 (ten years), and never less than
    /// `token_ttl_s`: as long as the longest token lives that an issuer makes. Default 2,678,400 (31 days).
    pub revocations_kept_s: u64,
    /// Where the issuer's keys are fetched (RFC 7517 section 5): an https URL, or http on this machine.
    /// Default: nowhere.
    pub jwks_url: Option<String>,
    /// Keys that tokens are verified with besides `token_secret`, at most 32.
    pub keys: Vec<AuthKey>,
}

/// A key that tokens are verified with. It has one of `file`, `secret` and `jwk`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthKey {
    /// Which key a token names (RFC 7515 section 4.1.4). None: that of the JWK, or one that is tried for
    /// every token of its algorithm.
    pub kid: Option<String>,
    /// What tokens are signed with by this key, and with nothing else. A JWK may say it itself.
    pub algorithm: Option<Algorithm>,
    /// A file with a public key in PEM (`PUBLIC KEY`, `RSA PUBLIC KEY`), or a JWK. Read again when it
    /// changes.
    pub file: Option<PathBuf>,
    /// The secret of an HS algorithm, 32 bytes at least.
    pub secret: Option<Secret>,
    /// A JWK, as JSON (RFC 7517).
    pub jwk: Option<Secret>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: Vec::new(),
            user_claim: "sub".to_owned(),
            channels_claim: "channels".to_owned(),
            publish_claim: "publish".to_owned(),
            leeway_s: 30,
            revocations_kept_s: 2_678_400,
            jwks_url: None,
            keys: Vec::new(),
        }
    }
}

impl Auth {
    /// Whether tokens are good by other keys than `token_secret`.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.jwks_url.is_some()
    }
}
