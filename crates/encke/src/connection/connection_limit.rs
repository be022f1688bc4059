//! The connection limit: open sockets in all and by address, with a reserve for operators. It counts sockets
//! only; requests and sessions have limits of their own.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use encke_hub::{Index, Keyed, Slab};

/// The limit by address where none is configured.
pub const PER_ADDRESS_MAX: usize = 10_000;
/// How many sockets may be open beyond the limits, for what operators need (see
/// [`crate::http::operation::is_operation`]): a server that is full is not dead, and says so.
pub const RESERVED_MAX: usize = 64;
/// How many of those from one address.
pub const RESERVED_PER_ADDRESS_MAX: u16 = 16;

/// How many sockets may be open, in all and from one address.
#[derive(Debug)]
pub struct ConnectionLimit {
    max: usize,
    max_per_address: usize,
    /// Whether those from this machine count by address: usually a proxy, behind which there are many.
    counts_loopback: bool,
    open: AtomicUsize,
    addresses: Mutex<Addresses>,
}

/// Those from whom sockets are open; there may be as many as sockets.
#[derive(Debug, Default)]
struct Addresses {
    counts: Slab<Address>,
    index: Index,
    /// How many have a reserved place.
    reserved: usize,
}

#[derive(Debug)]
struct Address {
    address: IpAddr,
    /// Those in reserved places.
    reserved: u16,
    /// All others.
    open: u32,
}

impl Keyed<Address> for IpAddr {
    fn of(known: &Address) -> Option<&Self> {
        Some(&known.address)
    }
}

/// The right to have a socket open; given back when dropped. It names its address by the place, since there
/// are as many as sockets.
#[derive(Debug)]
pub struct Permit {
    connection_limit: Arc<ConnectionLimit>,
    address: u32,
    reserved: bool,
}

impl Permit {
    /// The address of the client.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let mut addresses = self.connection_limit.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.counts.at_mut(self.address).map(|known| known.address)
    }

    /// Whether it is one of those beyond the limits, with which only operators are served, and once.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.reserved
    }
}

impl ConnectionLimit {
    /// A connection limit with these limits; 0 stands for none. Without a limit by address there is one of
    /// [`PER_ADDRESS_MAX`] for clients that do not come from this machine.
    #[must_use]
    pub fn new(max: usize, max_per_address: Option<usize>) -> Arc<Self> {
        let limit = |max| if max == 0 { usize::MAX } else { max };
        let counts_loopback = max_per_address.is_some();
        let max_per_address = limit(max_per_address.unwrap_or(PER_ADDRESS_MAX));
        Arc::new(Self {
            max: limit(max),
            max_per_address,
            counts_loopback,
            open: AtomicUsize::new(0),
            addresses: Mutex::default(),
        })
    }

    /// Asks for a pass: a reserved one when a limit is reached, none when those are given out too.
    #[must_use]
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let Addresses { counts, index, reserved: all_reserved } = &mut *addresses;
        let known = index.find(counts, &address);
        let (open, kept) = known
            .and_then(|key| counts.get(key))
            .map_or((0, 0), |known| (known.open as usize, known.reserved));
        let reserved = self.open.load(Ordering::Relaxed) >= self.max
            || (open >= self.max_per_address && (self.counts_loopback || !address.is_loopback()));
        if reserved && (*all_reserved >= RESERVED_MAX || kept >= RESERVED_PER_ADDRESS_MAX) {
            return None;
        }
        let key = known.unwrap_or_else(|| {
            let key = counts.insert(Address { address, reserved: 0, open: 0 });
            index.insert(counts, &address, key);
            key
        });
        let known = counts.get_mut(key)?;
        if reserved {
            known.reserved += 1;
            *all_reserved += 1;
        } else {
            known.open += 1;
            self.open.fetch_add(1, Ordering::Relaxed);
        }
        Some(Permit { connection_limit: Arc::clone(self), address: key.index, reserved })
    }

    /// How many sockets are open, but for the reserved ones.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut addresses = self.connection_limit.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let Addresses { counts, index, reserved } = &mut *addresses;
        if let Some(known) = counts.at_mut(self.address) {
            if self.reserved {
                known.reserved -= 1;
                *reserved -= 1;
            } else {
                known.open -= 1;
                self.connection_limit.open.fetch_sub(1, Ordering::Relaxed);
            }
            // An address stays at its place as long as a client has a permit from it.
            if known.open == 0
                && known.reserved == 0
                && let Some(key) = counts.key_at(self.address)
                && let Some(gone) = counts.remove(key)
            {
                index.remove(&gone.address, key);
                index.fit::<_, IpAddr>(counts);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_counted_and_given_back() {
        let connection_limit = ConnectionLimit::new(3, Some(2));
        let (a, b): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap());
        let first = connection_limit.enter(a).unwrap();
        let second = connection_limit.enter(a).unwrap();
        assert!(connection_limit.enter(a).unwrap().is_reserved(), "two from one address");
        let third = connection_limit.enter(b).unwrap();
        assert!(connection_limit.enter(b).unwrap().is_reserved(), "three in all");
        drop(first);
        assert_eq!(connection_limit.open(), 2);
        assert!(!connection_limit.enter(a).unwrap().is_reserved());
        drop((second, third));
        assert!(
            connection_limit.addresses.lock().unwrap().counts.is_empty(),
            "nothing is kept of clients that have gone"
        );
    }

    #[test]
    fn what_is_reserved_is_bounded_in_all_and_by_address() {
        let connection_limit = ConnectionLimit::new(1, None);
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let guest = connection_limit.enter(address(0)).unwrap();
        let mut reserved = Vec::new();
        for last in 0..u8::try_from(RESERVED_MAX / usize::from(RESERVED_PER_ADDRESS_MAX)).unwrap() {
            assert!(reserved.len() < RESERVED_MAX);
            reserved.extend(
                (0..RESERVED_PER_ADDRESS_MAX).map(|_| connection_limit.enter(address(last)).unwrap()),
            );
            assert!(connection_limit.enter(address(last)).is_none(), "an address has its share and no more");
        }
        assert!(reserved.iter().all(Permit::is_reserved));
        assert!(connection_limit.enter(address(200)).is_none(), "they are all given out");
        assert_eq!(connection_limit.open(), 1, "and do not count");
        drop(guest);
        assert!(
            !connection_limit.enter(address(200)).unwrap().is_reserved(),
            "a client that comes when there is room needs none"
        );
        reserved.pop();
        let _guest = connection_limit.enter(address(0)).unwrap();
        assert!(connection_limit.enter(address(201)).unwrap().is_reserved());
        drop((_guest, reserved));
        assert!(
            connection_limit.addresses.lock().unwrap().counts.is_empty(),
            "nothing is kept of clients that have gone"
        );
        assert_eq!(connection_limit.addresses.lock().unwrap().reserved, 0);
    }
}
