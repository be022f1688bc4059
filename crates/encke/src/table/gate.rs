use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use encke_hub::{Index, Name, Slab};

/// The limit by address where none is configured.
pub const PER_ADDRESS_MAX: usize = 10_000;

/// How many sockets may be open, in all and from one address.
#[derive(Debug)]
pub struct Gate {
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
}

#[derive(Debug)]
struct Address {
    address: IpAddr,
    open: u32,
}

impl Name<Address> for IpAddr {
    fn of(known: &Address) -> Option<&Self> {
        Some(&known.address)
    }
}

/// The right to have a socket open; given back when dropped. It names its address by the place, since there are as many as sockets.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    address: u32,
}

impl Gate {
    /// A gate with these limits; 0 stands for none. Without a limit by address there is one of [`PER_ADDRESS_MAX`] for whoever does not come from this machine.
    #[must_use]
    pub fn new(max: usize, max_per_address: Option<usize>) -> Arc<Self> {
        let limit = |max| if max == 0 { usize::MAX } else { max };
        let counts_loopback = max_per_address.is_some();
        let max_per_address = limit(max_per_address.unwrap_or(PER_ADDRESS_MAX));
        Arc::new(Self { max: limit(max), max_per_address, counts_loopback, open: AtomicUsize::new(0), addresses: Mutex::default() })
    }

    /// Asks for a pass; none when a limit is reached.
    #[must_use]
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Pass> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let Addresses { counts, index } = &mut *addresses;
        let known = index.find(counts, &address);
        let count = known.and_then(|key| counts.get(key)).map_or(0, |known| known.open as usize);
        if self.open.load(Ordering::Relaxed) >= self.max
            || (count >= self.max_per_address && (self.counts_loopback || !address.is_loopback()))
        {
            return None;
        }
        let key = known.unwrap_or_else(|| {
            let key = counts.insert(Address { address, open: 0 });
            index.insert(counts, &address, key);
            key
        });
        counts.get_mut(key)?.open += 1;
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Pass { gate: Arc::clone(self), address: key.index })
    }

    /// How many sockets are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut addresses = self.gate.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let Addresses { counts, index } = &mut *addresses;
        if let Some(known) = counts.at_mut(self.address) {
            known.open -= 1;
            // An address stays at its place as long as anybody has a pass from it.
            if known.open == 0
                && let Some(key) = counts.key_at(self.address)
                && let Some(gone) = counts.remove(key)
            {
                index.remove(&gone.address, key);
                index.fit::<_, IpAddr>(counts);
            }
        }
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_counted_and_given_back() {
        let gate = Gate::new(3, Some(2));
        let (a, b): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap());
        let first = gate.enter(a).unwrap();
        let second = gate.enter(a).unwrap();
        assert!(gate.enter(a).is_none(), "two from one address");
        let third = gate.enter(b).unwrap();
        assert!(gate.enter(b).is_none(), "three in all");
        drop(first);
        assert_eq!(gate.open(), 2);
        assert!(gate.enter(a).is_some());
        drop((second, third));
        assert!(gate.addresses.lock().unwrap().counts.is_empty(), "nothing is kept of those who have gone");
    }
}
