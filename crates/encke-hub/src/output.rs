//! What the hub tells its driver to do, as plain values. Carrying it out, with sockets, engine calls and
//! messages to other nodes, is the driver's part.

use encke_proto::{
    ChannelName, Close, Cursor, ErrorCode, MessageId, Offset, Position, SessionId, Time, TraceContext, UserId,
};
use serde::{Deserialize, Serialize};

use crate::{ConnKey, ControlReply, Key, Reached};

/// How a connection's service ends, when it is not by the driver's own doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The session was ended on purpose: tell why, and free the socket.
    Closed(Box<CloseNotice>),
    /// A newer connection of the same session took over; the session lives on.
    TakenOver,
    /// The request cannot be served: answer with this error.
    Refused(ErrorCode),
}

/// The last that a connection hears of its session, which is gone by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseNotice {
    /// Why it was ended.
    pub close: Close,
    /// Which it was.
    pub session: SessionId,
    /// How far it had come, as text: a client that comes back on purpose goes on there.
    pub cursor: String,
}

/// To which question a page from the engine is the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadKey {
    pub(crate) session: Key,
    pub(crate) channel: Key,
    /// Which of the hub's questions it is: a subscription may move while the engine reads.
    pub(crate) number: u32,
}

/// What a session follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// The channels, the user's own not among them.
    pub channels: Vec<ChannelName>,
    /// Where it began in those that no cursor of its client has named yet. It may have come further since,
    /// but it is not known yet whether that arrived.
    pub began: Cursor,
}

/// A message of a trace that is recorded, as a connection was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedMessage {
    /// The trace, and the span that the message is from.
    pub trace: TraceContext,
    /// The message.
    pub id: MessageId,
    /// The channel whose log it is in.
    pub channel: ChannelName,
    /// Its place in that log.
    pub position: Position,
    /// When the server accepted it.
    pub time: Time,
    /// What the driver calls the connection's transport.
    pub transport: &'static str,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The session of this connection knows its positions: a stream begins, a poll that is not held is
    /// answered with what there is.
    Begun {
        /// The connection.
        conn: ConnKey,
        /// The session that it serves.
        session: SessionId,
    },
    /// There is something to pull for this connection. Said again, without `broadcast`, when something comes
    /// for it alone while it is ready among very many.
    Ready {
        /// The connection.
        conn: ConnKey,
        /// Whether very many become ready together; a connection that becomes ready alone should not wait
        /// behind them.
        broadcast: bool,
    },
    /// This connection's service is over. The hub has forgotten the connection already.
    Ended {
        /// The connection.
        conn: ConnKey,
        /// How.
        ending: Ending,
    },
    /// Read the end of a channel's log, and for a user's own channel how far it was handed over; answer with
    /// [`crate::Hub::opened`].
    Open {
        /// The channel, for the answer.
        key: Key,
        /// The channel, for the engine.
        channel: ChannelName,
    },
    /// Read a page for one session that is behind; answer with [`crate::Hub::read`].
    Read {
        /// For the answer.
        key: ReadKey,
        /// The channel.
        channel: ChannelName,
        /// Behind this offset.
        after: Offset,
    },
    /// This node wants the channel's messages from now on.
    Watch(ChannelName),
    /// This node has no receiver for the channel any more.
    Unwatch(ChannelName),
    /// Everything in the user's own channel up to here was handed to a connection.
    Handed {
        /// The user.
        user: UserId,
        /// Up to here.
        position: Position,
    },
    /// A device has got farther in the user's own channel: its place is to be kept.
    Reached(Box<Reached>),
    /// The client says that everything in the user's own channel up to here was shown to the person.
    Shown {
        /// The user.
        user: UserId,
        /// Up to here.
        position: Position,
    },
    /// A message of a trace that is recorded was pulled for a connection.
    Traced(Box<TracedMessage>),
    /// The first session of the user began, of whatever kind: who asks is told from here on that the user is
    /// online.
    Present(UserId),
    /// The last session of the user is gone.
    Absent(UserId),
    /// The first session of the user began that outlives its connections.
    Online(UserId),
    /// The last such session of the user is gone.
    Offline(UserId),
    /// A session was closed on purpose; a client that comes back with it is to be told, on whatever node.
    Closed {
        /// Whose it was.
        user: UserId,
        /// Which.
        session: SessionId,
    },
    /// A control request is done; whatever it caused stands before this in the order of outputs.
    Replied {
        /// The number that the request came with.
        ticket: u64,
        /// The answer.
        reply: ControlReply,
    },
}

#[cfg(test)]
mod tests {
    use super::Output;

    /// A broadcast leaves one for each who follows, so what is large is boxed.
    #[test]
    fn an_output_is_small() {
        assert!(size_of::<Output>() <= 48, "{}", size_of::<Output>());
    }
}
