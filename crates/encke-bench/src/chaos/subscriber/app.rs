//! The application of a subscriber: what it is handed, it notes.

use encke_proto::{ChannelName, Cursor, Position, UserId};

use super::{Plan, Shared};
use crate::chaos::{
    evidence::{Evidence, Id, Note},
    mutation::Mutation,
};

/// How many messages come before a mutation is told.
const MUTATE_AFTER: u32 = 10;

#[derive(Debug)]
pub(super) struct App {
    client: usize,
    user: UserId,
    shared: Shared,
    pub(super) evidence: Evidence,
    /// Whether the session has begun, so that the cursor is one to go on from.
    begun: bool,
    mutation: Option<Mutation>,
    had: u32,
}

impl App {
    pub(super) fn new(plan: &Plan, shared: Shared, evidence: Evidence) -> Self {
        Self {
            client: plan.client,
            user: plan.user.clone(),
            shared,
            evidence,
            begun: false,
            mutation: plan.mutation,
            had: 0,
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// No connection serves it any more.
    pub(super) fn disconnected(&self) {
        if std::mem::replace(&mut self.shared.state().connected, false) {
            self.evidence.note(Note::Cut { client: self.client });
        }
    }

    /// Where to go on from.
    pub(super) fn cursor(&self) -> Cursor {
        self.shared.state().places.clone()
    }

    /// A session without a past begins there.
    pub(super) fn begin(&mut self, cursor: Cursor) {
        self.begun = true;
        let mut state = self.shared.state();
        (state.connected, state.places) = (true, cursor.clone());
        drop(state);
        self.evidence.note(Note::Began { client: self.client, user: self.user.clone(), cursor });
    }

    /// A connection goes on from there, or an answer leads there: everything before has come. What is behind
    /// the own place was had already.
    pub(super) fn resume(&mut self, cursor: &Cursor) {
        let new = !std::mem::replace(&mut self.shared.state().connected, true);
        let mut state = self.shared.state();
        let mut moved = false;
        for (channel, position) in &cursor.entries {
            let ours = state.places.position(channel);
            if ours.is_none_or(|ours| ours.epoch != position.epoch || ours.offset < position.offset) {
                state.places.set(channel, *position);
                moved = true;
            }
        }
        drop(state);
        // Of an answer that leads nowhere there is nothing to say.
        if new || moved {
            self.evidence.note(Note::Resumed { client: self.client, cursor: cursor.clone() });
        }
    }

    /// Whether a message at this place has been had before.
    pub(super) fn had(&self, channel: &ChannelName, position: Position) -> bool {
        self.shared
            .state()
            .places
            .position(channel)
            .is_some_and(|ours| ours.epoch == position.epoch && position.offset <= ours.offset)
    }

    pub(super) fn message(&mut self, channel: ChannelName, position: Position, id: Id) {
        self.shared.state().places.set(&channel, position);
        let (client, mut id) = (self.client, id);
        self.had += 1;
        let mut times = 1;
        if self.had > MUTATE_AFTER {
            match self.mutation {
                Some(Mutation::Hide) => times = 0,
                Some(Mutation::Repeat) => times = 2,
                Some(Mutation::Forge) => id = 0,
                Some(Mutation::Haunt) | None => {}
            }
            if self.mutation != Some(Mutation::Haunt) {
                self.mutation = None;
            }
        }
        for _ in 0..times {
            self.evidence.note(Note::Delivered { client, channel: channel.clone(), position, id });
        }
    }

    pub(super) fn gap(&mut self, channel: ChannelName, from: u64, to: Option<u64>) {
        if let Some(to) = to {
            let mut state = self.shared.state();
            if let Some(ours) = state.places.position(&channel).filter(|ours| ours.offset < to) {
                state.places.set(&channel, Position { offset: to, ..ours });
            }
        }
        self.evidence.note(Note::Gap { client: self.client, channel, from, to });
    }

    pub(super) fn acked(&self, cursor: Cursor) {
        self.evidence.note(Note::Acked { client: self.client, cursor });
    }

    /// The session was ended on purpose, and that was answered.
    pub(super) fn ended(&mut self) {
        self.begun = false;
        self.shared.state().places = Cursor::default();
        self.evidence.note(Note::Ended { client: self.client });
    }

    /// A first request went out, and it is not known what became of it.
    pub(super) fn tried(&self) {
        self.evidence.note(Note::Tried { client: self.client });
    }
}
