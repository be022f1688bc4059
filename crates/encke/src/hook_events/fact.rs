//! What a node writes down of what has happened in its hubs. Many stand in one message of the log.

use encke_engine::NodeId;
use encke_proto::{ChannelName, MessageId, Time, UserId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An incarnation of a node. Of a node that is alone, a new one each time it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Run(pub(super) NodeId);

impl Serialize for Run {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Run {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// Something that has happened on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub(super) enum Fact {
    /// A channel has its first follower there: a user's own channel, the user's first session. Said again in
    /// each later round, as long as it has any.
    Came {
        channel: ChannelName,
        run: Run,
        #[serde(default)]
        round: u64,
    },
    /// It has none there any more.
    Went { channel: ChannelName, run: Run },
    /// All channels that have followers there were said in this round, so many: what was said in rounds
    /// before it alone is not so any more. It mends what facts that were lost have left behind.
    Round {
        run: Run,
        round: u64,
        /// Former versions do not say it.
        #[serde(default)]
        said: usize,
    },
    /// A session has begun to follow a channel.
    Subscribed { user: UserId, channel: ChannelName },
    /// A push has reached a user, the first of the user's sessions.
    Delivered { user: UserId, push: MessageId },
    /// A push is seen by a user: a client has said so.
    Shown { user: UserId, push: MessageId },
    /// The time of a push was over before it reached a user.
    Expired { user: UserId, push: MessageId, at: Time },
}
