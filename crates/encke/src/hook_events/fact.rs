//! What a node writes down of what has happened in its hubs. Many stand in one message of the log.

use std::sync::Arc;

use encke_engine::NodeId;
use encke_proto::{ChannelName, MessageId, Time, UserId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::subject::Subject;

/// An incarnation of a node. Of a node that is alone, a new one each time it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(pub(super) NodeId);

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
pub enum Fact {
    /// A channel has its first follower there: a user's own channel, the user's first session; or a member
    /// its first connection. Said again in each later round, as long as it has any.
    Came {
        /// Which.
        channel: Subject,
        /// Where.
        run: Run,
        /// In which round.
        #[serde(default)]
        round: u64,
        /// What a dialect knows of a member: JSON.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<Arc<str>>,
    },
    /// It has none there any more.
    Went {
        /// Which.
        channel: Subject,
        /// Where.
        run: Run,
    },
    /// Something that a dialect tells by itself.
    Said {
        /// What: JSON, as it is told.
        event: Arc<str>,
    },
    /// All channels that have followers there were said in this round, so many: what was said in rounds
    /// before it alone is not so any more. It mends what facts that were lost have left behind.
    Round {
        /// Where.
        run: Run,
        /// Which.
        round: u64,
        /// How many. Former versions do not say it.
        #[serde(default)]
        said: usize,
    },
    /// A session has begun to follow a channel.
    Subscribed {
        /// Whose.
        user: UserId,
        /// Which.
        channel: ChannelName,
    },
    /// A push has reached a user, the first of the user's sessions.
    Delivered {
        /// Whom.
        user: UserId,
        /// Which.
        push: MessageId,
    },
    /// A push is seen by a user: a client has said so.
    Shown {
        /// By whom.
        user: UserId,
        /// Which.
        push: MessageId,
    },
    /// The time of a push was over before it reached a user.
    Expired {
        /// Whom it has not reached.
        user: UserId,
        /// Which.
        push: MessageId,
        /// When.
        at: Time,
    },
}
