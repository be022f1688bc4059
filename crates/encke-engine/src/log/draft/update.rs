//! Changes of single logs besides appends, on their way into a frame.

use std::collections::{HashMap, HashSet};

use encke_proto::{ChannelName, MessageId, Offset, Position, Time};

use super::{Draft, message_record};
use crate::{
    Configure, EngineError, LogConfig, LogRefusal, LogUpdate, LogUpdated, Producer, ProducerId,
    TOUCH_STEP_MS,
    log::{
        record::{Configured, LogId, Produced, Record, Target},
        state::State,
    },
    metadata::{self, Sequence, Sequences},
};

/// What the drafted records would change of what is known of logs besides their messages.
#[derive(Default)]
pub(super) struct MetadataDraft {
    closed: HashSet<LogId>,
    configs: HashMap<LogId, LogConfig>,
    /// When the logs were last used that are used by the draft.
    touched: HashMap<LogId, Time>,
    sequences: HashMap<(LogId, ProducerId), Sequences>,
    /// How many producers of each log are new.
    producers: HashMap<LogId, usize>,
}

impl Draft {
    /// Whether something is known of some log besides its messages, or will be.
    fn has_metadata(&self, state: &State) -> bool {
        !state.metadata.is_empty() || !self.metadata.closed.is_empty() || !self.metadata.configs.is_empty()
    }

    fn is_closed(&self, state: &State, log: LogId) -> bool {
        self.metadata.closed.contains(&log) || state.metadata.is_closed(log)
    }

    /// Public logs are about to be appended to: refuses if one of them is closed, or has ended and waits for
    /// the sweep, which would take the message with it.
    pub(super) fn begin_use(
        &mut self,
        state: &State,
        channels: &[ChannelName],
        at: Time,
    ) -> Result<(), LogRefusal> {
        if !self.has_metadata(state) {
            return Ok(());
        }
        let logs: Vec<LogId> = channels.iter().filter_map(|name| self.known(state, name)).collect();
        for log in &logs {
            if self.ends(state, *log).is_some_and(|end| end <= at) {
                return Err(LogRefusal::Ended);
            }
            if self.is_closed(state, *log) {
                return Err(LogRefusal::Closed);
            }
        }
        for log in logs {
            if self.config(state, log).is_some() {
                let touched = self.touched(state, log).max(at);
                self.metadata.touched.insert(log, touched);
            }
        }
        Ok(())
    }

    fn config<'a>(&'a self, state: &'a State, log: LogId) -> Option<&'a LogConfig> {
        let known = || state.metadata.get(log).map(|metadata| &metadata.config);
        self.metadata.configs.get(&log).or_else(known)
    }

    /// When a log ends by itself.
    fn ends(&self, state: &State, log: LogId) -> Option<Time> {
        metadata::ends(self.config(state, log)?, self.touched(state, log))
    }

    fn touched(&self, state: &State, log: LogId) -> Time {
        let known = state.metadata.get(log).map_or(Time(0), |metadata| metadata.touched);
        self.metadata.touched.get(&log).map_or(known, |drafted| *drafted.max(&known))
    }

    fn head(&self, state: &State, name: &ChannelName) -> Offset {
        let Some(log) = self.known(state, name) else { return state.floors.of(name) };
        let known = || state.log(log).map_or_else(|| state.floors.of(name), |log| log.head());
        self.heads.get(&log).copied().unwrap_or_else(known)
    }

    /// Adds a change. `stamp` is that of its producer.
    pub(in crate::log) fn update(
        &mut self,
        state: &State,
        update: &LogUpdate,
        stamp: Time,
    ) -> Result<LogUpdated, EngineError> {
        let known = self.known(state, &update.channel);
        if known.and_then(|log| self.ends(state, log)).is_some_and(|end| end <= update.time) {
            return Err(LogRefusal::Ended.into());
        }
        let is_there = known.is_some();
        if is_there && matches!(update.configure, Configure::Create(_)) || !is_there && !update.makes_log() {
            return Ok(self.told(state, &update.channel));
        }
        let is_next = match &update.producer {
            None => None,
            Some(producer) => match self.check_producer(state, known, producer, stamp)? {
                Sequence::Next => Some(producer),
                Sequence::Repeated(place) => {
                    let at =
                        |(id, offset): (MessageId, Offset)| (id, Position { epoch: state.epoch, offset });
                    let message = place.map(at);
                    return Ok(LogUpdated { repeated: true, message, ..self.told(state, &update.channel) });
                }
            },
        };
        if update.message.is_some() && known.is_some_and(|log| self.is_closed(state, log)) {
            return Err(LogRefusal::Closed.into());
        }
        self.check_room(state, std::slice::from_ref(&update.channel))?;
        let log = self.log(state, &update.channel);
        let message = self.add_message(state, update, log);
        self.add_metadata(state, update, log);
        if let Some(producer) = is_next {
            let place = message.as_ref().map(|(id, position)| (id.clone(), position.offset));
            self.add_sequence(state, log, producer, stamp, place);
        }
        Ok(LogUpdated { created: !is_there, message, ..self.told(state, &update.channel) })
    }

    /// What is told of a log by which nothing was done.
    fn told(&self, state: &State, name: &ChannelName) -> LogUpdated {
        let closed = self.known(state, name).is_some_and(|log| self.is_closed(state, log));
        let head = Position { epoch: state.epoch, offset: self.head(state, name) };
        LogUpdated { created: false, repeated: false, message: None, head, closed }
    }

    fn check_producer(
        &self,
        state: &State,
        log: Option<LogId>,
        producer: &Producer,
        stamp: Time,
    ) -> Result<Sequence, LogRefusal> {
        let Some(log) = log else { return Sequences::check(None, producer) };
        let known = self.sequences(state, log, producer.id(), stamp);
        let sequence = Sequences::check(known, producer)?;
        if known.is_none() {
            let drafted = self.metadata.producers.get(&log).copied().unwrap_or(0);
            let in_all = self.metadata.producers.values().sum();
            state.metadata.check_room(log, (drafted, in_all), stamp)?;
        }
        Ok(sequence)
    }

    fn sequences<'a>(
        &'a self,
        state: &'a State,
        log: LogId,
        id: &ProducerId,
        stamp: Time,
    ) -> Option<&'a Sequences> {
        let known = || state.metadata.get(log).and_then(|metadata| metadata.sequences(id, stamp));
        self.metadata.sequences.get(&(log, id.clone())).or_else(known)
    }

    fn add_message(
        &mut self,
        state: &State,
        update: &LogUpdate,
        log: LogId,
    ) -> Option<(MessageId, Position)> {
        let new = update.message.as_ref()?;
        let offset = self.head(state, &update.channel) + 1;
        self.heads.insert(log, offset);
        self.records.push(Record::Message(message_record(new, update.time, vec![Target { log, offset }])));
        Some((new.id.clone(), Position { epoch: state.epoch, offset }))
    }

    fn add_metadata(&mut self, state: &State, update: &LogUpdate, log: LogId) {
        let touched = self.touched(state, log);
        let at = touched.max(update.time);
        match &update.configure {
            Configure::Keep => {}
            Configure::Create(config) | Configure::Replace(config) => {
                self.records.push(Record::Configured(Configured {
                    log,
                    config: config.clone(),
                    touched: at,
                }));
                self.metadata.configs.insert(log, config.clone());
                self.metadata.touched.insert(log, at);
            }
        }
        if update.close && !self.is_closed(state, log) {
            self.records.push(Record::Closed { log });
            self.metadata.closed.insert(log);
        }
        let lasts = self.config(state, log).is_some_and(|config| config.lifetime().is_some());
        if lasts && (update.message.is_some() || at.0 >= touched.0.saturating_add(TOUCH_STEP_MS)) {
            // That a message came is said by its record.
            if update.message.is_none() && self.metadata.touched.get(&log) != Some(&at) {
                self.records.push(Record::Touched { log, at });
            }
            self.metadata.touched.insert(log, at);
        }
    }

    fn add_sequence(
        &mut self,
        state: &State,
        log: LogId,
        producer: &Producer,
        stamp: Time,
        place: Option<(MessageId, Offset)>,
    ) {
        let known = self.sequences(state, log, producer.id(), stamp);
        let is_new = known.is_none();
        let after = Sequences::after(known, producer, stamp, place.clone());
        self.metadata.sequences.insert((log, producer.id().clone()), after);
        if is_new {
            *self.metadata.producers.entry(log).or_default() += 1;
        }
        self.records.push(Record::Produced(Produced { log, producer: producer.clone(), stamp, place }));
    }
}

#[cfg(test)]
mod tests {
    use encke_proto::{Body, Epoch};

    use super::*;
    use crate::{Append, Lifetime, NewMessage, RetentionTable, Targets, log::manifest::Manifest};

    fn at(second: u64) -> Time {
        Time(1_763_800_000_000).plus_seconds(second)
    }

    fn new_message() -> NewMessage {
        NewMessage {
            id: MessageId::from_bits(7),
            body: Body::Page("http://x/".into()),
            from: None,
            expires: None,
        }
    }

    fn append(channel: &ChannelName, time: Time) -> Append {
        let NewMessage { id, body, from, expires } = new_message();
        Append {
            id,
            key: None,
            targets: Targets::Channels(vec![channel.clone()]),
            body,
            from,
            time,
            expires,
            trace: None,
        }
    }

    /// Calls that come while the writer syncs are drafted on top of each other.
    #[test]
    fn calls_of_one_frame_see_what_those_before_them_did() {
        let manifest = Manifest { epoch: Epoch(1), hash_key: 0, first: 1, newest: 1, copied: false };
        let state = State::new(&manifest, RetentionTable::default());
        let channel = ChannelName::public("a").expect("this is a name");
        let mut draft = Draft::default();
        let idle = LogConfig::new(None, Some(Lifetime::Idle { seconds: 60 })).expect("it has no type");
        let create =
            LogUpdate { configure: Configure::Create(idle), ..LogUpdate::new(channel.clone(), at(0)) };
        assert!(draft.update(&state, &create, Time(0)).expect("it is taken").created);
        assert!(!draft.update(&state, &create, Time(0)).expect("it is taken").created);
        draft.append(&state, &append(&channel, at(59)), Time(0)).expect("it is open");
        let id = ProducerId::new("p").expect("this is an id");
        let produced = |sequence, second| LogUpdate {
            producer: Producer::new(id.clone(), 0, sequence).ok(),
            message: Some(new_message()),
            ..LogUpdate::new(channel.clone(), at(second))
        };
        let first = draft.update(&state, &produced(0, 61), Time(0)).expect("the append was a use");
        assert_eq!((first.repeated, first.head.offset), (false, 2));
        let again = draft.update(&state, &produced(0, 61), Time(0)).expect("it is answered again");
        assert_eq!((again.repeated, again.message), (true, first.message));
        let close = LogUpdate { close: true, ..produced(1, 62) };
        assert!(draft.update(&state, &close, Time(0)).expect("it is taken").closed);
        let refused = draft.append(&state, &append(&channel, at(63)), Time(0));
        assert_eq!(refused, Err(EngineError::Refused(LogRefusal::Closed)));
        let ended = draft.update(&state, &produced(2, 122), Time(0));
        assert_eq!(ended, Err(EngineError::Refused(LogRefusal::Ended)));
    }
}
