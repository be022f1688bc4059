//! A key that tokens are verified with. Its algorithm belongs to it: what a token says about that can only
//! agree.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, crypto};
use spki::{
    ObjectIdentifier, SubjectPublicKeyInfoRef,
    der::{Decode, Reader, SliceReader, asn1::UintRef},
};

use crate::config::Secret;

/// The shortest secret, in bytes.
const SECRET_MIN_BYTES: usize = 32;
/// The shortest and the longest modulus of RSA, in bits. Less can be broken, and more takes long to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Why something is no key to verify tokens with. The words hold nothing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot be read")]
    Unreadable,
    /// Neither PEM nor a JWK, or one with something wrong in it.
    #[error("is neither a public key in PEM nor a JWK")]
    Malformed,
    /// It holds a private key, which is not needed and does not belong here.
    #[error("holds a private key: give the public one")]
    Private,
    /// It is for encryption.
    #[error("is not for signatures (use, key_ops)")]
    NotForSignatures,
    /// Its `alg` is none of those that are known.
    #[error("its alg is not known, or not for signatures")]
    Algorithm,
    /// Nothing says what it signs with.
    #[error("needs an algorithm")]
    NoAlgorithm,
    /// The JWK and the configuration disagree.
    #[error("its alg is another than the algorithm that is configured")]
    OtherAlgorithm,
    /// A key of this kind does not sign with this algorithm; a public key with HS among them.
    #[error("is no key for this algorithm")]
    Kind,
    /// A secret that can be guessed.
    #[error("must have at least {SECRET_MIN_BYTES} bytes")]
    Short,
    /// RSA with too few bits, or too many.
    #[error("must have from {} to {} bits", RSA_BITS.start(), RSA_BITS.end())]
    RsaBits,
}

/// What a key consists of.
pub(super) enum Material {
    Secret(Vec<u8>),
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key that tokens are verified with.
#[derive(Clone)]
pub struct VerifyingKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl VerifyingKey {
    /// A secret for HS256. The configuration has seen to it that it is a good one.
    pub(super) fn hs256(secret: &Secret) -> Self {
        let key = DecodingKey::from_secret(secret.expose().as_bytes());
        Self { kid: None, algorithm: Algorithm::HS256, key }
    }

    /// A key for one algorithm.
    ///
    /// # Errors
    /// [`KeyError`], when the one is not for the other, or too weak.
    pub(super) fn new(
        kid: Option<String>,
        algorithm: Algorithm,
        material: Material,
    ) -> Result<Self, KeyError> {
        let key = match (algorithm.family(), material) {
            (AlgorithmFamily::Hmac, Material::Secret(bytes)) if bytes.len() < SECRET_MIN_BYTES => {
                return Err(KeyError::Short);
            }
            (AlgorithmFamily::Hmac, Material::Secret(bytes)) => DecodingKey::from_secret(&bytes),
            (AlgorithmFamily::Rsa, Material::Rsa { modulus, exponent }) => {
                if !RSA_BITS.contains(&bits(&modulus)) || !(2..=32).contains(&bits(&exponent)) {
                    return Err(KeyError::RsaBits);
                }
                DecodingKey::from_rsa_raw_components(&modulus, &exponent)
            }
            (AlgorithmFamily::Ec, Material::P256(point)) if algorithm == Algorithm::ES256 => {
                DecodingKey::from_ec_der(&point)
            }
            (AlgorithmFamily::Ec, Material::P384(point)) if algorithm == Algorithm::ES384 => {
                DecodingKey::from_ec_der(&point)
            }
            // The library takes the first 32 bytes unasked.
            (AlgorithmFamily::Ed, Material::Ed25519(bytes)) if bytes.len() == 32 => {
                DecodingKey::from_ed_der(&bytes)
            }
            _ => return Err(KeyError::Kind),
        };
        // A point that is not on its curve is found out here, not by the first token.
        crypto::verify("", b"", &key, algorithm).map_err(|_| KeyError::Malformed)?;
        Ok(Self { kid, algorithm, key })
    }

    /// Which key tokens name it by.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What it signs with.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether this is its signature, in base64, of the message.
    pub(super) fn verifies(&self, message: &str, signature: &str) -> bool {
        crypto::verify(signature, message.as_bytes(), &self.key, self.algorithm).unwrap_or(false)
    }
}

/// Whether it is the same key, and as good for the same tokens. Not in constant time: what is compared was
/// configured or fetched, and nothing that a client sends.
impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |key: &DecodingKey| match key.kind() {
            DecodingKeyKind::SecretOrDer(bytes) => (bytes.clone(), Vec::new()),
            DecodingKeyKind::RsaModulusExponent { n, e } => (n.clone(), e.clone()),
        };
        let named = (&self.kid, self.algorithm) == (&other.kid, other.algorithm);
        named && bytes(&self.key) == bytes(&other.key)
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// An algorithm by its name in JOSE. RFC 9864 gave EdDSA over this curve a name of its own.
pub(super) fn algorithm_named(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" { Some(Algorithm::EdDSA) } else { name.parse().ok() }
}

/// The public key in a PEM text (RFC 7468), the first section of it.
pub(super) fn pem(text: &str) -> Result<Material, KeyError> {
    let (_, rest) = text.split_once("-----BEGIN ").ok_or(KeyError::Malformed)?;
    let (label, rest) = rest.split_once("-----").ok_or(KeyError::Malformed)?;
    let (base64, _) = rest.split_once("-----END ").ok_or(KeyError::Malformed)?;
    let base64: String = base64.split_ascii_whitespace().collect();
    let der = STANDARD.decode(base64).map_err(|_| KeyError::Malformed)?;
    match label {
        "PUBLIC KEY" => public_key(&der),
        "RSA PUBLIC KEY" => rsa_public_key(&der),
        _ if label.ends_with("PRIVATE KEY") => Err(KeyError::Private),
        _ => Err(KeyError::Malformed),
    }
}

/// A `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
fn public_key(der: &[u8]) -> Result<Material, KeyError> {
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyError::Malformed)?;
    let bytes = info.subject_public_key.as_bytes().ok_or(KeyError::Malformed)?;
    match info.algorithm.oid {
        RSA | RSA_PSS => rsa_public_key(bytes),
        ED25519 => Ok(Material::Ed25519(bytes.to_vec())),
        EC => match info.algorithm.parameters_oid().map_err(|_| KeyError::Malformed)? {
            P256 => Ok(Material::P256(bytes.to_vec())),
            P384 => Ok(Material::P384(bytes.to_vec())),
            _ => Err(KeyError::Kind),
        },
        _ => Err(KeyError::Kind),
    }
}

/// An `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn rsa_public_key(der: &[u8]) -> Result<Material, KeyError> {
    let read = |der| {
        SliceReader::new(der)?.sequence(|reader| {
            let modulus = UintRef::decode(reader)?.as_bytes().to_vec();
            let exponent = UintRef::decode(reader)?.as_bytes().to_vec();
            Ok::<_, spki::der::Error>(Material::Rsa { modulus, exponent })
        })
    };
    read(der).map_err(|_| KeyError::Malformed)
}

/// How many bits a number has, whose bytes begin with the greatest.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros).map_or(0, |first| (number.len() - zeros) * 8 - first.leading_zeros() as usize)
}
