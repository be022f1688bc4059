//! What happened in a run, in the order in which it did: what the checker reads, and what tells two runs apart.

use std::hash::{DefaultHasher, Hash, Hasher};

use encke_proto::{ChannelName, MessageId, Offset, Position, SessionId, Time, UserId};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Record {
    /// A publisher has a message to send.
    Invoked(MessageId),
    /// The engine holds it.
    Appended {
        channel: ChannelName,
        position: Position,
        id: MessageId,
        expires: Option<Time>,
    },
    /// Retention took everything up to this offset.
    Trimmed {
        channel: ChannelName,
        upto: Position,
    },
    /// The engine lost everything; a new epoch begins in every channel.
    Forgot,
    /// A client asked for a channel in this session, or is not in it any more.
    Asked {
        session: SessionId,
        channel: ChannelName,
    },
    Unasked {
        session: SessionId,
        channel: ChannelName,
    },
    /// A node sent something of this channel to a session's connection.
    Sent {
        session: SessionId,
        channel: ChannelName,
    },
    /// A client begins anew: without cursor, without memory.
    Life {
        client: usize,
    },
    /// A cursor that the client took over says so.
    At {
        client: usize,
        channel: ChannelName,
        position: Position,
        time: Time,
    },
    /// A subscription was answered when the channel's head was here; what is behind it must come.
    Promised {
        client: usize,
        channel: ChannelName,
        position: Position,
    },
    /// The client's place in this channel is not covered by anything any more, or it does not want it.
    Released {
        client: usize,
        channel: ChannelName,
    },
    /// The application was handed a message.
    Delivered {
        client: usize,
        channel: ChannelName,
        position: Position,
        id: MessageId,
        time: Time,
    },
    /// The application was told of a gap.
    Gap {
        client: usize,
        channel: ChannelName,
        from: Offset,
        to: Option<Offset>,
        time: Time,
    },
    /// A node says that a user came online, or went offline.
    Presence {
        node: usize,
        user: UserId,
        online: bool,
    },
    /// Who is truly there, when things have been at rest for longer than the grace time.
    Truth {
        node: usize,
        user: UserId,
        online: bool,
    },
    /// Everything is healed and drained: the channel ends here, and this client should have it all.
    Head {
        channel: ChannelName,
        position: Position,
        time: Time,
    },
    Judged {
        client: usize,
    },
    /// A client that has no service although nothing is in its way.
    Stuck {
        client: usize,
    },
    /// Something is left in a hub that nobody uses any more.
    Left {
        node: usize,
        sessions: usize,
        channels: usize,
    },
    /// A hub's own bookkeeping is broken.
    Broken(String),
}

#[derive(Debug, Default)]
pub struct History {
    pub records: Vec<Record>,
}

impl History {
    pub fn note(&mut self, record: Record) {
        self.records.push(record);
    }

    /// The same for the same run, on every machine and in every process.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.records.hash(&mut hasher);
        hasher.finish()
    }

    pub fn deliveries(&self) -> usize {
        self.records.iter().filter(|record| matches!(record, Record::Delivered { .. })).count()
    }

    pub fn gaps(&self) -> usize {
        self.records.iter().filter(|record| matches!(record, Record::Gap { .. })).count()
    }
}
