//! How clients' tokens are read: the keys that they are verified with, and what their claims have to say.

use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::Secret;
use super::setting::{self, list, number, secret, settings, tables, text};

settings! {
    /// How tokens are read.
    #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Auth {
        /// What `iss` of every token has to be.
        issuer: Option<String> => text().unset("not looked at").sample("\"https://id.example.com\"");
        /// Whom tokens are meant for: `aud` of every token has to name one of these, at most 100. Without
        /// any, a token with an `aud` is refused.
        audience: Vec<String> = [] => list();
        /// The claim that names the user.
        user_claim: String = "sub" => text();
        /// The claim that lists the channels to subscribe to.
        channels_claim: String = "channels" => text();
        /// The claim that lists the channels to publish to.
        publish_claim: String = "publish" => text();
        /// By how much the clock of a token's issuer may be ahead: for `nbf` and `iat`. `exp` has no leeway.
        leeway_s: u64 = 30 => number(0, LEEWAY_MAX_S);
        /// For how long a revocation is kept, and never less than `token_ttl_s`: as long as the longest token
        /// lives that an issuer makes.
        revocations_kept_s: u64 = 2_678_400 => number(60, 315_360_000);
        /// Where the issuer's keys are fetched (a JWK set, RFC 7517 section 5): https, or http on this
        /// machine. They are fetched again every five minutes, and for a token that names an unknown key,
        /// every 30 s at most.
        jwks_url: Option<String>
            => text().sample("\"https://id.example.com/.well-known/jwks.json\"");
        /// Keys that tokens are verified with besides `token_secret`, at most 32. Each has one of `file`,
        /// `secret` and `jwk`, and verifies tokens of one algorithm.
        keys: Vec<AuthKey> = [] => tables(AuthKey::SETTINGS).reloads();
    }
}

/// The most by which the clock of a token's issuer may be ahead, in seconds; more is a clock to be set right.
const LEEWAY_MAX_S: u64 = 300;

settings! {
    /// A key that tokens are verified with. It has one of `file`, `secret` and `jwk`.
    #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct AuthKey {
        /// Which key a token names (RFC 7515 section 4.1.4). One without it is that of the JWK, or is tried
        /// for every token of its algorithm.
        kid: Option<String> => text().sample("\"2026-11\"");
        /// What tokens are signed with by this key, and with nothing else: HS256, HS384, HS512, RS256, RS384,
        /// RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA. A JWK may say it itself.
        algorithm: Option<Algorithm> => text().sample("\"RS256\"");
        /// A file with a public key in PEM (`PUBLIC KEY`, `RSA PUBLIC KEY`), or a JWK. Read again when it
        /// changes.
        file: Option<PathBuf> => text().sample("\"/etc/encke/2026-11.pem\"");
        /// The secret of an HS algorithm, 32 bytes at least.
        secret: Option<Secret> => secret().sample("\"changeme\"");
        /// A JWK, as JSON (RFC 7517).
        jwk: Option<Secret> => secret().sample("'{\"kty\":\"EC\"}'");
    }
}

impl Default for Auth {
    fn default() -> Self {
        setting::at_defaults(Self::SETTINGS)
    }
}

impl Auth {
    /// Whether tokens are good by other keys than `token_secret`.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.jwks_url.is_some()
    }
}
