//! The connection limit: open sockets in all and by client, with a reserve for operators. It counts sockets
//! only; requests and sessions have limits of their own. A client is known by its address: one of IPv4, or a
//! /64 of IPv6, of which it has as many addresses as it likes.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use encke_hub::{Index, Keyed, Slab};

use super::{ListenerRole, Peer, TrustedProxies};
use crate::rate_limits::network;

/// The limit by address where none is configured.
pub const PER_ADDRESS_MAX: usize = 10_000;
/// How many sockets may be open beyond the limits, for what operators need (see
/// [`crate::http::operation::is_operation`]): a server that is full is not dead, and says so.
pub const RESERVED_MAX: usize = 64;
/// How many of those from one address.
pub const RESERVED_PER_ADDRESS_MAX: u16 = 16;

/// How many sockets may be open, in all and from one client.
#[derive(Debug)]
pub struct ConnectionLimit {
    max: usize,
    max_per_address: usize,
    /// From each address of this machine: usually a proxy, behind which there are many.
    max_on_loopback: usize,
    /// What is served on them.
    role: ListenerRole,
    /// Those count for the clients whose requests they pass on.
    proxies: TrustedProxies,
    open: AtomicUsize,
    addresses: Mutex<Addresses>,
}

/// What a connection limit is made of.
#[derive(Clone, Debug, Default)]
pub struct ConnectionLimits {
    /// How many sockets in all; 0 stands for no limit.
    pub max: usize,
    /// How many from one address; 0 stands for no limit, none for [`PER_ADDRESS_MAX`] for clients that do not
    /// come from this machine.
    pub max_per_address: Option<usize>,
    /// How many from one address of this machine, if that is not what others have; 0 stands for no limit.
    pub max_on_loopback: Option<usize>,
    /// What is served on them.
    pub role: ListenerRole,
    /// Who passes on the requests of others.
    pub proxies: TrustedProxies,
}

/// Those from whom sockets are open.
#[derive(Debug, Default)]
struct Addresses {
    /// Each address; there may be as many as sockets.
    each: Tally,
    /// The networks of those of IPv6.
    networks: Tally,
    /// How many have a reserved place.
    reserved: usize,
}

/// How many sockets each has.
#[derive(Debug, Default)]
struct Tally {
    counts: Slab<Address>,
    index: Index,
}

#[derive(Debug)]
struct Address {
    address: IpAddr,
    /// Those in reserved places.
    reserved: u16,
    /// All others.
    open: u32,
}

/// What an address of IPv6 is counted with; one of IPv4 is a client by itself.
fn shared(address: IpAddr) -> Option<IpAddr> {
    Some(network(address)).filter(IpAddr::is_ipv6)
}

impl Tally {
    /// The place of an address, if it has one.
    fn find(&self, address: IpAddr) -> Option<u32> {
        self.index.find(&self.counts, &address).map(|key| key.index)
    }

    /// How many an address has, and how many of these in reserved places.
    fn of(&self, address: IpAddr) -> (usize, u16) {
        let known = self.find(address).and_then(|place| self.counts.at(place));
        known.map_or((0, 0), |known| (known.open as usize, known.reserved))
    }

    /// One socket more. Its place, which is made if there is none.
    fn enter(&mut self, address: IpAddr, reserved: bool) -> u32 {
        let Self { counts, index } = self;
        let key = index.find(counts, &address).unwrap_or_else(|| {
            let key = counts.insert(Address { address, reserved: 0, open: 0 });
            index.insert(counts, &address, key);
            key
        });
        if let Some(known) = counts.get_mut(key) {
            if reserved {
                known.reserved += 1;
            } else {
                known.open += 1;
            }
        }
        key.index
    }

    /// One socket less at a place. Whose it is. An address stays there as long as a client has a permit from
    /// it.
    fn leave(&mut self, place: u32, reserved: bool) -> Option<IpAddr> {
        let Self { counts, index } = self;
        let known = counts.at_mut(place)?;
        let address = known.address;
        if reserved {
            known.reserved -= 1;
        } else {
            known.open -= 1;
        }
        if known.open == 0
            && known.reserved == 0
            && let Some(key) = counts.key_at(place)
            && let Some(gone) = counts.remove(key)
        {
            index.remove(&gone.address, key);
            index.fit::<_, IpAddr>(counts);
        }
        Some(address)
    }
}

impl Addresses {
    /// How many the client at an address has, and how many of these in reserved places.
    fn of(&self, address: IpAddr) -> (usize, u16) {
        shared(address).map_or_else(|| self.each.of(address), |network| self.networks.of(network))
    }

    /// One socket more from an address. Its place.
    fn enter(&mut self, address: IpAddr, reserved: bool) -> u32 {
        if let Some(network) = shared(address) {
            self.networks.enter(network, reserved);
        }
        self.reserved += usize::from(reserved);
        self.each.enter(address, reserved)
    }

    /// One socket less at a place.
    fn leave(&mut self, place: u32, reserved: bool) {
        let Some(address) = self.each.leave(place, reserved) else { return };
        self.reserved -= usize::from(reserved);
        if let Some(network) = shared(address).and_then(|network| self.networks.find(network)) {
            self.networks.leave(network, reserved);
        }
    }

    /// Whether nothing is kept of any.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.each.counts.is_empty() && self.networks.counts.is_empty() && self.reserved == 0
    }
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
    address: AtomicU32,
    reserved: bool,
    role: ListenerRole,
    peer: Peer,
}

impl Permit {
    /// Whether it is one of those beyond the limits, with which only operators are served, and once.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// What is served on the connection.
    #[must_use]
    pub fn role(&self) -> ListenerRole {
        self.role
    }

    /// What is believed of the peer.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Who is believed that passes on the requests of others.
    #[must_use]
    pub fn proxies(&self) -> &TrustedProxies {
        &self.connection_limit.proxies
    }

    /// Whether a request waits on the connection without more ado: no place is kept for operators alone, and
    /// no proxy has to say whose request it is.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !self.reserved && self.role.serves_clients() && self.peer == Peer::Undeclared
    }

    /// The address that it counts for: that of the peer, until it was moved.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let addresses = self.connection_limit.lock();
        addresses.each.counts.at(self.address.load(Ordering::Relaxed)).map(|known| known.address)
    }

    /// Lets it count for the client whose request a proxy passes on. False if that one has too many; then it
    /// counts as before.
    #[must_use]
    pub fn move_to(&self, client: IpAddr) -> bool {
        let mut addresses = self.connection_limit.lock();
        let now = self.address.load(Ordering::Relaxed);
        let was = addresses.each.counts.at(now).map(|known| known.address);
        if was == Some(client) {
            return true;
        }
        // Another address of the same client takes nothing more.
        let stays = was.is_some_and(|was| network(was) == network(client));
        if self.reserved || (!stays && self.connection_limit.is_full_for(client, addresses.of(client).0)) {
            return false;
        }
        self.address.store(addresses.enter(client, false), Ordering::Relaxed);
        addresses.leave(now, false);
        true
    }

    /// One more for a client that shares the connection with others.
    #[must_use]
    pub fn beside(&self, client: IpAddr) -> Option<Self> {
        self.connection_limit.enter(client).filter(|permit| !permit.is_reserved())
    }
}

impl ConnectionLimit {
    /// A connection limit with these limits; 0 stands for none. Without a limit by address there is one of
    /// [`PER_ADDRESS_MAX`] for clients that do not come from this machine, and none for those that do.
    #[must_use]
    pub fn new(max: usize, max_per_address: Option<usize>) -> Arc<Self> {
        Self::of(ConnectionLimits { max, max_per_address, ..ConnectionLimits::default() })
    }

    /// One with these limits.
    #[must_use]
    pub fn of(limits: ConnectionLimits) -> Arc<Self> {
        let ConnectionLimits { max, max_per_address, max_on_loopback, role, proxies } = limits;
        let limit = |max| if max == 0 { usize::MAX } else { max };
        Arc::new(Self {
            max: limit(max),
            max_per_address: limit(max_per_address.unwrap_or(PER_ADDRESS_MAX)),
            max_on_loopback: limit(max_on_loopback.or(max_per_address).unwrap_or(0)),
            role,
            proxies,
            open: AtomicUsize::new(0),
            addresses: Mutex::default(),
        })
    }

    /// Asks for a pass: a reserved one when a limit is reached, none when those are given out too.
    #[must_use]
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Permit> {
        self.enter_as(self.peer(address), address)
    }

    /// The same for a peer of which it is known what is believed.
    #[must_use]
    pub fn enter_as(self: &Arc<Self>, peer: Peer, address: IpAddr) -> Option<Permit> {
        let mut addresses = self.lock();
        let (open, kept) = addresses.of(address);
        let reserved = self.open.load(Ordering::Relaxed) >= self.max
            || (peer != Peer::Proxy && self.is_full_for(address, open));
        if reserved && (addresses.reserved >= RESERVED_MAX || kept >= RESERVED_PER_ADDRESS_MAX) {
            return None;
        }
        let place = addresses.enter(address, reserved);
        if !reserved {
            self.open.fetch_add(1, Ordering::Relaxed);
        }
        let (connection_limit, address) = (Arc::clone(self), AtomicU32::new(place));
        Some(Permit { connection_limit, address, reserved, role: self.role, peer })
    }

    /// What is believed of a peer with this address.
    #[must_use]
    pub fn peer(&self, address: IpAddr) -> Peer {
        self.proxies.peer(address)
    }

    /// Who is believed that passes on the requests of others.
    #[must_use]
    pub fn proxies(&self) -> &TrustedProxies {
        &self.proxies
    }

    /// Whether a client that has so many open may have no more.
    fn is_full_for(&self, address: IpAddr, open: usize) -> bool {
        open >= if address.is_loopback() { self.max_on_loopback } else { self.max_per_address }
    }

    fn lock(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sockets are open, but for the reserved ones.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut addresses = self.connection_limit.lock();
        addresses.leave(*self.address.get_mut(), self.reserved);
        if !self.reserved {
            self.connection_limit.open.fetch_sub(1, Ordering::Relaxed);
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
            connection_limit.addresses.lock().unwrap().is_empty(),
            "nothing is kept of clients that have gone"
        );
    }

    #[test]
    fn a_connection_of_a_proxy_counts_for_the_client_whose_request_it_has() {
        let limits = ConnectionLimits {
            max_per_address: Some(2),
            proxies: TrustedProxies::new(&["10.0.0.0/8".parse().unwrap()]),
            ..ConnectionLimits::default()
        };
        let limit = ConnectionLimit::of(limits);
        let address = |last: u8| IpAddr::from([203, 0, 113, last]);
        let enter = || limit.enter([10, 0, 0, 1].into()).unwrap();
        let permits: Vec<_> = (0..5).map(|_| enter()).collect();
        assert!(permits.iter().all(|permit| !permit.is_reserved()), "the proxy itself has no bound");
        let moved: [bool; 5] = std::array::from_fn(|at| permits[at].move_to(address(7)));
        assert_eq!(moved, [true, true, false, false, false]);
        assert!(permits[0].move_to(address(7)), "it is there already");
        assert_eq!(permits[2].address(), Some([10, 0, 0, 1].into()), "it counts as before");
        assert!(permits[0].move_to(address(8)) && permits[2].move_to(address(7)));
        assert!(permits[1].beside(address(7)).is_none());
        let beside = permits[1].beside(address(8)).unwrap();
        assert!(!permits[3].move_to(address(8)));
        drop(beside);
        assert!(permits[3].move_to(address(8)));
        // A client that is no proxy comes by itself.
        assert!(!limit.enter(address(9)).unwrap().is_plain());
        drop(permits);
        assert_eq!(limit.open(), 0);
        assert!(limit.addresses.lock().unwrap().is_empty());
    }

    /// A client of IPv6 has as many addresses as it likes.
    #[test]
    fn a_64_of_ipv6_is_one_client() {
        let proxies = TrustedProxies::new(&["10.0.0.0/8".parse().unwrap()]);
        let limits = ConnectionLimits { max_per_address: Some(2), proxies, ..ConnectionLimits::default() };
        let limit = ConnectionLimit::of(limits);
        let address = |network: u16, last: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, last]);
        // The first is also how its network is written.
        let mut permits: Vec<_> = (0..2).map(|last| limit.enter(address(0, last)).unwrap()).collect();
        assert!(permits.iter().all(|permit| !permit.is_reserved()));
        assert_eq!(permits[1].address(), Some(address(0, 1)), "of each it is known which it is");
        let reserved: Vec<_> =
            (0..RESERVED_PER_ADDRESS_MAX).map(|last| limit.enter(address(0, last)).unwrap()).collect();
        assert!(reserved.iter().all(Permit::is_reserved));
        assert!(limit.enter(address(0, 99)).is_none(), "and no more of what is reserved");
        permits.push(limit.enter(address(1, 0)).unwrap());
        assert!(!permits[2].is_reserved(), "the next /64 is another client");
        let behind = limit.enter([10, 0, 0, 1].into()).unwrap();
        assert!(!behind.move_to(address(0, 3)) && behind.move_to(address(1, 3)));
        assert!(behind.move_to(address(1, 4)), "another address of the same client");
        assert_eq!(behind.address(), Some(address(1, 4)));
        assert!(limit.enter(address(1, 5)).unwrap().is_reserved());
        permits.remove(0);
        assert!(!limit.enter(address(0, 3)).unwrap().is_reserved(), "what was given back can be had again");
        drop((permits, reserved, behind));
        assert!(limit.addresses.lock().unwrap().is_empty() && limit.open() == 0);
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
            connection_limit.addresses.lock().unwrap().is_empty(),
            "nothing is kept of clients that have gone"
        );
        assert_eq!(connection_limit.addresses.lock().unwrap().reserved, 0);
    }
}
