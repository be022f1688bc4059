//! The history checker: a small Jepsen. It knows nothing of hubs, only what was promised to publishers and
//! clients.

use std::collections::{BTreeMap, BTreeSet};

use encke_proto::{ChannelName, Epoch, MessageId, Offset, Position, SessionId, Time, UserId};

use crate::{History, Record};

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A message that a client should have had, and has not, and no gap was told.
    Lost,
    /// A message that an application was handed twice.
    Dup,
    /// A message that was never sent.
    Phantom,
    /// Messages that do not come in the log's order, or are not what the log has there.
    Order,
    /// A message of a channel that the session does not follow.
    Leak,
    /// A user who is told to be there and is not, or the other way round.
    Ghost,
    /// A gap where nothing is missing.
    FalseGap,
    /// A client that is not served although nothing is in its way.
    Stuck,
    /// A receipt that says something else than what happened, or takes it back.
    Receipt,
    /// A message that comes although it was cancelled or deleted.
    Retracted,
    /// Something that is left although it is not in use any more.
    Left,
}

/// A promise that was not kept.
#[derive(Debug)]
pub struct Violation {
    /// Which.
    pub kind: Kind,
    /// Which record it was found at, and what is wrong.
    pub at: usize,
    /// See `at`.
    pub what: String,
}

/// How far the checker knows a client to be in a channel.
#[derive(Clone, Copy, Debug)]
struct Place {
    position: Position,
    /// Whether messages before the position may come too: a promise only says where they must begin at the
    /// latest.
    at_most: bool,
    /// Whether a gap of unknown size was told, after which another epoch may begin.
    turned: bool,
}

#[derive(Debug, Default)]
struct Client {
    places: BTreeMap<ChannelName, Place>,
    had: BTreeSet<(ChannelName, MessageId)>,
    /// What it had before it was told that the epoch changed: it may come again, if the engine lost it and
    /// its publisher sent it again.
    had_before: BTreeSet<(ChannelName, MessageId)>,
}

#[derive(Debug, Default)]
struct Checker {
    invoked: BTreeSet<MessageId>,
    log: BTreeMap<(ChannelName, Epoch), Vec<Held>>,
    trimmed: BTreeMap<(ChannelName, Epoch), Offset>,
    forgot: bool,
    /// By the newer epoch: which one it goes on from, and up to where.
    forks: BTreeMap<(ChannelName, Epoch), Position>,
    /// Whether logs may go on in other epochs at all.
    lineages: bool,
    asked: BTreeSet<(encke_proto::SessionId, ChannelName)>,
    clients: BTreeMap<usize, Client>,
    online: BTreeSet<(usize, encke_proto::UserId)>,
    heads: BTreeMap<ChannelName, (Position, Time)>,
    found: Vec<Violation>,
    at: usize,
}

/// A message in the engine's log, and when it expires.
type Held = (MessageId, Option<Time>);

/// Where an offset is in a log that is kept from its beginning. There is no offset 0.
fn index(offset: Offset) -> Option<usize> {
    usize::try_from(offset.checked_sub(1)?).ok()
}

/// Everything that is wrong in a history.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut checker = Checker::default();
    for (at, record) in history.records.iter().enumerate() {
        checker.at = at;
        checker.take(record);
    }
    checker.found
}

impl Checker {
    fn wrong(&mut self, kind: Kind, what: String) {
        self.found.push(Violation { kind, at: self.at, what });
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Invoked(id) => {
                self.invoked.insert(id.clone());
            }
            Record::Appended { channel, position, id, expires } => {
                self.appended(channel, *position, id, *expires);
            }
            Record::Trimmed { channel, upto } => {
                self.trimmed.insert((channel.clone(), upto.epoch), upto.offset);
            }
            Record::Cancelled { channel, position } => self.cancelled(channel, *position),
            Record::Retracted(what) => self.wrong(Kind::Retracted, what.clone()),
            Record::Forgot => self.forgot = true,
            Record::Lineages => self.lineages = true,
            Record::Forked { channel, kept, epoch } => {
                self.forks.insert((channel.clone(), *epoch), *kept);
            }
            Record::Asked { session, channel } => {
                self.asked.insert((*session, channel.clone()));
            }
            Record::Unasked { session, channel } => {
                self.asked.remove(&(*session, channel.clone()));
            }
            Record::Sent { session, channel } => self.sent(*session, channel),
            Record::Incarnation { client } => {
                self.clients.insert(*client, Client::default());
            }
            Record::At { client, channel, position, time } => self.cursor(*client, channel, *position, *time),
            Record::Promised { client, channel, position } => {
                let places = &mut self.clients.entry(*client).or_default().places;
                places.entry(channel.clone()).or_insert(Place {
                    position: *position,
                    at_most: true,
                    turned: false,
                });
            }
            Record::Released { client, channel } => {
                self.clients.entry(*client).or_default().places.remove(channel);
            }
            Record::Delivered { client, channel, position, id, time } => {
                self.delivered(*client, channel, *position, id, *time)
            }
            Record::Gap { client, channel, from, to, time } => {
                self.gap(*client, channel, (*from, *to), *time)
            }
            Record::Presence { node, user, online } => self.presence(*node, user, *online),
            Record::Truth { node, user, online } => {
                if self.online.contains(&(*node, user.clone())) != *online {
                    self.wrong(
                        Kind::Ghost,
                        format!("node {node} is wrong about {user}, who is online: {online}"),
                    );
                }
            }
            Record::Head { channel, position, time } => {
                self.heads.insert(channel.clone(), (*position, *time));
            }
            Record::Judged { client } => self.judge(*client),
            Record::Stuck { client } => self.wrong(Kind::Stuck, format!("client {client} is not served")),
            Record::Left { node, sessions, channels } => {
                self.wrong(
                    Kind::Left,
                    format!("node {node} still has {sessions} sessions and {channels} channels"),
                );
            }
            Record::Broken(what) => self.wrong(Kind::Left, what.clone()),
        }
    }

    fn appended(&mut self, channel: &ChannelName, position: Position, id: &MessageId, expires: Option<Time>) {
        let log = self.log.entry((channel.clone(), position.epoch)).or_default();
        log.push((id.clone(), expires));
        if log.len() as u64 != position.offset {
            self.wrong(Kind::Order, format!("the engine's log of {channel} does not rise by one"));
        }
    }

    /// It is as good as expired.
    fn cancelled(&mut self, channel: &ChannelName, position: Position) {
        let log = self.log.get_mut(&(channel.clone(), position.epoch));
        let held = index(position.offset).and_then(|at| log?.get_mut(at));
        if let Some((_, expires)) = held {
            *expires = Some(Time(0));
        }
    }

    fn sent(&mut self, session: SessionId, channel: &ChannelName) {
        if !self.asked.contains(&(session, channel.clone())) {
            let what = format!("{session:?} was sent something of {channel}, which it does not follow");
            self.wrong(Kind::Leak, what);
        }
    }

    fn presence(&mut self, node: usize, user: &UserId, online: bool) {
        let key = (node, user.clone());
        if !(if online { self.online.insert(key) } else { self.online.remove(&key) }) {
            self.wrong(Kind::Ghost, format!("{user} is told twice to be online: {online}"));
        }
    }

    fn place(&self, client: usize, channel: &ChannelName) -> Option<Place> {
        self.clients.get(&client)?.places.get(channel).copied()
    }

    /// The last offset of `old` that is the same message in `now`: none when they have nothing to do with
    /// each other.
    fn shared(&self, channel: &ChannelName, old: Epoch, now: Epoch) -> Option<Offset> {
        let (mut kept, mut epoch) = (Offset::MAX, now);
        // Each step leads to an earlier epoch, and there are no more steps than forks.
        for _ in 0..=self.forks.len() {
            if epoch == old {
                return Some(kept);
            }
            let Some(fork) = self.forks.get(&(channel.clone(), epoch)) else { break };
            (kept, epoch) = (kept.min(fork.offset), fork.epoch);
        }
        // Before the first message all epochs are the same: nothing that was had is not there.
        self.lineages.then_some(0)
    }

    /// Whether `earlier`, in another epoch, is at or before where `at` is in the epoch that it has been
    /// carried to.
    fn carries(&self, channel: &ChannelName, at: Position, earlier: Position) -> bool {
        let kept = self.shared(channel, at.epoch, earlier.epoch);
        at.epoch != earlier.epoch && kept.is_some_and(|kept| at.offset <= kept) && earlier.offset < at.offset
    }

    fn put(&mut self, client: usize, channel: &ChannelName, position: Position) {
        let place = Place { position, at_most: false, turned: false };
        self.clients.entry(client).or_default().places.insert(channel.clone(), place);
    }

    /// The first offset between two, both excluded, that nothing excuses.
    fn missing(
        &self,
        client: usize,
        channel: &ChannelName,
        epoch: Epoch,
        (after, before): (Offset, Offset),
        time: Time,
        trimmed: bool,
    ) -> Option<Offset> {
        let key = (channel.clone(), epoch);
        let had = self.clients.get(&client);
        let (log, gone) = (self.log.get(&key), self.trimmed.get(&key).copied().unwrap_or(0));
        (after.saturating_add(1)..before).find(|offset| {
            let held = log.and_then(|log| log.get(index(*offset)?));
            let expired = held.and_then(|(_, expires)| *expires).is_some_and(|expires| expires <= time);
            // What it had before it left the channel and came back, it drops as a repeat.
            let had = held.is_some_and(|(id, _)| {
                let key = (channel.clone(), id.clone());
                had.is_some_and(|client| client.had.contains(&key) || client.had_before.contains(&key))
            });
            !(trimmed && *offset <= gone || expired || had)
        })
    }

    /// A client has come to `position`, up to which it should have had everything.
    fn comes_to(
        &mut self,
        client: usize,
        channel: &ChannelName,
        position: Position,
        upto: Offset,
        time: Time,
    ) {
        let Some(place) = self.place(client, channel) else { return };
        let kept = self.shared(channel, place.position.epoch, position.epoch);
        let carried = kept.is_some_and(|kept| place.position.offset <= kept);
        let missing = if place.position.epoch == position.epoch {
            self.missing(client, channel, position.epoch, (place.position.offset, upto), time, place.turned)
        } else if place.turned {
            // A client that was told of a gap of unknown length, and then goes on as if nothing had been
            // lost, was told wrongly.
            if carried && (1..upto).contains(&place.position.offset) {
                let at = place.position.offset;
                self.wrong(
                    Kind::FalseGap,
                    format!("client {client} was told of a loss in {channel}, and {at} is where it was"),
                );
            }
            let from = kept.unwrap_or(0).min(place.position.offset);
            self.missing(client, channel, position.epoch, (from, upto), time, true)
        } else if carried {
            self.missing(client, channel, position.epoch, (place.position.offset, upto), time, false)
        } else if place.at_most {
            // The promise was made in an epoch that the node had not heard of; the turn will be told when it
            // has.
            None
        } else {
            return self.wrong(
                Kind::Order,
                format!("client {client} is in another epoch of {channel} without a word"),
            );
        };
        if let Some(missing) = missing {
            self.wrong(Kind::Lost, format!("client {client} came to {channel} {upto} without {missing}"));
        }
    }

    fn cursor(&mut self, client: usize, channel: &ChannelName, position: Position, time: Time) {
        match self.place(client, channel) {
            // A cursor may be behind what was delivered: then messages are repeated and dropped.
            Some(place)
                if place.position.epoch == position.epoch
                    && position.offset <= place.position.offset
                    && !place.at_most => {}
            // The same in an epoch that goes on from the one that it is in.
            Some(place)
                if !place.at_most && !place.turned && self.carries(channel, place.position, position) => {}
            _ => {
                self.comes_to(client, channel, position, position.offset + 1, time);
                self.put(client, channel, position);
            }
        }
    }

    fn delivered(
        &mut self,
        client: usize,
        channel: &ChannelName,
        position: Position,
        id: &MessageId,
        time: Time,
    ) {
        if !self.invoked.contains(id) {
            self.wrong(
                Kind::Phantom,
                format!("client {client} was handed a message on {channel} that was never sent"),
            );
        }
        let held =
            self.log.get(&(channel.clone(), position.epoch)).and_then(|log| log.get(index(position.offset)?));
        if held.is_none_or(|(held, _)| held != id) {
            self.wrong(
                Kind::Order,
                format!(
                    "client {client} was handed another message as {channel} {} than the log has",
                    position.offset
                ),
            );
        }
        if !self.clients.entry(client).or_default().had.insert((channel.clone(), id.clone())) {
            self.wrong(Kind::Dup, format!("client {client} was handed {channel} {} twice", position.offset));
        }
        if let Some(place) = self.place(client, channel) {
            let carried = self
                .shared(channel, place.position.epoch, position.epoch)
                .is_some_and(|kept| place.position.offset <= kept);
            if carried && position.offset <= place.position.offset && !place.at_most && !place.turned {
                self.wrong(
                    Kind::Order,
                    format!(
                        "client {client} was handed {channel} {} after {}",
                        position.offset, place.position.offset
                    ),
                );
            }
            self.comes_to(client, channel, position, position.offset, time);
        }
        self.put(client, channel, position);
    }

    fn gap(
        &mut self,
        client: usize,
        channel: &ChannelName,
        (from, to): (Offset, Option<Offset>),
        time: Time,
    ) {
        let place = self.place(client, channel);
        let Some(to) = to else {
            if !self.forgot {
                self.wrong(
                    Kind::FalseGap,
                    format!("client {client} was told of a new epoch of {channel} that there is not"),
                );
            }
            let client = self.clients.entry(client).or_default();
            if let Some(place) = client.places.get_mut(channel) {
                place.turned = true;
            }
            let before: Vec<_> = client.had.iter().filter(|(of, _)| of == channel).cloned().collect();
            for key in before {
                client.had.remove(&key);
                client.had_before.insert(key);
            }
            return;
        };
        // In the midst of a change of the epoch it is not known which epoch the gap is in.
        let Some(place) = place.filter(|place| !place.turned) else { return };
        let epoch = place.position.epoch;
        if self.missing(client, channel, epoch, (place.position.offset, from), time, false).is_some() {
            self.wrong(
                Kind::Lost,
                format!("the gap of client {client} in {channel} begins at {from}, too late"),
            );
        }
        if to > self.trimmed.get(&(channel.clone(), epoch)).copied().unwrap_or(0) {
            self.wrong(
                Kind::FalseGap,
                format!("client {client} was told that {channel} {to} is gone, which it is not"),
            );
        }
        // One that is told again after a reconnect moves no client back.
        if to > place.position.offset || place.at_most {
            self.put(client, channel, Position { epoch, offset: to });
        }
    }

    fn judge(&mut self, client: usize) {
        let places: Vec<_> = self.clients.entry(client).or_default().places.clone().into_iter().collect();
        for (channel, place) in places {
            let Some((head, time)) = self.heads.get(&channel).copied() else { continue };
            let missing = match self.shared(&channel, place.position.epoch, head.epoch) {
                Some(kept) if place.position.offset <= kept => self.missing(
                    client,
                    &channel,
                    head.epoch,
                    (place.position.offset, head.offset + 1),
                    time,
                    place.turned,
                ),
                kept => self.missing(
                    client,
                    &channel,
                    head.epoch,
                    (kept.unwrap_or(0), head.offset + 1),
                    time,
                    true,
                ),
            };
            if let Some(missing) = missing {
                self.wrong(Kind::Lost, format!("client {client} never had {channel} {missing}"));
            }
        }
    }
}
