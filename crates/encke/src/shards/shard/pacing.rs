//! How soon one broadcast follows another: not before about as much time has gone as the ones before it took, so that messages that come faster are written together.

/// How many sends of broadcasts a shard makes in a millisecond before it lets messages gather. A send takes 4 to 8 us, so by then a third to half of the shard's time goes into them.
const SENDS_PER_MS: u32 = 64;
/// The longest that a message waits for others, in milliseconds.
const PAUSE_MAX_MS: u32 = 5;

/// The pacing of a shard's broadcasts.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// Sends for which the time has not gone yet. At most what [`PAUSE_MAX_MS`] pays for.
    owed: u32,
    /// Up to when time was paid in.
    at_ms: u64,
    /// Sends while something is owed are of one round, until those who wait for more are let go. Its numbers come again, which may let somebody wait who need not.
    round: u8,
}

impl Pacing {
    /// How long somebody waits whom a broadcast made ready, in milliseconds. `round` is the one in which it was sent something last; with nothing in this round it does not wait.
    pub(super) fn pause_ms(&mut self, round: u8, now_ms: u64) -> u64 {
        self.pay(now_ms);
        if round == self.round { u64::from(self.owed / SENDS_PER_MS) } else { 0 }
    }

    /// Somebody is sent a broadcast; the round in which that is.
    pub(super) fn sent(&mut self, now_ms: u64) -> u8 {
        self.pay(now_ms);
        if self.owed == 0 {
            self.next_round();
        }
        self.owed = (self.owed + 1).min(PAUSE_MAX_MS * SENDS_PER_MS);
        self.round
    }

    /// Those who waited are let go.
    pub(super) fn next_round(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// Lets the time pay that has gone. A broadcast asks for each of its receivers, so it is mostly the same time.
    fn pay(&mut self, now_ms: u64) {
        if now_ms > self.at_ms {
            let gone_ms = u32::try_from(now_ms - self.at_ms).unwrap_or(u32::MAX);
            self.owed = self.owed.saturating_sub(gone_ms.saturating_mul(SENDS_PER_MS));
            self.at_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(pacing: &mut Pacing, count: u32, now_ms: u64) -> u8 {
        (0..count).map(|_| pacing.sent(now_ms)).last().unwrap_or_default()
    }

    #[test]
    fn a_pause_is_as_long_as_its_sends_pay_for_up_to_a_bound() {
        let mut pacing = Pacing::default();
        let round = send(&mut pacing, SENDS_PER_MS - 1, 100);
        assert_eq!(pacing.pause_ms(round, 100), 0, "few cost nothing");
        send(&mut pacing, SENDS_PER_MS * 2 + 1, 100);
        assert_eq!([100, 101, 102, 103].map(|now_ms| pacing.pause_ms(round, now_ms)), [3, 2, 1, 0]);
        let round = send(&mut pacing, SENDS_PER_MS * 1_000, 110);
        assert_eq!([110, 114, 115, 90_000].map(|now_ms| pacing.pause_ms(round, now_ms)), [5, 1, 0, 0]);
    }

    #[test]
    fn nobody_waits_who_was_sent_nothing_in_the_round() {
        let mut pacing = Pacing::default();
        let first = send(&mut pacing, 1_000, 100);
        assert_eq!((pacing.pause_ms(first, 100), pacing.pause_ms(first.wrapping_sub(1), 100)), (5, 0));
        pacing.next_round();
        assert_eq!(pacing.pause_ms(first, 100), 0, "it waited already");
        let second = send(&mut pacing, 1, 100);
        assert_eq!(pacing.pause_ms(second, 100), 5, "what is owed is owed still");
        // Long after, a round begins anew although nobody waited in the last.
        let third = send(&mut pacing, 1_000, 60_000);
        assert_eq!((pacing.pause_ms(second, 60_000), pacing.pause_ms(third, 60_000)), (0, 5));
    }

    #[test]
    fn rounds_go_on_for_ever_and_a_clock_may_stand_still() {
        let mut pacing = Pacing::default();
        for _ in 0..1_000 {
            let round = pacing.sent(7);
            pacing.next_round();
            assert_eq!(pacing.pause_ms(round, 7), 0);
        }
        assert_eq!(pacing.pause_ms(pacing.round, 3), 5, "and one that goes back pays nothing");
    }
}
