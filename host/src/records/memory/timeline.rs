//! What happened when: the latest 60 seconds, 60 minutes and 48 half hours. A page that is opened after an incident shows
//! the incident with it.
//!
//! Each interval that has ended is reduced to a point of a few numbers, so a timeline never needs more memory than its
//! points. Intervals in which nothing happened are not stored.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The length of the intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Step {
    /// One second; the latest 60.
    #[serde(rename = "1s")]
    Second,
    /// One minute; the latest 60.
    #[serde(rename = "1m")]
    Minute,
    /// Half an hour; the latest 48.
    #[serde(rename = "30m")]
    HalfHour,
}

/// A text that is not a step.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not a step; use `1s`, `1m` or `30m`", plimsoll_runtime::text::shortened(.0))]
pub struct UnknownStep(String);

impl Step {
    /// All steps.
    pub const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::HalfHour];

    /// Seconds of an interval.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::HalfHour => 1_800,
        }
    }

    /// The number of intervals that are kept. The last one is not complete.
    fn kept(self) -> u64 {
        match self {
            Self::Second | Self::Minute => 60,
            Self::HalfHour => 48,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "1s",
            Self::Minute => "1m",
            Self::HalfHour => "30m",
        })
    }
}

impl FromStr for Step {
    type Err = UnknownStep;

    fn from_str(text: &str) -> Result<Self, UnknownStep> {
        let step = Self::ALL.into_iter().find(|step| step.to_string() == text);
        step.ok_or_else(|| UnknownStep(text.to_owned()))
    }
}

/// What is counted in the interval that has not ended.
pub(super) trait Interval: Default {
    /// What remains of it.
    type Point: Copy;

    /// The point of what was counted so far.
    fn point(&self) -> Self::Point;

    /// Begins a new interval. Memory is kept for reuse.
    fn clear(&mut self);
}

/// The intervals of all steps.
pub(super) struct Timeline<I: Interval> {
    levels: [Level<I>; Step::ALL.len()],
}

/// The intervals of one step.
struct Level<I: Interval> {
    step: Step,
    /// Seconds since start of the open interval, divided by the step. `None` if nothing was counted yet.
    number: Option<u64>,
    open: I,
    /// The number and the point of each interval that has ended, oldest first.
    ended: VecDeque<(u64, I::Point)>,
}

impl<I: Interval> Default for Timeline<I> {
    fn default() -> Self {
        let level = |step| Level { step, number: None, open: I::default(), ended: VecDeque::new() };
        Self { levels: Step::ALL.map(level) }
    }
}

impl<I: Interval> Timeline<I> {
    /// Counts something that happened `now` seconds after start.
    pub(super) fn record(&mut self, now: u64, count: impl Fn(&mut I)) {
        for level in &mut self.levels {
            count(level.open_at(now));
        }
    }

    /// The points of a step, oldest first, each with the seconds between the start of its interval and that of the
    /// interval of `now`.
    pub(super) fn points(&self, step: Step, now: u64) -> Vec<(u64, I::Point)> {
        let Some(level) = self.levels.iter().find(|level| level.step == step) else { return Vec::new() };
        let current = now / step.seconds();
        let open = level.number.map(|number| (number, level.open.point()));
        let points = level.ended.iter().copied().chain(open);
        let kept = points.filter(|(number, _)| number + step.kept() > current);
        kept.map(|(number, point)| (current.saturating_sub(number) * step.seconds(), point)).collect()
    }
}

impl<I: Interval> Level<I> {
    /// The open interval. Two threads may report around the end of an interval in either order; then both count in the
    /// later one.
    fn open_at(&mut self, now: u64) -> &mut I {
        let number = now / self.step.seconds();
        if self.number.is_none_or(|open| open < number)
            && let Some(ended) = self.number.replace(number)
        {
            while self.ended.front().is_some_and(|(old, _)| old + self.step.kept() <= number) {
                self.ended.pop_front();
            }
            if ended + self.step.kept() > number {
                self.ended.push_back((ended, self.open.point()));
            }
            self.open.clear();
        }
        &mut self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Count(u32);

    impl Interval for Count {
        type Point = u32;

        fn point(&self) -> u32 {
            self.0
        }

        fn clear(&mut self) {
            self.0 = 0;
        }
    }

    #[test]
    fn intervals_become_points_and_old_ones_are_removed() {
        let mut timeline = Timeline::<Count>::default();
        assert!(timeline.points(Step::Second, 5).is_empty());
        for now in [0, 0, 3, 59, 60, 60, 61] {
            timeline.record(now, |count| count.0 += 1);
        }
        // Second 0 and 1 are more than 59 seconds ago.
        assert_eq!(timeline.points(Step::Second, 61), [(58, 1), (2, 1), (1, 2), (0, 1)]);
        assert_eq!(timeline.points(Step::Minute, 61), [(60, 4), (0, 3)]);
        assert_eq!(timeline.points(Step::HalfHour, 61), [(0, 7)]);
        // Without new events the points become older and end.
        assert_eq!(timeline.points(Step::Second, 120), [(59, 1)]);
        assert!(timeline.points(Step::Second, 121).is_empty());
        assert_eq!(timeline.points(Step::Minute, 59 * 60), [(59 * 60, 4), (58 * 60, 3)]);
        // An event of the past second that is reported late counts in the open one.
        timeline.record(60, |count| count.0 += 1);
        assert_eq!(timeline.points(Step::Second, 61).last(), Some(&(0, 2)));
        for now in 0..200_000 {
            timeline.record(now, |count| count.0 += 1);
        }
        let ended = timeline.levels.each_ref().map(|level| level.ended.len());
        assert_eq!(ended, [59, 59, 47], "the open interval is one more");
        let points = Step::ALL.map(|step| timeline.points(step, 199_999));
        assert!(points[0].iter().all(|(_, count)| *count == 1) && points[1][5].1 == 60, "{points:?}");
    }
}
