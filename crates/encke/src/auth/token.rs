//! Client tokens: JWTs that say who a user is and which channels are granted.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use encke_proto::{NameError, Object, TokenId, TokenInfo, UserId};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    Grant, KeySet,
    claim_set::{ClaimSet, wrong},
    verifying_key::{VerifyingKey, algorithm_named},
};
use crate::config::{Auth, Secret};

/// The longest token that is looked at, in bytes: the head of a request holds no longer one.
const MAX_BYTES: usize = 8 * 1024;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The user.
    pub user: UserId,
    /// When it ends to be good: seconds since 1970, UTC.
    pub expires_s: u64,
    /// When it was issued, if it says so: seconds since 1970, UTC.
    pub issued_s: Option<u64>,
    /// Its id, if it has one.
    pub jti: Option<String>,
    /// Channels to subscribe to.
    pub channels: Grant,
    /// Channels to publish to.
    pub publish: Grant,
}

impl Claims {
    /// What revocations need to know of it.
    #[must_use]
    pub fn info(&self) -> TokenInfo {
        TokenInfo { issued_s: self.issued_s, id: self.jti.as_deref().map(token_id) }
    }
}

/// What a token is known by that has this `jti`.
#[must_use]
pub fn token_id(jti: &str) -> TokenId {
    let digest = Sha256::digest(jti.as_bytes());
    let (head, _) = digest.split_at(size_of::<u64>());
    TokenId(head.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
}

/// Why a token is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64 with JSON in them, or a claim that stands twice.
    #[error("the token is malformed")]
    Malformed,
    /// Longer than 8 KiB.
    #[error("the token is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Signed with another algorithm than the key's, or not at all.
    #[error("the token is not signed with the algorithm that is configured")]
    WrongAlgorithm,
    /// Its `kid` names no key that is known.
    #[error("the token names a key that is not known (kid)")]
    UnknownKey,
    /// Signed with another key, or changed after it was signed.
    #[error("the token's signature does not verify")]
    BadSignature,
    /// A claim is of another type than it has to be, or out of its bounds, or missing.
    #[error("claim {claim}: {problem}")]
    Claim {
        /// Its name.
        claim: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Its `exp` is over.
    #[error("the token has expired")]
    Expired,
    /// Its `nbf` is to come, by more than the leeway.
    #[error(
        "claim nbf: the token is not good yet: it begins {0} s from now, and the clocks may differ by auth.leeway_s"
    )]
    NotYet(u64),
    /// Its `iat` is to come, by more than the leeway.
    #[error("claim iat: the token was issued {0} s from now, and the clocks may differ by auth.leeway_s")]
    IssuedLater(u64),
    /// Its header has a `crit`, which names extensions that must be understood (RFC 7515 section 4.1.11).
    #[error("the token's header names extensions that are not understood (crit)")]
    Critical,
    /// Its `aud` names none of `auth.audience`, or it has one where none is configured.
    #[error("claim aud: the token is meant for another audience than auth.audience")]
    Audience,
    /// Its `iss` is another than `auth.issuer`.
    #[error("claim iss: the token is of another issuer than auth.issuer")]
    Issuer,
    /// The claim with its user holds no name for one.
    #[error("claim {claim}: {error}")]
    BadUser {
        /// The claim's name.
        claim: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// Signing failed, which it does not with a key of this kind.
    #[error("the token cannot be signed")]
    Signing,
}

/// The key that this server signs tokens with, HS256, and what stands in them. It verifies them too.
#[derive(Clone)]
pub struct TokenKey {
    signing: EncodingKey,
    keys: KeySet,
    rules: Auth,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// The head of a token (RFC 7515 section 4.1), without the members that ask the server to fetch or trust a
/// key.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

impl TokenKey {
    /// A key for HS256. The configuration has seen to it that the secret is a good one.
    #[must_use]
    pub fn hs256(secret: &Secret) -> Self {
        Self {
            signing: EncodingKey::from_secret(secret.expose().as_bytes()),
            keys: KeySet::of(vec![VerifyingKey::hs256(secret)]),
            rules: Auth { leeway_s: 0, ..Auth::default() },
        }
    }

    /// The same key, for tokens with claims of these names, this issuer and the first audience.
    #[must_use]
    pub fn with_rules(self, rules: Auth) -> Self {
        Self { rules, ..self }
    }

    /// Writes a token.
    ///
    /// # Errors
    /// [`TokenError::Signing`], and [`TokenError::TooLong`] when it holds so many patterns that no server
    /// would take it.
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        let rules = &self.rules;
        let mut written = Map::new();
        let mut put = |claim: &str, value: Value| written.insert(claim.to_owned(), value);
        put("sub", json!(claims.user));
        put(&rules.user_claim, json!(claims.user));
        put("exp", json!(claims.expires_s));
        for (claim, value) in
            [("iat", claims.issued_s.map(|at| json!(at))), ("jti", claims.jti.as_ref().map(|id| json!(id)))]
        {
            if let Some(value) = value {
                put(claim, value);
            }
        }
        for (claim, grant) in
            [(&rules.channels_claim, &claims.channels), (&rules.publish_claim, &claims.publish)]
        {
            if !grant.is_empty() {
                put(claim, json!(grant));
            }
        }
        if let Some(issuer) = &rules.issuer {
            put("iss", json!(issuer));
        }
        if let Some(audience) = rules.audience.first() {
            put("aud", json!(audience));
        }
        let token = encode(&Header::new(Algorithm::HS256), &written, &self.signing)
            .map_err(|_| TokenError::Signing)?;
        if token.len() > MAX_BYTES { Err(TokenError::TooLong) } else { Ok(token) }
    }

    /// Reads a token of this key. `now_s` is the time in seconds since 1970, UTC.
    ///
    /// # Errors
    /// As [`read`] has them.
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Claims, TokenError> {
        read(token, &self.keys, &self.rules, now_s)
    }
}

/// Reads a token from a request. `now_s` is the time in seconds since 1970, UTC.
///
/// # Errors
/// [`TokenError`] says which rule it breaks; only [`TokenError::Expired`] says that it was good once.
pub fn read(token: &str, keys: &KeySet, rules: &Auth, now_s: u64) -> Result<Claims, TokenError> {
    if token.len() > MAX_BYTES {
        return Err(TokenError::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (head, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
    let head: Head = part(head)?;
    // An algorithm that is not known at all, `none` among them, has no key.
    let algorithm = algorithm_named(&head.alg).ok_or(TokenError::WrongAlgorithm)?;
    keys.verify(head.kid.as_deref(), algorithm, message, signature)?;
    // No extension is understood here, and an empty list is not allowed.
    if head.crit.is_some() {
        return Err(TokenError::Critical);
    }
    check(&part::<ClaimSet>(payload)?, rules, now_s)
}

/// A part of a token: an object in base64.
fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed)?;
    serde_json::from_slice::<Object<T>>(&json).map(|Object(value)| value).map_err(|_| TokenError::Malformed)
}

/// Whether the claims of a token that is well signed are good now, for this server.
fn check(claims: &ClaimSet, rules: &Auth, now_s: u64) -> Result<Claims, TokenError> {
    if let Some(issuer) = &rules.issuer
        && claims.text("iss")? != Some(issuer)
    {
        return Err(TokenError::Issuer);
    }
    let meant_for = claims.texts("aud")?;
    let is_meant = |list: &Vec<&str>| list.iter().any(|one| rules.audience.iter().any(|own| own == one));
    if !meant_for.as_ref().map_or(rules.audience.is_empty(), is_meant) {
        return Err(TokenError::Audience);
    }
    let claim = rules.user_claim.as_str();
    let user = claims.text(claim)?.ok_or_else(|| wrong(claim, "is missing: it says who the token is for"))?;
    let user = UserId::new(user).map_err(|error| TokenError::BadUser { claim: claim.to_owned(), error })?;
    let expires_s =
        claims.time_s("exp")?.ok_or_else(|| wrong("exp", "is missing: it says when the token ends"))?;
    if expires_s <= now_s {
        return Err(TokenError::Expired);
    }
    let latest_s = now_s.saturating_add(rules.leeway_s);
    if let Some(nbf_s) = claims.time_s("nbf")?.filter(|nbf_s| *nbf_s > latest_s) {
        return Err(TokenError::NotYet(nbf_s - now_s));
    }
    let issued_s = claims.time_s("iat")?;
    if let Some(iat_s) = issued_s.filter(|iat_s| *iat_s > latest_s) {
        return Err(TokenError::IssuedLater(iat_s - now_s));
    }
    let jti = claims.id("jti")?;
    let (channels, publish) = (claims.grant(&rules.channels_claim)?, claims.grant(&rules.publish_claim)?);
    Ok(Claims { user, expires_s, issued_s, jti, channels, publish })
}

#[cfg(test)]
mod tests;
