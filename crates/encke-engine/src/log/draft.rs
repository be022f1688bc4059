//! What the next frame will hold: records made of calls, on top of a state that does not change meanwhile.
//! Nothing is true of it before the frame is on the disk, so a frame that fails needs nothing undone.

mod update;

use std::collections::HashMap;

use encke_proto::{ChannelName, Offset, Position, Time, UserId};

use self::update::MetadataDraft;
use super::{
    fault::Fault,
    log_state::Log,
    receipts::receipt,
    record::{Cancellation, Deletion, Key, LogId, MessageRecord, Record, Target},
    segment::read_record,
    state::State,
};
use crate::{
    Append, Appended, EngineError, Mark, NewMessage, RECEIPTS_KEPT_S, ReceiptState, Targets,
    append::{body_bytes, each_once},
    key::is_reused,
    offset_floors::OffsetFloors,
};

/// The most logs. One takes about 200 bytes of memory, its messages not counted.
const LOGS_MAX: u32 = 16_000_000;
/// How many were ever there at most: each takes 8 bytes of memory for good, deleted ones too.
const NUMBERS_MAX: u32 = 1_000_000_000;

/// Records that are not written yet, and what they would change.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) records: Vec<Record>,
    /// The heads of the logs that are appended to.
    heads: HashMap<LogId, Offset>,
    /// The logs that are new.
    names: HashMap<ChannelName, LogId>,
    /// What the idempotency keys lead to that are new, by their hash, and the hashes of their requests.
    keys: HashMap<u128, (Appended, Option<u64>)>,
    /// Where the record is by which a user was seen: several in one frame make one.
    seen: HashMap<LogId, usize>,
    metadata: MetadataDraft,
}

impl Draft {
    /// Adds a message. `stamp` is that of its key.
    pub(super) fn append(
        &mut self,
        state: &State,
        append: &Append,
        stamp: Time,
    ) -> Result<Appended, EngineError> {
        let hash = append.key.as_ref().map(|key| state.keys.hash(&key.text));
        if let (Some(hash), Some(key)) = (hash, &append.key)
            && let Some((first, request)) = self.repeat(state, hash, &key.text)?
        {
            return if is_reused(request, key.request) { Err(EngineError::KeyReused) } else { Ok(first) };
        }
        let (channels, is_push) = match &append.targets {
            Targets::Channels(channels) => (each_once(channels.iter().cloned()), false),
            Targets::Users(users) => (each_once(users.iter().map(UserId::channel)), true),
            Targets::AllUsers => (state.all_users().map(|(_, log)| log.name.clone()).collect(), true),
        };
        self.check_room(state, &channels)?;
        if !is_push {
            // Nothing but its messages is ever known of a user's own log.
            self.begin_use(state, &channels, append.time)?;
        }
        let mut targets = Vec::with_capacity(channels.len());
        let mut positions = Vec::with_capacity(channels.len());
        for name in channels {
            let log = self.log(state, &name);
            let known = || state.log(log).map_or_else(|| state.floors.of(&name), |log| log.head());
            let head = self.heads.entry(log).or_insert_with(known);
            *head += 1;
            targets.push(Target { log, offset: *head });
            positions.push((name, Position { epoch: state.epoch, offset: *head }));
        }
        let until = is_push.then(|| {
            let end = append.expires.unwrap_or_else(|| append.time.plus_seconds(state.rules.own.max_age_s));
            end.plus_seconds(RECEIPTS_KEPT_S)
        });
        self.records.push(Record::Message(MessageRecord {
            id: append.id.clone(),
            key: append.key.clone().map(|key| Key { text: key.text, stamp, request: key.request }),
            time: append.time,
            expires: append.expires,
            from: append.from.clone(),
            until,
            body_bytes: u32::try_from(body_bytes(&append.body)).unwrap_or(u32::MAX),
            body: Some(append.body.clone()),
            targets,
            trace: append.trace.clone(),
        }));
        let appended = Appended { id: append.id.clone(), positions, repeated: false };
        if let (Some(hash), Some(key)) = (hash, &append.key) {
            self.keys.insert(hash, (appended.clone(), key.request));
        }
        Ok(appended)
    }

    /// What the first message with this key led to, and the hash of its request, if it is not the first.
    fn repeat(&self, state: &State, hash: u128, key: &str) -> Result<Option<(Appended, Option<u64>)>, Fault> {
        if let Some((first, request)) = self.keys.get(&hash) {
            return Ok(Some((Appended { repeated: true, ..first.clone() }, *request)));
        }
        let Some((place, length)) = state.keys.find(hash) else { return Ok(None) };
        let missing = || Fault::damaged("the message of an idempotency key is missing");
        // A segment is removed when none of its keys has to be remembered any more.
        let Some(segment) = state.segments.get(&place.segment) else { return Ok(None) };
        let payload = read_record(&*segment.file, place, length)?;
        let (Record::Message(message) | Record::Moved { message, .. }) = Record::decode(&payload)? else {
            return Err(missing());
        };
        let Some(first) = message.key.filter(|first| first.text == key) else {
            return Err(Fault::damaged("an idempotency key leads to another one"));
        };
        // What was deleted since is left out. A key of which nothing is left is as good as new.
        let position = |target: &Target| {
            let log = state.log(target.log)?;
            Some((log.name.clone(), Position { epoch: state.epoch, offset: target.offset }))
        };
        let positions: Vec<_> = message.targets.iter().filter_map(position).collect();
        if positions.is_empty() && !message.targets.is_empty() {
            return Ok(None);
        }
        Ok(Some((Appended { id: message.id, positions, repeated: true }, first.request)))
    }

    fn check_room(&self, state: &State, channels: &[ChannelName]) -> Result<(), EngineError> {
        let drafted = self.names.len() as u64;
        let room = u64::from(LOGS_MAX).saturating_sub(state.log_count()).saturating_sub(drafted);
        let numbers = u64::from(NUMBERS_MAX - state.next_log().min(NUMBERS_MAX)).saturating_sub(drafted);
        let room = room.min(numbers);
        if channels.len() as u64 <= room {
            return Ok(());
        }
        let new = channels
            .iter()
            .filter(|name| state.find(name).is_none() && !self.names.contains_key(*name))
            .count();
        if new as u64 > room {
            let why = if numbers <= room { "numbers for new" } else { "room for more" };
            return Err(EngineError::Unavailable(format!("there are no {why} channels and users")));
        }
        Ok(())
    }

    fn known(&self, state: &State, name: &ChannelName) -> Option<LogId> {
        state.find(name).or_else(|| self.names.get(name).copied())
    }

    /// The number of a log, which is new if it has none.
    fn log(&mut self, state: &State, name: &ChannelName) -> LogId {
        if let Some(log) = self.known(state, name) {
            return log;
        }
        let log = state.next_log() + self.names.len() as LogId;
        self.names.insert(name.clone(), log);
        self.records.push(Record::Name { log, name: name.clone() });
        log
    }

    pub(super) fn seen(&mut self, state: &State, user: &UserId, at: Time) -> Result<(), EngineError> {
        let name = user.channel();
        if state.named(&name).is_some_and(|log| log.first_seen().is_some() && log.last_seen() >= Some(at)) {
            return Ok(());
        }
        self.check_room(state, std::slice::from_ref(&name))?;
        let log = self.log(state, &name);
        if let Some(Record::Seen { at: last, .. }) =
            self.seen.get(&log).and_then(|at| self.records.get_mut(*at))
        {
            *last = at.max(*last);
            return Ok(());
        }
        self.seen.insert(log, self.records.len());
        self.records.push(Record::Seen { log, at });
        Ok(())
    }

    /// Adds that a log is gone, if its time is still over, and says whether. Done apart from all other calls.
    pub(super) fn end(&mut self, state: &State, name: &ChannelName, now: Time) -> bool {
        let ends = state.find(name).and_then(|log| state.metadata.ends(log));
        ends.is_some_and(|end| end <= now) && self.delete(state, name)
    }

    /// Adds that a log is gone, if there is one, and says whether. Done apart from all other calls.
    pub(super) fn delete(&mut self, state: &State, name: &ChannelName) -> bool {
        let Some(log) = state.find(name) else { return false };
        let floor = state.log(log).map_or(0, |log| log.head() + 1);
        self.records.push(Record::Deleted(Deletion { log, class: OffsetFloors::class(name), floor }));
        true
    }

    /// Adds that a push is cancelled where it is queued, and says where that is. Done apart from all other
    /// calls.
    pub(super) fn cancel(&mut self, state: &State, push: &MessageRecord, at: Time) -> Vec<Target> {
        let is_queued = |target: &&Target| {
            let log = state.log(target.log);
            let became = |log: &Log| receipt(log.steps(), target.offset, push.time, push.expires, at).0;
            log.is_some_and(|log| !log.reaches(target.offset) && became(log) == ReceiptState::Queued)
        };
        let targets: Vec<Target> = push.targets.iter().filter(is_queued).copied().collect();
        if !targets.is_empty() {
            self.records.push(Record::Cancelled(Cancellation { at, targets: targets.clone() }));
        }
        targets
    }

    pub(super) fn mark(&mut self, state: &State, mark: &Mark) {
        let moves = matches!(mark.state, ReceiptState::Delivered | ReceiptState::Shown);
        if mark.position.epoch != state.epoch || !moves {
            return;
        }
        let Some(log) = self.known(state, &mark.user.channel()) else { return };
        let to = mark.position.offset;
        if state.log(log).is_some_and(|log| log.is_marked(mark.state, to)) {
            return;
        }
        self.records.push(Record::Mark { log, state: mark.state, to, at: mark.at });
    }
}

/// The record of a message that a change of a log brings.
fn message_record(new: &NewMessage, time: Time, targets: Vec<Target>) -> MessageRecord {
    MessageRecord {
        id: new.id.clone(),
        key: None,
        time,
        expires: new.expires,
        from: new.from.clone(),
        until: None,
        body_bytes: u32::try_from(body_bytes(&new.body)).unwrap_or(u32::MAX),
        body: Some(new.body.clone()),
        targets,
        trace: None,
    }
}
