//! Texts that nodes write for each other, signed with the secret that all of them share. They are no tokens:
//! each purpose has a key of its own.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Serialize, de::DeserializeOwned};

use crate::config::Secret;

/// Writes and reads the texts of one purpose.
pub(crate) struct SignedText {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

impl SignedText {
    /// `purpose` parts its key from those of others and from that of tokens, so that none passes for another.
    pub(crate) fn new(purpose: &str, secret: &Secret) -> Self {
        let key = format!("{purpose}\0{}", secret.expose());
        let mut validation = Validation::new(Algorithm::HS256);
        // Until when a text is good is looked at by those who read it: time is handed in.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        Self {
            signing: EncodingKey::from_secret(key.as_bytes()),
            verifying: DecodingKey::from_secret(key.as_bytes()),
            validation,
        }
    }

    /// None when it cannot be signed.
    pub(crate) fn write(&self, said: &impl Serialize) -> Option<String> {
        encode(&Header::new(Algorithm::HS256), said, &self.signing).ok()
    }

    /// What a text says; none when it was not written for this purpose with this secret.
    pub(crate) fn read<T: DeserializeOwned>(&self, text: &str) -> Option<T> {
        decode(text, &self.verifying, &self.validation).ok().map(|read| read.claims)
    }
}

impl std::fmt::Debug for SignedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedText").finish_non_exhaustive()
    }
}
