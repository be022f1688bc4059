//! A session in the list that nodes send each other, independent of the hub's own view type.

use std::borrow::Cow;

use encke_hub::SessionView;
use encke_proto::{ChannelName, SessionId, Time, UserId};
use serde::{Deserialize, Serialize};

/// A session, wherever it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    pub session: SessionId,
    /// Its user.
    pub user: UserId,
    /// The transport of its connection, or of the last one.
    pub transport: Cow<'static, str>,
    /// The name of the node that it is on.
    pub node: String,
    /// When it began there, in milliseconds since 1970.
    #[serde(with = "millis")]
    pub since: Time,
    /// How many messages it has not been given.
    pub lag: u64,
    /// What it follows besides the user's own channel.
    pub channels: Vec<ChannelName>,
    /// Whether a connection serves it now.
    pub connected: bool,
}

impl Listed {
    /// A session of this node.
    #[must_use]
    pub fn here(view: SessionView, node: &str) -> Self {
        let SessionView { session, user, transport, since, lag, channels, connected } = view;
        Self {
            session,
            user,
            transport: transport.into(),
            node: node.to_owned(),
            since,
            lag,
            channels,
            connected,
        }
    }
}

/// A time as a number, so that nothing of it is lost.
mod millis {
    use encke_proto::Time;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        u64::deserialize(deserializer).map(Time)
    }
}
