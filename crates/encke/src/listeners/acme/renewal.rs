//! When a certificate is renewed: as the directory suggests (RFC 9773), or else with a third of its life
//! left.

use crate::listeners::validity::Validity;

/// The least time between two orders that were fulfilled, in seconds, unless certificates live for less than
/// three times that. A window that has always passed must not use up what a directory allows.
const ISSUED_MIN_S: i64 = 86_400;

/// The time in which a directory suggests to renew a certificate, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start_s: i64,
    pub(super) end_s: i64,
}

/// When a certificate is to be renewed, in seconds since 1970. `random`, from 0 to 1, is where in the window;
/// `issued_s` is when the last order was fulfilled.
pub(super) fn due_s(validity: Validity, window: Option<Window>, random: f64, issued_s: i64) -> i64 {
    let third_s = validity.life_s() / 3;
    let due_s = match window {
        Some(Window { start_s, end_s }) => {
            let length_s = (end_s - start_s).max(0) as f64;
            // However late a directory has it, some life is left for orders that fail.
            (start_s + (length_s * random) as i64).min(validity.not_after_s - third_s / 2)
        }
        None => validity.not_after_s - third_s,
    };
    due_s.max(issued_s + ISSUED_MIN_S.min(third_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: i64 = 86_400;
    const NINETY: Validity = Validity { not_before_s: 1000 * DAY_S, not_after_s: 1090 * DAY_S };

    #[test]
    fn without_a_window_a_third_of_its_life_is_left() {
        assert_eq!(due_s(NINETY, None, 0.7, 0), 1060 * DAY_S);
        let short = Validity { not_before_s: 1_000_000, not_after_s: 1_000_060 };
        assert_eq!(due_s(short, None, 0.7, 0), 1_000_040);
        let none = Validity { not_before_s: 10, not_after_s: 5 };
        assert_eq!(due_s(none, None, 0.5, 0), 5);
    }

    #[test]
    fn a_window_is_kept_to_unless_it_is_too_late() {
        let window = |start, end| Some(Window { start_s: start * DAY_S, end_s: end * DAY_S });
        assert_eq!(due_s(NINETY, window(1058, 1062), 0.0, 0), 1058 * DAY_S);
        assert_eq!(due_s(NINETY, window(1058, 1062), 0.5, 0), 1060 * DAY_S);
        assert_eq!(due_s(NINETY, window(1200, 1300), 0.5, 0), 1075 * DAY_S);
        assert_eq!(due_s(NINETY, window(1062, 1058), 1.0, 0), 1062 * DAY_S, "its end is before its start");
    }

    #[test]
    fn a_window_that_has_always_passed_makes_no_order_after_the_other() {
        let passed = Some(Window { start_s: 0, end_s: 1 });
        assert_eq!(due_s(NINETY, passed, 0.5, 0), DAY_S, "a certificate that was revoked is renewed at once");
        assert_eq!(due_s(NINETY, passed, 0.5, 1000 * DAY_S), 1001 * DAY_S);
        let short = Validity { not_before_s: 1_000_000, not_after_s: 1_000_060 };
        assert_eq!(due_s(short, passed, 0.5, 1_000_000), 1_000_020);
    }
}
