//! What is told of sessions to who writes it down. A shard waits for none of it.

use std::{fmt, sync::Arc};

use encke_engine::{EngineError, Mark};
use encke_proto::{ChannelName, UserId};
use futures_util::future::BoxFuture;

/// Who is told of sessions. Nothing here waits but what the engine I/O task asks.
pub trait SessionObserver: fmt::Debug + Send + Sync {
    /// A channel has a follower on this node, the first. Of a user's own channel: the user has a session that
    /// outlives its connections.
    fn came(&self, channel: &ChannelName);

    /// It has none here any more.
    fn went(&self, channel: &ChannelName);

    /// A new session of a user follows these channels.
    fn subscribed(&self, user: &UserId, channels: &[ChannelName]);

    /// Pushes are about to be marked as delivered.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]; they are not to be marked then.
    fn delivering<'a>(&'a self, marks: &'a [Mark]) -> BoxFuture<'a, Result<(), EngineError>>;
}

/// Several of them as one; none if there are none.
#[must_use]
pub fn together(mut observers: Vec<Arc<dyn SessionObserver>>) -> Option<Arc<dyn SessionObserver>> {
    match observers.len() {
        0 | 1 => observers.pop(),
        _ => Some(Arc::new(Together(observers))),
    }
}

/// Several observers, told in their order.
#[derive(Debug)]
struct Together(Vec<Arc<dyn SessionObserver>>);

impl SessionObserver for Together {
    fn came(&self, channel: &ChannelName) {
        self.0.iter().for_each(|observer| observer.came(channel));
    }

    fn went(&self, channel: &ChannelName) {
        self.0.iter().for_each(|observer| observer.went(channel));
    }

    fn subscribed(&self, user: &UserId, channels: &[ChannelName]) {
        self.0.iter().for_each(|observer| observer.subscribed(user, channels));
    }

    fn delivering<'a>(&'a self, marks: &'a [Mark]) -> BoxFuture<'a, Result<(), EngineError>> {
        Box::pin(async move {
            for observer in &self.0 {
                observer.delivering(marks).await?;
            }
            Ok(())
        })
    }
}
