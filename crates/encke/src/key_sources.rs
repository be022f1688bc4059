//! Where keys for tokens come from while the server runs: files that change, and the address of an issuer's
//! key set.

mod files;
mod jwks;

pub use files::ConfiguredKeys;
pub use jwks::{FetchError, Jwks};
