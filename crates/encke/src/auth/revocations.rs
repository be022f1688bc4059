//! The revocations that are in force, as they are looked up for every request. Where they are kept, and how
//! each node learns of them, is in `revocation_log.rs`.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use encke_proto::{ErrorCode, Revocation, Time, TokenId, TokenInfo, UserId};
use serde::{Deserialize, Serialize};

/// The most revocations that are in force at a time, some 100 bytes each.
pub const REVOCATIONS_MAX: usize = 100_000;

/// A revocation as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationRecord {
    /// What is taken back.
    pub revocation: Revocation,
    /// Until when, in milliseconds since 1970. A ban that ends at once ends one that is in force.
    pub until_ms: u64,
    /// What clients are told of a ban.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The revocations that are in force. It waits for nothing but the moment in which one is entered.
#[derive(Debug, Default)]
pub struct Revocations {
    /// How many there are: as long as there is none, nothing is looked up.
    count: AtomicUsize,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    users: HashMap<UserId, Before>,
    tokens: HashMap<TokenId, Time>,
    all: Before,
    bans: HashMap<UserId, Ban>,
}

/// Tokens that were issued before a time are good for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Before {
    before_s: u64,
    until: Time,
}

/// A user is kept away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ban {
    until: Time,
    /// When it was made: the latest counts.
    at: Time,
    /// For how long it is kept, so that it outlasts every earlier one.
    kept: Time,
}

impl Before {
    fn enter(&mut self, before_s: u64, until: Time) {
        *self = Self { before_s: before_s.max(self.before_s), until: until.max(self.until) };
    }

    fn refuses(self, token: &TokenInfo, now: Time) -> bool {
        self.until > now && token.is_before(self.before_s)
    }
}

impl Revocations {
    /// Enters what was made at `at` and is kept until `kept`. Says whether that changes anything. It may be
    /// entered again, and in any order.
    pub fn enter(&self, record: &RevocationRecord, at: Time, kept: Time) -> bool {
        let until = Time(record.until_ms);
        self.change(|state| match &record.revocation {
            Revocation::User { user, before_s } => {
                let known = state.users.entry(user.clone()).or_default();
                let former = *known;
                known.enter(*before_s, until);
                *known != former
            }
            Revocation::Token { id } => {
                let known = state.tokens.entry(*id).or_default();
                let is_news = *known < until;
                *known = until.max(*known);
                is_news
            }
            Revocation::Before { before_s } => {
                let former = state.all;
                state.all.enter(*before_s, until);
                state.all != former
            }
            Revocation::Ban { user } => {
                let known = state.bans.entry(user.clone()).or_default();
                let is_news = at >= known.at && known.until != until;
                if at >= known.at {
                    *known = Ban { until, at, kept: kept.max(known.kept) };
                }
                is_news
            }
        })
    }

    /// Lets go of those that are over.
    pub fn expire(&self, now: Time) {
        self.change(|state| {
            state.users.retain(|_, before| before.until > now);
            state.tokens.retain(|_, until| *until > now);
            if state.all.until <= now {
                state.all = Before::default();
            }
            state.bans.retain(|_, ban| ban.kept > now);
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut state);
        let all = usize::from(state.all != Before::default());
        let count = state.users.len() + state.tokens.len() + state.bans.len() + all;
        self.count.store(count, Ordering::Release);
        changed
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Until when the ban of a user is kept, if there is one.
    #[must_use]
    pub fn ban_kept(&self, user: &UserId) -> Option<Time> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.bans.get(user).map(|ban| ban.kept)
    }

    /// When the ban of a user was made that counts, if there is one.
    #[must_use]
    pub fn ban_at(&self, user: &UserId) -> Option<Time> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.bans.get(user).map(|ban| ban.at)
    }

    /// Why a user with this token is refused, if it is so: [`ErrorCode::Banned`] or [`ErrorCode::Revoked`].
    /// Without a token a user can only be kept away.
    #[must_use]
    pub fn refusal(&self, user: &UserId, token: Option<&TokenInfo>, now: Time) -> Option<ErrorCode> {
        if self.is_empty() {
            return None;
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.bans.get(user).is_some_and(|ban| ban.until > now) {
            return Some(ErrorCode::Banned);
        }
        let token = token?;
        let is_revoked = state.all.refuses(token, now)
            || state.users.get(user).is_some_and(|before| before.refuses(token, now))
            || token.id.and_then(|id| state.tokens.get(&id)).is_some_and(|until| *until > now);
        is_revoked.then_some(ErrorCode::Revoked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_800_000_000_000);

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    fn record(revocation: Revocation, until: Time) -> RevocationRecord {
        RevocationRecord { revocation, until_ms: until.0, reason: String::new() }
    }

    fn old(id: Option<u64>) -> TokenInfo {
        TokenInfo { issued_s: Some(NOW.0 / 1000 - 1), id: id.map(TokenId) }
    }

    #[test]
    fn each_kind_refuses_what_it_concerns_until_it_is_over() {
        let end = NOW.plus_seconds(60);
        let before_s = NOW.0 / 1000;
        for (revocation, refused, token) in [
            (Revocation::User { user: user("alice"), before_s }, ErrorCode::Revoked, old(None)),
            (Revocation::Before { before_s }, ErrorCode::Revoked, old(None)),
            (Revocation::Token { id: TokenId(7) }, ErrorCode::Revoked, old(Some(7))),
            (Revocation::Ban { user: user("alice") }, ErrorCode::Banned, old(None)),
        ] {
            let revocations = Revocations::default();
            let known = record(revocation.clone(), end);
            assert!(revocations.enter(&known, NOW, end), "{revocation:?}");
            assert!(!revocations.enter(&known, NOW, end), "it is entered already");
            let refusal = |name: &str, token, at| revocations.refusal(&user(name), token, at);
            assert_eq!(refusal("alice", Some(&token), NOW), Some(refused));
            assert_eq!(refusal("alice", Some(&token), Time(end.0 - 1)), Some(refused));
            assert_eq!(refusal("alice", Some(&token), end), None);
            let of_others = matches!(revocation, Revocation::Before { .. } | Revocation::Token { .. });
            assert_eq!(refusal("bob", Some(&token), NOW).is_some(), of_others);
            assert_eq!(refusal("alice", None, NOW).is_some(), refused == ErrorCode::Banned);
            let is_ban = refused == ErrorCode::Banned;
            let new = TokenInfo { issued_s: Some(NOW.0 / 1000), id: Some(TokenId(8)) };
            assert_eq!(refusal("alice", Some(&new), NOW).is_some(), is_ban);
            revocations.expire(end);
            assert!(revocations.is_empty(), "{revocation:?}");
        }
    }

    #[test]
    fn the_later_time_counts_in_whatever_order_they_come() {
        let of = |before_s| record(Revocation::User { user: user("alice"), before_s }, NOW.plus_seconds(9));
        let issued = |issued_s| TokenInfo { issued_s: Some(issued_s), id: None };
        for order in [[10, 20], [20, 10]] {
            let revocations = Revocations::default();
            for before_s in order {
                revocations.enter(&of(before_s), NOW, NOW.plus_seconds(9));
            }
            let refusal = |issued_s| revocations.refusal(&user("alice"), Some(&issued(issued_s)), NOW);
            assert_eq!((refusal(19), refusal(20)), (Some(ErrorCode::Revoked), None));
            assert_eq!(revocations.len(), 1);
        }
    }

    #[test]
    fn the_latest_ban_counts_and_one_that_ends_at_once_lifts_it() {
        let ban = |until| record(Revocation::Ban { user: user("alice") }, until);
        let (long, later) = (NOW.plus_seconds(600), NOW.plus_seconds(1));
        let is_banned =
            |revocations: &Revocations| revocations.refusal(&user("alice"), None, later).is_some();
        for order in [[0, 1], [1, 0]] {
            let revocations = Revocations::default();
            for at in order {
                let (record, at) = if at == 0 { (ban(long), NOW) } else { (ban(later), later) };
                revocations.enter(&record, at, long);
            }
            assert!(!is_banned(&revocations), "{order:?}");
            revocations.expire(later);
            assert_eq!(revocations.ban_kept(&user("alice")), Some(long), "the first must not come back");
            revocations.enter(&ban(long), later.plus_seconds(1), long);
            assert!(is_banned(&revocations));
        }
    }
}
