//! One-use tickets in the memory of this process, for clients that cannot send a header. Those that several
//! nodes share are in `shared_ticket.rs`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use encke_proto::{SessionId, Time, UserId};
use sha2::{Digest, Sha256};

use super::Authenticated;

/// How long a ticket is good, in seconds.
pub const TICKET_S: u64 = 30;
/// The most tickets that wait to be used.
const TICKETS_MAX: usize = 100_000;
/// The most of one user.
const TICKETS_PER_USER_MAX: usize = 64;
/// How long a ticket that was used is good for coming back to the session that it began, in seconds, unless
/// its token ends before.
pub const RETURNS_S: u64 = 12 * 60 * 60;
/// The most used tickets of all users that are kept for that.
const USED_MAX: usize = 100_000;
/// The most of one user; the oldest makes room for another.
const USED_PER_USER_MAX: usize = 16;

/// Why there is no ticket to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The user has too many that were not used yet.
    #[error("{TICKETS_PER_USER_MAX} tickets of this user wait to be used")]
    TooManyOfUser,
    /// There are too many altogether.
    #[error("too many tickets wait to be used")]
    TooMany,
}

/// A ticket as text: 128 bits in hexadecimal.
pub(super) fn write(bits: u128) -> String {
    format!("{bits:032x}")
}

/// The bits of a ticket, if it is one by its form.
pub(super) fn read(text: &str) -> Option<u128> {
    let plain =
        text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    u128::from_str_radix(text, 16).ok().filter(|_| plain)
}

/// The session that a ticket begins when it is used for a stream: always the same, so that it is no other
/// session that the ticket leads back to.
pub(super) fn session(bits: u128) -> SessionId {
    let digest = Sha256::new_with_prefix(b"encke session of a ticket").chain_update(bits.to_be_bytes());
    let mut session = [0; 16];
    session.copy_from_slice(&digest.finalize()[..16]);
    SessionId::from_bits(u128::from_be_bytes(session))
}

/// One-use tickets that wait to be used. They are in memory only: none outlives the process.
#[derive(Debug, Default)]
pub struct Tickets {
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    /// Hashed with a key of this process's own, like every map that is looked up from outside.
    waiting: HashMap<u128, Ticket>,
    /// In the order in which they were given, which is nearly that in which they end.
    order: VecDeque<(Time, u128)>,
    of_user: HashMap<UserId, usize>,
    /// Those that were used for streams, each until when it leads back.
    used: HashMap<u128, Ticket>,
    used_order: VecDeque<(Time, u128)>,
    used_of_user: HashMap<UserId, VecDeque<u128>>,
}

#[derive(Debug)]
struct Ticket {
    owner: Authenticated,
    expires: Time,
}

impl Tickets {
    /// Gives a ticket: `bits` have to be random. Returns until when it is good.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn give(&self, bits: u128, owner: Authenticated, now: Time) -> Result<Time, TicketError> {
        let mut store = self.lock();
        store.expire(now);
        if store.order.len() >= TICKETS_MAX {
            return Err(TicketError::TooMany);
        }
        let count = store.of_user.entry(owner.identity.user.clone()).or_default();
        if *count >= TICKETS_PER_USER_MAX {
            return Err(TicketError::TooManyOfUser);
        }
        *count += 1;
        let expires = now.plus_seconds(TICKET_S).min(owner.identity.expires);
        store.order.push_back((now.plus_seconds(TICKET_S), bits));
        store.waiting.insert(bits, Ticket { owner, expires });
        Ok(expires)
    }

    /// Uses a ticket up, whether it is still good or not.
    #[must_use]
    pub fn take(&self, bits: u128, now: Time) -> Option<Authenticated> {
        let ticket = self.lock().remove(bits)?;
        (ticket.expires > now).then_some(ticket.owner)
    }

    /// Uses a ticket up for a stream, whose browser asks with the same address when it comes back: then it is
    /// `again`, and leads to the session of before.
    #[must_use]
    pub fn take_for_stream(&self, bits: u128, again: bool, now: Time) -> Option<Authenticated> {
        let mut store = self.lock();
        store.expire_used(now);
        if let Some(ticket) = store.remove(bits) {
            let owner = (ticket.expires > now).then_some(ticket.owner)?;
            store.keep_used(bits, &owner, now);
            return Some(owner);
        }
        let used = store.used.get(&bits).filter(|used| again && used.expires > now);
        used.map(|used| used.owner.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // A panic in between leaves a ticket more or less, which is no reason to refuse all others.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    fn remove(&mut self, bits: u128) -> Option<Ticket> {
        let ticket = self.waiting.remove(&bits)?;
        if let Some(count) = self.of_user.get_mut(&ticket.owner.identity.user) {
            *count -= 1;
            if *count == 0 {
                self.of_user.remove(&ticket.owner.identity.user);
            }
        }
        Some(ticket)
    }

    fn keep_used(&mut self, bits: u128, owner: &Authenticated, now: Time) {
        let of_user = self.used_of_user.entry(owner.identity.user.clone()).or_default();
        of_user.push_back(bits);
        let oldest = (of_user.len() > USED_PER_USER_MAX).then(|| of_user.front().copied()).flatten();
        let until = now.plus_seconds(RETURNS_S);
        let expires = until.min(owner.identity.expires);
        self.used.insert(bits, Ticket { owner: owner.clone(), expires });
        self.used_order.push_back((until, bits));
        oldest.into_iter().for_each(|bits| self.forget_used(bits));
        while self.used_order.len() > USED_MAX
            && let Some((_, bits)) = self.used_order.pop_front()
        {
            self.forget_used(bits);
        }
    }

    fn forget_used(&mut self, bits: u128) {
        let Some(used) = self.used.remove(&bits) else { return };
        let user = &used.owner.identity.user;
        if let Some(of_user) = self.used_of_user.get_mut(user) {
            of_user.retain(|other| *other != bits);
            if of_user.is_empty() {
                self.used_of_user.remove(user);
            }
        }
    }

    fn expire_used(&mut self, now: Time) {
        while self.used_order.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, bits)) = self.used_order.pop_front() {
                self.forget_used(bits);
            }
        }
    }

    fn expire(&mut self, now: Time) {
        while self.order.front().is_some_and(|(expires, _)| *expires <= now) {
            if let Some((_, bits)) = self.order.pop_front() {
                self.remove(bits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Claims, Grant};

    fn identity(user: &str) -> Authenticated {
        let user = UserId::new(user).unwrap();
        let (issued_s, jti) = (None, None);
        let (channels, publish) = (Grant::all(), Grant::none());
        Authenticated::new(Claims { user, expires_s: 1000, issued_s, jti, channels, publish }, false)
    }

    #[test]
    fn t14_a_ticket_is_good_once_and_not_for_long() {
        let tickets = Tickets::default();
        assert_eq!(tickets.give(7, identity("alice"), Time(0)), Ok(Time(30_000)));
        assert_eq!(tickets.take(8, Time(1)), None);
        assert_eq!(tickets.take(7, Time(1)), Some(identity("alice")));
        assert_eq!(tickets.take(7, Time(1)), None);
        assert!(tickets.give(9, identity("alice"), Time(0)).is_ok());
        assert_eq!(tickets.take(9, Time(30_000)), None);
    }

    #[test]
    fn a_ticket_that_was_used_for_a_stream_leads_back_for_so_long() {
        let tickets = Tickets::default();
        assert!(tickets.give(7, until(90_000), Time(0)).is_ok());
        assert_eq!(tickets.take_for_stream(7, false, Time(1)), Some(until(90_000)));
        assert_eq!(tickets.take_for_stream(7, false, Time(2)), None, "from the beginning it is good once");
        assert_eq!(tickets.take(7, Time(2)), None);
        for now in [2, 31_000, 1000 * RETURNS_S] {
            assert_eq!(tickets.take_for_stream(7, true, Time(now)), Some(until(90_000)), "{now}");
        }
        assert_eq!(tickets.take_for_stream(7, true, Time(1 + 1000 * RETURNS_S)), None);
        assert!(tickets.lock().used.is_empty() && tickets.lock().used_of_user.is_empty());
        assert_ne!(session(7), session(8));
    }

    #[test]
    fn a_ticket_leads_back_no_longer_than_its_token_and_pushes_out_the_oldest_of_its_user() {
        let tickets = Tickets::default();
        assert!(tickets.give(7, until(100), Time(0)).is_ok());
        assert!(tickets.take_for_stream(7, false, Time(1)).is_some());
        assert!(tickets.take_for_stream(7, true, Time(99_999)).is_some());
        assert!(tickets.take_for_stream(7, true, Time(100_000)).is_none());
        for bits in 100..100 + USED_PER_USER_MAX as u128 {
            assert!(tickets.give(bits, until(90_000), Time(0)).is_ok());
            assert!(tickets.take_for_stream(bits, false, Time(1)).is_some());
        }
        assert!(tickets.take_for_stream(7, true, Time(2)).is_none());
        assert!(tickets.take_for_stream(100, true, Time(2)).is_some());
        assert_eq!(tickets.lock().used.len(), USED_PER_USER_MAX);
    }

    /// Alice by a token that ends then, in seconds.
    fn until(expires_s: u64) -> Authenticated {
        let user = UserId::new("alice").unwrap();
        let (channels, publish) = (Grant::all(), Grant::none());
        Authenticated::new(Claims { user, expires_s, issued_s: None, jti: None, channels, publish }, false)
    }

    #[test]
    fn a_ticket_has_one_text() {
        assert_eq!(read(&write(7)), Some(7));
        for text in [
            "",
            "7",
            "0000000000000000000000000000000G",
            "+0000000000000000000000000000007",
            "0000000000000000000000000000000A",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_ticket_does_not_outlive_the_token() {
        assert_eq!(Tickets::default().give(7, identity("alice"), Time(990_000)), Ok(Time(1_000_000)));
    }

    #[test]
    fn no_user_fills_the_store() {
        let tickets = Tickets::default();
        for bits in 0..TICKETS_PER_USER_MAX as u128 {
            assert!(tickets.give(bits, identity("alice"), Time(0)).is_ok());
        }
        assert_eq!(tickets.give(999, identity("alice"), Time(0)), Err(TicketError::TooManyOfUser));
        assert!(tickets.give(999, identity("bob"), Time(0)).is_ok());
        assert!(tickets.give(1000, identity("alice"), Time(30_001)).is_ok());
        assert_eq!(tickets.lock().waiting.len(), 1);
        assert_eq!(tickets.lock().of_user.len(), 1);
    }
}
