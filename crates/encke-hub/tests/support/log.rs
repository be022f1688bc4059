//! The logs of an engine, as plain lists.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use encke_hub::Opening;
use encke_proto::{
    Body, ChannelName, Entry, Epoch, Lineage, Message, MessageId, Offset, Page, Position, Time,
};

/// Every channel's log, and how far users were handed theirs.
#[derive(Debug)]
pub struct Logs {
    logs: BTreeMap<ChannelName, Log>,
    handed: BTreeMap<ChannelName, Position>,
    /// The epoch in which logs begin.
    pub epoch: Epoch,
    /// How many messages a page has at most.
    pub page_max: usize,
}

#[derive(Debug)]
struct Log {
    epoch: Epoch,
    head: Offset,
    lineage: Vec<Position>,
    kept: VecDeque<Arc<Entry>>,
}

impl Logs {
    pub fn new(epoch: u64, page_max: usize) -> Self {
        Self { logs: BTreeMap::new(), handed: BTreeMap::new(), epoch: Epoch(epoch), page_max }
    }

    fn log(&mut self, channel: &ChannelName) -> &mut Log {
        let epoch = self.epoch;
        self.logs.entry(channel.clone()).or_insert_with(|| Log {
            epoch,
            head: 0,
            lineage: Vec::new(),
            kept: VecDeque::new(),
        })
    }

    /// Appends a message.
    pub fn append(
        &mut self,
        channel: &ChannelName,
        id: u128,
        time: Time,
        expires: Option<Time>,
    ) -> Arc<Entry> {
        self.append_as(channel, MessageId::from_bits(id), time, expires)
    }

    pub fn append_as(
        &mut self,
        channel: &ChannelName,
        id: MessageId,
        time: Time,
        expires: Option<Time>,
    ) -> Arc<Entry> {
        let log = self.log(channel);
        log.head += 1;
        let position = Position { epoch: log.epoch, offset: log.head };
        let (channel, body) = (channel.clone(), Body::Page("http://x/".into()));
        let entry = Arc::new(Entry::new(Message {
            id,
            channel,
            position,
            time,
            body,
            from: None,
            expires,
            trace: None,
        }));
        log.kept.push_back(Arc::clone(&entry));
        entry
    }

    /// Keeps only the newest `keep` messages of a channel; how many are left.
    pub fn trim(&mut self, channel: &ChannelName, keep: usize) -> usize {
        let log = self.log(channel);
        while log.kept.len() > keep {
            log.kept.pop_front();
        }
        log.kept.len()
    }

    /// The message at an offset was cancelled, if it is kept: it has expired for all who read from now on.
    /// Returns its id.
    pub fn cancel(&mut self, channel: &ChannelName, offset: Offset) -> Option<MessageId> {
        let at = |entry: &&mut Arc<Entry>| entry.message().position.offset == offset;
        let entry = self.log(channel).kept.iter_mut().find(at)?;
        let message = Message { expires: Some(Time(0)), ..entry.message().clone() };
        let id = message.id.clone();
        *entry = Arc::new(Entry::new(message));
        Some(id)
    }

    /// The log is deleted, which takes an offset; the ids of what it held.
    pub fn delete(&mut self, channel: &ChannelName) -> Vec<MessageId> {
        let log = self.log(channel);
        log.head += 1;
        log.kept.drain(..).map(|entry| entry.message().id.clone()).collect()
    }

    /// Everything is lost: logs begin again, in a new epoch.
    pub fn forget(&mut self, epoch: u64) {
        self.epoch = Epoch(epoch);
        self.logs.clear();
        self.handed.clear();
    }

    /// The last `lost` messages of a channel are lost; what is left goes on in a new epoch.
    pub fn lose(&mut self, channel: &ChannelName, lost: usize, epoch: u64) {
        let log = self.log(channel);
        for _ in 0..lost {
            log.kept.pop_back();
            log.head -= 1;
        }
        log.lineage.insert(0, Position { epoch: log.epoch, offset: log.head });
        log.epoch = Epoch(epoch);
        let told_anew = |entry: &mut Arc<Entry>| {
            let mut message = entry.message().clone();
            message.position.epoch = Epoch(epoch);
            *entry = Arc::new(Entry::new(message));
        };
        log.kept.iter_mut().for_each(told_anew);
    }

    pub fn head(&mut self, channel: &ChannelName) -> Position {
        let log = self.log(channel);
        Position { epoch: log.epoch, offset: log.head }
    }

    fn page(
        &mut self,
        channel: &ChannelName,
        choose: impl Fn(&VecDeque<Arc<Entry>>) -> Vec<Arc<Entry>>,
    ) -> Page {
        let log = self.log(channel);
        let tail = log.head + 1 - log.kept.len() as u64;
        Page {
            epoch: log.epoch,
            lineage: Lineage::new(log.lineage.clone()),
            tail,
            head: log.head,
            closed: false,
            entries: choose(&log.kept),
        }
    }

    /// The answer to `Output::Read`.
    pub fn read(&mut self, channel: &ChannelName, after: Offset) -> Page {
        let max = self.page_max;
        let behind = |entry: &&Arc<Entry>| entry.message().position.offset > after;
        self.page(channel, |kept| kept.iter().filter(behind).take(max).cloned().collect())
    }

    /// The answer to `Output::Open`.
    pub fn open(&mut self, channel: &ChannelName) -> Opening {
        let max = self.page_max;
        let page =
            self.page(channel, |kept| kept.iter().skip(kept.len().saturating_sub(max)).cloned().collect());
        Opening { page, handed: self.handed.get(channel).copied() }
    }

    /// What `Output::Handed` asks for.
    pub fn hand(&mut self, channel: &ChannelName, position: Position) {
        self.handed.insert(channel.clone(), position);
    }
}
