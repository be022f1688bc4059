//! The memory engine's receipts, found by push and by place in a user's log. Messages themselves are in
//! `log.rs`.

use std::collections::{BTreeSet, HashMap, VecDeque};

use encke_proto::{ChannelName, MessageId, Offset, Position, Time, UserId};

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
    /// One for each user, by id. Most pushes are for one, which a list takes no more room for than it needs.
    receipts: Box<[Held]>,
}

#[derive(Debug)]
struct Held {
    user: UserId,
    offset: Offset,
    state: ReceiptState,
    at: Time,
}

impl Push {
    fn of(&mut self, user: &UserId) -> Option<&mut Held> {
        let at = self.receipts.binary_search_by(|held| held.user.cmp(user)).ok()?;
        self.receipts.get_mut(at)
    }
}

/// The receipts of all pushes, to be found by push and by place.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    by_id: HashMap<MessageId, Push>,
    /// By when they are forgotten.
    ends: BTreeSet<(Time, MessageId)>,
    /// For each user, the receipts that can still change, by their place in the user's own log.
    open: HashMap<UserId, VecDeque<(Offset, MessageId)>>,
    receipts: usize,
}

impl Pushes {
    /// A push is in the users' own logs, at these places: each has a receipt, up to `until`.
    pub(super) fn begin(
        &mut self,
        push: &MessageId,
        at: Time,
        expires: Option<Time>,
        until: Time,
        places: &[(ChannelName, Position)],
    ) {
        self.make_room(places.len());
        let held = |(channel, position): &(ChannelName, Position)| {
            let (user, offset) = (channel.owner()?, position.offset);
            Some(Held { user, offset, state: ReceiptState::Queued, at })
        };
        let mut receipts = Vec::with_capacity(places.len());
        receipts.extend(places.iter().filter_map(held));
        let mut receipts = receipts.into_boxed_slice();
        receipts.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        for held in &receipts {
            // Offsets of a log only rise.
            self.open.entry(held.user.clone()).or_default().push_back((held.offset, push.clone()));
        }
        self.receipts += receipts.len();
        self.ends.insert((until, push.clone()));
        self.by_id.insert(push.clone(), Push { expires, until, receipts });
    }

    /// Moves the receipts of `user` behind `after` and up to `to` forward.
    pub(super) fn mark(&mut self, user: &UserId, after: Offset, to: Offset, state: ReceiptState, at: Time) {
        let Some(open) = self.open.get_mut(user) else { return };
        if after >= to {
            return;
        }
        let first = open.partition_point(|(offset, _)| *offset <= after);
        let end = open.partition_point(|(offset, _)| *offset <= to);
        let mut closed = Vec::new();
        for (offset, push) in open.range(first..end) {
            let Some(push) = self.by_id.get_mut(push) else { continue };
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
            take(open, offset);
        }
    }

    /// The message at `offset` was trimmed: a user who was not handed it will never be.
    pub(super) fn trimmed(&mut self, user: &UserId, offset: Offset, now: Time) {
        let Some(open) = self.open.get_mut(user) else { return };
        let Ok(at) = open.binary_search_by_key(&offset, |(offset, _)| *offset) else { return };
        let Some(push) = open.get(at).and_then(|(_, push)| self.by_id.get_mut(push)) else { return };
        let expires = push.expires;
        let Some(held) = push.of(user) else { return };
        if held.state == ReceiptState::Queued {
            held.state = ReceiptState::Expired;
            held.at = expires.map_or(now, |end| end.min(now));
            open.remove(at);
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
        let push = self.by_id.get(push)?;
        let begin = after.map_or(0, |after| push.receipts.partition_point(|held| held.user <= *after));
        let receipts =
            push.receipts[begin..].iter().filter(|held| is_kept(&held.user, held.offset)).take(limit);
        let receipts = receipts.map(|held| match push.expires {
            Some(end) if held.state == ReceiptState::Queued && end <= now => {
                Receipt { user: held.user.clone(), state: ReceiptState::Expired, at: end }
            }
            _ => Receipt { user: held.user.clone(), state: held.state, at: held.at },
        });
        Some(receipts.collect())
    }

    /// The user was deleted: no receipt of the user changes any more.
    pub(super) fn close(&mut self, user: &UserId) {
        self.open.remove(user);
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
    fn make_room(&mut self, more: usize) {
        while self.receipts.saturating_add(more) > RECEIPTS_MAX && !self.ends.is_empty() {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((_, id)) = self.ends.pop_first() else { return };
        let Some(push) = self.by_id.remove(&id) else { return };
        debug_assert!(self.ends.iter().next().is_none_or(|(until, _)| *until >= push.until));
        self.receipts -= push.receipts.len();
        for held in push.receipts {
            if let Some(open) = self.open.get_mut(&held.user) {
                take(open, held.offset);
                if open.is_empty() {
                    self.open.remove(&held.user);
                }
            }
        }
    }
}

/// Takes out the receipt at an offset. It is nearly always the first, and then nothing is moved.
fn take(open: &mut VecDeque<(Offset, MessageId)>, offset: Offset) {
    if let Ok(at) = open.binary_search_by_key(&offset, |(offset, _)| *offset) {
        open.remove(at);
    }
}
