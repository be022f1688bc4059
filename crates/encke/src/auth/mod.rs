//! Who a client is, and what it may do.

mod api_keys;
mod application;
mod audit;
mod authenticator;
mod channel_access;
mod claim_set;
mod close_keys;
mod configured_key;
mod credentials;
mod grants;
mod identity;
mod jwk;
mod key_set;
mod keys;
mod origin;
mod remembered;
mod revocations;
mod shared_ticket;
mod signed_text;
mod ticket;
mod token;
mod verifying_key;

pub use api_keys::{Allowed, ApiKeyError, ApiKeys, KeyDigest};
pub use audit::{Audit, AuditRecord};
pub use authenticator::{Authenticator, GivenTicket, KeysError, Pending};
pub use channel_access::ChannelAccess;
pub use close_keys::CloseKeys;
pub use configured_key::FILE_MAX_BYTES;
pub use credentials::{
    COOKIE, Credentials, HOST_COOKIE, Returns, TOKEN_IN_BODY, cookies, query_holds_token, values,
};
pub use encke_proto::Grant;
pub use grants::Grants;
pub use identity::{Authenticated, Identity};
pub use key_set::{BadKey, JwksError, KeySet};
pub use keys::{Keys, PendingFetch};
pub use origin::{OriginNumber, Origins};
pub use revocations::{REVOCATIONS_MAX, RevocationRecord, Revocations};
pub(crate) use signed_text::SignedText;
pub use ticket::TICKET_S;
pub use token::{Claims, TokenError, TokenKey, read, token_id};
pub use verifying_key::KeyError;
