//! An axis: where a value lies, and which values have ticks.
//!
//! # Invariant
//!
//! Every finite value has a place within the axis, whatever it was made for: none is drawn outside
//! the plot.

use leasehold_sim::metrics::Shown;

use crate::simulate::number;

/// Maps values to pixels.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    kind: Kind,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    pub(super) ticks: Vec<Tick>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Linear,
    /// Zero has no logarithm: it gets a lane of its own before the least value.
    Log {
        zero: bool,
    },
}

/// A value to read the axis by.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

impl Axis {
    /// An axis for `values`, from pixel `from` to pixel `to`: logarithmic if they span more than
    /// two decades, else linear from zero.
    pub(super) fn fitting(values: &[f64], shown: Shown, from: f64, to: f64) -> Self {
        let positive = || {
            values
                .iter()
                .copied()
                .filter(|it| it.is_finite() && *it > 0.0)
        };
        let least = positive().fold(f64::INFINITY, f64::min);
        let most = positive().fold(0.0, f64::max);
        if most > least * DECADES_LINEAR {
            Self::log(values, shown, from, to)
        } else {
            Self::linear(most, shown, from, to)
        }
    }

    /// From zero to at least `most`.
    pub(super) fn linear(most: f64, shown: Shown, from: f64, to: f64) -> Self {
        // Nothing but zero needs no other tick.
        let is_flat = !(most.is_finite() && most > 0.0);
        let most = if is_flat { 1.0 } else { most };
        let step = nice_step(most / ticks_wanted(from, to));
        let steps = (most / step - 1e-9).ceil().max(1.0);
        let mut axis = Self {
            kind: Kind::Linear,
            low: 0.0,
            high: steps * step,
            from,
            to,
            ticks: Vec::new(),
        };
        let mut index = 0.0;
        while index <= steps && !(is_flat && index > 0.0) {
            axis.tick(index * step, shown);
            index += 1.0;
        }
        axis
    }

    /// From a power of ten to a power of ten.
    pub(super) fn log(values: &[f64], shown: Shown, from: f64, to: f64) -> Self {
        let finite = || values.iter().copied().filter(|it| it.is_finite());
        let positive = || finite().filter(|it| *it > 0.0);
        let least = positive().fold(f64::INFINITY, f64::min).min(1e300);
        let most = positive().fold(1e-300, f64::max);
        if least > most {
            return Self::linear(1.0, shown, from, to);
        }
        // Just below and above, so that a power of ten itself does not take a decade more.
        let low = (least.log10() + 1e-9).floor();
        let high = (most.log10() - 1e-9).ceil().max(low + 1.0);
        let zero = finite().any(|value| value <= 0.0);
        let mut axis = Self {
            kind: Kind::Log { zero },
            low: 10_f64.powf(low),
            high: 10_f64.powf(high),
            from,
            to,
            ticks: Vec::new(),
        };
        if zero {
            axis.tick(0.0, shown);
        }
        let lane = if zero { axis.zero_lane() } else { 0.0 };
        let room = ticks_wanted(from * (1.0 - lane), to * (1.0 - lane));
        let stride = ((high - low) / room).ceil().max(1.0);
        let mut power = low;
        while power <= high {
            axis.tick(10_f64.powf(power), shown);
            power += stride;
        }
        axis
    }

    /// The same places with ticks at `values` only, as far as there is room for their labels.
    pub(super) fn ticked_at(mut self, values: &[f64], labels: &[String]) -> Self {
        self.ticks.clear();
        let mut taken: Vec<(f64, f64)> = Vec::new();
        for (value, label) in values.iter().zip(labels) {
            let at = self.at(*value);
            #[expect(clippy::cast_precision_loss, reason = "a few letters")]
            let half = label.chars().count() as f64 * LETTER / 2.0 + LETTER / 2.0;
            if taken
                .iter()
                .all(|(other, room)| (at - other).abs() >= half + room)
            {
                taken.push((at, half));
                self.ticks.push(Tick {
                    at,
                    label: label.clone(),
                });
            }
        }
        self
    }

    /// An axis for things that have an order but no size.
    pub(super) fn ordinal(count: usize, from: f64, to: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a few values")]
        let most = count.saturating_sub(1).max(1) as f64;
        Self {
            kind: Kind::Linear,
            low: 0.0,
            high: most,
            from,
            to,
            ticks: Vec::new(),
        }
    }

    /// From `low` to `high`, with ticks between.
    pub(super) fn between(low: f64, high: f64, shown: Shown, from: f64, to: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let step = nice_step((high - low) / ticks_wanted(from, to));
        let mut axis = Self {
            kind: Kind::Linear,
            low,
            high,
            from,
            to,
            ticks: Vec::new(),
        };
        let mut value = (low / step - 1e-9).ceil() * step;
        while value <= high * (1.0 + 1e-9) {
            axis.tick(value, shown);
            value += step;
        }
        axis
    }

    /// The pixel of a value; what lies beyond an end is drawn at that end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = match self.kind {
            Kind::Linear => (value - self.low) / (self.high - self.low),
            Kind::Log { zero } => {
                let lane = if zero { self.zero_lane() } else { 0.0 };
                if value <= 0.0 {
                    0.0
                } else {
                    let part = (value / self.low).log10() / (self.high / self.low).log10();
                    lane + (1.0 - lane) * part.clamp(0.0, 1.0)
                }
            }
        };
        let part = if part.is_nan() { 0.0 } else { part };
        self.from + (self.to - self.from) * part.clamp(0.0, 1.0)
    }

    /// The part of a logarithmic axis that zero takes: its label needs room.
    fn zero_lane(&self) -> f64 {
        (ZERO_LANE_PIXELS / (self.to - self.from).abs()).clamp(ZERO_LANE, 0.5)
    }

    pub(super) const fn high(&self) -> f64 {
        self.high
    }

    pub(super) const fn is_log(&self) -> bool {
        matches!(self.kind, Kind::Log { .. })
    }

    fn tick(&mut self, value: f64, shown: Shown) {
        let at = self.at(value);
        let label = number::tick(shown, value);
        self.ticks.push(Tick { at, label });
    }
}

/// The least of 1, 2, 5, 10, 20, 50, … that is not below `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let found = steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9));
    found.unwrap_or(power * 10.0)
}

/// Labels need room, more so beside each other than above each other.
fn ticks_wanted(from: f64, to: f64) -> f64 {
    let room = if to > from { 60.0 } else { 32.0 };
    ((to - from).abs() / room).floor().max(1.0)
}

/// A line from 1 to 100 can still be read; beyond that, the small end is all at the bottom.
const DECADES_LINEAR: f64 = 100.0;

/// Width of a letter, on average and a little more.
pub(super) const LETTER: f64 = 6.2;

/// The least part of a logarithmic axis that zero takes.
const ZERO_LANE: f64 = 0.14;

const ZERO_LANE_PIXELS: f64 = 14.0;

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "places and steps here are exact")]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| &*tick.label).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_reach_beyond_the_most() {
        let axis = Axis::linear(937.0, Shown::Number, 160.0, 0.0);
        assert_eq!(labels(&axis), ["0", "200", "400", "600", "800", "1 k"]);
        assert_eq!(
            (axis.at(0.0), axis.at(1000.0), axis.at(500.0)),
            (160.0, 0.0, 80.0)
        );
        let axis = Axis::linear(0.003, Shown::Time, 64.0, 0.0);
        assert_eq!(labels(&axis), ["0 s", "2 ms", "4 ms"]);
        let flat = Axis::linear(0.0, Shown::Number, 40.0, 0.0);
        assert_eq!(labels(&flat), ["0"]);
    }

    #[test]
    fn more_than_two_decades_are_logarithmic_and_zero_has_a_lane() {
        assert!(!Axis::fitting(&[1.0, 100.0], Shown::Number, 0.0, 100.0).is_log());
        let axis = Axis::fitting(&[0.0, 1.0, 1000.0], Shown::Number, 160.0, 0.0);
        assert_eq!(labels(&axis), ["0", "1", "10", "100", "1 k"]);
        assert_eq!(axis.at(0.0), 160.0);
        assert!((axis.at(1.0) - 160.0 * (1.0 - ZERO_LANE)).abs() < 1e-9);
        assert!(axis.at(1000.0).abs() < 1e-9);
        let many = Axis::log(&[1e-6, 1e6], Shown::Number, 100.0, 0.0);
        assert!(many.ticks.len() <= 5, "{:?}", labels(&many));
    }

    #[test]
    fn nothing_is_drawn_outside() {
        for axis in [
            Axis::linear(10.0, Shown::Number, 100.0, 0.0),
            Axis::log(&[1.0, 5000.0], Shown::Number, 100.0, 0.0),
            Axis::log(&[0.0], Shown::Number, 100.0, 0.0),
            Axis::ordinal(1, 100.0, 0.0),
        ] {
            for value in [-1.0, 0.0, 1e-300, 1e300, f64::NAN, f64::INFINITY] {
                assert!((0.0..=100.0).contains(&axis.at(value)), "{axis:?} {value}");
            }
        }
    }

    #[test]
    fn labels_that_would_touch_are_left_out() {
        let axis = Axis::linear(100.0, Shown::Number, 0.0, 100.0);
        let values = [1.0, 2.0, 50.0, 100.0];
        let axis = axis.ticked_at(&values, &values.map(|it| it.to_string()));
        assert_eq!(labels(&axis), ["1", "50", "100"]);
    }

    #[test]
    fn an_axis_may_begin_anywhere() {
        let axis = Axis::between(5.0, 30.0, Shown::Number, 0.0, 240.0);
        assert_eq!(labels(&axis), ["10", "20", "30"]);
        assert_eq!(axis.at(5.0), 0.0);
    }
}
