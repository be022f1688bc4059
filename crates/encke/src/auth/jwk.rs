//! A JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037) as it is written, before it is a key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::Deserialize;

use super::verifying_key::{KeyError, Material, VerifyingKey, algorithm_named};

/// The members of a JWK that matter for signatures.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    /// Of a private key.
    d: Option<serde::de::IgnoredAny>,
}

impl Jwk {
    /// Whether it is a shared secret.
    pub(super) fn is_secret(&self) -> bool {
        self.kty == "oct"
    }

    /// The key, for tokens that name `kid` (or what it says itself) and are signed with `algorithm` (or what
    /// it says itself; else what keys of its kind are used with mostly).
    ///
    /// # Errors
    /// [`KeyError`], when it is for something else, or no key.
    pub(super) fn key(
        &self,
        kid: Option<String>,
        algorithm: Option<Algorithm>,
    ) -> Result<VerifyingKey, KeyError> {
        if self.d.is_some() {
            return Err(KeyError::Private);
        }
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        if self.r#use.as_ref().is_some_and(|purpose| purpose != "sig")
            || !self.key_ops.as_ref().is_none_or(verifies)
        {
            return Err(KeyError::NotForSignatures);
        }
        let own = self.alg.as_deref().map(|name| algorithm_named(name).ok_or(KeyError::Algorithm));
        let own = own.transpose()?;
        if let (Some(own), Some(algorithm)) = (own, algorithm)
            && own != algorithm
        {
            return Err(KeyError::OtherAlgorithm);
        }
        let algorithm = algorithm.or(own).or_else(|| self.usual()).ok_or(KeyError::NoAlgorithm)?;
        VerifyingKey::new(kid.or_else(|| self.kid.clone()), algorithm, self.material()?)
    }

    fn material(&self) -> Result<Material, KeyError> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Ok(Material::Rsa { modulus: bytes(&self.n)?, exponent: bytes(&self.e)? }),
            ("EC", Some(curve @ ("P-256" | "P-384"))) => {
                let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                Ok(if curve == "P-256" { Material::P256(point) } else { Material::P384(point) })
            }
            ("OKP", Some("Ed25519")) => Ok(Material::Ed25519(bytes(&self.x)?)),
            ("oct", _) => Ok(Material::Secret(bytes(&self.k)?)),
            _ => Err(KeyError::Kind),
        }
    }

    /// What keys of its kind are used with when nothing is said. Some issuers leave `alg` out.
    fn usual(&self) -> Option<Algorithm> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Some(Algorithm::RS256),
            ("EC", Some("P-256")) => Some(Algorithm::ES256),
            ("EC", Some("P-384")) => Some(Algorithm::ES384),
            ("OKP", Some("Ed25519")) => Some(Algorithm::EdDSA),
            _ => None,
        }
    }
}

fn bytes(member: &Option<String>) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(member.as_deref().unwrap_or_default()).map_err(|_| KeyError::Malformed)
}
