//! All that the store has in memory. It changes only by records that are on the disk, one after the other, so
//! that a replay of them makes it again; and nothing that is not on the disk can be read.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use encke_proto::{ChannelName, Epoch, MessageId, NameFilter, Offset, Position, Time, UserId};

use super::{
    expiry::{ExpiryIndex, second},
    fault::Fault,
    keys::{Keys, kept_until},
    log_state::Log,
    manifest::Manifest,
    metadata_table::MetadataTable,
    record::{Deletion, FloorsImage, KeysImage, LogId, LogImage, MessageRecord, Record},
    segment::{PushPlaces, Segment},
    stored::{Place, Stored},
};
use crate::{
    ChannelSummary, EngineStats, LogStatus, RetentionTable, UserRecord, metadata::Metadata,
    offset_floors::OffsetFloors,
};

/// Users' own channels are the names from this one up to [`BEHIND_OWN`].
const OWN: &str = "@";
const BEHIND_OWN: &str = "A";

/// What is due in the sweep.
pub(super) struct Due {
    /// Logs with the tail that they then have.
    pub(super) trimmed_to: Vec<(LogId, Offset)>,
    /// Logs whose time is over.
    pub(super) ended: Vec<ChannelName>,
    /// Whether there is more.
    pub(super) more: bool,
}

/// All logs, by number and by name, and the segments that their messages lie in.
pub(super) struct State {
    pub(super) epoch: Epoch,
    pub(super) rules: RetentionTable,
    logs: Vec<Option<Box<Log>>>,
    names: BTreeMap<ChannelName, LogId>,
    /// Where logs begin whose names were deleted before.
    pub(super) floors: OffsetFloors,
    expiry: ExpiryIndex,
    pub(super) metadata: MetadataTable,
    pub(super) keys: Keys,
    pub(super) segments: BTreeMap<u32, Segment>,
    /// In how many logs a message is that is in several.
    shared: HashMap<Place, u32>,
    /// How many messages all logs have; one that is in several counts in each.
    messages: u64,
    /// The latest time that the sweep was told.
    pub(super) swept: Time,
    /// How much time has gone by, as the stamps of idempotency keys count it.
    pub(super) stamp: Time,
    /// What of [`State::stamp`] some record says, so that a replay knows it as well.
    pub(super) recorded_stamp: Time,
}

impl State {
    pub(super) fn new(manifest: &Manifest, rules: RetentionTable) -> Self {
        Self {
            epoch: manifest.epoch,
            rules,
            logs: Vec::new(),
            names: BTreeMap::new(),
            floors: OffsetFloors::default(),
            expiry: ExpiryIndex::default(),
            metadata: MetadataTable::default(),
            keys: Keys::new(manifest.hash_key),
            segments: BTreeMap::new(),
            shared: HashMap::new(),
            messages: 0,
            swept: Time(0),
            stamp: Time(0),
            recorded_stamp: Time(0),
        }
    }

    pub(super) fn find(&self, name: &ChannelName) -> Option<LogId> {
        self.names.get(name).copied()
    }

    pub(super) fn log(&self, log: LogId) -> Option<&Log> {
        self.logs.get(usize::try_from(log).ok()?)?.as_deref()
    }

    pub(super) fn named(&self, name: &ChannelName) -> Option<&Log> {
        self.find(name).and_then(|log| self.log(log))
    }

    /// The number that the next new log gets.
    pub(super) fn next_log(&self) -> LogId {
        self.logs.len() as LogId
    }

    /// How many logs there are, those without messages too.
    pub(super) fn log_count(&self) -> u64 {
        self.names.len() as u64
    }

    /// How much there is of everything.
    pub(super) fn stats(&self) -> EngineStats {
        let segments = || self.segments.values();
        EngineStats {
            messages: Some(self.messages),
            logs: Some(self.log_count()),
            log_bytes: Some(segments().map(|segment| segment.usage.live).sum()),
            store_bytes: Some(segments().map(|segment| u64::from(segment.end)).sum()),
            commits: None,
        }
    }

    /// The own logs of all known users, by name.
    pub(super) fn all_users(&self) -> impl Iterator<Item = (LogId, &Log)> {
        let own = (Bound::Included(OWN), Bound::Excluded(BEHIND_OWN));
        let logs = self.names.range::<str, _>(own).filter_map(|(_, log)| Some((*log, self.log(*log)?)));
        logs.filter(|(_, log)| log.first_seen().is_some())
    }

    /// The known users behind a name.
    pub(super) fn users(&self, after: Option<&ChannelName>, limit: usize) -> Vec<UserRecord> {
        let begin = after.map_or(Bound::Included(OWN), |after| Bound::Excluded(after.as_str()));
        let logs = self.names.range::<str, _>((begin, Bound::Excluded(BEHIND_OWN)));
        logs.filter_map(|(_, log)| self.log(*log).and_then(user_record)).take(limit).collect()
    }

    /// The ids of the known users that match behind a name.
    pub(super) fn user_ids(
        &self,
        filter: &NameFilter,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Vec<UserId> {
        let begin = after.map_or(Bound::Included(OWN), |after| Bound::Excluded(after.as_str()));
        let logs = self.names.range::<str, _>((begin, Bound::Excluded(BEHIND_OWN)));
        let matching =
            logs.filter(|(name, _)| name.as_str().strip_prefix(OWN).is_some_and(|id| filter.matches(id)));
        let records = matching.filter_map(|(_, log)| self.log(*log).and_then(user_record));
        records.take(limit).map(|record| record.user).collect()
    }

    /// The public channels behind a name.
    pub(super) fn channels(&self, after: Option<&ChannelName>, limit: usize) -> Vec<ChannelSummary> {
        let summary = |log: &Log| ChannelSummary {
            channel: log.name.clone(),
            epoch: self.epoch,
            tail: log.tail(),
            head: log.head(),
        };
        self.public_logs(after).take(limit).map(summary).collect()
    }

    /// The names of those that match.
    pub(super) fn channel_names(
        &self,
        filter: &NameFilter,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Vec<ChannelName> {
        let logs = self.public_logs(after).filter(|log| filter.matches(log.name.as_str()));
        logs.take(limit).map(|log| log.name.clone()).collect()
    }

    /// The logs of public channels behind a name. There may be very many users, so they are jumped over.
    fn public_logs<'a>(&'a self, after: Option<&'a ChannelName>) -> impl Iterator<Item = &'a Log> {
        let after = after.map_or("", ChannelName::as_str);
        let before_own = (after < OWN).then_some((Bound::Excluded(after), Bound::Excluded(OWN)));
        let before_own = before_own.into_iter().flat_map(|range| self.names.range::<str, _>(range));
        let behind_own =
            if after < BEHIND_OWN { Bound::Included(BEHIND_OWN) } else { Bound::Excluded(after) };
        let names = before_own.chain(self.names.range::<str, _>((behind_own, Bound::Unbounded)));
        names.filter_map(|(_, log)| self.log(*log)).filter(|log| log.head() > 0)
    }

    /// The segments that may hold a push, the newest first, and its place in each if that is known.
    pub(super) fn push_places(&self, id: &MessageId) -> Vec<(u32, Option<u32>)> {
        let id = id.bits();
        let place = |(number, segment): (&u32, &Segment)| match &segment.push_places {
            PushPlaces::Open(places) => places.get(&id).map(|at| (*number, Some(*at))),
            PushPlaces::Sealed(range) => range.may_hold(id).then_some((*number, None)),
        };
        self.segments.iter().rev().filter_map(place).collect()
    }

    /// Does what a record says. Its place and length are those of the record with its header.
    pub(super) fn apply(&mut self, record: Record, place: Place, length: u32) -> Result<(), Fault> {
        match record {
            Record::Name { log, name } => self.name(log, name)?,
            Record::Message(message) => self.message(&message, place, length)?,
            Record::Trim { log, tail, at } => self.trim(log, tail, at),
            Record::Mark { log, state, to, at } => self.change(log, |log| log.mark(state, to, at)),
            Record::Seen { log, at } => self.change(log, |log| log.seen(at)),
            Record::Log(image) => self.replace(*image)?,
            Record::Keys(image) => self.remember(image),
            Record::Rules(rules) => self.set_rules(rules),
            Record::Moved { message, .. } => self.moved(&message, place, length),
            Record::Deleted(deletion) => self.delete(&deletion),
            Record::Floors(image) => self.raise_floors(&image),
            Record::Closed { log } => self.know(log, |metadata| metadata.close(log)),
            Record::Touched { log, at } => self.know(log, |metadata| metadata.touch(log, at)),
            Record::Configured(configured) => {
                self.know(configured.log, |metadata| metadata.configure(configured));
            }
            Record::Produced(produced) => {
                self.record_stamp(produced.stamp);
                self.know(produced.log, |metadata| metadata.produced(produced));
            }
            Record::Cancelled(cancellation) => {
                for target in &cancellation.targets {
                    self.change(target.log, |log| log.cancel(target.offset, cancellation.at));
                }
            }
        }
        Ok(())
    }

    /// Changes what is known of a log besides its messages. One that is not known yet is one of a replay
    /// whose image comes later, with all of that.
    fn know(&mut self, log: LogId, change: impl FnOnce(&mut MetadataTable)) {
        if self.log(log).is_some() {
            change(&mut self.metadata);
            self.reschedule(log);
        }
    }

    fn log_mut(&mut self, log: LogId) -> Option<&mut Log> {
        self.logs.get_mut(usize::try_from(log).ok()?)?.as_deref_mut()
    }

    /// Changes a log. One that is not known yet is one of a replay whose image comes later.
    fn change(&mut self, log: LogId, change: impl FnOnce(&mut Log)) {
        if let Some(known) = self.log_mut(log) {
            change(known);
            self.reschedule(log);
        }
    }

    fn name(&mut self, log: LogId, name: ChannelName) -> Result<(), Fault> {
        if self.log(log).is_none() && !self.names.contains_key(&name) {
            let floor = self.floors.of(&name);
            self.insert(log, Log::behind(name, floor));
            return Ok(());
        }
        match self.log(log) {
            Some(known) if known.name == name => Ok(()),
            _ => Err(Fault::damaged(format!("the log {log} has two names"))),
        }
    }

    fn insert(&mut self, id: LogId, log: Log) {
        let at = id as usize;
        if self.logs.len() <= at {
            self.logs.resize_with(at + 1, || None);
        }
        self.names.insert(log.name.clone(), id);
        self.logs[at] = Some(Box::new(log));
    }

    fn replace(&mut self, image: LogImage) -> Result<(), Fault> {
        let id = image.log;
        if self.names.get(&image.name).is_some_and(|known| *known != id) {
            return Err(Fault::damaged(format!("the log {id} has the name of another")));
        }
        if let Some(before) = self.logs.get_mut(id as usize).and_then(Option::take) {
            before.messages().for_each(|stored| self.release(stored));
            self.metadata.remove(id);
        }
        let log = Log::from_image(image);
        log.messages().for_each(|stored| self.hold(stored));
        self.insert(id, log);
        self.reschedule(id);
        Ok(())
    }

    fn message(&mut self, message: &MessageRecord, place: Place, length: u32) -> Result<(), Fault> {
        self.register(message, place, length);
        if let Some(key) = &message.key {
            let hash = self.keys.hash(&key.text);
            self.keys.remember(hash, place, length, key.stamp, message.from.as_ref());
            self.record_stamp(key.stamp);
        }
        let shared = message.targets.len() > 1;
        let stored = Stored::new(place, length, shared, message.body_bytes, message.time, message.expires);
        for target in &message.targets {
            let Some(log) = self.log_mut(target.log) else { continue };
            if target.offset != log.head() + 1 {
                let (name, head) = (log.name.clone(), log.head());
                let text = format!("{name}: the message {} comes behind the message {head}", target.offset);
                return Err(Fault::damaged(text));
            }
            log.push(stored);
            if let Some(until) = message.until {
                log.pushed(message.time, until);
            }
            self.hold(stored);
            if !self.metadata.is_empty() {
                self.metadata.touch(target.log, message.time);
            }
            self.trim_over(target.log, message.time);
            self.reschedule(target.log);
        }
        Ok(())
    }

    /// Enters what keeps a message's bytes in use besides logs: the receipts of a push, and a key.
    fn register(&mut self, message: &MessageRecord, place: Place, length: u32) {
        let Some(segment) = self.segments.get_mut(&place.segment) else { return };
        if let Some(until) = message.until {
            segment.add_push(&message.id, place.at, until, length);
        }
        if let Some(key) = &message.key {
            segment.usage.keyed_until = segment.usage.keyed_until.max(kept_until(key.stamp));
        }
    }

    fn moved(&mut self, message: &MessageRecord, place: Place, length: u32) {
        self.register(message, place, length);
        for target in &message.targets {
            let Some(log) = self.log_mut(target.log) else { continue };
            if let Some((before, after)) = log.relocate(target.offset, place) {
                self.release(before);
                self.hold(after);
            }
        }
    }

    /// A log that is not known is one of a replay whose image would come later, and now does not.
    fn delete(&mut self, deletion: &Deletion) {
        self.floors.raise(deletion.class, deletion.floor);
        // Its number is not given again, also when its image never came.
        if self.logs.len() <= deletion.log as usize {
            self.logs.resize_with(deletion.log as usize + 1, || None);
        }
        let Some(log) = self.logs.get_mut(deletion.log as usize).and_then(Option::take) else { return };
        self.names.remove(&log.name);
        if let Some(user) = log.name.owner() {
            self.keys.forget_user(&user);
        }
        self.metadata.remove(deletion.log);
        log.messages().for_each(|stored| self.release(stored));
    }

    fn raise_floors(&mut self, image: &FloorsImage) {
        image.floors.iter().for_each(|(class, floor)| self.floors.raise(*class, *floor));
        // Numbers of deleted logs are not given again.
        if self.logs.len() < image.next_log as usize {
            self.logs.resize_with(image.next_log as usize, || None);
        }
    }

    fn remember(&mut self, image: KeysImage) {
        self.record_stamp(image.now);
        for (hash, place, length, stamp) in image.keys {
            self.keys.remember(hash, place, length, stamp, None);
            self.record_stamp(stamp);
        }
    }

    /// A record says that so much time has gone by.
    pub(super) fn record_stamp(&mut self, stamp: Time) {
        self.stamp = self.stamp.max(stamp);
        self.recorded_stamp = self.recorded_stamp.max(stamp);
    }

    fn trim(&mut self, log: LogId, tail: u64, at: Time) {
        while self.log(log).is_some_and(|log| log.tail() < tail && log.len() > 0) {
            self.pop(log, at);
        }
        self.reschedule(log);
    }

    fn trim_over(&mut self, log: LogId, at: Time) {
        while let Some(known) = self.log(log) {
            if !known.is_over(&self.rules.of(&known.name)) {
                break;
            }
            self.pop(log, at);
        }
    }

    fn pop(&mut self, log: LogId, at: Time) {
        let Some(known) = self.log_mut(log) else { return };
        if let Some(stored) = known.trim(at) {
            self.release(stored);
        }
    }

    /// A log has the message: its bytes are in use. Those of a push are counted by its receipts as well: a
    /// log may have it for longer.
    fn hold(&mut self, stored: Stored) {
        self.messages += 1;
        let first = !stored.is_shared() || {
            let logs = self.shared.entry(stored.place()).or_default();
            *logs += 1;
            *logs == 1
        };
        if first && let Some(segment) = self.segments.get_mut(&stored.place().segment) {
            segment.usage.live += u64::from(stored.length());
        }
    }

    fn release(&mut self, stored: Stored) {
        self.messages = self.messages.saturating_sub(1);
        let last = !stored.is_shared() || {
            let left = self.shared.get_mut(&stored.place()).map(|logs| {
                *logs = logs.saturating_sub(1);
                *logs
            });
            if left == Some(0) {
                self.shared.remove(&stored.place());
            }
            left == Some(0)
        };
        if last && let Some(segment) = self.segments.get_mut(&stored.place().segment) {
            segment.usage.live = segment.usage.live.saturating_sub(stored.length().into());
        }
    }

    pub(super) fn set_rules(&mut self, rules: RetentionTable) {
        self.rules = rules;
        for log in 0..self.next_log() {
            self.reschedule(log);
        }
    }

    /// Sees to it that the sweep looks at a log in time.
    fn reschedule(&mut self, id: LogId) {
        let Some(log) = self.logs.get_mut(id as usize).and_then(Option::as_deref_mut) else { return };
        let rule = self.rules.of(&log.name);
        let due = if log.is_over(&rule) { Some(Time(0)) } else { log.due(&rule) };
        let due = due.into_iter().chain(log.steps_until()).chain(self.metadata.ends(id)).min();
        let Some(at) = due.map(second) else { return };
        if log.scheduled.is_none_or(|known| at < known) {
            log.scheduled = Some(at);
            self.expiry.insert(at, id);
        }
    }

    /// The logs that have something to forget at this time, up to `most`; at most `messages` messages of each
    /// go. What is found comes again until it was done.
    pub(super) fn take_due(&mut self, now: Time, most: usize, messages: usize) -> Due {
        self.swept = self.swept.max(now);
        let (mut trimmed_to, mut ended) = (Vec::new(), Vec::new());
        let taken = self.expiry.take(now, most);
        let mut more = taken.len() >= most;
        for (at, id) in taken {
            let Some(log) = self.logs.get_mut(id as usize).and_then(Option::as_deref_mut) else { continue };
            if log.scheduled != Some(at) {
                continue;
            }
            log.scheduled = None;
            log.forget_steps(now);
            if self.metadata.ends(id).is_some_and(|end| end <= now) {
                ended.push(log.name.clone());
                self.reschedule(id);
                continue;
            }
            let rule = self.rules.of(&log.name);
            let trimmed = log.count_due(&rule, now, messages).max(log.count_over(&rule, messages));
            if trimmed > 0 {
                more |= trimmed >= messages;
                trimmed_to.push((id, log.tail() + trimmed as u64));
            }
            self.reschedule(id);
        }
        Due { trimmed_to, ended, more }
    }

    /// Where a log stands, and what it is set to.
    pub(super) fn status(&self, name: &ChannelName) -> Option<LogStatus> {
        let id = self.find(name)?;
        let (log, metadata) = (self.log(id)?, self.metadata.get(id));
        Some(LogStatus {
            head: Position { epoch: self.epoch, offset: log.head() },
            closed: metadata.is_some_and(|metadata| metadata.closed),
            config: metadata.map(|metadata| metadata.config.clone()).unwrap_or_default(),
            ends: metadata.and_then(Metadata::ends),
        })
    }

    /// Whether all logs that a message came into were deleted since. A push to no users is still known.
    pub(super) fn lost_targets(&self, message: &MessageRecord) -> bool {
        !message.targets.is_empty() && message.targets.iter().all(|target| self.log(target.log).is_none())
    }

    /// Whether some log has the message that lies at a place.
    pub(super) fn holds(&self, message: &MessageRecord, place: Place) -> bool {
        let stored = |target: &super::record::Target| self.log(target.log)?.get(target.offset);
        message.targets.iter().any(|target| stored(target).is_some_and(|stored| stored.place() == place))
    }

    /// Looks whether every message, and that of every key, lies in a segment that is there.
    pub(super) fn check(&self) -> Result<(), Fault> {
        for log in self.logs.iter().flatten() {
            for (stored, offset) in log.messages().zip(log.tail()..) {
                let place = stored.place();
                let end = u64::from(place.at) + u64::from(stored.length());
                if self.segments.get(&place.segment).is_none_or(|segment| end > segment.end.into()) {
                    let text = format!(
                        "{}: segment {} with the message {offset} is missing",
                        log.name, place.segment
                    );
                    return Err(Fault::damaged(text));
                }
            }
        }
        let keyed = self.keys.segments(self.stamp);
        if let Some(missing) = keyed.iter().find(|segment| !self.segments.contains_key(segment)) {
            return Err(Fault::damaged(format!(
                "segment {missing} with messages of idempotency keys is missing"
            )));
        }
        Ok(())
    }
}

/// What is known of the user whose own log it is.
pub(super) fn user_record(log: &Log) -> Option<UserRecord> {
    let (user, first_seen) = (log.name.owner()?, log.first_seen()?);
    Some(UserRecord { user, first_seen, last_seen: log.last_seen() })
}
