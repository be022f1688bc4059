//! A client, as one in an application would be: it keeps its cursor, drops repeats, and writes down what it
//! was promised and given.

use std::collections::{BTreeMap, BTreeSet};

use encke_history::{History, Record};
use encke_hub::Pulled;
use encke_proto::{ChannelName, Cursor, Epoch, Offset, SessionId, Time, UserId};

/// See the module.
#[derive(Debug)]
pub struct Client {
    /// Its place among all clients.
    pub at: usize,
    /// Whose it is.
    pub user: UserId,
    /// The session that it was told of.
    pub session: Option<SessionId>,
    /// Where it goes on.
    pub cursor: Option<Cursor>,
    /// Its connection.
    pub conn: Option<u64>,
    /// Whether the connection's session has begun.
    pub begun: bool,
    /// Whether there is something to pull.
    pub ready: bool,
    /// The public channels that it follows.
    pub wants: BTreeSet<ChannelName>,
    seen: BTreeMap<ChannelName, (Epoch, Offset)>,
}

impl Client {
    /// A client that has never been here.
    pub fn new(at: usize, user: UserId) -> Self {
        Self {
            at,
            user,
            session: None,
            cursor: None,
            conn: None,
            begun: false,
            ready: false,
            wants: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Its connection is gone.
    pub fn disconnected(&mut self) {
        (self.conn, self.begun, self.ready) = (None, false, false);
    }

    /// It starts over, with nothing in its memory.
    pub fn forget(&mut self, history: &mut History) {
        (self.cursor, self.session) = (None, None);
        self.seen.clear();
        history.note(Record::Incarnation { client: self.at });
    }

    /// The channels that it has to name besides its cursor.
    pub fn unnamed(&self) -> Vec<ChannelName> {
        let named = |channel: &&ChannelName| {
            self.cursor.as_ref().is_none_or(|cursor| cursor.position(channel).is_none())
        };
        self.wants.iter().filter(named).cloned().collect()
    }

    /// It is told which session serves it.
    pub fn told_session(&mut self, session: SessionId, history: &mut History) {
        if self.session.replace(session) != Some(session) {
            // In a new session nothing is followed but what the cursor named, and what was asked for anew.
            for channel in self.unnamed() {
                history.note(Record::Released { client: self.at, channel });
            }
        }
    }

    /// It takes a message or a gap.
    pub fn take(&mut self, pulled: Pulled, time: Time, history: &mut History) {
        match pulled {
            Pulled::Gap(gap) if self.follows(&gap.channel) => {
                history.note(Record::Gap {
                    client: self.at,
                    channel: gap.channel,
                    from: gap.from,
                    to: gap.to,
                    time,
                });
            }
            Pulled::Message(entry) if self.follows(&entry.message().channel) => {
                let message = entry.message();
                let (channel, position) = (message.channel.clone(), message.position);
                let seen = self.seen.get(&channel).copied();
                if seen.is_none_or(|(epoch, offset)| epoch != position.epoch || offset < position.offset) {
                    self.seen.insert(channel.clone(), (position.epoch, position.offset));
                    history.note(Record::Delivered {
                        client: self.at,
                        channel,
                        position,
                        id: message.id.clone(),
                        time,
                    });
                }
            }
            Pulled::Gap(_)
            | Pulled::Message(_)
            | Pulled::Unsubscribed(_)
            | Pulled::Expiring(_)
            | Pulled::Nothing => {}
        }
    }

    fn follows(&self, channel: &ChannelName) -> bool {
        self.wants.contains(channel) || *channel == self.user.channel()
    }

    /// It takes over a cursor, as it was sent.
    pub fn take_cursor(&mut self, text: &str, time: Time, history: &mut History) {
        let mut cursor = Cursor::parse(text).expect("the hub writes cursors");
        cursor.entries.retain(|(channel, _)| self.follows(channel));
        for (channel, position) in &cursor.entries {
            history.note(Record::At { client: self.at, channel: channel.clone(), position: *position, time });
        }
        self.cursor = Some(cursor);
    }
}
