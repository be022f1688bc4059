//! How much time has gone by, whatever the clock does.

use encke_proto::Time;

/// The most that counts between two times that an engine is told, in seconds. The sweep tells it one every
/// few seconds; what looks longer is a clock that was set, or a machine that slept.
const STEP_MAX_S: u64 = 30;

/// Adds up the time that has gone by from the times that an engine is told.
///
/// What must be kept for a while at least is stamped with this, not with the clock's time: a clock that is
/// set forward by an hour must not make it an hour older. It may fall behind the clock, and then things are
/// kept for longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    stamp: Time,
    told: Option<Time>,
}

impl Passed {
    /// Goes on from this stamp.
    pub(crate) fn from(stamp: Time) -> Self {
        Self { stamp, told: None }
    }

    /// It is `now` by the clock; returns the stamp for it.
    pub(crate) fn at(&mut self, now: Time) -> Time {
        let told = self.told.unwrap_or(now);
        let step = Time(now.0.saturating_sub(told.0)).min(Time(0).plus_seconds(STEP_MAX_S));
        self.stamp.0 = self.stamp.0.saturating_add(step.0);
        // Times of concurrent calls come a little out of order, which must not be counted twice. Only what is
        // far behind is a clock that was set back.
        if self.told.is_none() || now > told || now.plus_seconds(STEP_MAX_S) < told {
            self.told = Some(now);
        }
        self.stamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(passed: &mut Passed, at: u64) -> u64 {
        passed.at(Time(0).plus_seconds(at)).0 / 1_000
    }

    #[test]
    fn a_clock_that_runs_is_followed() {
        let mut passed = Passed::from(Time(7_000));
        assert_eq!([1_000, 1_005, 1_010, 1_040].map(|at| seconds(&mut passed, at)), [7, 12, 17, 47]);
    }

    #[test]
    fn a_clock_that_jumps_is_not() {
        let mut passed = Passed::from(Time(0));
        let stamps =
            [1_000_000, 1_000_005, 2_000_000, 2_000_005, 500_000, 500_005].map(|at| seconds(&mut passed, at));
        assert_eq!(stamps, [0, 5, 35, 40, 40, 45]);
    }

    #[test]
    fn times_that_come_out_of_order_are_not_counted_twice() {
        let mut passed = Passed::from(Time(0));
        let stamps = [100, 105, 104, 105, 104, 106].map(|at| seconds(&mut passed, at));
        assert_eq!(stamps, [0, 5, 5, 5, 5, 6]);
    }
}
