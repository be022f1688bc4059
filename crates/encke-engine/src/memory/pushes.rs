//! The memory engine's receipts, found by push and by place in a user's log. Messages themselves are in
//! `log.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use encke_proto::{MessageId, Offset, Time, UserId};

use crate::{Receipt, ReceiptState};

/// The most receipts that are kept at once. Those of the pushes that end first are forgotten before their
/// time when there would be more.
const RECEIPTS_MAX: usize = 5_000_000;
/// The most pushes that one sweep forgets.
const FORGET_MAX_PUSHES: usize = 1000;

#[derive(Debug)]
struct Push {
    expires: Option<Time>,
    until: Time,
    receipts: BTreeMap<UserId, Held>,
}

#[derive(Debug)]
struct Held {
    offset: Offset,
    state: ReceiptState,
    at: Time,
}

/// The receipts of all pushes, to be found by push and by place.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    by_id: HashMap<MessageId, Push>,
    /// By when they are forgotten.
    ends: BTreeSet<(Time, MessageId)>,
    /// For each user, the receipts that can still change, by their place in the user's own log.
    open: HashMap<UserId, BTreeMap<Offset, MessageId>>,
    receipts: usize,
}

impl Pushes {
    pub(super) fn begin(&mut self, push: &MessageId, expires: Option<Time>, until: Time) {
        self.ends.insert((until, push.clone()));
        self.by_id.insert(push.clone(), Push { expires, until, receipts: BTreeMap::new() });
    }

    pub(super) fn queue(&mut self, push: &MessageId, user: &UserId, offset: Offset, at: Time) {
        let Some(begun) = self.by_id.get_mut(push) else { return };
        begun.receipts.insert(user.clone(), Held { offset, state: ReceiptState::Queued, at });
        self.open.entry(user.clone()).or_default().insert(offset, push.clone());
        self.receipts += 1;
    }

    /// Moves the receipts of `user` behind `after` and up to `to` forward.
    pub(super) fn mark(&mut self, user: &UserId, after: Offset, to: Offset, state: ReceiptState, at: Time) {
        let Some(open) = self.open.get_mut(user) else { return };
        if after >= to {
            return;
        }
        let mut closed = Vec::new();
        for (&offset, push) in open.range((Bound::Excluded(after), Bound::Included(to))) {
            let Some(push) = self.by_id.get_mut(push) else { continue };
            let Some(held) = push.receipts.get_mut(user) else { continue };
            // Who was skipped because the time was over does not become delivered by what came behind.
            let expired = held.state == ReceiptState::Queued && push.expires.is_some_and(|end| end <= at);
            if held.state < state && !expired {
                held.state = state;
                held.at = at;
                if state == ReceiptState::Shown {
                    closed.push(offset);
                }
            }
        }
        for offset in closed {
            open.remove(&offset);
        }
    }

    /// The message at `offset` was trimmed: a user who was not handed it will never be.
    pub(super) fn trimmed(&mut self, user: &UserId, offset: Offset, now: Time) {
        let Some(open) = self.open.get_mut(user) else { return };
        let Some(push) = open.get(&offset).and_then(|push| self.by_id.get_mut(push)) else { return };
        let Some(held) = push.receipts.get_mut(user) else { return };
        if held.state == ReceiptState::Queued {
            held.state = ReceiptState::Expired;
            held.at = push.expires.map_or(now, |end| end.min(now));
            open.remove(&offset);
        }
    }

    pub(super) fn page(
        &self,
        push: &MessageId,
        after: Option<&UserId>,
        limit: usize,
        now: Time,
    ) -> Option<Vec<Receipt>> {
        let push = self.by_id.get(push)?;
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let receipts = push.receipts.range::<UserId, _>((begin, Bound::Unbounded)).take(limit);
        let receipts = receipts.map(|(user, held)| match push.expires {
            Some(end) if held.state == ReceiptState::Queued && end <= now => {
                Receipt { user: user.clone(), state: ReceiptState::Expired, at: end }
            }
            _ => Receipt { user: user.clone(), state: held.state, at: held.at },
        });
        Some(receipts.collect())
    }

    /// Forgets the pushes whose time is over, and the next ones when there are too many receipts.
    pub(super) fn forget_old(&mut self, now: Time) {
        for _ in 0..FORGET_MAX_PUSHES {
            match self.ends.first() {
                Some((until, _)) if *until <= now => self.forget_first(),
                _ => break,
            }
        }
    }

    /// Forgets pushes until there is room for `more` receipts, or nothing left to forget.
    pub(super) fn make_room(&mut self, more: usize) {
        while self.receipts.saturating_add(more) > RECEIPTS_MAX && !self.ends.is_empty() {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((_, id)) = self.ends.pop_first() else { return };
        let Some(push) = self.by_id.remove(&id) else { return };
        debug_assert!(self.ends.iter().next().is_none_or(|(until, _)| *until >= push.until));
        self.receipts -= push.receipts.len();
        for (user, held) in push.receipts {
            if let Some(open) = self.open.get_mut(&user) {
                open.remove(&held.offset);
                if open.is_empty() {
                    self.open.remove(&user);
                }
            }
        }
    }
}
