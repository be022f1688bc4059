//! How it went over the last day: samples in steps, of which there are never more than a few hundred.

use std::collections::VecDeque;

use encke_proto::{Histogram, Time};
use serde::{Deserialize, Serialize};

use super::{Levels, Sample, Span, Totals};

/// How far back it goes, in minutes.
pub const HISTORY_MAX_MINUTES: u32 = 24 * 60;
/// Up to how many minutes are told minute by minute.
const BY_MINUTE_MAX: u32 = 60;
/// The steps, in seconds.
const TICK_S: u64 = 10;
const MINUTE_S: u64 = 60;
const QUARTER_S: u64 = 15 * 60;

/// How long a step of so many minutes' history is, in seconds.
#[must_use]
pub fn step_s(minutes: u32) -> u64 {
    if minutes <= BY_MINUTE_MAX { MINUTE_S } else { QUARTER_S }
}

/// One step: what there was at its end, and what happened in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When it ended.
    pub time: Time,
    /// How much there was then.
    pub levels: Levels,
    /// How often things happened in it.
    pub totals: Totals,
    /// The ages of messages when they were delivered, in milliseconds.
    pub delivered_ms: Histogram,
    /// How long delivered pushes were not shown, in milliseconds. A node of a former version does not say it.
    #[serde(default)]
    pub shown_ms: Histogram,
}

impl Point {
    /// The same step of two nodes together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.delivered_ms.add(&other.delivered_ms);
        self.shown_ms.add(&other.shown_ms);
        Self { levels: self.levels.plus(other.levels), totals: self.totals.plus(other.totals), ..self }
    }
}

/// Samples of the last minute, the last hour and the last day.
#[derive(Debug)]
pub(super) struct History {
    ticks: Steps,
    minutes: Steps,
    quarters: Steps,
}

/// The first sample of each step of a time that has just ended, the oldest first, and of the step before.
#[derive(Debug)]
struct Steps {
    step_s: u64,
    most: usize,
    samples: VecDeque<Sample>,
}

impl History {
    /// Of a node that begins.
    pub(super) fn begun(first: Sample) -> Self {
        let steps = |step_s, most| Steps { step_s, most, samples: VecDeque::from([first]) };
        Self {
            ticks: steps(TICK_S, (MINUTE_S / TICK_S) as usize + 1),
            minutes: steps(MINUTE_S, BY_MINUTE_MAX as usize + 1),
            quarters: steps(QUARTER_S, (HISTORY_MAX_MINUTES as u64 * MINUTE_S / QUARTER_S) as usize + 1),
        }
    }

    /// Takes note of a sample, the latest there is.
    pub(super) fn take(&mut self, sample: &Sample) {
        [&mut self.ticks, &mut self.minutes, &mut self.quarters].into_iter().for_each(|it| it.take(sample));
    }

    /// What happened in the last `seconds` before a sample, or in as many as are known.
    pub(super) fn last(&self, seconds: u64, now: &Sample) -> Span {
        let steps = if seconds <= MINUTE_S { &self.ticks } else { &self.minutes };
        let before = |sample: &&Sample| now.at.mono_ms.saturating_sub(sample.at.mono_ms) >= seconds * 1000;
        // The newest that is old enough; of a node that has just begun, its beginning.
        let Some(from) = steps.samples.iter().rev().find(before).or(steps.samples.front()) else {
            return Span::default();
        };
        Span {
            seconds: now.at.mono_ms.saturating_sub(from.at.mono_ms) as f64 / 1000.0,
            totals: now.totals.since(from.totals),
            delivered_ms: now.delivered_ms.since(&from.delivered_ms),
            shown_ms: now.shown_ms.since(&from.shown_ms),
        }
    }

    /// The steps of the last `minutes` that have ended, the oldest first.
    pub(super) fn points(&self, minutes: u32) -> Vec<Point> {
        let steps = if step_s(minutes) == MINUTE_S { &self.minutes } else { &self.quarters };
        let count = (u64::from(minutes) * MINUTE_S).div_ceil(steps.step_s) as usize;
        let ended = steps.samples.len() - 1;
        let pairs = steps.samples.iter().zip(steps.samples.iter().skip(1));
        pairs.skip(ended.saturating_sub(count)).map(|(from, to)| steps.point(from, to)).collect()
    }
}

impl Steps {
    fn take(&mut self, sample: &Sample) {
        let step = |sample: &Sample| sample.second() / self.step_s;
        if self.samples.back().is_some_and(|last| step(last) == step(sample)) {
            return;
        }
        self.samples.push_back(*sample);
        while self.samples.len() > self.most {
            self.samples.pop_front();
        }
    }

    fn point(&self, from: &Sample, to: &Sample) -> Point {
        Point {
            time: Time(to.second() / self.step_s * self.step_s * 1000),
            levels: to.levels,
            totals: to.totals.since(from.totals),
            delivered_ms: to.delivered_ms.since(&from.delivered_ms),
            shown_ms: to.shown_ms.since(&from.shown_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use encke_hub::Now;

    use super::*;

    /// A sample after so many seconds, of a node that accepts a push each second.
    fn sample(second: u64) -> Sample {
        let at = Now { mono_ms: second * 1000, wall: Time((1_200_000 + second) * 1000) };
        let totals = Totals { pushes: second, ..Totals::default() };
        Sample { totals, ..Sample::at(at) }
    }

    /// A node that has looked every ten seconds for so long.
    fn history(seconds: u64) -> History {
        let mut history = History::begun(sample(0));
        (0..=seconds).step_by(10).for_each(|second| history.take(&sample(second)));
        history
    }

    #[test]
    fn a_day_is_told_in_steps_and_takes_no_more_room_than_that() {
        let history = history(3 * 86_400);
        let lengths = [&history.ticks, &history.minutes, &history.quarters].map(|it| it.samples.len());
        assert_eq!(lengths, [7, 61, 97]);
        let hour = history.points(60);
        assert_eq!(hour.len(), 60);
        assert!(hour.iter().all(|point| point.totals.pushes == 60 && point.time.0 % 60_000 == 0));
        assert!(hour.windows(2).all(|two| two[1].time.0 - two[0].time.0 == 60_000));
        let day = history.points(HISTORY_MAX_MINUTES);
        assert_eq!((day.len(), day[95].totals.pushes, step_s(61)), (96, 900, 900));
        assert_eq!((history.points(5).len(), history.points(61).len()), (5, 5));
        assert_eq!(history.points(5), hour[55..]);
    }

    #[test]
    fn rates_are_of_the_last_minute_and_hour_or_of_as_long_as_is_known() {
        let last = |seconds: u64, asked| history(seconds).last(asked, &sample(seconds + 3));
        let minute = last(7_200, 60);
        assert_eq!((minute.seconds as u64, minute.totals.pushes), (63, 63));
        let hour = last(7_200, 3600);
        assert_eq!(hour.totals.pushes, hour.seconds as u64);
        assert!((3600..=3663).contains(&hour.totals.pushes), "{hour:?}");
        assert_eq!(last(0, 60).totals.pushes, 3);
        assert_eq!(last(120, 3600).totals.pushes, 123, "since it began");
        assert!(History::begun(sample(0)).points(60).is_empty());
    }
}
