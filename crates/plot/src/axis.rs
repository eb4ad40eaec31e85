//! An axis: where a value lies, and which values have ticks.
//!
//! # Invariant
//!
//! Every finite value has a place within the axis, whatever it was made for: none is drawn outside
//! the plot.

/// Writes a value beside its tick.
pub type Label = fn(f64) -> String;

/// Maps values to pixels.
#[derive(Clone, Debug)]
pub struct Axis {
    kind: Kind,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    /// The values to read the axis by.
    pub ticks: Vec<Tick>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Linear,
    /// Zero has no logarithm: it gets a lane of its own before the least value.
    Log {
        lane: f64,
    },
}

/// A value to read the axis by.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Its pixel.
    pub at: f64,
    /// The value, as a reader sees it.
    pub label: String,
}

impl Axis {
    /// An axis for `values`, from pixel `from` to pixel `to`: logarithmic if they span more than
    /// two decades, else linear from zero.
    pub fn fitting(values: &[f64], label: Label, from: f64, to: f64) -> Self {
        let positive = || {
            values
                .iter()
                .copied()
                .filter(|it| it.is_finite() && *it > 0.0)
        };
        let least = positive().fold(f64::INFINITY, f64::min);
        let most = positive().fold(0.0, f64::max);
        if most > least * DECADES_LINEAR {
            Self::log(values, label, from, to)
        } else {
            Self::linear(most, label, from, to)
        }
    }

    /// From zero to at least `most`.
    pub fn linear(most: f64, label: Label, from: f64, to: f64) -> Self {
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
            axis.tick(index * step, label);
            index += 1.0;
        }
        axis
    }

    /// From a power of ten to a power of ten, and zero in a lane before them if it is among
    /// `values`.
    pub fn log(values: &[f64], label: Label, from: f64, to: f64) -> Self {
        let positive = values
            .iter()
            .copied()
            .filter(|it| it.is_finite() && *it > 0.0);
        let least = positive.fold(f64::INFINITY, f64::min);
        let zero = values.iter().any(|value| *value <= 0.0);
        let lane = if to > from { LANE_ACROSS } else { LANE };
        let lane = if zero { lane } else { 0.0 };
        Self::log_above(least, lane, values, label, from, to)
    }

    /// Logarithmic above `least`, and linear from zero to there in a lane of so many pixels.
    pub fn log_above(
        least: f64,
        lane: f64,
        values: &[f64],
        label: Label,
        from: f64,
        to: f64,
    ) -> Self {
        let finite = values.iter().copied().filter(|it| it.is_finite());
        let most = finite.fold(1e-300, f64::max);
        if !least.is_finite() {
            return Self::linear(1.0, label, from, to);
        }
        // Just below and above, so that a power of ten itself does not take a decade more.
        let low = (least.log10() + 1e-9).floor();
        let high = (most.log10() - 1e-9).ceil().max(low + 1.0);
        let lane = (lane / (to - from).abs()).min(0.5);
        let mut axis = Self {
            kind: Kind::Log { lane },
            low: 10_f64.powf(low),
            high: 10_f64.powf(high),
            from,
            to,
            ticks: Vec::new(),
        };
        if lane > 0.0 {
            axis.tick(0.0, label);
        }
        let room = ticks_wanted(from * (1.0 - lane), to * (1.0 - lane));
        let stride = ((high - low) / room).ceil().max(1.0);
        let mut power = low;
        while power <= high {
            axis.tick(10_f64.powf(power), label);
            power += stride;
        }
        axis
    }

    /// This axis with ticks at `values` only, as far as there is room for their labels.
    #[must_use]
    pub fn ticked_at(mut self, values: &[f64], labels: &[String]) -> Self {
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
    pub fn ordinal(count: usize, from: f64, to: f64) -> Self {
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
    pub fn between(low: f64, high: f64, label: Label, from: f64, to: f64) -> Self {
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
            axis.tick(value, label);
            value += step;
        }
        axis
    }

    /// The pixel of a value; what lies beyond an end is drawn at that end.
    pub fn at(&self, value: f64) -> f64 {
        let part = match self.kind {
            Kind::Linear => (value - self.low) / (self.high - self.low),
            Kind::Log { lane } if value < self.low => lane * (value / self.low).max(0.0),
            Kind::Log { lane } => {
                let part = (value / self.low).log10() / (self.high / self.low).log10();
                lane + (1.0 - lane) * part
            }
        };
        let part = if part.is_nan() { 0.0 } else { part };
        self.from + (self.to - self.from) * part.clamp(0.0, 1.0)
    }

    /// The value at its far end.
    pub const fn high(&self) -> f64 {
        self.high
    }

    /// Whether equal distances are equal ratios.
    pub const fn is_log(&self) -> bool {
        matches!(self.kind, Kind::Log { .. })
    }

    /// The pixel at which a logarithmic axis is broken because it goes on to zero.
    pub fn gap(&self) -> Option<f64> {
        match self.kind {
            Kind::Log { lane } if lane > 0.0 => {
                let pixels = (self.to - self.from) * lane;
                Some(self.from + pixels - pixels.signum() * LANE / 2.0)
            }
            _ => None,
        }
    }

    fn tick(&mut self, value: f64, label: Label) {
        let at = self.at(value);
        let label = label(value);
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
pub(crate) const LETTER: f64 = 6.2;

/// Pixels of the lane that zero takes: its label needs room, and so does the break.
const LANE: f64 = 26.0;
const LANE_ACROSS: f64 = 42.0;

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "places and steps here are exact")]
mod tests {
    use super::*;

    fn plain(value: f64) -> String {
        value.to_string()
    }

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| &*tick.label).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_reach_beyond_the_most() {
        let axis = Axis::linear(937.0, plain, 160.0, 0.0);
        assert_eq!(labels(&axis), ["0", "200", "400", "600", "800", "1000"]);
        assert_eq!(
            (axis.at(0.0), axis.at(1000.0), axis.at(500.0)),
            (160.0, 0.0, 80.0)
        );
        let axis = Axis::linear(0.003, plain, 64.0, 0.0);
        assert_eq!(labels(&axis), ["0", "0.002", "0.004"]);
        let flat = Axis::linear(0.0, plain, 40.0, 0.0);
        assert_eq!(labels(&flat), ["0"]);
    }

    #[test]
    fn more_than_two_decades_are_logarithmic_and_zero_has_a_lane() {
        assert!(!Axis::fitting(&[1.0, 100.0], plain, 0.0, 100.0).is_log());
        let axis = Axis::fitting(&[0.0, 1.0, 1000.0], plain, 160.0, 0.0);
        assert_eq!(labels(&axis), ["0", "1", "10", "100", "1000"]);
        assert_eq!(axis.at(0.0), 160.0);
        assert!((axis.at(1.0) - (160.0 - LANE)).abs() < 1e-9);
        assert!(axis.at(1000.0).abs() < 1e-9);
        let many = Axis::log(&[1e-6, 1e6], plain, 100.0, 0.0);
        assert!(many.ticks.len() <= 5, "{:?}", labels(&many));
    }

    #[test]
    fn the_axis_is_broken_between_zero_and_the_least_value_and_nowhere_else() {
        let gap = |values: &[f64]| Axis::fitting(values, plain, 160.0, 0.0).gap();
        assert_eq!(gap(&[0.0, 1.0, 1000.0]), Some(160.0 - LANE / 2.0));
        assert_eq!(gap(&[1.0, 1000.0]), None);
        assert_eq!(gap(&[0.0, 1.0]), None);
    }

    #[test]
    fn below_the_logarithm_a_lane_is_linear() {
        let axis = Axis::log_above(1.0, 40.0, &[0.0, 0.5, 100.0], plain, 0.0, 200.0);
        assert_eq!(labels(&axis), ["0", "1", "10", "100"]);
        let places = [0.0, 0.5, 1.0, 10.0, 100.0].map(|value| axis.at(value).round());
        assert_eq!(places, [0.0, 20.0, 40.0, 120.0, 200.0]);
        assert_eq!(axis.gap(), Some(40.0 - LANE / 2.0));
    }

    #[test]
    fn nothing_is_drawn_outside() {
        for axis in [
            Axis::linear(10.0, plain, 100.0, 0.0),
            Axis::log(&[1.0, 5000.0], plain, 100.0, 0.0),
            Axis::log(&[0.0], plain, 100.0, 0.0),
            Axis::ordinal(1, 100.0, 0.0),
        ] {
            for value in [-1.0, 0.0, 1e-300, 1e300, f64::NAN, f64::INFINITY] {
                assert!((0.0..=100.0).contains(&axis.at(value)), "{axis:?} {value}");
            }
        }
    }

    #[test]
    fn labels_that_would_touch_are_left_out() {
        let axis = Axis::linear(100.0, plain, 0.0, 100.0);
        let values = [1.0, 2.0, 50.0, 100.0];
        let axis = axis.ticked_at(&values, &values.map(|it| it.to_string()));
        assert_eq!(labels(&axis), ["1", "50", "100"]);
    }

    #[test]
    fn an_axis_may_begin_anywhere() {
        let axis = Axis::between(5.0, 30.0, plain, 0.0, 240.0);
        assert_eq!(labels(&axis), ["10", "20", "30"]);
        assert_eq!(axis.at(5.0), 0.0);
    }
}
