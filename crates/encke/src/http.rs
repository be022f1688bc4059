//! What every HTTP answer and request has in common: response heads, refusals with their statuses, bodies and
//! queries that are read strictly. No routes, no handlers, no connections.

pub(crate) mod body;
pub mod client_address;
mod date;
pub(crate) mod discard;
pub(crate) mod host;
pub(crate) mod lines;
pub(crate) mod operation;
pub(crate) mod query;
pub(crate) mod readable;
pub mod refusal;
pub mod response;

pub use date::DateLine;
