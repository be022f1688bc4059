//! The records of a run: what the checker reads, and what tells two runs apart.

use std::hash::{DefaultHasher, Hash, Hasher};

use encke_proto::{ChannelName, Epoch, MessageId, Offset, Position, SessionId, Time, UserId};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// A publisher has a message to send.
    Invoked(MessageId),
    /// The engine holds it.
    Appended {
        /// In which channel.
        channel: ChannelName,
        /// Where.
        position: Position,
        /// Which message.
        id: MessageId,
        /// When its time is over.
        expires: Option<Time>,
    },
    /// Retention took everything up to this offset.
    Trimmed {
        /// In which channel.
        channel: ChannelName,
        /// The last that went.
        upto: Position,
    },
    /// A message was cancelled: it need not come any more.
    Cancelled {
        /// In which channel.
        channel: ChannelName,
        /// Where.
        position: Position,
    },
    /// A node gives out what it was told is cancelled or deleted.
    Retracted(String),
    /// The engine lost everything; a new epoch begins in every channel.
    Forgot,
    /// The engine is one whose logs may go on in other epochs; who stands before the first message of one is
    /// told of that by the next message alone.
    Lineages,
    /// The log goes on in another epoch; up to here it is the same in both. What was behind it in the old one
    /// was lost by the engine itself.
    Forked {
        /// In which channel.
        channel: ChannelName,
        /// The old epoch, and the last offset that was kept of it.
        kept: Position,
        /// The epoch in which it goes on.
        epoch: Epoch,
    },
    /// A client asked for a channel in this session, or is not in it any more.
    Asked {
        /// Which session.
        session: SessionId,
        /// In which channel.
        channel: ChannelName,
    },
    /// The same, undone.
    Unasked {
        /// Which session.
        session: SessionId,
        /// In which channel.
        channel: ChannelName,
    },
    /// A node sent something of this channel to a session's connection.
    Sent {
        /// Which session.
        session: SessionId,
        /// In which channel.
        channel: ChannelName,
    },
    /// A client begins anew: without cursor, without memory.
    Incarnation {
        /// Which client.
        client: usize,
    },
    /// A cursor that the client took over says so.
    At {
        /// Which client.
        client: usize,
        /// In which channel.
        channel: ChannelName,
        /// Where.
        position: Position,
        /// When.
        time: Time,
    },
    /// A subscription was answered when the channel's head was here; what is behind it must come.
    Promised {
        /// Which client.
        client: usize,
        /// In which channel.
        channel: ChannelName,
        /// Where.
        position: Position,
    },
    /// The client's place in this channel is not covered by anything any more, or it does not want it.
    Released {
        /// Which client.
        client: usize,
        /// In which channel.
        channel: ChannelName,
    },
    /// The application was handed a message.
    Delivered {
        /// Which client.
        client: usize,
        /// In which channel.
        channel: ChannelName,
        /// Where.
        position: Position,
        /// Which message.
        id: MessageId,
        /// When.
        time: Time,
    },
    /// The application was told of a gap.
    Gap {
        /// Which client.
        client: usize,
        /// In which channel.
        channel: ChannelName,
        /// The first that is missing.
        from: Offset,
        /// The last that is missing; none when the epoch changed.
        to: Option<Offset>,
        /// When.
        time: Time,
    },
    /// A node says that a user came online, or went offline.
    Presence {
        /// Which node.
        node: usize,
        /// Whom it is about.
        user: UserId,
        /// Whether the user is there.
        online: bool,
    },
    /// Who is truly there, when things have been at rest for longer than the grace time.
    Truth {
        /// Which node.
        node: usize,
        /// Whom it is about.
        user: UserId,
        /// Whether the user is there.
        online: bool,
    },
    /// Everything is healed and drained: the channel ends here, and this client should have it all.
    Head {
        /// In which channel.
        channel: ChannelName,
        /// Where.
        position: Position,
        /// When.
        time: Time,
    },
    /// What a client had is compared with the heads that were told before.
    Judged {
        /// Which client.
        client: usize,
    },
    /// A client that has no service although nothing is in its way.
    Stuck {
        /// Which client.
        client: usize,
    },
    /// Something is left in a hub that is not in use any more.
    Left {
        /// Which node.
        node: usize,
        /// How many sessions.
        sessions: usize,
        /// How many channels.
        channels: usize,
    },
    /// A hub's own bookkeeping is broken.
    Broken(String),
}

/// All that happened.
#[derive(Debug, Default)]
pub struct History {
    /// In the order in which it did.
    pub records: Vec<Record>,
}

impl History {
    /// Writes down what happened next.
    pub fn note(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The same for the same run, on every machine and in every process.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.records.hash(&mut hasher);
        hasher.finish()
    }

    /// How many messages applications were handed.
    #[must_use]
    pub fn deliveries(&self) -> usize {
        self.records.iter().filter(|record| matches!(record, Record::Delivered { .. })).count()
    }

    /// How many gaps applications were told of.
    #[must_use]
    pub fn gaps(&self) -> usize {
        self.records.iter().filter(|record| matches!(record, Record::Gap { .. })).count()
    }
}
