//! What is in memory of one log. There is one for every channel and every user that something is kept of, so
//! it is small: a user with one message takes less than 250 bytes in all (`tests/log_memory.rs` counts them).

use std::collections::VecDeque;

use encke_proto::{ChannelName, Offset, Time};

use super::{
    receipts::{Step, StepKind, add_cancelled, add_step},
    record::{LogId, LogImage},
    stored::{Place, Stored},
};
use crate::{ReceiptState, Retention};

/// What stands for a time that never was.
const NEVER: u64 = u64::MAX;

/// The messages of a log, the oldest first. Most users have one or none, which takes no memory besides.
#[derive(Debug, Default)]
enum Messages {
    #[default]
    None,
    One(Stored),
    #[expect(clippy::box_collection, reason = "unboxed it would make every log larger")]
    Many(Box<VecDeque<Stored>>),
}

impl Messages {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(all) => all.len(),
        }
    }

    fn get(&self, at: usize) -> Option<Stored> {
        match self {
            Self::One(one) if at == 0 => Some(*one),
            Self::Many(all) => all.get(at).copied(),
            Self::None | Self::One(_) => None,
        }
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut Stored> {
        match self {
            Self::One(one) if at == 0 => Some(one),
            Self::Many(all) => all.get_mut(at),
            Self::None | Self::One(_) => None,
        }
    }

    fn push(&mut self, stored: Stored) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(stored),
            Self::One(first) => Self::Many(Box::new(VecDeque::from([first, stored]))),
            Self::Many(mut all) => {
                all.push_back(stored);
                Self::Many(all)
            }
        };
    }

    fn pop(&mut self) -> Option<Stored> {
        let (popped, left) = match std::mem::take(self) {
            Self::None => (None, Self::None),
            Self::One(one) => (Some(one), Self::None),
            Self::Many(mut all) => {
                let popped = all.pop_front();
                (popped, if all.is_empty() { Self::None } else { Self::Many(all) })
            }
        };
        *self = left;
        popped
    }
}

/// A log, and what is known of the user whose own it is.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) name: ChannelName,
    messages: Messages,
    head: Offset,
    bytes: u64,
    /// In milliseconds; an `Option` of each would take twice as much.
    first_seen: u64,
    last_seen: u64,
    handed: Offset,
    shown: Offset,
    /// Until when some push to the user has receipts; steps are kept for no longer.
    receipts_until: Time,
    /// None as long as there is none.
    #[expect(clippy::box_collection, reason = "unboxed it would make every log larger")]
    steps: Option<Box<Vec<Step>>>,
    /// The second in which the expiry index has it.
    pub(super) scheduled: Option<u32>,
}

impl Log {
    pub(super) fn new(name: ChannelName) -> Self {
        Self {
            name,
            messages: Messages::None,
            head: 0,
            bytes: 0,
            first_seen: NEVER,
            last_seen: NEVER,
            handed: 0,
            shown: 0,
            receipts_until: Time(0),
            steps: None,
            scheduled: None,
        }
    }

    /// A log without messages whose first one comes behind `floor`.
    pub(super) fn behind(name: ChannelName, floor: Offset) -> Self {
        Self { head: floor, handed: floor, shown: floor, ..Self::new(name) }
    }

    pub(super) fn head(&self) -> Offset {
        self.head
    }

    pub(super) fn tail(&self) -> Offset {
        (self.head - self.messages.len() as u64).saturating_add(1)
    }

    /// When the user was first here or pushed to; none when there is no such user.
    pub(super) fn first_seen(&self) -> Option<Time> {
        (self.first_seen != NEVER).then_some(Time(self.first_seen))
    }

    /// When the user was last here.
    pub(super) fn last_seen(&self) -> Option<Time> {
        (self.last_seen != NEVER).then_some(Time(self.last_seen))
    }

    pub(super) fn handed(&self) -> Offset {
        self.handed
    }

    /// Whether the place that a mark of this state moves is already there.
    pub(super) fn is_marked(&self, state: ReceiptState, to: Offset) -> bool {
        let place = if state == ReceiptState::Shown { self.shown } else { self.handed };
        to <= place
    }

    /// Adds the message after the head.
    pub(super) fn push(&mut self, stored: Stored) {
        self.head += 1;
        self.bytes += u64::from(stored.body_bytes());
        self.messages.push(stored);
    }

    /// The user is known from now on, if not before, and has a push whose receipts are kept so long.
    pub(super) fn pushed(&mut self, at: Time, until: Time) {
        if self.first_seen == NEVER {
            self.first_seen = at.0;
        }
        self.receipts_until = self.receipts_until.max(until);
    }

    pub(super) fn seen(&mut self, at: Time) {
        if self.first_seen == NEVER {
            self.first_seen = at.0;
        }
        self.last_seen = self.last_seen().map_or(at.0, |last| last.0.max(at.0));
    }

    pub(super) fn mark(&mut self, state: ReceiptState, to: Offset, at: Time) {
        // What is not there yet cannot have been handed to any connection.
        let to = to.min(self.head);
        if self.is_marked(state, to) {
            return;
        }
        let kind = match state {
            ReceiptState::Shown => {
                self.shown = to;
                StepKind::Shown
            }
            ReceiptState::Delivered => {
                self.handed = to;
                StepKind::Delivered
            }
            ReceiptState::Queued | ReceiptState::Expired | ReceiptState::Cancelled => return,
        };
        self.step(kind, to, at);
    }

    /// The message at an offset is not to be delivered any more, if no connection was handed it before.
    pub(super) fn cancel(&mut self, offset: Offset, at: Time) {
        if !self.reaches(offset) && offset <= self.head {
            let tail = self.tail();
            add_cancelled(self.steps.get_or_insert_default(), offset, at, tail);
        }
    }

    /// Whether a connection was handed what lies at an offset, or behind it.
    pub(super) fn reaches(&self, offset: Offset) -> bool {
        offset <= self.handed.max(self.shown)
    }

    /// Where messages were cancelled; of those that are kept all.
    pub(super) fn cancelled(&self) -> impl Iterator<Item = Offset> + '_ {
        let cancelled = self.steps().iter().filter(|step| step.kind() == StepKind::Cancelled);
        cancelled.map(|step| step.to)
    }

    fn step(&mut self, kind: StepKind, to: Offset, at: Time) {
        if self.receipts_until > at {
            add_step(self.steps.get_or_insert_default(), Step::new(kind, to, at));
        }
    }

    /// Whether it holds more than it may.
    pub(super) fn is_over(&self, retention: &Retention) -> bool {
        retention.is_over(self.messages.len() as u64, self.bytes)
    }

    /// Takes the oldest message out. The user will not be handed it any more.
    pub(super) fn trim(&mut self, at: Time) -> Option<Stored> {
        let stored = self.messages.pop()?;
        self.bytes = self.bytes.saturating_sub(stored.body_bytes().into());
        let trimmed = self.tail() - 1;
        if trimmed > self.handed.max(self.shown) {
            self.step(StepKind::Trimmed, trimmed, at);
        }
        self.forget_unseen();
        Some(stored)
    }

    /// A user who was never here is known no longer than a message is kept for it.
    fn forget_unseen(&mut self) {
        if self.messages.len() == 0 && self.last_seen == NEVER {
            self.first_seen = NEVER;
        }
    }

    /// From when on the oldest message may be trimmed by its age or expiry.
    pub(super) fn due(&self, retention: &Retention) -> Option<Time> {
        self.messages.get(0).map(|stored| stored.due(retention))
    }

    /// How many of the oldest messages may be trimmed at this time, up to `most`.
    pub(super) fn count_due(&self, retention: &Retention, now: Time, most: usize) -> usize {
        let is_due = |at: &usize| self.messages.get(*at).is_some_and(|stored| stored.due(retention) <= now);
        (0..most.min(self.messages.len())).take_while(is_due).count()
    }

    /// How many of the oldest messages are too many, up to `most`.
    pub(super) fn count_over(&self, retention: &Retention, most: usize) -> usize {
        let (mut left, mut bytes, mut over) = (self.messages.len() as u64, self.bytes, 0);
        while over < most && retention.is_over(left, bytes) {
            bytes -= self.messages.get(over).map_or(0, |stored| u64::from(stored.body_bytes()));
            left -= 1;
            over += 1;
        }
        over
    }

    /// How many messages are kept.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The message at an offset.
    pub(super) fn get(&self, offset: Offset) -> Option<Stored> {
        let at = usize::try_from(offset.checked_sub(self.tail())?).ok()?;
        self.messages.get(at)
    }

    /// The message at an offset lies elsewhere now. Returns how it was, and how it is.
    pub(super) fn relocate(&mut self, offset: Offset, place: Place) -> Option<(Stored, Stored)> {
        let at = usize::try_from(offset.checked_sub(self.tail())?).ok()?;
        let stored = self.messages.get_mut(at)?;
        let before = *stored;
        *stored = stored.at(place);
        Some((before, *stored))
    }

    /// All messages, the oldest first.
    pub(super) fn messages(&self) -> impl Iterator<Item = Stored> + '_ {
        (0..self.messages.len()).filter_map(|at| self.messages.get(at))
    }

    pub(super) fn steps(&self) -> &[Step] {
        self.steps.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Forgets the steps when no push has receipts any more.
    pub(super) fn forget_steps(&mut self, now: Time) {
        if self.receipts_until <= now {
            self.steps = None;
        }
    }

    /// When there is something to forget besides messages.
    pub(super) fn steps_until(&self) -> Option<Time> {
        self.steps.as_ref().map(|_| self.receipts_until)
    }

    pub(super) fn image(&self, log: LogId) -> LogImage {
        LogImage {
            log,
            name: self.name.clone(),
            head: self.head,
            first_seen: self.first_seen(),
            last_seen: self.last_seen(),
            handed: self.handed,
            shown: self.shown,
            receipts_until: self.receipts_until,
            steps: self.steps().to_vec(),
            messages: self.messages().collect(),
        }
    }

    pub(super) fn from_image(image: LogImage) -> Self {
        let mut log = Self::new(image.name);
        log.head = image.head - image.messages.len() as u64;
        image.messages.into_iter().for_each(|stored| log.push(stored));
        log.first_seen = image.first_seen.map_or(NEVER, |time| time.0);
        log.last_seen = image.last_seen.map_or(NEVER, |time| time.0);
        log.handed = image.handed;
        log.shown = image.shown;
        log.receipts_until = image.receipts_until;
        log.steps = (!image.steps.is_empty()).then(|| Box::new(image.steps));
        // A store may be of a version that forgot none.
        log.forget_unseen();
        log
    }
}
