//! What each client was handed, in its order, as a history that the checker of the hub's simulation reads.

use std::collections::BTreeMap;

use encke_history::{Kind, Record, Violation, check};
use encke_proto::{ChannelName, Cursor, MessageId, Offset, Position, SessionId, Time, UserId};

use super::{Claims, Logs, Losses, Verdict};
use crate::chaos::evidence::{Id, Note};

/// What each client was handed, in its order.
pub(super) fn sequences(
    notes: &[(u64, Note)],
    claims: &Claims,
    losses: &Losses,
    logs: &Logs,
    verdict: &mut Verdict,
) {
    let mut history = History {
        records: encke_history::History::default(),
        origins: Vec::new(),
        ids: BTreeMap::new(),
        lives: BTreeMap::new(),
        claims,
    };
    for (id, at) in &claims.invoked {
        let id = history.message(*id, 0);
        history.note(*at, Record::Invoked(id));
    }
    for ((_, id), copies) in &claims.copies {
        for copy in 1..=copies.len() {
            let (at, id) = (claims.invoked.get(id).copied().unwrap_or(0), history.message(*id, copy));
            history.note(at, Record::Invoked(id));
        }
    }
    if notes.iter().any(|(_, note)| matches!(note, Note::Lineages)) {
        history.note(0, Record::Lineages);
    }
    for (channel, kept, epoch) in &logs.forks {
        history.note(0, Record::Forked { channel: channel.clone(), kept: *kept, epoch: *epoch });
    }
    for ((channel, epoch), log) in &logs.of {
        // The checker wants a log from its beginning, without holes. A place of which nothing is known is a
        // message of no publisher.
        let head = log.keys().next_back().copied().unwrap_or(0);
        for offset in 1..=head {
            let id = history.id(channel, offset, log.get(&offset).copied().unwrap_or(0));
            let position = Position { epoch: *epoch, offset };
            history.note(0, Record::Appended { channel: channel.clone(), position, id, expires: None });
        }
    }
    for (at, (ms, note)) in notes.iter().enumerate() {
        if losses.0.first().is_some_and(|(first, ..)| *first == at) {
            history.note(at, Record::Forgot);
        }
        if let Note::Gap { channel, from, to: Some(to), .. } = note
            && losses.any_before(at)
        {
            // An engine that lost the beginning of a log can say exactly what is gone.
            for epoch in claims.gone(channel, (*from, *to), *ms, logs) {
                history.note(
                    at,
                    Record::Trimmed { channel: channel.clone(), upto: Position { epoch, offset: *to } },
                );
            }
        }
        history.take(at, Time(*ms), note, verdict);
    }
    for violation in check(&history.records) {
        let at = history.origins.get(violation.at).copied().unwrap_or(0);
        verdict.violations.push(Violation { at, ..violation });
    }
}

/// Notes as the checker's records, and which note each was made of.
struct History<'a> {
    claims: &'a Claims,
    records: encke_history::History,
    origins: Vec<usize>,
    ids: BTreeMap<(Id, usize), MessageId>,
    /// Which incarnation each client is in; a session belongs to one.
    lives: BTreeMap<usize, u32>,
}

impl History<'_> {
    fn note(&mut self, at: usize, record: Record) {
        self.records.note(record);
        self.origins.push(at);
    }

    /// One text for each message, however often it is delivered.
    fn message(&mut self, id: Id, copy: usize) -> MessageId {
        self.ids
            .entry((id, copy))
            .or_insert_with(|| MessageId::from_bits((copy as u128) << 64 | u128::from(id)))
            .clone()
    }

    /// The text for the one that is there.
    fn id(&mut self, channel: &ChannelName, offset: Offset, id: Id) -> MessageId {
        let copies = self.claims.copies.get(&(channel.clone(), id));
        let copy = copies.and_then(|copies| copies.iter().position(|copy| *copy == offset));
        self.message(id, copy.map_or(0, |copy| copy + 1))
    }

    fn session(&self, client: usize) -> SessionId {
        let incarnation = self.lives.get(&client).copied().unwrap_or(0);
        SessionId::from_bits(u128::from(incarnation) << 64 | client as u128)
    }

    fn at(&mut self, at: usize, client: usize, cursor: &Cursor, time: Time) {
        for (channel, position) in &cursor.entries {
            let (channel, position) = (channel.clone(), *position);
            self.note(at, Record::At { client, channel, position, time });
        }
    }

    fn take(&mut self, at: usize, time: Time, note: &Note, verdict: &mut Verdict) {
        match note {
            Note::Began { client, cursor, .. } => {
                *self.lives.entry(*client).or_default() += 1;
                self.note(at, Record::Incarnation { client: *client });
                for (channel, _) in &cursor.entries {
                    let session = self.session(*client);
                    self.note(at, Record::Asked { session, channel: channel.clone() });
                }
                self.at(at, *client, cursor, time);
            }
            Note::Resumed { client, cursor } => self.at(at, *client, cursor, time),
            Note::Delivered { client, channel, position, id } => {
                let (session, id) = (self.session(*client), self.id(channel, position.offset, *id));
                self.note(at, Record::Sent { session, channel: channel.clone() });
                self.note(
                    at,
                    Record::Delivered {
                        client: *client,
                        channel: channel.clone(),
                        position: *position,
                        id,
                        time,
                    },
                );
            }
            Note::Gap { client, channel, from, to } => {
                self.note(
                    at,
                    Record::Gap { client: *client, channel: channel.clone(), from: *from, to: *to, time },
                );
            }
            Note::Log { channel, entries, .. } => {
                if let Some((position, _)) = entries.last() {
                    self.note(at, Record::Head { channel: channel.clone(), position: *position, time });
                }
            }
            Note::Judged { client } => self.note(at, Record::Judged { client: *client }),
            Note::Listed { look, user, online, sessions } => {
                if *online {
                    self.note(at, Record::Presence { node: *look, user: user.clone(), online: true });
                }
                if *online != (*sessions > 0) {
                    verdict.wrong(
                        Kind::Ghost,
                        at,
                        format!("{user} is listed with {sessions} sessions, and online: {online}"),
                    );
                }
                // The count is compared as so many users more.
                for number in 0..*sessions {
                    if let Some(user) = numbered(user, number) {
                        self.note(at, Record::Presence { node: *look, user, online: true });
                    }
                }
            }
            Note::Truth { look, user, sessions } => {
                self.note(at, Record::Truth { node: *look, user: user.clone(), online: *sessions > 0 });
                for number in 0..SESSIONS_MAX.max(*sessions) {
                    if let Some(user) = numbered(user, number) {
                        self.note(at, Record::Truth { node: *look, user, online: number < *sessions });
                    }
                }
            }
            _ => {}
        }
    }
}

/// Up to how many sessions of a user are looked for that should not be there.
const SESSIONS_MAX: usize = 64;

/// The user's session with this number, as a user.
fn numbered(user: &UserId, number: usize) -> Option<UserId> {
    UserId::new(&format!("{user} session {number}")).ok()
}
