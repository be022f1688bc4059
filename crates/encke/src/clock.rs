//! The time, for everything that is not handed it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use encke_hub::Now;
use encke_proto::Time;

/// Tells the time. There is one for the whole server, so that a test can set it.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Now;
}

/// The clocks of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose steady part begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        // A time of day before 1970 is a clock that was never set; its beginning is as good a guess as any.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ms: millis(self.started.elapsed()), wall: Time(millis(wall)) }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct TestClock {
    mono_ms: AtomicU64,
    wall_ms: AtomicU64,
}

impl TestClock {
    /// A clock that shows this time of day.
    #[must_use]
    pub fn at(wall: Time) -> Self {
        Self { mono_ms: AtomicU64::new(0), wall_ms: AtomicU64::new(wall.0) }
    }

    /// Lets so many milliseconds go by.
    pub fn advance_ms(&self, ms: u64) {
        self.mono_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the time of day alone, as an operator does who corrects it.
    pub fn set_wall(&self, wall: Time) {
        self.wall_ms.store(wall.0, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        Now { mono_ms: self.mono_ms.load(Ordering::SeqCst), wall: Time(self.wall_ms.load(Ordering::SeqCst)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_goes_on() {
        let clock = SystemClock::new();
        let first = clock.now();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let second = clock.now();
        assert!(second.mono_ms > first.mono_ms);
        assert!(second.wall > Time(1_700_000_000_000));
    }

    #[test]
    fn a_test_clock_moves_when_it_is_moved() {
        let clock = TestClock::at(Time(1000));
        clock.advance_ms(500);
        assert_eq!(clock.now(), Now { mono_ms: 500, wall: Time(1500) });
        clock.set_wall(Time(7));
        assert_eq!(clock.now(), Now { mono_ms: 500, wall: Time(7) });
    }
}
