use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

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
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// The right to have a socket open; given back when dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    /// A gate with these limits; 0 stands for none. Without a limit by address there is one of [`PER_ADDRESS_MAX`] for whoever does not come from this machine.
    #[must_use]
    pub fn new(max: usize, max_per_address: Option<usize>) -> Arc<Self> {
        let limit = |max| if max == 0 { usize::MAX } else { max };
        let counts_loopback = max_per_address.is_some();
        let max_per_address = limit(max_per_address.unwrap_or(PER_ADDRESS_MAX));
        Arc::new(Self { max: limit(max), max_per_address, counts_loopback, open: AtomicUsize::new(0), by_address: Mutex::default() })
    }

    /// Asks for a pass; none when a limit is reached.
    #[must_use]
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Pass> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.get(&address).copied().unwrap_or(0);
        if self.open.load(Ordering::Relaxed) >= self.max
            || (count >= self.max_per_address && (self.counts_loopback || !address.is_loopback()))
        {
            return None;
        }
        by_address.insert(address, count + 1);
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Pass { gate: Arc::clone(self), address })
    }

    /// How many sockets are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut by_address = self.gate.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
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
        let _second = gate.enter(a).unwrap();
        assert!(gate.enter(a).is_none(), "two from one address");
        let _third = gate.enter(b).unwrap();
        assert!(gate.enter(b).is_none(), "three in all");
        drop(first);
        assert_eq!(gate.open(), 2);
        assert!(gate.enter(a).is_some());
    }
}
