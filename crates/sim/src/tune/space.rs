//! The settings that are tried: some values of each tunable, around the default.
//!
//! # Invariant
//!
//! A setting is one level of each axis, and every one of them is a tuning that the limiter can
//! work with. On each axis there is one default level, and a setting that has it everywhere is the
//! default setting.
//!
//! # What is not tried
//!
//! How long leases last, how many keys a batch has and when a key is idle decide what happens when
//! something fails, or when there are very many keys; a quiet run tells nothing of them.

use std::fmt;

use leasehold_core::Limit;
use leasehold_sync::Tuning;
use rand::seq::SliceRandom;
use serde::Serialize;

use crate::numbers::{float, whole};
use crate::scenario::TuningConfig;
use crate::stream::stream;
use crate::units::Span;

/// A setting that is turned.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tunable {
    /// Time between two reports on a busy key: `interval-min` and `interval-max` together, as
    /// far as it takes.
    Interval,
    /// `interval-min` alone: the soonest that is reported while a bucket is nearly drained.
    IntervalMin,
    /// `hold-max`
    HoldMax,
    /// `backoff-max`
    BackoffMax,
    /// `lease-pays`
    LeasePays,
    /// `call-gap`
    CallGap,
    /// The limit's budget for overshoot.
    Overshoot,
}

/// One tunable and the values it takes, ascending. Times are in nanoseconds, the rest in tokens or
/// requests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    pub(crate) tunable: Tunable,
    pub(crate) values: Vec<u64>,
    default: usize,
}

/// A level of each axis.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Setting(pub(crate) Vec<usize>);

/// All settings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Space {
    pub(crate) axes: Vec<Axis>,
}

impl Axis {
    /// `middle` is the default; the others are `factors` times as much.
    fn around(tunable: Tunable, middle: Span, factors: &[(u64, u64)]) -> Self {
        let value = |(times, of): &(u64, u64)| match middle.0 * times / of {
            // The default stays what it is.
            value if times == of => value,
            value => readable(value),
        };
        let values: Vec<u64> = factors.iter().map(value).collect();
        let default = factors.iter().position(|(times, of)| times == of);
        Self {
            tunable,
            values,
            default: default.expect("the default is among the factors"),
        }
    }
}

impl Space {
    /// The settings to try for a limit that may overshoot by so many tokens.
    pub(crate) fn new(limit: &Limit, overshoot_max: u64) -> Self {
        let default = Tuning::default();
        let around = |tunable, middle, factors| Axis::around(tunable, middle, factors);
        let mut axes = vec![
            around(
                Tunable::Interval,
                interval(limit),
                &[(1, 4), (1, 2), (1, 1), (2, 1), (4, 1), (8, 1), (16, 1)],
            ),
            around(
                Tunable::IntervalMin,
                default.interval_min.into(),
                FIVE_LEVELS,
            ),
            around(Tunable::HoldMax, default.hold_max.into(), FIVE_LEVELS),
            around(Tunable::BackoffMax, default.backoff_max.into(), FIVE_LEVELS),
            around(
                Tunable::LeasePays,
                Span(whole(default.lease_pays)),
                FIVE_LEVELS,
            ),
            around(Tunable::CallGap, default.call_gap.into(), FIVE_LEVELS),
        ];
        if overshoot_max > 0 {
            let mut values = vec![0, overshoot_max / 4, overshoot_max / 2, overshoot_max];
            values.dedup();
            axes.push(Axis {
                tunable: Tunable::Overshoot,
                values,
                default: 0,
            });
        }
        Self { axes }
    }

    pub(crate) fn default(&self) -> Setting {
        Setting(self.axes.iter().map(|axis| axis.default).collect())
    }

    /// The default, and each setting that differs from it in one tunable.
    pub(crate) fn star(&self) -> Vec<Setting> {
        let default = self.default();
        let mut star = vec![default.clone()];
        for (index, axis) in self.axes.iter().enumerate() {
            let others = (0..axis.values.len()).filter(|level| *level != axis.default);
            star.extend(others.map(|level| default.with(index, level)));
        }
        star
    }

    /// Up to `count` settings that differ from the default in some of `active` axes only: all
    /// there are, or else a Latin hypercube, in which each value of a tunable comes up as often
    /// as any other.
    pub(crate) fn sample(&self, active: &[usize], count: usize, seed: u64) -> Vec<Setting> {
        let all = active
            .iter()
            .map(|axis| self.axes[*axis].values.len())
            .fold(1_usize, usize::saturating_mul);
        if all <= count {
            return self.product(active);
        }
        let mut sample = vec![self.default(); count];
        for &axis in active {
            let levels = self.axes[axis].values.len();
            let mut column: Vec<usize> = (0..count).map(|row| row % levels).collect();
            let mut random = stream(seed, "tune-sample", axis as u64);
            column.shuffle(&mut random);
            for (setting, level) in sample.iter_mut().zip(column) {
                setting.0[axis] = level;
            }
        }
        sample.sort();
        sample.dedup();
        sample
    }

    /// All settings that differ from the default in some of these axes only.
    pub(crate) fn product(&self, axes: &[usize]) -> Vec<Setting> {
        let mut settings = vec![self.default()];
        for &axis in axes {
            let levels = 0..self.axes[axis].values.len();
            let each = |setting: &Setting| {
                let setting = setting.clone();
                levels
                    .clone()
                    .map(move |level| setting.with(axis, level))
                    .collect::<Vec<_>>()
            };
            settings = settings.iter().flat_map(each).collect();
        }
        settings
    }

    /// The settings one step away along one of `axes`.
    pub(crate) fn neighbours(&self, setting: &Setting, axes: &[usize]) -> Vec<Setting> {
        let mut neighbours = Vec::new();
        for &axis in axes {
            let level = setting.0[axis];
            let last = self.axes[axis].values.len() - 1;
            let steps = [level.checked_sub(1), (level < last).then_some(level + 1)];
            neighbours.extend(steps.into_iter().flatten().map(|it| setting.with(axis, it)));
        }
        neighbours
    }

    /// Keeps only some levels of an axis, the default among them.
    #[cfg(test)]
    pub(crate) fn keep(&mut self, axis: usize, levels: &[usize]) {
        let axis = &mut self.axes[axis];
        let default = levels.iter().position(|level| *level == axis.default);
        axis.default = default.expect("the default is kept");
        axis.values = levels.iter().map(|level| axis.values[*level]).collect();
    }

    /// The axes on which a setting differs from the default.
    pub(crate) fn changed(&self, setting: &Setting) -> Vec<usize> {
        let axes = self.axes.iter().zip(&setting.0).enumerate();
        let changed = axes.filter(|(_, (axis, level))| axis.default != **level);
        changed.map(|(index, _)| index).collect()
    }

    /// A setting with the default on one axis.
    pub(crate) fn without(&self, setting: &Setting, axis: usize) -> Setting {
        setting.with(axis, self.axes[axis].default)
    }

    /// A setting's text for a tunable, if that is not the default.
    fn said(&self, setting: &Setting, tunable: Tunable) -> Option<u64> {
        let index = self.axes.iter().position(|axis| axis.tunable == tunable)?;
        let (axis, level) = (&self.axes[index], setting.0[index]);
        (level != axis.default).then(|| axis.values[level])
    }

    /// The `[tuning]` table of a setting: what differs from the default.
    pub(crate) fn tuning(&self, setting: &Setting) -> TuningConfig {
        let default = Tuning::default();
        let span = |tunable| self.said(setting, tunable).map(Span);
        let backoff_max = span(Tunable::BackoffMax);
        let lease_max = backoff_max.map(|gap| Span(gap.0 / 5 * 6));
        let mut tuning = TuningConfig {
            interval_min: span(Tunable::IntervalMin),
            hold_max: span(Tunable::HoldMax),
            backoff_max,
            // A lease outlasts the gap.
            lease_max: lease_max.and_then(|to| raised(default.lease_max.into(), to)),
            call_gap: span(Tunable::CallGap),
            lease_pays: self.said(setting, Tunable::LeasePays).map(float),
            ..TuningConfig::default()
        };
        let soonest = tuning
            .interval_min
            .unwrap_or_else(|| default.interval_min.into());
        if let Some(interval) = span(Tunable::Interval) {
            let axis = &self.axes[0];
            // The limiter takes a part of the time in which the bucket fills, between these two.
            if setting.0[0] > axis.default {
                tuning.interval_min = Some(interval);
                tuning.interval_small = Some(interval);
                tuning.interval_max = raised(default.interval_max.into(), interval);
            } else {
                tuning.interval_max = Some(interval);
                if soonest > interval {
                    tuning.interval_min = Some(interval);
                }
            }
        } else {
            tuning.interval_max = raised(default.interval_max.into(), soonest);
        }
        tuning
    }

    /// The budget for overshoot of a setting; `None` if it is the limit's own.
    pub(crate) fn overshoot(&self, setting: &Setting) -> Option<u64> {
        self.said(setting, Tunable::Overshoot)
    }
}

impl Setting {
    fn with(&self, axis: usize, level: usize) -> Self {
        let mut other = self.clone();
        other.0[axis] = level;
        other
    }
}

impl Tunable {
    /// A value of it, with its unit.
    pub(crate) fn text(self, value: u64) -> String {
        match self {
            Self::LeasePays => format!("{value} requests"),
            Self::Overshoot => format!("{value} tokens"),
            _ => Span(readable(value)).to_string(),
        }
    }
}

/// `value` to three digits, the last of them 0 or 5: as precise as people write a setting.
fn readable(value: u64) -> u64 {
    let mut step = 1;
    while value / step >= 1000 {
        step *= 10;
    }
    let step = if step > 1 { step * 5 } else { 1 };
    (value + step / 2) / step * step
}

impl fmt::Display for Tunable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interval => "interval",
            Self::IntervalMin => "interval-min",
            Self::HoldMax => "hold-max",
            Self::BackoffMax => "backoff-max",
            Self::LeasePays => "lease-pays",
            Self::CallGap => "call-gap",
            Self::Overshoot => "overshoot",
        })
    }
}

impl Axis {
    /// The default value.
    pub(crate) fn default_value(&self) -> u64 {
        self.values[self.default]
    }
}

/// `to`, if that is above the default.
fn raised(default: Span, to: Span) -> Option<Span> {
    (to > default).then_some(to)
}

/// The time between two reports by default: the middle of what is tried.
fn interval(limit: &Limit) -> Span {
    Tuning::default().interval(limit).into()
}

const FIVE_LEVELS: &[(u64, u64)] = &[(1, 4), (1, 2), (1, 1), (2, 1), (4, 1)];

#[cfg(test)]
mod tests {
    use super::*;

    fn space(limit: &str, overshoot: u64) -> Space {
        Space::new(&limit.parse().unwrap(), overshoot)
    }

    #[test]
    fn every_setting_is_a_tuning_that_the_limiter_can_work_with() {
        for limit in [
            "1000/s",
            "1000/s burst 1",
            "100/min",
            "1000000/s burst 7",
            "5/day",
        ] {
            let space = space(limit, 10);
            let some: Vec<usize> = (0..4).collect();
            for setting in space.product(&some).iter().chain(&space.star()) {
                let tuning = space.tuning(setting);
                assert_eq!(tuning.check(), Ok(()), "{limit}: {setting:?}: {tuning}");
            }
            assert_eq!(space.tuning(&space.default()), TuningConfig::default());
            assert_eq!(space.overshoot(&space.default()), None);
        }
    }

    /// Nobody pastes `interval-max = "8.333333ms"`, or believes in its digits.
    #[test]
    fn what_is_tried_is_what_a_person_would_write() {
        for limit in [
            "1000/s burst 333",
            "7/s burst 3",
            "13/min burst 4",
            "99991/s burst 1234",
        ] {
            let space = space(limit, 0);
            for setting in space.star().iter().skip(1) {
                let lines = space.tuning(setting).to_string();
                let digits = |line: &str| line.chars().filter(char::is_ascii_digit).count();
                assert!(
                    lines.lines().all(|line| digits(line) <= 4),
                    "{limit}: {lines}"
                );
            }
            for axis in &space.axes {
                let said = axis.values.iter().map(|value| axis.tunable.text(*value));
                for text in said {
                    assert!(text.len() <= 11, "{limit}: {text}");
                }
            }
        }
        assert_eq!(
            [8_333_333, 1_250_000, 999, 12].map(readable),
            [8_350_000, 1_250_000, 999, 12]
        );
    }

    #[test]
    fn an_interval_moves_the_bound_that_is_in_its_way() {
        let space = space("1000/s", 0);
        let level = |level| space.tuning(&space.default().with(0, level));
        let millis = |millis| Some(Span::from_millis(millis));
        let longer = level(4);
        assert_eq!(
            (
                longer.interval_small,
                longer.interval_min,
                longer.interval_max
            ),
            (millis(400), millis(400), millis(400))
        );
        assert_eq!(
            (level(3).interval_min, level(3).interval_max),
            (millis(200), None)
        );
        assert_eq!(
            (level(1).interval_min, level(1).interval_max),
            (None, millis(50))
        );
    }

    #[test]
    fn a_sample_has_each_value_as_often_as_any_other() {
        let space = space("1000/s", 0);
        let sample = space.sample(&[1, 2, 3], 50, 1);
        assert!(sample.len() >= 40, "{} of 125", sample.len());
        assert_eq!(sample, space.sample(&[1, 2, 3], 50, 1));
        for level in 0..5 {
            let of_level = sample.iter().filter(|setting| setting.0[2] == level);
            assert!((6..=10).contains(&of_level.count()));
        }
        assert!(sample.iter().all(|setting| setting.0[0] == 2), "not active");
        assert_eq!(space.sample(&[0, 1], 50, 1).len(), 35, "all there are");
    }

    #[test]
    fn a_star_turns_one_thing_at_a_time() {
        let space = space("1000/s", 3);
        let star = space.star();
        assert_eq!(star.len(), 1 + 6 + 5 * 4 + 2);
        assert!(star.iter().all(|setting| space.changed(setting).len() <= 1));
        let corner = Setting(vec![0; 7]);
        assert_eq!(space.neighbours(&corner, &[0, 6]).len(), 2);
    }
}
