//! Who a client is, and what it may do.

mod api_keys;
mod authenticator;
mod credentials;
mod grant;
mod identity;
mod origin;
mod remembered;
mod shared_ticket;
mod ticket;
mod token;

pub use api_keys::ApiKeyError;
pub use authenticator::{Authenticator, GivenTicket};
pub use credentials::{COOKIE, Credentials, cookies, query_holds_token, values};
pub use grant::{Grant, Grants};
pub use identity::Identity;
pub use ticket::TICKET_S;
pub use token::{Claims, TokenError, TokenKey};
