//! Who somebody is, and what they may do.

mod grant;
mod token;

pub use grant::Grant;
pub use token::{Claims, TokenError, TokenKey};
