//! A channel that has followers here: its window (the newest part of the log, in memory) and its members. It
//! never asks the engine itself: `deliver.rs` does that through the hub's outputs.

use std::{collections::VecDeque, num::NonZeroU32, sync::Arc};

use encke_proto::{ChannelName, Entry, Epoch, Lineage, Offset, Page, Position, Time, write_cursor_name};

use crate::{HubConfig, Now, index::Keyed, one_or_many::OneOrMany};

/// A follower of a channel: a session, and which of its subscriptions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) session: u32,
    pub(crate) sub: u16,
}

/// A channel that sessions here follow: the newest part of its log, and which sessions follow it.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: ChannelName,
    /// The name as cursors hold it, when that is not the name itself; found out once.
    wire: Option<Box<Wire>>,
    pub(crate) log: Log,
    pub(crate) members: OneOrMany<Member>,
    /// How far the user was handed this log, when it is a user's own and known.
    pub(crate) handed: Option<Handed>,
    /// Whether the engine was asked for the end of the log and has not answered.
    pub(crate) asked: bool,
    /// Whether it is to be asked once more then, since its answer may be too old.
    pub(crate) again: bool,
    /// Whether its answer counts for nothing: messages were cancelled or deleted since it was asked.
    pub(crate) void: bool,
    /// Whether the channel is among the hub's warm ones.
    pub(crate) warm: bool,
    /// Whether its members are among [`crate::FollowerCounts`].
    pub(crate) counted: bool,
}

/// How far a user was handed the own log. It is in every channel, so it has the size of a place alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) position: Position,
    /// When, in milliseconds of the clock that never goes back, as far as 32 bits go and odd always; or
    /// [`NOT_COUNTED`].
    since: NonZeroU32,
}

/// It is not known when, or it was counted already how long it took until it was shown.
const NOT_COUNTED: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

impl Handed {
    /// As the engine knows it.
    pub(crate) fn before(position: Position) -> Self {
        Self { position, since: NOT_COUNTED }
    }

    /// It is handed now.
    pub(crate) fn at(position: Position, now: Now) -> Self {
        Self { position, since: odd(now) }
    }

    /// It is shown now: how long that took, in milliseconds, if it is known and was not asked before. Of what
    /// was handed 49 days ago it is wrong.
    pub(crate) fn take_shown_ms(&mut self, now: Now) -> Option<u64> {
        let since = std::mem::replace(&mut self.since, NOT_COUNTED);
        (since != NOT_COUNTED).then(|| odd(now).get().wrapping_sub(since.get()).into())
    }
}

/// A time that is [`NOT_COUNTED`] never.
fn odd(now: Now) -> NonZeroU32 {
    NonZeroU32::MIN | now.mono_ms as u32
}

/// A name as cursors hold it. Few are not what they are, so it stands elsewhere.
#[derive(Debug)]
struct Wire(Box<str>);

impl Keyed<Channel> for ChannelName {
    fn of(channel: &Channel) -> Option<&Self> {
        Some(&channel.name)
    }
}

impl Channel {
    pub(crate) fn new(name: ChannelName) -> Self {
        let mut wire = String::with_capacity(name.as_str().len());
        // Writing to a string does not fail.
        let _ = write_cursor_name(&mut wire, &name);
        let wire = (wire != name.as_str()).then(|| Box::new(Wire(wire.into_boxed_str())));
        let log = Log::default();
        Self {
            name,
            wire,
            log,
            members: OneOrMany::None,
            handed: None,
            asked: false,
            again: false,
            void: false,
            warm: false,
            counted: false,
        }
    }

    /// Drops what is older than `before` from the window. True when something is left.
    pub(crate) fn cool(&mut self, before: Time) -> bool {
        self.warm = match &mut self.log {
            Log::Open(window) => window.cool(before),
            Log::Opening { .. } => false,
        };
        self.warm
    }

    /// Whether its user is handed more than before by what is there up to a position.
    pub(crate) fn hands(&self, up_to: Position) -> bool {
        self.is_farther(self.handed.map(|handed| handed.position), up_to)
    }

    /// Whether `up_to` is farther than a place where its user, or a device, was; none if it was nowhere.
    pub(crate) fn is_farther(&self, was: Option<Position>, up_to: Position) -> bool {
        match was {
            Some(was) if was.epoch == up_to.epoch => was.offset < up_to.offset,
            // One tab may still stand in the former epoch while another is in the new one.
            Some(_) => self.window().is_some_and(|window| window.epoch == up_to.epoch),
            None => true,
        }
    }

    /// Whether its messages are broadcasts. What is in a user's own channel is for that user alone, however
    /// many the sessions.
    pub(crate) fn is_broadcast(&self, config: &HubConfig) -> bool {
        self.members.len() >= config.broadcast_members && !self.name.is_own()
    }

    /// How long a name is as cursors hold it.
    pub(crate) fn wire_len(name: &ChannelName) -> usize {
        let mut wire = String::new();
        // Writing to a string does not fail.
        let _ = write_cursor_name(&mut wire, name);
        wire.len()
    }

    /// The name as cursors hold it.
    pub(crate) fn wire(&self) -> &str {
        self.wire.as_ref().map_or(self.name.as_str(), |wire| &wire.0)
    }

    /// The window, once the log is open.
    pub(crate) fn window(&self) -> Option<&Window> {
        match &self.log {
            Log::Open(window) => Some(window),
            Log::Opening { .. } => None,
        }
    }
}

/// The most messages that are kept aside while a channel is being opened; past it the channel is opened
/// again.
const EARLY_MAX: usize = 1024;

/// What came of a new message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// The window has grown.
    Grown,
    /// Nothing is to be done.
    Nothing,
    /// It is of another epoch than the window. Only the engine knows which of the two is the newer.
    Foreign,
}

/// What is known of a channel's log.
#[derive(Debug)]
pub(crate) enum Log {
    /// The engine is to say where the log ends. What arrived since it was asked waits here, since the answer
    /// may be older.
    Opening { early: Vec<Arc<Entry>>, missed: bool },
    /// The end of the log.
    Open(Window),
}

impl Default for Log {
    fn default() -> Self {
        Self::Opening { early: Vec::new(), missed: false }
    }
}

impl Log {
    /// Takes in a new message.
    pub(crate) fn append(&mut self, entry: &Arc<Entry>, config: &HubConfig) -> Appended {
        match self {
            Self::Opening { early, missed } => {
                if early.len() < EARLY_MAX {
                    early.push(Arc::clone(entry));
                } else {
                    *missed = true;
                }
                Appended::Nothing
            }
            Self::Open(window) if window.epoch != entry.message().position.epoch => Appended::Foreign,
            Self::Open(window) => window.append(entry, config),
        }
    }

    /// Lets go of all messages. Where the log ends is known as before.
    pub(crate) fn forget_messages(&mut self) {
        match self {
            Self::Opening { early, .. } => early.clear(),
            Self::Open(window) => window.held = None,
        }
    }

    /// Takes in the end of the log as the engine read it, and what came meanwhile.
    pub(crate) fn open(&mut self, page: Page, config: &HubConfig) -> Opened {
        let (early, missed) = match self {
            Self::Opening { early, missed } => (std::mem::take(early), *missed),
            Self::Open(_) => (Vec::new(), false),
        };
        let page_epoch = page.epoch;
        let mut window = Window::new(page, config);
        let count = early.len();
        let same = |entry: &Arc<Entry>| entry.message().position.epoch == page_epoch;
        let early: Vec<_> = early.into_iter().filter(same).collect();
        let first =
            early.first().map(|entry| entry.message().position.offset).filter(|first| *first <= window.head);
        let since = Position {
            epoch: window.epoch,
            offset: first.map_or(window.head, |first| first.saturating_sub(1)),
        };
        for entry in &early {
            window.append(entry, config);
        }
        *self = Self::Open(window);
        // What is of another epoch came late, or the answer did: that needs another look.
        Opened { since, whole: !missed && early.len() == count }
    }
}

/// What came of opening a log.
pub(crate) struct Opened {
    /// Where "from now on" begins for sessions that asked while the log was being opened: before anything
    /// that came meanwhile.
    pub(crate) since: Position,
    /// False when the log must be looked at again: too much came meanwhile, or of another epoch.
    pub(crate) whole: bool,
}

/// The newest messages of a log: consecutive, the last one at the head.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) epoch: Epoch,
    pub(crate) head: Offset,
    /// The epochs that this one goes on from. Nearly always there are none, so they stand elsewhere.
    lineage: Option<Box<Lineage>>,
    /// None in a channel at rest, which costs nothing but its name and its head.
    held: Option<Box<Messages>>,
}

/// The messages of a window.
#[derive(Debug, Default)]
struct Messages {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
}

impl Window {
    fn new(page: Page, config: &HubConfig) -> Self {
        let mut window = Self {
            epoch: page.epoch,
            head: page.head,
            lineage: (!page.lineage.forks().is_empty()).then(|| Box::new(page.lineage)),
            held: None,
        };
        // A page that does not end at the head is of no use as a window: what follows it is missing.
        if page.entries.last().is_some_and(|last| last.message().position.offset == page.head) {
            for entry in page.entries {
                window.push(entry, config);
            }
        }
        window
    }

    /// Takes in a new message of this epoch.
    fn append(&mut self, entry: &Arc<Entry>, config: &HubConfig) -> Appended {
        let position = entry.message().position;
        if position.offset <= self.head {
            return Appended::Nothing;
        }
        if position.offset > self.head + 1 {
            // Something was missed. A session that stands before the hole is caught up from the engine.
            self.held = None;
        }
        self.head = position.offset;
        self.push(Arc::clone(entry), config);
        Appended::Grown
    }

    fn push(&mut self, entry: Arc<Entry>, config: &HubConfig) {
        let held = self.held.get_or_insert_default();
        held.bytes += entry.weight();
        held.entries.push_back(entry);
        while held.entries.len() > config.window_messages
            || (held.bytes > config.window_bytes && held.entries.len() > 1)
        {
            held.drop_oldest();
        }
    }

    /// Drops what is older than `before`. True when something is left.
    fn cool(&mut self, before: Time) -> bool {
        let Some(held) = &mut self.held else { return false };
        while held.entries.front().is_some_and(|oldest| oldest.message().time < before) {
            held.drop_oldest();
        }
        if held.entries.is_empty() {
            self.held = None;
        }
        self.held.is_some()
    }

    fn entries(&self) -> Option<&VecDeque<Arc<Entry>>> {
        self.held.as_deref().map(|held| &held.entries)
    }

    /// How many messages it holds.
    pub(crate) fn len(&self) -> u64 {
        self.entries().map_or(0, |entries| entries.len() as u64)
    }

    /// Their bytes, roughly.
    pub(crate) fn weight(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.bytes as u64)
    }

    /// The bytes of each, the newest first.
    pub(crate) fn weights(&self) -> impl Iterator<Item = u64> {
        self.entries().into_iter().flat_map(|entries| entries.iter().rev()).map(|entry| entry.weight() as u64)
    }

    /// The message behind `offset`, if the window has it.
    pub(crate) fn after(&self, offset: Offset) -> Option<&Arc<Entry>> {
        let back = self.head.checked_sub(offset)?;
        let entries = self.entries()?;
        let index = (entries.len() as u64).checked_sub(back)?;
        entries.get(usize::try_from(index).ok()?)
    }

    /// Where a position stands in this epoch, if it does.
    pub(crate) fn carry(&self, at: Position) -> Option<Position> {
        if at.epoch == self.epoch { Some(at) } else { self.lineage.as_ref()?.carry(at, self.epoch) }
    }

    /// Behind which offset of this epoch a receiver at `at` goes on at best. An offset of an epoch that has
    /// nothing to do with this one says nothing.
    pub(crate) fn goes_on(&self, at: Position) -> Offset {
        if at.epoch == self.epoch {
            return at.offset;
        }
        self.lineage
            .as_ref()
            .and_then(|lineage| lineage.shared(at.epoch))
            .map_or(0, |kept| kept.min(at.offset))
    }

    /// Whether a receiver at `offset` of this epoch can go on from the window alone.
    pub(crate) fn reaches(&self, offset: Offset) -> bool {
        offset <= self.head && self.head - offset <= self.len()
    }

    /// Whether the messages are consecutive and end at the head, and their bytes are counted right.
    pub(crate) fn is_sound(&self) -> bool {
        let Some(held) = self.held.as_deref() else { return true };
        let first = (self.head + 1).saturating_sub(self.len());
        let in_place = |(offset, entry): (u64, &Arc<Entry>)| {
            entry.message().position == Position { epoch: self.epoch, offset }
        };
        (first..).zip(&held.entries).all(in_place)
            && held.bytes == held.entries.iter().map(|entry| entry.weight()).sum::<usize>()
            && !held.entries.is_empty()
    }

    /// The position at the head.
    pub(crate) fn head(&self) -> Position {
        Position { epoch: self.epoch, offset: self.head }
    }
}

impl Messages {
    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= oldest.weight();
        }
    }
}
