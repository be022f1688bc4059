//! One-use tickets in the memory of this process, for clients that cannot send a header. Those that several
//! nodes share are in `shared_ticket.rs`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use encke_proto::{Time, UserId};

use super::Authenticated;

/// How long a ticket is good, in seconds.
pub const TICKET_S: u64 = 30;
/// The most tickets that wait to be used.
const TICKETS_MAX: usize = 100_000;
/// The most of one user.
const TICKETS_PER_USER_MAX: usize = 64;

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
    fn a_ticket_is_good_once_and_not_for_long() {
        let tickets = Tickets::default();
        assert_eq!(tickets.give(7, identity("alice"), Time(0)), Ok(Time(30_000)));
        assert_eq!(tickets.take(8, Time(1)), None);
        assert_eq!(tickets.take(7, Time(1)), Some(identity("alice")));
        assert_eq!(tickets.take(7, Time(1)), None);
        assert!(tickets.give(9, identity("alice"), Time(0)).is_ok());
        assert_eq!(tickets.take(9, Time(30_000)), None);
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
