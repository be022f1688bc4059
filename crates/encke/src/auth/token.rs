//! Client tokens: JWTs that say who a user is and which channels are granted.

use encke_proto::{NameError, Object, UserId};
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
    /// Its `nbf` is to come, by more than the leeway.
    #[error(
        "the token is not good yet (nbf): it begins {0} s from now, and the clocks may differ by auth.leeway_s"
    )]
    NotYet(u64),
    /// Its `iat` is to come, by more than the leeway.
    #[error("the token was issued {0} s from now (iat), and the clocks may differ by auth.leeway_s")]
    IssuedLater(u64),
    /// One of its times is no number.
    #[error("the token's {0} is not a number of seconds")]
    BadTime(&'static str),
    /// Its header has a `crit`, which names extensions that must be understood (RFC 7515 section 4.1.11).
    #[error("the token's header names extensions that are not understood (crit)")]
    Critical,
    /// It is meant for another service (`aud`).
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

/// The key that tokens are signed with. The algorithm belongs to the key: what a token says about it can only
/// agree.
#[derive(Clone)]
pub struct TokenKey {
    algorithm: Algorithm,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    leeway_s: u64,
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
    exp: Option<ReadTime>,
    nbf: Option<ReadTime>,
    iat: Option<ReadTime>,
    #[serde(default)]
    channels: Option<Grant>,
    #[serde(default)]
    publish: Option<Grant>,
}

/// A `NumericDate` (RFC 7519 section 2), or something else in its place.
#[derive(Deserialize)]
#[serde(untagged)]
enum ReadTime {
    Seconds(f64),
    Other(serde::de::IgnoredAny),
}

impl ReadTime {
    /// Seconds since 1970 without their fraction; what is before is 1970, and what is past all time is its
    /// end.
    fn seconds(&self, claim: &'static str) -> Result<u64, TokenError> {
        match self {
            // A conversion with `as` saturates.
            Self::Seconds(seconds) => Ok(*seconds as u64),
            Self::Other(_) => Err(TokenError::BadTime(claim)),
        }
    }
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
        // Times are checked here against the time that is handed in, so that they can be tested.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        Self {
            algorithm: Algorithm::HS256,
            signing: EncodingKey::from_secret(bytes),
            verifying: DecodingKey::from_secret(bytes),
            validation,
            leeway_s: 0,
        }
    }

    /// The same key, for issuers whose clocks are ahead by so many seconds at most. That concerns when a
    /// token begins (`nbf`, `iat`). When it ends (`exp`) has no leeway: what is sent to a connection ends at
    /// the same moment, and a token would otherwise be good for longer than its issuer said.
    #[must_use]
    pub fn with_leeway(self, leeway_s: u64) -> Self {
        Self { leeway_s, ..self }
    }

    /// Writes a token.
    ///
    /// # Errors
    /// [`TokenError::Signing`], and [`TokenError::TooLong`] when it holds so many patterns that no server
    /// would take it.
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        let written = WrittenClaims {
            sub: &claims.user,
            exp: claims.expires_s,
            channels: &claims.channels,
            publish: &claims.publish,
        };
        let token =
            encode(&Header::new(self.algorithm), &written, &self.signing).map_err(|_| TokenError::Signing)?;
        if token.len() > MAX_BYTES { Err(TokenError::TooLong) } else { Ok(token) }
    }

    /// Reads a token from a request. `now_s` is the time in seconds since 1970, UTC.
    ///
    /// # Errors
    /// [`TokenError`] says which rule it breaks; only [`TokenError::Expired`] says that it was good once.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Claims, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        let read = decode::<Object<ReadClaims>>(token, &self.verifying, &self.validation)
            .map_err(|error| refusal(&error))?;
        // No extension is understood here, and an empty list is not allowed.
        if read.header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let Object(claims) = read.claims;
        let user = UserId::new(&claims.sub.ok_or(TokenError::NoUser)?).map_err(TokenError::BadUser)?;
        let expires_s = claims.exp.ok_or(TokenError::NoExpiry)?.seconds("exp")?;
        if expires_s <= now_s {
            return Err(TokenError::Expired);
        }
        let latest_s = now_s.saturating_add(self.leeway_s);
        if let Some(nbf_s) =
            claims.nbf.map(|nbf| nbf.seconds("nbf")).transpose()?.filter(|nbf_s| *nbf_s > latest_s)
        {
            return Err(TokenError::NotYet(nbf_s - now_s));
        }
        if let Some(iat_s) =
            claims.iat.map(|iat| iat.seconds("iat")).transpose()?.filter(|iat_s| *iat_s > latest_s)
        {
            return Err(TokenError::IssuedLater(iat_s - now_s));
        }
        let (channels, publish) = (claims.channels.unwrap_or_default(), claims.publish.unwrap_or_default());
        Ok(Claims { user, expires_s, channels, publish })
    }
}

fn refusal(error: &JwtError) -> TokenError {
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::BadSignature,
        // An algorithm that hyper does not know at all, `none` among them, fails while the head is
        // read.
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::UnsupportedAlgorithm => {
            TokenError::WrongAlgorithm
        }
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
        assert_eq!(verify(&json!({"sub": "alice", "exp": "never"})), Err(TokenError::BadTime("exp")));
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
                assert!(
                    matches!(
                        key().verify(&token, NOW),
                        Err(TokenError::Malformed | TokenError::WrongAlgorithm)
                    ),
                    "{algorithm}"
                );
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
        assert_eq!(
            verify(&json!({"sub": "alice", "exp": NOW + 60, "channels": "*"})),
            Err(TokenError::Malformed)
        );
    }

    #[test]
    fn an_issuers_clock_may_be_ahead_by_the_leeway_and_no_more() {
        let key = key().with_leeway(30);
        let at = |claims: Value| key.verify(&signed(Algorithm::HS256, &claims), NOW);
        for ahead_s in [0, 2, 30] {
            let claims = json!({"sub": "alice", "exp": NOW + 60, "nbf": NOW + ahead_s, "iat": NOW + ahead_s});
            assert!(at(claims).is_ok(), "{ahead_s}");
        }
        assert!(at(json!({"sub": "alice", "exp": NOW + 60, "iat": -1, "nbf": NOW as f64 + 30.9})).is_ok());
        assert_eq!(
            at(json!({"sub": "alice", "exp": NOW + 60, "nbf": NOW + 31})),
            Err(TokenError::NotYet(31))
        );
        assert_eq!(
            at(json!({"sub": "alice", "exp": NOW + 60, "iat": NOW + 31})),
            Err(TokenError::IssuedLater(31))
        );
        assert_eq!(
            at(json!({"sub": "alice", "exp": NOW + 60, "iat": 1e300})),
            Err(TokenError::IssuedLater(u64::MAX - NOW))
        );
        // The end has none: a connection is ended at it too.
        assert_eq!(at(json!({"sub": "alice", "exp": NOW})), Err(TokenError::Expired));
    }

    #[test]
    fn a_time_that_is_no_number_is_named() {
        for claim in ["exp", "nbf", "iat"] {
            for wrong in [json!("2026-11-28T00:00:00Z"), json!("1800000000"), json!(true)] {
                let mut claims = json!({"sub": "alice", "exp": NOW + 60});
                claims[claim] = wrong;
                let error = verify(&claims).unwrap_err();
                assert_eq!(error, TokenError::BadTime(claim), "{claims}");
                assert!(error.to_string().contains(claim));
            }
        }
        assert!(verify(&json!({"sub": "alice", "exp": NOW + 60, "nbf": null, "iat": null})).is_ok());
    }

    #[test]
    fn a_token_for_later_or_for_others_is_refused() {
        assert_eq!(
            verify(&json!({"sub": "alice", "exp": NOW + 60, "nbf": NOW + 30})),
            Err(TokenError::NotYet(30))
        );
        assert_eq!(
            verify(&json!({"sub": "alice", "exp": NOW + 60, "aud": "another service"})),
            Err(TokenError::Audience)
        );
    }

    #[test]
    fn an_extension_that_must_be_understood_is_not() {
        let with = |crit: Option<&[&str]>| {
            let crit = crit.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            let header = Header { crit, ..Header::new(Algorithm::HS256) };
            let token = encode(
                &header,
                &json!({"sub": "alice", "exp": NOW + 60}),
                &EncodingKey::from_secret(SECRET.as_bytes()),
            )
            .unwrap();
            key().verify(&token, NOW)
        };
        assert!(with(None).is_ok());
        for crit in [&["exp"][..], &["b64"], &["http://example.invalid/UNDEFINED", "exp"], &[]] {
            assert_eq!(with(Some(crit)), Err(TokenError::Critical), "{crit:?}");
        }
    }

    #[test]
    fn claims_are_an_object() {
        // Five values are as many as both hyper's check and the fields above take from a list.
        for claims in [json!(["alice", NOW + 60, null, null, null]), json!([]), json!("alice"), json!(null)] {
            assert_eq!(verify(&claims), Err(TokenError::Malformed), "{claims}");
        }
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
