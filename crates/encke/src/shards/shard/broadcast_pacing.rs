//! How soon one broadcast follows another: not before about as much time has gone as the ones before it took,
//! so that messages that come faster are written together.

/// How many sends of broadcasts a shard makes in a millisecond before it lets messages gather. A send takes 4
/// to 8 us, so by then a third to half of the shard's time goes into them.
const SENDS_PER_MS: u32 = 64;
/// The longest that a message waits for others, in milliseconds.
const PAUSE_MAX_MS: u32 = 5;

/// The pacing of a shard's broadcasts.
#[derive(Debug)]
pub(super) struct BroadcastPacing {
    /// Sends for which the time has not gone yet. When time goes on, no more than [`PAUSE_MAX_MS`] pays for.
    owed: u32,
    /// Up to when time was paid in.
    at_ms: u64,
    /// A slot that is sent a broadcast remembers its round, to be known again as one that was sent something
    /// just now. The numbers from 1 to 255 come again and again, so one slot in so many waits that need not.
    round: u8,
    /// When the round began. It ends when the slots that wait for more are let go, or after [`PAUSE_MAX_MS`].
    round_ms: u64,
}

impl Default for BroadcastPacing {
    fn default() -> Self {
        // 0 is the round of slots that were sent nothing yet.
        Self { owed: 0, at_ms: 0, round: 1, round_ms: 0 }
    }
}

impl BroadcastPacing {
    /// Lets the time pay that has gone; once a turn, before anything else.
    pub(super) fn go_on(&mut self, now_ms: u64) {
        if now_ms > self.at_ms {
            let gone_ms = u32::try_from(now_ms - self.at_ms).unwrap_or(u32::MAX);
            self.owed = self
                .owed
                .min(PAUSE_MAX_MS * SENDS_PER_MS)
                .saturating_sub(gone_ms.saturating_mul(SENDS_PER_MS));
            self.at_ms = now_ms;
            if now_ms - self.round_ms >= u64::from(PAUSE_MAX_MS) {
                self.let_go();
            }
        }
    }

    /// How long a slot waits that a broadcast made ready, in milliseconds. `round` is the one in which it was
    /// sent something last; with nothing in this round it does not wait.
    pub(super) fn pause_ms(&self, round: u8) -> u64 {
        if round == self.round { u64::from((self.owed / SENDS_PER_MS).min(PAUSE_MAX_MS)) } else { 0 }
    }

    /// A slot is sent a broadcast; the round in which that is.
    pub(super) fn sent(&mut self) -> u8 {
        self.owed = self.owed.saturating_add(1);
        self.round
    }

    /// The slots that waited are let go, and another round begins.
    pub(super) fn let_go(&mut self) {
        self.round = self.round % u8::MAX + 1;
        self.round_ms = self.at_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(broadcast_pacing: &mut BroadcastPacing, count: u32, now_ms: u64) -> u8 {
        broadcast_pacing.go_on(now_ms);
        (0..count).map(|_| broadcast_pacing.sent()).last().unwrap_or_default()
    }

    fn pause_ms(broadcast_pacing: &mut BroadcastPacing, round: u8, now_ms: u64) -> u64 {
        broadcast_pacing.go_on(now_ms);
        broadcast_pacing.pause_ms(round)
    }

    #[test]
    fn a_pause_is_as_long_as_its_sends_pay_for_up_to_a_bound() {
        let mut broadcast_pacing = BroadcastPacing::default();
        let round = send(&mut broadcast_pacing, SENDS_PER_MS - 1, 100);
        assert_eq!(broadcast_pacing.pause_ms(round), 0, "few cost nothing");
        send(&mut broadcast_pacing, SENDS_PER_MS * 2 + 1, 100);
        assert_eq!(
            [100, 101, 102, 103].map(|now_ms| pause_ms(&mut broadcast_pacing, round, now_ms)),
            [3, 2, 1, 0]
        );
        let round = send(&mut broadcast_pacing, SENDS_PER_MS * 1_000, 110);
        assert_eq!(
            [110, 111, 114, 115].map(|now_ms| pause_ms(&mut broadcast_pacing, round, now_ms)),
            [5, 4, 1, 0]
        );
        let round = send(&mut broadcast_pacing, SENDS_PER_MS * 1_000, 120);
        assert_eq!([120, 90_000].map(|now_ms| pause_ms(&mut broadcast_pacing, round, now_ms)), [5, 0]);
    }

    #[test]
    fn no_slot_waits_that_was_sent_nothing_in_the_round() {
        let mut broadcast_pacing = BroadcastPacing::default();
        let first = send(&mut broadcast_pacing, 1_000, 100);
        assert_eq!([first, first - 1, 0].map(|round| broadcast_pacing.pause_ms(round)), [5, 0, 0]);
        broadcast_pacing.let_go();
        assert_eq!(broadcast_pacing.pause_ms(first), 0, "it waited already");
        let second = send(&mut broadcast_pacing, 1, 100);
        assert_eq!(broadcast_pacing.pause_ms(second), 5, "what is owed is owed still");
        // However much is sent meanwhile, after a while it is not just now any more.
        for now_ms in 101..105 {
            assert_eq!(send(&mut broadcast_pacing, 1_000, now_ms), second);
            assert_eq!(broadcast_pacing.pause_ms(second), 5);
        }
        let third = send(&mut broadcast_pacing, 1_000, 105);
        assert_eq!([second, third].map(|round| broadcast_pacing.pause_ms(round)), [0, 5]);
    }

    #[test]
    fn rounds_come_again_and_none_is_that_of_newcomers() {
        let mut broadcast_pacing = BroadcastPacing::default();
        for _ in 0..1_000 {
            let round = send(&mut broadcast_pacing, 100, 7);
            assert_ne!(round, 0);
            broadcast_pacing.let_go();
            assert_eq!((broadcast_pacing.pause_ms(round), broadcast_pacing.pause_ms(0)), (0, 0));
        }
        let round = send(&mut broadcast_pacing, 1, 7);
        assert_eq!(
            pause_ms(&mut broadcast_pacing, round, 3),
            5,
            "a clock that stands still or goes back pays nothing"
        );
    }
}
