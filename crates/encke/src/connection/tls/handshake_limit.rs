//! How many handshakes are under way: each costs memory and time before anything is known of its client.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The most handshakes that one listener has under way. Clients beyond that wait in the kernel's queue until
/// others are done or have had their time.
pub const HANDSHAKES_MAX: usize = if cfg!(test) { 64 } else { 4_096 };

/// Counts the handshakes that are under way at one listener.
#[derive(Debug, Default)]
pub struct HandshakeLimit(Arc<AtomicUsize>);

/// A handshake that is under way, until it is dropped.
#[derive(Debug)]
pub struct HandshakePermit(Arc<AtomicUsize>);

impl HandshakeLimit {
    /// Whether no other handshake may begin.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= HANDSHAKES_MAX
    }

    /// A handshake begins.
    #[must_use]
    pub fn enter(&self) -> HandshakePermit {
        self.0.fetch_add(1, Ordering::Relaxed);
        HandshakePermit(Arc::clone(&self.0))
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_reached_as_long_as_so_many_are_under_way() {
        let limit = HandshakeLimit::default();
        let mut permits: Vec<_> = (0..HANDSHAKES_MAX - 1).map(|_| limit.enter()).collect();
        assert!(!limit.is_reached());
        permits.push(limit.enter());
        assert!(limit.is_reached());
        permits.pop();
        assert!(!limit.is_reached());
    }
}
