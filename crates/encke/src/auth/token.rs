//! Client tokens: JWTs that say who a user is and which channels are granted.

use encke_proto::{NameError, UserId};
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use super::Grant;
use crate::config::Secret;

/// The longest token that is looked at, in bytes: the head of a request holds no longer one.
const MAX_BYTES: usize = 8 * 1024;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The user.
    pub user: UserId,
    /// When it ends to be good: seconds since 1970, UTC.
    pub expires_s: u64,
    /// Channels to subscribe to.
    pub channels: Grant,
    /// Channels to publish to.
    pub publish: Grant,
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64 with JSON in them, or a claim of the wrong type.
    #[error("the token is malformed")]
    Malformed,
    /// Longer than 8 KiB.
    #[error("the token is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Signed with another algorithm than the key's, or not at all.
    #[error("the token is not signed with the algorithm that is configured")]
    WrongAlgorithm,
    /// Signed with another key, or changed after it was signed.
    #[error("the token's signature does not verify")]
    BadSignature,
    /// It has no `exp`.
    #[error("the token does not say when it expires")]
    NoExpiry,
    /// Its `exp` is over.
    #[error("the token has expired")]
    Expired,
    /// Its `nbf` is to come.
    #[error("the token is not good yet")]
    NotYet,
    /// It is meant for somebody else (`aud`).
    #[error("the token is meant for another audience")]
    Audience,
    /// It has no `sub`.
    #[error("the token does not say who it is for")]
    NoUser,
    /// Its `sub` is no name for a user.
    #[error("the token's user: {0}")]
    BadUser(NameError),
    /// Signing failed, which it does not with a key of this kind.
    #[error("the token cannot be signed")]
    Signing,
}

/// The key that tokens are signed with. The algorithm belongs to the key: what a token says about it can only agree.
#[derive(Clone)]
pub struct TokenKey {
    algorithm: Algorithm,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// The claims as they stand in the token. Numbers may have a fraction, as the standard allows.
#[derive(Deserialize)]
struct ReadClaims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(default)]
    channels: Option<Grant>,
    #[serde(default)]
    publish: Option<Grant>,
}

#[derive(Serialize)]
struct WrittenClaims<'a> {
    sub: &'a UserId,
    exp: u64,
    #[serde(skip_serializing_if = "Grant::is_empty")]
    channels: &'a Grant,
    #[serde(skip_serializing_if = "Grant::is_empty")]
    publish: &'a Grant,
}

impl TokenKey {
    /// A key for HS256. The configuration has seen to it that the secret is a good one.
    #[must_use]
    pub fn hs256(secret: &Secret) -> Self {
        let bytes = secret.expose().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        // Times are checked here against the time that is handed in, so that they can be tested, and without leeway.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        Self {
            algorithm: Algorithm::HS256,
            signing: EncodingKey::from_secret(bytes),
            verifying: DecodingKey::from_secret(bytes),
            validation,
        }
    }

    /// Writes a token.
    ///
    /// # Errors
    /// [`TokenError::Signing`], and [`TokenError::TooLong`] when it holds so many patterns that nobody would take it.
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        let written = WrittenClaims { sub: &claims.user, exp: claims.expires_s, channels: &claims.channels, publish: &claims.publish };
        let token = encode(&Header::new(self.algorithm), &written, &self.signing).map_err(|_| TokenError::Signing)?;
        if token.len() > MAX_BYTES { Err(TokenError::TooLong) } else { Ok(token) }
    }

    /// Reads a token that somebody brought. `now_s` is the time in seconds since 1970, UTC.
    ///
    /// # Errors
    /// [`TokenError`] says which rule it breaks; only [`TokenError::Expired`] says that it was good once.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Claims, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        let claims = decode::<ReadClaims>(token, &self.verifying, &self.validation).map_err(|error| refusal(&error))?.claims;
        let user = UserId::new(&claims.sub.ok_or(TokenError::NoUser)?).map_err(TokenError::BadUser)?;
        let expires_s = whole_seconds(claims.exp.ok_or(TokenError::NoExpiry)?);
        if expires_s <= now_s {
            return Err(TokenError::Expired);
        }
        if claims.nbf.is_some_and(|nbf| whole_seconds(nbf) > now_s) {
            return Err(TokenError::NotYet);
        }
        let (channels, publish) = (claims.channels.unwrap_or_default(), claims.publish.unwrap_or_default());
        Ok(Claims { user, expires_s, channels, publish })
    }
}

/// Seconds without their fraction; what is before 1970 is its beginning, and what is past all time is its end.
fn whole_seconds(seconds: f64) -> u64 {
    // A conversion with `as` saturates, and makes 0 of what is no number.
    seconds as u64
}

fn refusal(error: &JwtError) -> TokenError {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::BadSignature,
        // An algorithm that the library does not know at all, `none` among them, fails while the head is read.
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::UnsupportedAlgorithm => TokenError::WrongAlgorithm,
        ErrorKind::InvalidAudience => TokenError::Audience,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const SECRET: &str = "31c6f0a5e8b94d7201f331c6f0a5e8b9";

    fn key() -> TokenKey {
        TokenKey::hs256(&Secret::new(SECRET.into()))
    }

    fn claims() -> Claims {
        Claims {
            user: UserId::new("alice").unwrap(),
            expires_s: NOW + 60,
            channels: Grant::of(vec!["news".into(), "room:*".into()]),
            publish: Grant::none(),
        }
    }

    /// A token with any claims, well signed.
    fn signed(algorithm: Algorithm, claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
    }

    fn verify(claims: &Value) -> Result<Claims, TokenError> {
        key().verify(&signed(Algorithm::HS256, claims), NOW)
    }

    #[test]
    fn a_token_comes_back_as_it_was_signed() {
        let token = key().sign(&claims()).unwrap();
        assert_eq!(key().verify(&token, NOW), Ok(claims()));
    }

    #[test]
    fn a_token_is_good_until_it_expires_and_not_a_second_longer() {
        let token = key().sign(&claims()).unwrap();
        assert!(key().verify(&token, NOW + 59).is_ok());
        assert_eq!(key().verify(&token, NOW + 60), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_must_expire() {
        assert_eq!(verify(&json!({"sub": "alice"})), Err(TokenError::NoExpiry));
        assert_eq!(verify(&json!({"sub": "alice", "exp": null})), Err(TokenError::NoExpiry));
        assert_eq!(verify(&json!({"sub": "alice", "exp": "never"})), Err(TokenError::Malformed));
        assert_eq!(verify(&json!({"sub": "alice", "exp": -1})), Err(TokenError::Expired));
        assert!(verify(&json!({"sub": "alice", "exp": NOW as f64 + 1.5})).is_ok());
    }

    #[test]
    fn an_unsigned_token_is_refused() {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let body = part(&json!({"sub": "alice", "exp": NOW + 60}));
        for algorithm in ["none", "None", "NONE", ""] {
            for signature in ["", "AAAA"] {
                let token = format!("{}.{body}.{signature}", part(&json!({"alg": algorithm, "typ": "JWT"})));
                assert!(matches!(key().verify(&token, NOW), Err(TokenError::Malformed | TokenError::WrongAlgorithm)), "{algorithm}");
            }
        }
        let unsigned = format!("{}.{body}.", part(&json!({"alg": "HS256"})));
        assert_eq!(key().verify(&unsigned, NOW), Err(TokenError::BadSignature));
    }

    #[test]
    fn a_token_of_another_algorithm_is_refused_even_if_the_key_is_right() {
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let token = signed(algorithm, &json!({"sub": "alice", "exp": NOW + 60}));
            assert_eq!(key().verify(&token, NOW), Err(TokenError::WrongAlgorithm));
        }
    }

    #[test]
    fn a_token_of_another_key_or_with_other_claims_is_refused() {
        let other = TokenKey::hs256(&Secret::new("0".repeat(32)));
        assert_eq!(key().verify(&other.sign(&claims()).unwrap(), NOW), Err(TokenError::BadSignature));
        let token = key().sign(&claims()).unwrap();
        let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
        parts[1] = URL_SAFE_NO_PAD.encode(json!({"sub": "bob", "exp": NOW + 60}).to_string());
        assert_eq!(key().verify(&parts.join("."), NOW), Err(TokenError::BadSignature));
    }

    #[test]
    fn the_user_must_be_one() {
        assert_eq!(verify(&json!({"exp": NOW + 60})), Err(TokenError::NoUser));
        assert!(matches!(verify(&json!({"sub": "", "exp": NOW + 60})), Err(TokenError::BadUser(_))));
        assert!(matches!(verify(&json!({"sub": "a\nb", "exp": NOW + 60})), Err(TokenError::BadUser(_))));
        assert_eq!(verify(&json!({"sub": 7, "exp": NOW + 60})), Err(TokenError::Malformed));
    }

    #[test]
    fn absent_grants_grant_nothing() {
        let claims = verify(&json!({"sub": "alice", "exp": NOW + 60, "iss": "the application"})).unwrap();
        assert!(claims.channels.is_empty() && claims.publish.is_empty());
        assert_eq!(verify(&json!({"sub": "alice", "exp": NOW + 60, "channels": "*"})), Err(TokenError::Malformed));
    }

    #[test]
    fn a_token_for_later_or_for_others_is_refused() {
        assert_eq!(verify(&json!({"sub": "alice", "exp": NOW + 60, "nbf": NOW + 30})), Err(TokenError::NotYet));
        assert_eq!(verify(&json!({"sub": "alice", "exp": NOW + 60, "aud": "another service"})), Err(TokenError::Audience));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", ".", "..", "a.b.c", "a.b.c.d", "\u{1F30D}.x.y"] {
            assert_eq!(key().verify(text, NOW), Err(TokenError::Malformed), "{text}");
        }
        assert_eq!(key().verify(&"a".repeat(MAX_BYTES + 1), NOW), Err(TokenError::TooLong));
    }

    #[test]
    fn the_key_is_not_in_its_debug_form() {
        assert!(!format!("{:?}", key()).contains(SECRET));
    }
}
