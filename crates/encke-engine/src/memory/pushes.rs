//! The memory engine's receipts, found by push; by place in a user's log they are found from that log
//! (`open_receipts.rs`). Messages themselves are in `log.rs`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use encke_proto::{ChannelName, IntHashState, MessageId, Offset, Position, Time, UserId};

use super::{
    logs::Logs,
    open_receipts::{OpenReceipts, Place},
};
use crate::{Receipt, ReceiptState};

/// The most receipts that are kept at once. Those of the pushes that end first are forgotten before their
/// time when there would be more.
const RECEIPTS_MAX: usize = 5_000_000;
/// The most pushes that one sweep forgets.
const FORGET_MAX_PUSHES: usize = 1000;

#[derive(Debug)]
struct Push {
    id: MessageId,
    expires: Option<Time>,
    /// One for each user, by id.
    receipts: Receipts,
}

#[derive(Debug)]
struct Held {
    user: UserId,
    offset: Offset,
    state: ReceiptState,
    at: Time,
}

/// Most pushes are for one user, and then there is no list.
#[derive(Debug)]
enum Receipts {
    One(Held),
    Many(Box<[Held]>),
}

impl Receipts {
    fn all(&self) -> &[Held] {
        match self {
            Self::One(held) => std::slice::from_ref(held),
            Self::Many(all) => all,
        }
    }

    fn all_mut(&mut self) -> &mut [Held] {
        match self {
            Self::One(held) => std::slice::from_mut(held),
            Self::Many(all) => all,
        }
    }
}

impl Push {
    fn of(&mut self, user: &UserId) -> Option<&mut Held> {
        let receipts = self.receipts.all_mut();
        let at = match receipts {
            [_] => 0,
            ref all => all.binary_search_by(|held| held.user.cmp(user)).ok()?,
        };
        receipts.get_mut(at)
    }
}

/// The receipts of all pushes.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    /// By their places, each of which is looked up with every receipt; none where one was forgotten.
    kept: Vec<Option<Push>>,
    /// The places where none stands.
    free: Vec<Place>,
    /// When they are forgotten, the first of them on top. Most pushes wait equally long, so one that is new
    /// is nearly always in order behind all others.
    ends: BinaryHeap<Reverse<(Time, Place)>>,
    /// The server makes the ids.
    by_id: HashMap<MessageId, Place, IntHashState>,
    receipts: usize,
}

impl Pushes {
    /// The place of a push that is about to be appended for so many users. Makes room for its receipts.
    pub(super) fn next_place(&mut self, users: usize, logs: &mut Logs) -> Place {
        while self.receipts.saturating_add(users) > RECEIPTS_MAX && !self.ends.is_empty() {
            self.forget_first(logs);
        }
        self.free.pop().unwrap_or_else(|| {
            self.kept.push(None);
            Place(self.kept.len() - 1)
        })
    }

    /// A push is in the users' own logs, each of which knows its place ([`OpenReceipts::push`]): each user
    /// has a receipt. It is forgotten at `until`.
    pub(super) fn begin(
        &mut self,
        (place, until): (Place, Time),
        id: &MessageId,
        (at, expires): (Time, Option<Time>),
        positions: &[(ChannelName, Position)],
    ) {
        let held = |(channel, position): &(ChannelName, Position)| {
            let (user, offset) = (channel.owner()?, position.offset);
            Some(Held { user, offset, state: ReceiptState::Queued, at })
        };
        let receipts = match positions {
            [one] => held(one).map(Receipts::One),
            _ => None,
        };
        let receipts = receipts.unwrap_or_else(|| {
            let mut all = Vec::with_capacity(positions.len());
            all.extend(positions.iter().filter_map(held));
            let mut all = all.into_boxed_slice();
            all.sort_unstable_by(|a, b| a.user.cmp(&b.user));
            Receipts::Many(all)
        });
        self.receipts += receipts.all().len();
        self.by_id.insert(id.clone(), place);
        self.ends.push(Reverse((until, place)));
        if let Some(kept) = self.kept.get_mut(place.0) {
            *kept = Some(Push { id: id.clone(), expires, receipts });
        }
    }

    /// Moves the receipts of `user` behind `after` and up to `to` forward.
    pub(super) fn mark(
        &mut self,
        open: &mut OpenReceipts,
        user: &UserId,
        (after, to): (Offset, Offset),
        state: ReceiptState,
        at: Time,
    ) {
        if after >= to {
            return;
        }
        let first = open.0.partition_point(|(offset, _)| *offset <= after);
        let mut closed = Vec::new();
        for (offset, place) in open.0.range(first..).take_while(|(offset, _)| *offset <= to) {
            let Some(Some(push)) = self.kept.get_mut(place.0) else { continue };
            let expires = push.expires;
            let Some(held) = push.of(user) else { continue };
            // Who was skipped because the time was over does not become delivered by what came behind.
            let expired = held.state == ReceiptState::Queued && expires.is_some_and(|end| end <= at);
            if held.state < state && !expired {
                held.state = state;
                held.at = at;
                if state == ReceiptState::Shown {
                    closed.push(*offset);
                }
            }
        }
        for offset in closed {
            open.take(offset);
        }
    }

    /// Calls a push back where it is still queued; in which logs that is. None when there is no such push.
    pub(super) fn cancel(&mut self, push: &MessageId, at: Time, logs: &mut Logs) -> Option<Vec<ChannelName>> {
        let push = self.kept.get_mut(self.by_id.get(push)?.0)?.as_mut()?;
        if push.expires.is_some_and(|end| end <= at) {
            return Some(Vec::new());
        }
        let mut cancelled = Vec::new();
        for held in push.receipts.all_mut().iter_mut().filter(|held| held.state == ReceiptState::Queued) {
            let channel = held.user.channel();
            let Some(log) = logs.get_mut(&channel).filter(|log| held.offset > log.floor()) else { continue };
            (held.state, held.at) = (ReceiptState::Cancelled, at);
            log.open.take(held.offset);
            log.cancel(held.offset);
            cancelled.push(channel);
        }
        Some(cancelled)
    }

    /// The message at `offset` was trimmed: a user who was not handed it will never be.
    pub(super) fn trimmed(&mut self, open: &mut OpenReceipts, user: &UserId, offset: Offset, now: Time) {
        let Ok(at) = open.0.binary_search_by_key(&offset, |(offset, _)| *offset) else { return };
        let Some(Some(push)) = open.0.get(at).and_then(|(_, place)| self.kept.get_mut(place.0)) else {
            return;
        };
        let expires = push.expires;
        let Some(held) = push.of(user) else { return };
        if held.state == ReceiptState::Queued {
            held.state = ReceiptState::Expired;
            held.at = expires.map_or(now, |end| end.min(now));
            open.0.remove(at);
        }
    }

    pub(super) fn page(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
        is_kept: impl Fn(&UserId, Offset) -> bool,
    ) -> Option<Vec<Receipt>> {
        let push = self.kept.get(self.by_id.get(push)?.0)?.as_ref()?;
        let all = push.receipts.all();
        let begin = after.map_or(0, |after| all.partition_point(|held| held.user <= *after));
        let receipts = all[begin..].iter().filter(|held| is_kept(&held.user, held.offset)).take(limit);
        let receipts = receipts.map(|held| {
            let (state, at) = match push.expires {
                Some(end) if held.state == ReceiptState::Queued && end <= now => (ReceiptState::Expired, end),
                _ => (held.state, held.at),
            };
            Receipt { user: held.user.clone(), offset: held.offset, state, at }
        });
        Some(receipts.collect())
    }

    /// Forgets the pushes whose time is over.
    pub(super) fn forget_old(&mut self, now: Time, logs: &mut Logs) {
        for _ in 0..FORGET_MAX_PUSHES {
            match self.ends.peek() {
                Some(Reverse((until, _))) if *until <= now => self.forget_first(logs),
                _ => break,
            }
        }
    }

    fn forget_first(&mut self, logs: &mut Logs) {
        let Some(Reverse((_, place))) = self.ends.pop() else { return };
        let Some(push) = self.kept.get_mut(place.0).and_then(Option::take) else { return };
        self.free.push(place);
        self.by_id.remove(&push.id);
        self.receipts -= push.receipts.all().len();
        for held in push.receipts.all() {
            if let Some(log) = logs.get_mut(&held.user.channel()) {
                log.open.take(held.offset);
                if log.open.0.is_empty() {
                    log.open = OpenReceipts::default();
                }
            }
        }
        if self.ends.is_empty() {
            // What very many have taken is given back.
            *self = Self::default();
        }
    }
}
