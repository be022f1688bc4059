//! What is kept of a session of Bayeux besides the session of the hub: what its client subscribed to, and up
//! to where it has acknowledged. The hub's session may end sooner and begin again under the same id; it goes
//! on from here.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use encke_hub::Start;
use encke_proto::{
    ChannelName, Cursor, Entry, Position, SessionId,
    codec::bayeux::{Pattern, channel_of, is_glob},
    limits::SESSION_MAX_CHANNELS,
};
use serde::{Deserialize, Serialize};

use crate::auth::Authenticated;

/// The most batches that are sent and not acknowledged. A client acknowledges each with its next connect, and
/// what it has not is sent again in one.
const SENT_MAX: usize = 4;

/// In place of the number of a batch, for a reply that needs none: its client has it when it connects again.
const UNNUMBERED: u64 = 0;

/// The highest number that a client may say that it has received: the largest that JavaScript counts to.
const BATCH_MAX: u64 = (1 << 53) - 1;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// Whether its client acknowledges (the extension `ack`).
    pub(super) acks: bool,
    /// Whether its client sends a publish again that was not answered, under the same id, as Faye's do.
    pub(super) retries: bool,
    /// Who it is, as the handshake proved, or the last token that its client brought.
    owner: Mutex<Arc<Authenticated>>,
    state: Mutex<State>,
}

/// What changes of it.
#[derive(Debug, Default)]
pub(super) struct State {
    /// What its client subscribed to; at most [`encke_proto::limits::SESSION_MAX_CHANNELS`].
    pub(super) patterns: Vec<Pattern>,
    /// The logs that it follows for that.
    pub(super) logs: Vec<ChannelName>,
    /// What it may not follow any more, as far as its client may not have heard of that. As many at most.
    lost: Vec<Lost>,
    /// Up to where its client has everything.
    base: Cursor,
    /// Batches that were sent since, and where each ends.
    sent: VecDeque<(u64, Cursor)>,
    /// The number of the last batch.
    batch: u64,
    /// By how many more the numbers of a session that was written down go on: no other node, which may have
    /// sent batches that are not written down, has used them.
    skips: u64,
    /// How many connects there were.
    pub(super) connects: u64,
    /// Whether it counts among those that have not connected yet.
    pub(super) is_counted: bool,
    /// When it is over if its client says nothing, in milliseconds of the clock that never goes back.
    pub(super) due_ms: u64,
    /// When it is written down next, on that clock; none when it never was.
    pub(super) journal_ms: Option<u64>,
    /// What its client is told before its connection is closed: the answer to its disconnect.
    pub(super) last_words: Option<Vec<u8>>,
    /// How many requests are changing it; see [`Session::change`].
    changes: usize,
    /// Whether it goes on at another node.
    is_given: bool,
}

/// A change of a session that is under way. No other node has it as long as this lasts.
#[derive(Debug)]
pub(super) struct Changing(pub(super) Arc<Session>);

impl Drop for Changing {
    fn drop(&mut self) {
        self.0.state().changes -= 1;
    }
}

/// A subscription that was taken away.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Lost {
    pattern: Pattern,
    /// The batch with which its client was told first, or [`UNNUMBERED`], if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<u64>,
}

/// Where a connect goes on.
#[derive(Debug)]
pub(super) struct GoesOn {
    pub(super) start: Start,
    /// Logs that it follows and stands nowhere in yet.
    pub(super) unplaced: Vec<ChannelName>,
    /// Whether it is the first.
    pub(super) is_first: bool,
    /// Whether something that was sent is to be sent again.
    pub(super) resends: bool,
}

/// How a session stands. Former versions did not write all of it down.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Snapshot {
    patterns: Vec<Pattern>,
    logs: Vec<ChannelName>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<Lost>,
    base: Cursor,
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    sent: VecDeque<(u64, Cursor)>,
    batch: u64,
    skips: u64,
    connects: u64,
}

impl Snapshot {
    /// As it is written down: what is not acknowledged yet is sent again, and told again.
    pub(super) fn acknowledged(mut self) -> Self {
        self.sent.clear();
        for lost in &mut self.lost {
            lost.told = lost.told.filter(|told| *told != UNNUMBERED);
        }
        self
    }

    /// Of a session that was written down and has connected before. `skips` is random.
    pub(super) fn skipping(self, skips: u64) -> Self {
        Self { skips, connects: 1, ..self }
    }
}

impl Session {
    pub(super) fn new(id: SessionId, owner: Authenticated, acks: bool, retries: bool) -> Self {
        Self { id, acks, retries, owner: Mutex::new(Arc::new(owner)), state: Mutex::default() }
    }

    /// Who it is, and by what token.
    pub(super) fn owner(&self) -> Arc<Authenticated> {
        Arc::clone(&self.owner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same user has a fresh token.
    pub(super) fn set_owner(&self, owner: Authenticated) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(owner);
    }

    /// One that was written down, or comes from another node.
    pub(super) fn restored(self, snapshot: Snapshot) -> Self {
        let Snapshot { patterns, logs, lost, base, sent, batch, skips, connects } = snapshot;
        let journal_ms = Some(0);
        let mut state = State { logs, base, sent, batch, skips, connects, journal_ms, ..State::default() };
        for pattern in &patterns {
            state.add(pattern);
        }
        state.lost = lost;
        Self { state: Mutex::new(state), ..self }
    }

    /// A change begins that takes a while; none if the session goes on at another node.
    pub(super) fn change(self: &Arc<Self>) -> Option<Changing> {
        let mut state = self.state();
        if state.is_given {
            return None;
        }
        state.changes += 1;
        Some(Changing(Arc::clone(self)))
    }

    /// Whether it goes on at another node.
    pub(super) fn is_given(&self) -> bool {
        self.state().is_given
    }

    /// It goes on at another node, as it stands here and with the times that it has, which are `due_ms` and
    /// `journal_ms` of its state. None while it changes.
    pub(super) fn give(&self) -> Option<(Snapshot, u64, Option<u64>)> {
        let mut state = self.state();
        if state.is_given || state.changes > 0 {
            return None;
        }
        state.is_given = true;
        Some((state.snapshot(), state.due_ms, state.journal_ms.take()))
    }

    /// Nothing that changes it leaves it half changed, so one that has panicked leaves it as it was.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its client connects, and has received the batch of this number.
    pub(super) fn connect(&self, acknowledged: Option<u64>) -> GoesOn {
        let mut state = self.state();
        if self.acks {
            while let Some((number, _)) = state.sent.front()
                && acknowledged.is_some_and(|last| *number <= last)
            {
                if let Some((_, at)) = state.sent.pop_front() {
                    state.advance(at);
                }
            }
            // Numbers go on behind the last that the client has seen, also after a crash.
            let skips = std::mem::take(&mut state.skips);
            state.batch = state.batch.max(acknowledged.unwrap_or(0).min(BATCH_MAX)) + skips;
        } else if let Some((_, at)) = state.sent.pop_back() {
            state.advance(at);
        }
        let has_heard = |told: u64| !self.acks || acknowledged.is_some_and(|last| told <= last);
        state.lost.retain(|lost| !lost.told.is_some_and(has_heard));
        let resends = !state.sent.is_empty();
        state.sent.clear();
        state.connects += 1;
        let unplaced = state.logs.iter().filter(|log| state.base.position(log).is_none()).cloned().collect();
        let start =
            if state.base.entries.is_empty() { Start::Absent } else { Start::Cursor(state.base.clone()) };
        GoesOn { start, unplaced, is_first: state.connects == 1, resends }
    }

    /// Its client connects beside a stream of events, where nothing is acknowledged. It has heard what the
    /// reply to its last such connect said, and is told the rest now.
    pub(super) fn connect_beside_stream(&self) {
        let mut state = self.state();
        state.lost.retain(|lost| lost.told != Some(UNNUMBERED));
        state.lost.iter_mut().for_each(|lost| lost.told = Some(UNNUMBERED));
    }

    /// Whether its client has received what was not sent here: it was served elsewhere meanwhile.
    pub(super) fn is_stale(&self, acknowledged: Option<u64>) -> bool {
        self.acks && acknowledged.is_some_and(|last| last > self.state().batch)
    }

    /// Everything up to here is sent with a connect's answer; the number of that batch.
    pub(super) fn sent(&self, at: Cursor) -> u64 {
        let mut state = self.state();
        state.batch += 1;
        let batch = state.batch;
        if state.sent.len() >= SENT_MAX {
            state.sent.pop_back();
        }
        state.sent.push_back((batch, at));
        batch
    }

    /// Nothing is sent with a connect's answer; the number of that batch.
    pub(super) fn sent_nothing(&self) -> u64 {
        let base = self.state().base.clone();
        self.sent(base)
    }

    /// Everything up to here is sent, to a client that acknowledges nothing.
    pub(super) fn delivered(&self, at: Cursor) {
        let mut state = self.state();
        state.sent.clear();
        state.advance(at);
    }

    /// Logs are not followed any more, since rules or the token forbid it. What was read from there alone is
    /// no subscription any more, and its client is told. Whether anything was.
    pub(super) fn lose(&self, logs: &[ChannelName]) -> bool {
        logs.iter().filter(|log| self.state().lose(log)).count() > 0
    }

    /// The subscriptions that were taken away, for the reply that ends the batch of this number. They are in
    /// each reply until the client has one of them for sure: one that acknowledges may not have a reply
    /// without a number.
    pub(super) fn tell_lost(&self, batch: Option<u64>) -> Vec<String> {
        let told = if self.acks { batch } else { Some(UNNUMBERED) };
        let mut state = self.state();
        let tell = |lost: &mut Lost| {
            lost.told = lost.told.or(told);
            lost.pattern.to_string()
        };
        state.lost.iter_mut().map(tell).collect()
    }

    /// Whether a message is for its client, which has one copy of each: from the narrowest log that it
    /// follows and that holds the message, and of a pattern's log only what it subscribed to.
    pub(super) fn wants(&self, entry: &Entry) -> bool {
        let log = entry.message().channel.as_str();
        if !is_glob(log) {
            return true;
        }
        let Some(channel) = channel_of(entry.message()) else { return false };
        let state = self.state();
        // It was subscribed to by way of another node, which knows the pattern. Clients pass over what they
        // did not subscribe to.
        if !state.logs.iter().any(|followed| followed.as_str() == log) {
            return true;
        }
        let narrower = |other: &ChannelName| {
            let other = other.as_str();
            other == channel
                || (other.len() > log.len()
                    && other.strip_suffix("**").is_some_and(|stem| channel.starts_with(stem)))
        };
        state.patterns.iter().any(|pattern| pattern.fits(channel)) && !state.logs.iter().any(narrower)
    }

    /// How it stands.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.state().snapshot()
    }
}

impl State {
    /// Subscribes to a pattern; the log that is to be followed for it, if that is new.
    pub(super) fn add(&mut self, pattern: &Pattern) -> Option<ChannelName> {
        if !self.patterns.contains(pattern) {
            self.patterns.push(pattern.clone());
            self.lost.retain(|lost| lost.pattern != *pattern);
        }
        // What a log that is followed already holds, comes from there: it goes on where it is.
        if pattern.is_service() || self.logs.iter().any(|log| pattern.is_within(log.as_str())) {
            return None;
        }
        let log = ChannelName::public(&pattern.log()).ok()?;
        self.logs.push(log.clone());
        Some(log)
    }

    /// Takes a pattern away; the logs that are not to be followed any more.
    pub(super) fn remove(&mut self, pattern: &Pattern) -> Vec<ChannelName> {
        self.patterns.retain(|other| other != pattern);
        let is_needed =
            |log: &ChannelName| self.patterns.iter().any(|pattern| pattern.is_within(log.as_str()));
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.logs).into_iter().partition(is_needed);
        self.logs = kept;
        self.leave(&gone);
        gone
    }

    /// Takes away what was read from a log alone; whether that was anything.
    fn lose(&mut self, log: &ChannelName) -> bool {
        self.logs.retain(|other| other != log);
        let is_elsewhere = |pattern: &Pattern| {
            pattern.log() != log.as_str() && self.logs.iter().any(|other| pattern.is_within(other.as_str()))
        };
        let is_lost = |pattern: &Pattern| {
            !pattern.is_service() && pattern.is_within(log.as_str()) && !is_elsewhere(pattern)
        };
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.patterns).into_iter().partition(is_lost);
        self.patterns = kept;
        self.leave(std::slice::from_ref(log));
        let is_any = !gone.is_empty();
        self.lost.extend(gone.into_iter().map(|pattern| Lost { pattern, told: None }));
        self.lost.truncate(SESSION_MAX_CHANNELS);
        is_any
    }

    /// These logs are followed no more: it stands nowhere in them.
    fn leave(&mut self, logs: &[ChannelName]) {
        let cursors = self.sent.iter_mut().map(|(_, at)| at).chain([&mut self.base]);
        cursors.for_each(|cursor| cursor.entries.retain(|(channel, _)| !logs.contains(channel)));
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            patterns: self.patterns.clone(),
            logs: self.logs.clone(),
            lost: self.lost.clone(),
            base: self.base.clone(),
            sent: self.sent.clone(),
            batch: self.batch,
            skips: self.skips,
            connects: self.connects,
        }
    }

    /// Where it begins in a log, if it stands nowhere in it yet.
    pub(super) fn place(&mut self, log: &ChannelName, at: Position) {
        if self.logs.contains(log) && self.base.position(log).is_none() {
            self.base.set(log, at);
        }
    }

    /// Where it stands in these logs, as far as that is known.
    pub(super) fn places(&self, logs: &[ChannelName]) -> Cursor {
        let places = logs.iter().filter_map(|log| Some((log.clone(), self.base.position(log)?)));
        Cursor { entries: places.collect(), closed: false }
    }

    /// The client has everything up to here.
    fn advance(&mut self, to: Cursor) {
        let old = std::mem::replace(&mut self.base, to);
        self.base.entries.retain(|(channel, _)| channel.is_own() || self.logs.contains(channel));
        // A log that was followed only since.
        for (log, at) in old.entries {
            if self.base.position(&log).is_none() && (log.is_own() || self.logs.contains(&log)) {
                self.base.entries.push((log, at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use encke_proto::{Body, Epoch, Message, MessageId, Time, TokenInfo, UserId, codec::bayeux};
    use serde_json::value::RawValue;

    use super::*;
    use crate::auth::{Grants, Identity};

    fn session(acks: bool) -> Session {
        let identity = Identity {
            user: UserId::new("alice").unwrap(),
            grants: Grants::default().into(),
            expires: Time(0),
            by_cookie: false,
        };
        let owner = Authenticated { identity, token: TokenInfo::default() };
        Session::new(SessionId::from_bits(1), owner, acks, false)
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::public(text).unwrap()
    }

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch(1), offset }
    }

    fn cursor(places: &[(&str, u64)]) -> Cursor {
        let entries = places.iter().map(|(log, offset)| (name(log), at(*offset))).collect();
        Cursor { entries, closed: false }
    }

    fn subscribe(session: &Session, patterns: &[&str]) {
        let mut state = session.state();
        for pattern in patterns {
            if let Some(log) = state.add(&Pattern::parse(pattern).unwrap()) {
                state.place(&log, at(0));
            }
        }
    }

    fn base(goes_on: &GoesOn) -> &Cursor {
        match &goes_on.start {
            Start::Cursor(cursor) => cursor,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again() {
        let session = session(true);
        subscribe(&session, &["/a"]);
        assert!(session.connect(Some(0)).is_first);
        assert_eq!(session.sent(cursor(&[("/a", 3)])), 1);
        let again = session.connect(Some(0));
        assert_eq!((base(&again), again.resends), (&cursor(&[("/a", 0)]), true));
        assert_eq!(session.sent(cursor(&[("/a", 4)])), 2);
        let on = session.connect(Some(2));
        assert_eq!((base(&on), on.resends, on.is_first), (&cursor(&[("/a", 4)]), false, false));
        // Its client has more than was sent here.
        assert!(session.is_stale(Some(3)) && !session.is_stale(Some(2)) && !session.is_stale(None));
        // Whatever it says.
        session.connect(Some(u64::MAX));
        assert_eq!(session.sent(Cursor::default()), BATCH_MAX + 1);
    }

    #[test]
    fn a_session_that_was_written_down_uses_no_number_of_another_node() {
        let snapshot = Snapshot { base: cursor(&[("/a", 3)]), batch: 7, ..Snapshot::default() };
        let session = session(true).restored(snapshot.skipping(100));
        assert!(session.is_stale(Some(9)), "its client has more than was written down");
        session.connect(Some(9));
        assert_eq!(session.sent(cursor(&[("/a", 4)])), 110);
        session.connect(Some(110));
        assert_eq!(session.sent(cursor(&[("/a", 4)])), 111);
    }

    #[test]
    fn a_session_goes_on_at_one_other_node_as_it_stood() {
        let session = Arc::new(session(true));
        subscribe(&session, &["/a/*", "/a/b"]);
        session.state().remove(&Pattern::parse("/a/*").unwrap());
        session.state().journal_ms = Some(7);
        session.connect(Some(0));
        session.sent(cursor(&[("/a/**", 3)]));
        let changing = session.change().unwrap();
        assert!(session.give().is_none(), "it changes");
        drop(changing);
        session.state().due_ms = 5;
        let (snapshot, due_ms, journal_ms) = session.give().unwrap();
        assert_eq!((due_ms, journal_ms, session.state().journal_ms), (5, Some(7), None));
        assert!(session.is_given() && session.change().is_none() && session.give().is_none());
        let snapshot = serde_json::to_string(&snapshot).unwrap();
        let there = Session::new(session.id, Authenticated::clone(&session.owner()), true, false);
        let there = there.restored(serde_json::from_str(&snapshot).unwrap());
        assert_eq!(there.state().logs, [name("/a/**")], "/a/b is read from there");
        let goes_on = there.connect(Some(1));
        assert_eq!((base(&goes_on), goes_on.is_first), (&cursor(&[("/a/**", 3)]), false));
        assert!(!goes_on.resends, "what was sent there is acknowledged here");
        assert_eq!(there.sent(cursor(&[("/a/**", 4)])), 2);
    }

    #[test]
    fn a_client_that_does_not_acknowledge_goes_on_behind_what_it_was_sent() {
        let session = session(false);
        subscribe(&session, &["/a"]);
        session.connect(None);
        session.sent(cursor(&[("/a", 3)]));
        assert_eq!(base(&session.connect(None)), &cursor(&[("/a", 3)]));
        session.delivered(cursor(&[("/a", 5)]));
        assert_eq!(base(&session.connect(None)), &cursor(&[("/a", 5)]));
    }

    #[test]
    fn a_subscription_between_two_batches_keeps_its_place() {
        let session = session(true);
        subscribe(&session, &["/a"]);
        session.connect(None);
        session.sent(cursor(&[("/a", 3)]));
        subscribe(&session, &["/b"]);
        assert_eq!(base(&session.connect(Some(1))), &cursor(&[("/a", 3), ("/b", 0)]));
        assert_eq!(session.state().remove(&Pattern::parse("/a").unwrap()), [name("/a")]);
        assert_eq!(base(&session.connect(Some(1))), &cursor(&[("/b", 0)]));
    }

    #[test]
    fn a_log_is_followed_as_long_as_something_needs_it() {
        let session = session(true);
        let add = |pattern: &str| session.state().add(&Pattern::parse(pattern).unwrap());
        let remove = |pattern: &str| session.state().remove(&Pattern::parse(pattern).unwrap());
        assert_eq!(add("/a/b"), Some(name("/a/b")));
        assert_eq!(add("/a/*"), Some(name("/a/**")));
        assert_eq!((add("/a/c"), add("/a/**"), add("/a/b"), add("/service/x")), (None, None, None, None));
        assert!(remove("/a/*").is_empty() && remove("/a/**").is_empty(), "/a/c is read from there");
        assert_eq!(remove("/a/c"), [], "so may /a/b be");
        assert_eq!(remove("/a/b").len(), 2);
    }

    #[test]
    fn what_is_taken_away_is_told_until_its_client_has_heard() {
        let told = |session: &Session, batch| session.tell_lost(batch);
        let acknowledging = session(true);
        subscribe(&acknowledging, &["/a/b", "/a/**", "/c/*", "/c/d", "/service/x"]);
        assert!(acknowledging.lose(&[name("/c/**")]) && !acknowledging.lose(&[name("/c/**"), name("/x")]));
        assert_eq!(told(&acknowledging, Some(1)), ["/c/*", "/c/d"], "both were read from there");
        assert!(acknowledging.lose(&[name("/a/b")]), "the other log may hold it, and may not show it");
        assert_eq!(told(&acknowledging, Some(2)), ["/c/*", "/c/d", "/a/b"]);
        acknowledging.connect(Some(0));
        assert_eq!(told(&acknowledging, Some(3)).len(), 3, "both answers were lost");
        acknowledging.connect(Some(1));
        assert_eq!(told(&acknowledging, Some(4)), ["/a/b"]);
        subscribe(&acknowledging, &["/a/b"]);
        assert_eq!(told(&acknowledging, Some(5)), [""; 0], "it is subscribed to again");
        let left: Vec<String> = acknowledging.state().patterns.iter().map(ToString::to_string).collect();
        assert_eq!(left, ["/a/**", "/service/x", "/a/b"]);
        let other = session(false);
        subscribe(&other, &["/a/b", "/a/**"]);
        assert!(other.lose(&[name("/a/**")]));
        other.connect(None);
        assert_eq!(told(&other, None), ["/a/**"], "the channel has a log of its own");
        assert_eq!(base(&other.connect(None)), &cursor(&[("/a/b", 0)]));
        assert_eq!(told(&other, None), [""; 0]);
    }

    #[test]
    fn a_reply_without_a_number_is_not_acknowledged_but_beside_a_stream() {
        let acknowledging = session(true);
        subscribe(&acknowledging, &["/a", "/b"]);
        acknowledging.lose(&[name("/a")]);
        assert_eq!(acknowledging.tell_lost(None), ["/a"]);
        acknowledging.connect(Some(5));
        assert_eq!(acknowledging.tell_lost(Some(6)), ["/a"], "5 is older than that reply");
        acknowledging.connect(Some(5));
        assert_eq!(acknowledging.tell_lost(Some(7)), ["/a"], "and than this");
        acknowledging.connect(Some(6));
        assert_eq!(acknowledging.tell_lost(Some(8)), [""; 0]);
        for acks in [false, true] {
            let session = session(acks);
            subscribe(&session, &["/a", "/b"]);
            session.lose(&[name("/a")]);
            for (told, lost) in [(&["/a"][..], "/b"), (&["/b"], "/c"), (&[], "/c")] {
                session.connect_beside_stream();
                assert_eq!(session.tell_lost(None), told);
                session.lose(&[name(lost)]);
            }
        }
    }

    #[test]
    fn a_client_has_one_copy_of_each_message_that_it_subscribed_to() {
        let entry = |log: &str, channel: &str| {
            let raw = RawValue::from_string("1".into()).unwrap();
            let data = if log == channel { raw.into() } else { bayeux::copy(channel, raw.get()).unwrap() };
            Entry::new(Message {
                id: MessageId::from_bits(1),
                channel: name(log),
                position: at(1),
                time: Time(0),
                body: Body::Data(data),
                from: None,
                expires: None,
                trace: None,
            })
        };
        let copies = |session: &Session, channel: &str| {
            let logs = [channel.to_owned()].into_iter().chain(bayeux::glob_logs(channel));
            let followed = |log: &String| session.state().logs.contains(&name(log));
            logs.filter(followed).filter(|log| session.wants(&entry(log, channel))).count()
        };
        for patterns in [
            &["/a/b", "/a/*", "/**"][..],
            &["/**", "/a/*", "/a/b"],
            &["/a/*", "/a/b"],
            &["/a/b"],
            &["/a/**"],
            &["/a/*", "/x"],
        ] {
            let session = session(true);
            subscribe(&session, patterns);
            assert_eq!(copies(&session, "/a/b"), 1, "{patterns:?}");
        }
        let session = session(true);
        subscribe(&session, &["/a/*", "/c/**"]);
        for (channel, count) in [("/a", 0), ("/a/b", 1), ("/a/b/c", 0), ("/c/d/e", 1), ("/c", 0)] {
            assert_eq!(copies(&session, channel), count, "{channel}");
        }
    }
}
