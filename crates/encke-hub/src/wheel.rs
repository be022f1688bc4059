//! A timer wheel with one bucket for each tick. It holds no deadlines, only when to look at an item again, so
//! that a deadline can move without a change here.

/// Timers for many, at the cost of a few bytes each: a ring of buckets, one a tick. A timer is a promise to
/// look at something at about its time, not a callback: the item that is looked at says whether its time has
/// come, and is put back if not. So a deadline can move without the wheel being told.
#[derive(Debug)]
pub struct Wheel<T> {
    buckets: Vec<Vec<T>>,
    tick_ms: u64,
    /// The tick up to which everything was looked at.
    at: u64,
}

impl<T> Wheel<T> {
    /// A wheel of `buckets` ticks of `tick_ms` milliseconds. What is due later than its one turn is looked at
    /// after a turn.
    #[must_use]
    pub fn new(tick_ms: u64, buckets: usize, now_ms: u64) -> Self {
        let tick_ms = tick_ms.max(1);
        Self { buckets: (0..buckets.max(2)).map(|_| Vec::new()).collect(), tick_ms, at: now_ms / tick_ms }
    }

    /// Looks at `item` at about `due_ms`, never before it unless it is more than a turn away. Returns when
    /// that will be.
    pub fn insert(&mut self, due_ms: u64, item: T) -> u64 {
        let turn = self.buckets.len() as u64;
        let tick = (due_ms.div_ceil(self.tick_ms)).clamp(self.at + 1, self.at + turn - 1);
        self.buckets[usize::try_from(tick % turn).unwrap_or(0)].push(item);
        tick * self.tick_ms
    }

    /// Everything that is to be looked at by `now_ms`.
    pub fn due(&mut self, now_ms: u64) -> Vec<T> {
        let turn = self.buckets.len() as u64;
        let now = now_ms / self.tick_ms;
        // After a long pause each bucket is due once, not once for every turn that was missed.
        let first = (self.at + 1).max(now.saturating_sub(turn - 1));
        let mut due = Vec::new();
        for tick in first..=now {
            // A bucket is handed out as it is, so that none stays as large as it ever was.
            let bucket = std::mem::take(&mut self.buckets[usize::try_from(tick % turn).unwrap_or(0)]);
            if due.is_empty() {
                due = bucket;
            } else {
                due.extend(bucket);
            }
        }
        self.at = self.at.max(now);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_early_and_nothing_is_forgotten() {
        let mut wheel = Wheel::new(100, 8, 1_000);
        for due in [1_001, 1_100, 1_250, 1_699] {
            wheel.insert(due, due);
        }
        let mut seen = Vec::new();
        for now in (1_000..2_000).step_by(30) {
            for due in wheel.due(now) {
                assert!(due <= now && now < due + 200, "{due} at {now}");
                seen.push(due);
            }
        }
        assert_eq!(seen, [1_001, 1_100, 1_250, 1_699]);
    }

    #[test]
    fn a_crowd_leaves_no_room_behind() {
        let mut wheel = Wheel::new(100, 8, 0);
        assert!((0..10_000).all(|item| wheel.insert(item % 700, item) <= 700));
        assert_eq!(wheel.due(1_000).len(), 10_000);
        assert_eq!(wheel.buckets.iter().map(Vec::capacity).sum::<usize>(), 0);
    }

    #[test]
    fn what_is_far_off_is_looked_at_after_a_turn_and_after_a_pause_everything_is() {
        let mut wheel = Wheel::new(100, 8, 0);
        assert_eq!(wheel.insert(1_000_000, "far"), 700);
        assert_eq!(wheel.due(699), Vec::<&str>::new());
        assert_eq!(wheel.due(700), ["far"]);
        wheel.insert(800, "near");
        assert_eq!(wheel.due(1_000_000), ["near"]);
        wheel.insert(1_000_001, "later");
        assert_eq!(wheel.due(1_000_100), ["later"]);
    }
}
