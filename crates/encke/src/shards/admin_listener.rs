//! Where the sockets of backends and operators come in, if they have a listener of their own.

use std::sync::Arc;

use super::StreamListener;
use crate::connection::ConnectionLimit;

/// A listener for operators, of one shard.
#[derive(Debug)]
pub struct AdminListener {
    /// The listener.
    pub listener: StreamListener,
    /// How many connections it may have, apart from those of clients.
    pub connection_limit: Arc<ConnectionLimit>,
}
