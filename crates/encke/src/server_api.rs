//! The server API: for backends and operators, with the API key.

pub(crate) mod batch;
pub(crate) mod cancellation;
pub(crate) mod channels;
pub(crate) mod check_url;
pub(crate) mod close;
pub(crate) mod deletion;
pub(crate) mod history;
pub(crate) mod hooks;
pub(crate) mod inline;
pub(crate) mod looking;
pub(crate) mod nodes;
pub(crate) mod presence;
pub(crate) mod publish;
pub(crate) mod publish_many;
pub(crate) mod push;
pub(crate) mod push_many;
pub(crate) mod push_one;
pub(crate) mod pushes;
pub(crate) mod receipts;
pub(crate) mod request_stream;
pub(crate) mod revoke;
pub(crate) mod sessions;
pub(crate) mod stats;
mod user_search;
pub(crate) mod users;
pub(crate) mod what;
