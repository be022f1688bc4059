//! How soon one turn of a busy shard follows another: not at once, so that what comes meanwhile is done
//! together.

/// For how long a shard counts before it changes its ways, in microseconds.
const LOOK_US: u64 = 64_000;
/// How much has to come while a turn is put off, for that to be worth it. A push is two: its request, and its
/// message.
const GATHERED_MIN: u64 = 4;
/// After so many looks in which turns were put off there is one in which they are not. It shows whether more
/// would come then.
const PACED_LOOKS: u32 = 16;
/// The most looks for which turns are not put off because that has kept clients from coming: two at first,
/// and twice as many each time.
const FREE_LOOKS_MAX: u32 = 64;

/// The pacing of a shard's turns.
#[derive(Debug)]
pub(super) struct WakeupCoalescing {
    /// How long it is from one turn to the next while they are put off, in microseconds. With 0 they never
    /// are.
    least_us: u64,
    /// When the last turn could begin.
    turn_us: u64,
    look: Look,
    way: Way,
    /// How many looks are free after the next time that putting off has kept clients from coming.
    penalty: u32,
}

/// What has been counted.
#[derive(Debug, Default)]
struct Look {
    since_us: u64,
    on_bytes: u64,
}

/// What a shard does about its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Each follows at once, and does so for this many looks at least.
    Free { looks: u32 },
    /// They are put off, for this many looks yet. So much came in a second before.
    Paced { looks: u32, before: u64 },
    /// Each follows at once, to compare with what came in a second while they were put off.
    Compared { paced: u64 },
}

impl WakeupCoalescing {
    /// Turns that follow each other at once until there is much to do, and then after `least_us`; always at
    /// once when that is 0.
    pub(super) fn new(least_us: u64) -> Self {
        Self { least_us, turn_us: 0, look: Look::default(), way: Way::Free { looks: 0 }, penalty: 1 }
    }

    /// Something came that is work: a request, something said, a command.
    pub(super) fn on_bytes(&mut self) {
        self.look.on_bytes += 1;
    }

    /// For how long the next turn is put off, in microseconds; asked once before each, when there is nothing
    /// else to do.
    pub(super) fn pause_us(&mut self, now_us: u64) -> u64 {
        if self.least_us == 0 {
            return 0;
        }
        if now_us.saturating_sub(self.look.since_us) >= LOOK_US {
            let look = std::mem::replace(&mut self.look, Look { since_us: now_us, on_bytes: 0 });
            self.way = self.next_way(look.on_bytes.saturating_mul(1_000_000) / (now_us - look.since_us));
        }
        let paced = matches!(self.way, Way::Paced { .. });
        let pause_us =
            if paced { self.least_us.saturating_sub(now_us.saturating_sub(self.turn_us)) } else { 0 };
        self.turn_us = now_us + pause_us;
        pause_us
    }

    /// What to do after a look in which so much came in a second.
    fn next_way(&mut self, rate: u64) -> Way {
        let worth_it = rate.saturating_mul(self.least_us) / 1_000_000 >= GATHERED_MIN;
        match self.way {
            // Clients that wait for one answer before they ask again ask less, the later they are answered.
            Way::Paced { before, .. } if is_far_less(rate, before) => self.stay_free(),
            Way::Compared { paced } if is_far_less(paced, rate) => self.stay_free(),
            _ if !worth_it => Way::Free { looks: 0 },
            Way::Free { looks: 0 } => Way::Paced { looks: PACED_LOOKS, before: rate },
            Way::Free { looks } => Way::Free { looks: looks - 1 },
            Way::Paced { looks: 0, .. } => Way::Compared { paced: rate },
            Way::Paced { looks, before } => Way::Paced { looks: looks - 1, before },
            Way::Compared { .. } => {
                self.penalty = 1;
                Way::Paced { looks: PACED_LOOKS, before: rate }
            }
        }
    }

    fn stay_free(&mut self) -> Way {
        self.penalty = (self.penalty * 2).min(FREE_LOOKS_MAX);
        Way::Free { looks: self.penalty }
    }
}

/// Whether one rate is less than another by more than chance makes it from look to look.
fn is_far_less(rate: u64, other: u64) -> bool {
    rate.saturating_mul(4) < other.saturating_mul(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST_US: u64 = 1_000;
    const SECOND_US: u64 = 1_000_000;
    /// What a turn takes that does one thing, in microseconds.
    const TURN_US: u64 = 20;

    /// Clients, and a shard that serves them.
    struct World {
        wakeup_coalescing: WakeupCoalescing,
        now_us: u64,
    }

    impl World {
        fn new(least_us: u64) -> Self {
            Self { wakeup_coalescing: WakeupCoalescing::new(least_us), now_us: 0 }
        }

        /// Something comes every so often, whatever the shard does; how many turns that took.
        fn steady(&mut self, every_us: u64, for_us: u64) -> u64 {
            let end = self.now_us + for_us;
            let (mut due, mut count) = (self.now_us, 0);
            while due < end {
                self.now_us += self.wakeup_coalescing.pause_us(self.now_us);
                // The kernel's poll waits until there is something.
                self.now_us = self.now_us.max(due);
                while due <= self.now_us {
                    self.wakeup_coalescing.on_bytes();
                    due += every_us;
                }
                self.now_us += TURN_US;
                count += 1;
            }
            count
        }

        /// So many clients each ask again `think_us` after they were answered; how many answers they got.
        fn closed(&mut self, clients: usize, think_us: u64, for_us: u64) -> u64 {
            let end = self.now_us + for_us;
            let (mut asks, mut count) = (vec![self.now_us; clients], 0);
            while self.now_us < end {
                self.now_us += self.wakeup_coalescing.pause_us(self.now_us);
                self.now_us = self.now_us.max(asks.iter().copied().min().unwrap_or(end));
                for asked in &mut asks {
                    if *asked <= self.now_us {
                        self.wakeup_coalescing.on_bytes();
                        self.now_us += TURN_US;
                        *asked = self.now_us + think_us;
                        count += 1;
                    }
                }
            }
            count
        }
    }

    #[test]
    fn what_comes_often_is_done_together() {
        let mut world = World::new(LEAST_US);
        // 10,000 a second: the first look is free, and one in so many.
        assert_eq!(world.steady(100, LOOK_US), LOOK_US / 100);
        let wakeup_coalescing = world.steady(100, 10 * SECOND_US);
        assert!(
            (10_000..20_000).contains(&wakeup_coalescing),
            "{wakeup_coalescing} turns instead of 100,000"
        );
    }

    #[test]
    fn what_comes_seldom_waits_for_nothing() {
        let mut world = World::new(LEAST_US);
        assert_eq!(world.steady(300, 3 * SECOND_US), 10_000, "3,333 a second");
        world.steady(100, SECOND_US);
        world.steady(300, LOOK_US);
        let wakeup_coalescing = world.steady(300, 3 * SECOND_US);
        assert!(wakeup_coalescing >= 9_900, "{wakeup_coalescing} turns after there was more");
        // Nor what comes after a rest, however much came before it.
        world.steady(100, SECOND_US);
        world.now_us += SECOND_US;
        assert_eq!(world.wakeup_coalescing.pause_us(world.now_us), 0);
    }

    #[test]
    fn clients_that_wait_for_their_answers_are_not_kept() {
        for clients in [1, 2, 8] {
            let count = |least_us| World::new(least_us).closed(clients, 50, 20 * SECOND_US);
            let (paced, free) = (count(LEAST_US), count(0));
            assert!(
                paced * 100 > free * 95,
                "{clients} clients had {paced} answers, and {free} without pacing"
            );
        }
    }

    #[test]
    fn clients_that_come_to_wait_for_their_answers_are_found_out() {
        let mut world = World::new(LEAST_US);
        world.steady(100, 10 * SECOND_US);
        let free = World::new(0).closed(10, 100, 20 * SECOND_US);
        let paced = world.closed(10, 100, 20 * SECOND_US);
        assert!(paced * 100 > free * 90, "{paced} answers, and {free} without pacing");
    }

    #[test]
    fn without_a_least_time_no_turn_is_put_off() {
        assert_eq!(World::new(0).steady(100, SECOND_US), 10_000);
    }

    #[test]
    fn a_clock_that_stands_still_puts_nothing_off() {
        let mut wakeup_coalescing = WakeupCoalescing::new(LEAST_US);
        for _ in 0..10_000 {
            wakeup_coalescing.on_bytes();
            assert_eq!(wakeup_coalescing.pause_us(7), 0);
        }
    }
}
