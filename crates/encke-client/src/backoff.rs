//! How long to wait before the next attempt.

use std::time::Duration;

/// Attempts whose pause stays at or under five seconds; a server that restarts is back by then.
const EAGER_ATTEMPTS: u32 = 12;
const EAGER_MAX: Duration = Duration::from_secs(5);
const PATIENT_MAX: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Growing pauses with jitter: none before the first attempt, then about half a second doubling up to 5 s,
/// and up to 30 s once a dozen attempts failed.
///
/// Each pause is drawn between the half and the whole of its bound, so that clients that lost the server
/// together do not come back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause before the next attempt; every call counts as one more failure. `random` is any number,
    /// evenly drawn.
    pub(crate) fn next_pause(&mut self, random: u64) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        if failures == 0 {
            return Duration::ZERO;
        }
        let max = if failures <= EAGER_ATTEMPTS { EAGER_MAX } else { PATIENT_MAX };
        let bound = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(10)).min(max);
        jittered(bound, random)
    }

    /// The connection proved itself: the next loss is the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Between the half and the whole of `bound`.
pub(crate) fn jittered(bound: Duration, random: u64) -> Duration {
    let share = (random >> 32) as u32;
    bound / 2 + (bound / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
}

/// Between `asked` and a quarter more: never sooner than was asked for, and not all who were asked for the
/// same together.
pub(crate) fn jittered_over(asked: Duration, random: u64) -> Duration {
    let share = (random >> 32) as u32;
    asked + (asked / 4).mul_f64(f64::from(share) / f64::from(u32::MAX))
}

/// A number evenly drawn by the operating system. Jitter is no secret: without randomness the pauses are
/// merely even.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_at_once_and_the_pauses_grow_to_a_bound() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..40).map(|_| backoff.next_pause(u64::MAX)).collect();
        assert_eq!(pauses[0], Duration::ZERO);
        assert_eq!(pauses[1], Duration::from_millis(500));
        assert_eq!(pauses[2], Duration::from_secs(1));
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(pauses[..=EAGER_ATTEMPTS as usize].iter().all(|pause| *pause <= EAGER_MAX));
        assert_eq!(pauses[39], PATIENT_MAX);
    }

    #[test]
    fn jitter_stays_between_the_half_and_the_whole() {
        let bound = Duration::from_secs(4);
        assert_eq!(jittered(bound, 0), Duration::from_secs(2));
        assert_eq!(jittered(bound, u64::MAX), bound);
        for _ in 0..100 {
            let pause = jittered(bound, random());
            assert!(pause >= bound / 2 && pause <= bound);
        }
    }

    #[test]
    fn what_was_asked_for_is_never_undercut() {
        let asked = Duration::from_secs(4);
        assert_eq!(
            (jittered_over(asked, 0), jittered_over(asked, u64::MAX)),
            (asked, Duration::from_secs(5))
        );
    }

    #[test]
    fn a_connection_that_proved_itself_starts_over() {
        let mut backoff = Backoff::default();
        backoff.next_pause(0);
        backoff.next_pause(0);
        backoff.reset();
        assert_eq!(backoff.next_pause(u64::MAX), Duration::ZERO);
    }
}
