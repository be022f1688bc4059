//! Everything that the memory engine holds, changed by one call at a time. Locking and the feed are in the
//! engine around it (`memory.rs`).

mod update;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use encke_proto::{
    ChannelName, Entry, Epoch, Lineage, Message, MessageId, NameFilter, Offset, Position, Time, UserId,
};

use self::update::MetadataTable;
use super::{keys::Keys, log::Log, logs::Logs, open_receipts::Place, pushes::Pushes};
use crate::{
    Append, Appended, ChannelSummary, EngineError, EngineStats, Mark, Page, PageLimit, RECEIPTS_KEPT_S,
    ReadFrom, Receipt, ReceiptState, RetentionTable, Targets, UserRecord, append::each_once, key::is_reused,
    offset_floors::OffsetFloors,
};

/// The most logs, users' own included. A log stays when it is empty, since its offsets must never be given
/// twice.
const LOGS_MAX: usize = 2_000_000;
/// The most users who are known.
const USERS_MAX: usize = 2_000_000;
/// The most messages that one sweep trims.
const SWEEP_MAX_MESSAGES: usize = 100_000;

/// What is known of a user. There is one for every user who was ever here, so it holds no more than that; who
/// was pushed to has a log besides, which knows the rest.
#[derive(Debug)]
struct User {
    first_seen: Time,
    last_seen: Option<Time>,
}

/// All that the engine holds.
#[derive(Debug)]
pub(super) struct State {
    epoch: Epoch,
    retention: RetentionTable,
    logs: Logs,
    /// When the oldest message of which log is due to be trimmed by age or expiry.
    expiry_index: BTreeSet<(Time, ChannelName)>,
    users: BTreeMap<UserId, User>,
    keys: Keys,
    pushes: Pushes,
    floors: OffsetFloors,
    metadata: MetadataTable,
    /// How many messages all logs have.
    messages: u64,
}

impl State {
    pub(super) fn new(retention: RetentionTable, epoch: Epoch) -> Self {
        Self {
            epoch,
            retention,
            logs: Logs::default(),
            expiry_index: BTreeSet::new(),
            users: BTreeMap::new(),
            keys: Keys::default(),
            pushes: Pushes::default(),
            floors: OffsetFloors::default(),
            metadata: MetadataTable::default(),
            messages: 0,
        }
    }

    /// Appends a message, and adds what came into the logs to `entries`.
    pub(super) fn append(
        &mut self,
        append: Append,
        entries: &mut Vec<Arc<Entry>>,
    ) -> Result<Appended, EngineError> {
        if let Some(key) = &append.key
            && let Some((first, request)) = self.keys.find(&key.text)
            && let Some(first) = self.without_deleted(first)
        {
            return if is_reused(request, key.request) { Err(EngineError::KeyReused) } else { Ok(first) };
        }
        let Append { id, key, targets, body, from, time, expires, trace } = append;
        let (channels, is_push, is_named) = match targets {
            Targets::Channels(channels) => {
                let channels = each_once(channels);
                // Of users' own logs nothing but their messages is ever known.
                self.begin_use(&channels, time)?;
                (channels, false, true)
            }
            Targets::Users(users) => (each_once(users.into_iter().map(ChannelName::from)), true, true),
            Targets::AllUsers => (self.users.keys().map(UserId::channel).collect(), true, false),
        };
        // Everything that can be refused is refused before anything is changed.
        self.check_rooms(&channels, is_push && is_named)?;
        let message = |channel: ChannelName, position| Message {
            id: id.clone(),
            channel,
            position,
            time,
            body: body.clone(),
            from: from.clone(),
            expires,
            trace: trace.clone(),
        };
        let place = is_push.then(|| self.pushes.next_place(channels.len(), &mut self.logs));
        let mut positions = Vec::with_capacity(channels.len());
        for channel in channels {
            positions.push(self.append_one(channel, time, place, entries, message));
        }
        if let Some(place) = place {
            let end = expires.unwrap_or_else(|| time.plus_seconds(self.retention.own.max_age_s));
            let until = end.plus_seconds(RECEIPTS_KEPT_S);
            self.pushes.begin((place, until), &id, (time, expires), &positions);
        }
        let appended = Appended { id: id.clone(), positions, repeated: false };
        if let Some(key) = key {
            self.keys.remember(key, from.as_ref(), time, appended.clone());
        }
        Ok(appended)
    }

    /// The first result of a key without the places in logs that were deleted since; none when all were.
    fn without_deleted(&self, mut first: Appended) -> Option<Appended> {
        let count = first.positions.len();
        first.positions.retain(|(channel, position)| self.is_kept(channel, position.offset));
        (count == 0 || !first.positions.is_empty()).then_some(first)
    }

    /// Whether an offset was given by the log that there is now, and not by one that was deleted.
    fn is_kept(&self, channel: &ChannelName, offset: Offset) -> bool {
        self.logs.get(channel).is_some_and(|log| offset > log.floor())
    }

    /// Whether there is room for the logs that are new, and for the users `with_owners`.
    fn check_rooms(&self, channels: &[ChannelName], with_owners: bool) -> Result<(), EngineError> {
        let wanted = |there: usize| there.saturating_add(channels.len());
        // Nearly always there is room for all of them, new or not, and none is looked up.
        if wanted(self.logs.len()) <= LOGS_MAX && wanted(self.users.len()) <= USERS_MAX {
            return Ok(());
        }
        let new = channels.iter().filter(|channel| !self.logs.contains(channel)).count();
        check_room("logs", self.logs.len().saturating_add(new), LOGS_MAX)?;
        if with_owners {
            let owners = channels.iter().filter_map(ChannelName::owner);
            let new = owners.filter(|user| !self.users.contains_key(user)).count();
            check_room("users", self.users.len().saturating_add(new), USERS_MAX)?;
        }
        Ok(())
    }

    /// Appends to one log, trims what is too much there, and writes into the agenda when the oldest of the
    /// rest is due. Says where it stands.
    fn append_one(
        &mut self,
        channel: ChannelName,
        time: Time,
        push: Option<Place>,
        entries: &mut Vec<Arc<Entry>>,
        message: impl FnOnce(ChannelName, Position) -> Message,
    ) -> (ChannelName, Position) {
        let Self { logs, users, floors, .. } = self;
        // Found once: of what an append does, looking for names is the most.
        let (channel, log) = logs.get_or_begin(channel, |channel| Log::behind(floors.of(channel)));
        // A user with a message is known.
        if log.makes_known
            && let Some(user) = channel.owner().filter(|_| push.is_some())
        {
            users.entry(user).or_insert(User { first_seen: time, last_seen: None });
            log.makes_known = false;
        }
        let position = Position { epoch: self.epoch, offset: log.head() + 1 };
        let entry = Arc::new(Entry::new(message(channel.clone(), position)));
        entries.push(Arc::clone(&entry));
        log.push(entry);
        self.messages += 1;
        if let Some(place) = push {
            log.open.push(position.offset, place);
        }
        let retention = self.retention.of(&channel);
        while let Some(entry) = log.trim_over(&retention) {
            self.messages -= 1;
            if let Some(user) = channel.owner() {
                self.pushes.trimmed(&mut log.open, &user, entry.message().position.offset, time);
            }
        }
        // A time that is too early only makes the sweep look in vain; so it is moved in one direction.
        let due = log.next_due(&retention);
        if due.is_some_and(|due| log.due.is_none_or(|known| due < known)) {
            reschedule(&mut self.expiry_index, &channel, log, due);
        }
        (channel, position)
    }

    pub(super) fn read(&self, channel: &ChannelName, from: ReadFrom, limit: PageLimit) -> Page {
        match self.logs.get(channel) {
            Some(log) => {
                let closed = self.metadata.is_closed(channel);
                Page { closed, ..log.read(self.epoch, from, limit) }
            }
            None => {
                let head = self.floors.of(channel);
                let (epoch, lineage) = (self.epoch, Lineage::default());
                Page { epoch, lineage, tail: head + 1, head, closed: false, entries: Vec::new() }
            }
        }
    }

    pub(super) fn channels(&self, after: Option<&ChannelName>, limit: usize) -> Vec<ChannelSummary> {
        let logs = self.logs.listed(after).filter(|(_, log)| log.head() > 0).take(limit);
        let summary = |(channel, log): (&ChannelName, &Log)| ChannelSummary {
            channel: channel.clone(),
            epoch: self.epoch,
            tail: log.tail(),
            head: log.head(),
        };
        logs.map(summary).collect()
    }

    pub(super) fn channel_names(
        &self,
        filter: &NameFilter,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Vec<ChannelName> {
        let logs =
            self.logs.listed(after).filter(|(name, log)| log.head() > 0 && filter.matches(name.as_str()));
        logs.take(limit).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn seen(&mut self, user: &UserId, at: Time) -> Result<(), EngineError> {
        if let Some(known) = self.users.get_mut(user) {
            known.last_seen = known.last_seen.max(Some(at));
            return Ok(());
        }
        check_room("users", self.users.len().saturating_add(1), USERS_MAX)?;
        self.users.insert(user.clone(), User { first_seen: at, last_seen: Some(at) });
        Ok(())
    }

    pub(super) fn user(&self, user: &UserId) -> Option<UserRecord> {
        self.users.get(user).map(|known| known.record(user))
    }

    pub(super) fn users(&self, after: Option<&UserId>, limit: usize) -> Vec<UserRecord> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let users = self.users.range::<UserId, _>((begin, Bound::Unbounded)).take(limit);
        users.map(|(user, known)| known.record(user)).collect()
    }

    pub(super) fn user_ids(&self, filter: &NameFilter, after: Option<&UserId>, limit: usize) -> Vec<UserId> {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let users = self.users.range::<UserId, _>((begin, Bound::Unbounded));
        users
            .filter(|(user, _)| filter.matches(user.as_str()))
            .take(limit)
            .map(|(user, _)| user.clone())
            .collect()
    }

    pub(super) fn handed(&self, user: &UserId) -> Position {
        let own = user.channel();
        let offset = self.logs.get(&own).map_or_else(|| self.floors.of(&own), |log| log.handed);
        Position { epoch: self.epoch, offset }
    }

    pub(super) fn mark(&mut self, mark: &Mark) {
        if mark.position.epoch != self.epoch {
            return;
        }
        let Some(log) = self.logs.get_mut(&mark.user.channel()) else { return };
        // What is not there yet cannot have been handed to any connection.
        let to = mark.position.offset.min(log.head());
        let place = match mark.state {
            ReceiptState::Delivered => &mut log.handed,
            ReceiptState::Shown => &mut log.shown,
            ReceiptState::Queued | ReceiptState::Expired | ReceiptState::Cancelled => return,
        };
        self.pushes.mark(&mut log.open, &mark.user, (*place, to), mark.state, mark.at);
        *place = to.max(*place);
    }

    pub(super) fn receipts(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Option<Vec<Receipt>> {
        let is_kept = |user: &UserId, offset| self.is_kept(&user.channel(), offset);
        self.pushes.page(push, after, limit, now, is_kept)
    }

    /// Calls a push back where it is still queued; in which logs that is. None when there is no such push.
    pub(super) fn cancel(&mut self, push: &MessageId, at: Time) -> Option<Vec<ChannelName>> {
        let cancelled = self.pushes.cancel(push, at, &mut self.logs)?;
        // It may be the oldest of its log, and is due at once then.
        for channel in &cancelled {
            let retention = self.retention.of(channel);
            if let Some(log) = self.logs.get_mut(channel) {
                let due = log.next_due(&retention);
                reschedule(&mut self.expiry_index, channel, log, due);
            }
        }
        Some(cancelled)
    }

    /// Forgets a log, and with a user's own all that is known of the user. Says whether there was anything.
    pub(super) fn delete(&mut self, channel: &ChannelName) -> bool {
        let log = self.logs.remove(channel);
        self.metadata.remove(channel);
        if let Some(log) = &log {
            self.messages -= log.head() + 1 - log.tail();
            self.floors.raise(OffsetFloors::class(channel), log.head() + 1);
            if let Some(due) = log.due {
                self.expiry_index.remove(&(due, channel.clone()));
            }
        }
        let owner = channel.owner();
        if let Some(user) = &owner {
            self.keys.forget_user(user);
        }
        let user = owner.and_then(|user| self.users.remove(&user));
        log.is_some() || user.is_some()
    }

    /// Lets other rules hold. Every log is looked at in the next sweep, which trims a bounded part at a time.
    pub(super) fn set_retention(&mut self, table: RetentionTable) {
        self.retention = table;
        for (channel, log) in self.logs.iter_mut() {
            reschedule(&mut self.expiry_index, channel, log, Some(Time(0)));
        }
    }

    pub(super) fn stats(&self) -> EngineStats {
        EngineStats {
            messages: Some(self.messages),
            logs: Some(self.logs.len() as u64),
            ..EngineStats::default()
        }
    }

    /// Forgets what is too old, and says which logs have ended.
    pub(super) fn sweep(&mut self, now: Time) -> Vec<ChannelName> {
        let (mut left, mut ended) = (SWEEP_MAX_MESSAGES, Vec::new());
        while left > 0 && self.expiry_index.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, channel)) = self.expiry_index.pop_first() else { break };
            let ends = self.metadata.ends(&channel);
            if ends.is_some_and(|end| end <= now) {
                // What the agenda had is taken out already.
                self.delete(&channel);
                ended.push(channel);
                left -= 1;
                continue;
            }
            let retention = self.retention.of(&channel);
            let Some(log) = self.logs.get_mut(&channel) else { continue };
            let owner = channel.owner();
            log.due = None;
            while left > 0
                && let Some(entry) = log.trim_due(&retention, now).or_else(|| log.trim_over(&retention))
            {
                left -= 1;
                self.messages -= 1;
                if let Some(user) = &owner {
                    self.pushes.trimmed(&mut log.open, user, entry.message().position.offset, now);
                }
            }
            if let Some(user) = owner.filter(|_| log.is_empty())
                && self.users.get(&user).is_some_and(|known| known.last_seen.is_none())
            {
                self.users.remove(&user);
                log.makes_known = true;
            }
            // One that there was no time for comes first the next time.
            let due = log.next_due(&retention).into_iter().chain(ends).min();
            let due = if left == 0 { Some(Time(0)) } else { due };
            reschedule(&mut self.expiry_index, &channel, log, due);
        }
        self.keys.forget_old(now);
        self.metadata.forget_producers(self.keys.stamp(now));
        self.pushes.forget_old(now, &mut self.logs);
        ended
    }
}

impl User {
    fn record(&self, user: &UserId) -> UserRecord {
        UserRecord { user: user.clone(), first_seen: self.first_seen, last_seen: self.last_seen }
    }
}

fn check_room(what: &str, wanted: usize, max: usize) -> Result<(), EngineError> {
    if wanted > max {
        return Err(EngineError::Unavailable(format!("there are {max} {what} already")));
    }
    Ok(())
}

fn reschedule(
    expiry_index: &mut BTreeSet<(Time, ChannelName)>,
    channel: &ChannelName,
    log: &mut Log,
    due: Option<Time>,
) {
    if let Some(known) = log.due {
        expiry_index.remove(&(known, channel.clone()));
    }
    log.due = due;
    if let Some(due) = due {
        expiry_index.insert((due, channel.clone()));
    }
}
