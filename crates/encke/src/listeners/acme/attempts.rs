//! When the next order may be made. It is kept on the disk, since a server that starts again and again must
//! not use up what a directory allows.

use serde::{Deserialize, Serialize};

use super::challenges::ChallengeKind;

/// After the first order that was not fulfilled, the next one waits so long; after each further one, so many
/// times as long. Two validations of a name fail with an order, and Let's Encrypt allows five, and one more
/// every 12 minutes.
const REFUSED_S: f64 = 240.0;
const REFUSED_FACTOR: f64 = 4.0;
const REFUSED_MAX_S: f64 = 12.0 * 3600.0;
/// The same when nothing was ordered: the directory did not answer, or the disk keeps nothing.
const UNREACHED_S: f64 = 2.0;
const UNREACHED_FACTOR: f64 = 2.0;
const UNREACHED_MAX_S: f64 = 900.0;
/// By how much of it a wait is longer or shorter, by chance: servers that failed together come back apart.
const JITTER: f64 = 0.25;
/// The longest wait, whatever a directory asks for, or a clock that was wrong has left behind.
const WAIT_MAX_S: i64 = 7 * 86_400;

/// What went wrong with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing was ordered.
    Unreached,
    /// It counts against what the directory allows.
    Refused,
}

/// The orders since the last one that was fulfilled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Attempts {
    /// The names that were ordered.
    pub(super) names: Vec<String>,
    /// How many were refused since, in a row.
    pub(super) refused: u32,
    /// How many came to nothing since the last of those, in a row.
    pub(super) unreached: u32,
    /// Before this no other is made, in seconds since 1970.
    pub(super) next_s: i64,
    /// How names were validated last, or else are to be tried first.
    pub(super) kind: ChallengeKind,
    /// When the last one was fulfilled, in seconds since 1970; 0 when none was.
    pub(super) issued_s: i64,
}

impl Attempts {
    /// Those for these names: what other names have met with says nothing of these.
    pub(super) fn of(self, names: &[String]) -> Self {
        if self.names == names {
            return self;
        }
        Self { names: names.to_vec(), kind: self.kind, ..Self::default() }
    }

    /// These, or those of the same names on the disk, if they are later: by another node, or before a
    /// restart. A disk that keeps nothing must not make this forget that it has to wait.
    pub(super) fn or_later(self, kept: Self) -> Self {
        let is_later = (kept.issued_s, kept.next_s) >= (self.issued_s, self.next_s);
        if is_later { kept } else { self }
    }

    /// One was not fulfilled. `retry_s` is until when the directory wants not to be asked; `random` is from 0
    /// to 1.
    pub(super) fn fail(&mut self, failure: Failure, now_s: i64, retry_s: Option<i64>, random: f64) {
        let (first_s, factor, max_s, count) = match failure {
            Failure::Unreached => (UNREACHED_S, UNREACHED_FACTOR, UNREACHED_MAX_S, &mut self.unreached),
            Failure::Refused => (REFUSED_S, REFUSED_FACTOR, REFUSED_MAX_S, &mut self.refused),
        };
        let steps = i32::try_from(*count).unwrap_or(i32::MAX);
        *count = count.saturating_add(1);
        let wait_s = (first_s * factor.powi(steps)).min(max_s);
        let wait_s = wait_s * (1.0 + JITTER * (2.0 * random - 1.0));
        if failure == Failure::Refused {
            self.unreached = 0;
        }
        self.next_s = now_s.saturating_add(wait_s.ceil() as i64).max(retry_s.unwrap_or(now_s));
    }

    /// One was fulfilled, in this way.
    pub(super) fn succeed(&mut self, kind: ChallengeKind, now_s: i64) {
        (self.refused, self.unreached) = (0, 0);
        (self.next_s, self.kind, self.issued_s) = (now_s, kind, now_s);
    }

    /// How long no other is made, in seconds.
    pub(super) fn wait_s(&self, now_s: i64) -> i64 {
        self.next_s.saturating_sub(now_s).clamp(0, WAIT_MAX_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(failure: Failure, random: f64, count: usize) -> Vec<i64> {
        let (mut attempts, mut now_s) = (Attempts::default(), 1_800_000_000);
        let mut next = || {
            attempts.fail(failure, now_s, None, random);
            let wait_s = attempts.wait_s(now_s);
            now_s += wait_s;
            wait_s
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn each_wait_is_longer_than_the_one_before_up_to_a_bound() {
        let longest = 12 * 3600;
        assert_eq!(waits(Failure::Refused, 0.5, 6), [240, 960, 3840, 15_360, longest, longest]);
        let (least, most) = (waits(Failure::Refused, 0.0, 40), waits(Failure::Refused, 1.0, 40));
        assert_eq!((least[0], most[0]), (180, 300));
        assert_eq!((least[39], most[39]), (longest * 3 / 4, longest * 5 / 4));
        assert_eq!(waits(Failure::Unreached, 0.5, 12)[..5], [2, 4, 8, 16, 32]);
        assert_eq!(waits(Failure::Unreached, 0.5, 12)[11], 900);
        let mut attempts = Attempts { refused: u32::MAX, unreached: 9, ..Attempts::default() };
        attempts.fail(Failure::Refused, 0, None, 0.5);
        assert_eq!((attempts.refused, attempts.unreached, attempts.next_s), (u32::MAX, 0, longest));
        attempts.fail(Failure::Unreached, 0, None, 0.5);
        assert_eq!(attempts.wait_s(0), 2, "a directory that was down is no reason to wait for long");
    }

    #[test]
    fn what_a_directory_allows_is_never_used_up() {
        // Five validations of a name may fail; one more is allowed every 12 minutes.
        let (most, again_s) = (5.0_f64, 720.0);
        let mut left = most;
        for wait_s in waits(Failure::Refused, 0.0, 50) {
            left -= 2.0;
            assert!(left >= 0.0);
            left = (left + wait_s as f64 / again_s).min(most);
        }
    }

    #[test]
    fn a_directory_is_given_the_time_that_it_asks_for() {
        let now_s = 1_800_000_000;
        for (asked_s, waited_s) in [(10, 240), (100_000, 100_000), (i64::MAX - now_s, WAIT_MAX_S)] {
            let mut attempts = Attempts::default();
            attempts.fail(Failure::Refused, now_s, Some(now_s + asked_s), 0.5);
            assert_eq!(attempts.wait_s(now_s), waited_s);
        }
        let ahead = Attempts { next_s: now_s + 100 * WAIT_MAX_S, ..Attempts::default() };
        assert_eq!(ahead.wait_s(now_s), WAIT_MAX_S, "a clock was wrong");
    }

    #[test]
    fn what_is_known_is_not_forgotten_for_what_is_on_the_disk() {
        let at = |issued_s, next_s| Attempts { issued_s, next_s, ..Attempts::default() };
        for (known, kept, later) in [
            (at(0, 0), at(0, 5), at(0, 5)),
            (at(0, 5), at(0, 0), at(0, 5)),
            (at(1, 5), at(2, 2), at(2, 2)),
            (at(2, 9), at(1, 20), at(2, 9)),
        ] {
            assert_eq!(known.or_later(kept), later);
        }
    }

    #[test]
    fn what_other_names_met_with_does_not_count() {
        let names = ["a.example".to_owned()];
        let mut attempts = Attempts::default().of(&names);
        attempts.succeed(ChallengeKind::Http, 5);
        attempts.fail(Failure::Refused, 10, None, 0.5);
        assert_eq!(attempts.clone().of(&names), attempts);
        let other = attempts.of(&["b.example".to_owned()]);
        assert_eq!((other.refused, other.next_s, other.kind), (0, 0, ChallengeKind::Http));
    }
}
