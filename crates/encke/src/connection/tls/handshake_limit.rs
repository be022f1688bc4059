//! How many handshakes are under way: each costs memory and time before anything is known of its client, but
//! for its address. One of IPv4 is a client, or a /64 of IPv6.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::rate_limits::network;

/// The most handshakes that one listener has under way. Clients beyond that wait in the kernel's queue until
/// others are done or have had their time.
pub const HANDSHAKES_MAX: usize = if cfg!(test) { 512 } else { 4_096 };
/// How many of them from one address, but for this machine itself: usually a proxy, behind which there are
/// many.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = HANDSHAKES_MAX / 4;

/// Counts the handshakes that are under way at one listener. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct HandshakeLimit(Arc<Mutex<Counts>>);

/// Those from whom handshakes are under way; as many as handshakes at most.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// By network.
    by_address: HashMap<IpAddr, usize>,
}

/// A handshake that is under way, until it is dropped.
#[derive(Debug)]
pub struct HandshakePermit {
    limit: HandshakeLimit,
    address: IpAddr,
}

impl HandshakeLimit {
    /// Whether no other handshake may begin.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.counts(|counts| counts.all >= HANDSHAKES_MAX)
    }

    /// Whether no other may begin from this address.
    #[must_use]
    pub fn is_reached_by(&self, address: IpAddr) -> bool {
        let count = self.counts(|counts| counts.by_address.get(&network(address)).copied());
        !address.is_loopback() && count.is_some_and(|count| count >= HANDSHAKES_PER_ADDRESS_MAX)
    }

    /// A handshake begins.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> HandshakePermit {
        self.counts(|counts| {
            counts.all += 1;
            *counts.by_address.entry(network(address)).or_default() += 1;
        });
        HandshakePermit { limit: self.clone(), address }
    }

    fn counts<T>(&self, with: impl FnOnce(&mut Counts) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HandshakePermit {
    /// Where its client is.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        self.limit.counts(|counts| {
            counts.all -= 1;
            let network = network(self.address);
            if let Some(count) = counts.by_address.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    counts.by_address.remove(&network);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_reached_as_long_as_so_many_are_under_way() {
        let limit = HandshakeLimit::default();
        let [one, other, here] = [[10, 0, 0, 1], [10, 0, 0, 2], [127, 0, 0, 1]].map(IpAddr::from);
        let mut permits: Vec<_> = (0..HANDSHAKES_PER_ADDRESS_MAX - 1).map(|_| limit.enter(one)).collect();
        assert!(!limit.is_reached_by(one));
        permits.push(limit.enter(one));
        assert!(limit.is_reached_by(one) && !limit.is_reached_by(other) && !limit.is_reached());
        permits.extend((permits.len()..HANDSHAKES_MAX - 1).map(|_| limit.enter(here)));
        assert!(!limit.is_reached() && !limit.is_reached_by(here));
        permits.push(limit.enter(other));
        assert!(limit.is_reached());
        permits.remove(0);
        assert!(!limit.is_reached() && !limit.is_reached_by(one));
        drop(permits);
        let of = |network: u16, last| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, last]);
        let share = u16::try_from(HANDSHAKES_PER_ADDRESS_MAX).unwrap();
        let permits: Vec<_> = (0..share).map(|last| limit.enter(of(0, last))).collect();
        assert!(limit.is_reached_by(of(0, share)) && !limit.is_reached_by(of(1, 0)), "a /64 is one client");
        assert_eq!(permits[7].address(), of(0, 7));
        drop(permits);
        assert!(limit.counts(|counts| counts.all == 0 && counts.by_address.is_empty()));
    }
}
