//! How the offered rate changes over time by plan: steps, ramps, flashes, day and night.
//!
//! # Invariant
//!
//! The cells that [`Shape::cell`] cuts time into end at every sudden change, and what changes
//! gradually differs within a cell by less than chance makes of it: a rise is cut into 256 cells,
//! a day into 1024, what falls into 64 each time it falls to 37 %. The rate in a cell is that in
//! its middle, which gives each whole rise and each whole day exactly the number of requests due.

use std::f64::consts::TAU;

use super::config::{DiurnalConfig, FlashConfig, LoadConfig, RampConfig, StepConfig};
use crate::numbers::float;

/// The offered rate over time.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    mean: f64,
    steps: Vec<StepConfig>,
    surges: Vec<Surge>,
    day: Option<Day>,
}

/// A time of one rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// Requests per nanosecond.
    pub(super) rate: f64,
    /// The first nanosecond that is not in it.
    pub(super) ends_ns: u64,
}

impl Shape {
    /// `mean` is in requests per second.
    pub(super) fn new(mean: f64, config: &LoadConfig) -> Self {
        let ramp = config.ramp.as_ref().map(Surge::ramp);
        let flash = config.flash.as_ref().map(Surge::flash);
        Self {
            mean,
            steps: config.steps.clone(),
            surges: ramp.into_iter().chain(flash).collect(),
            day: config.diurnal.as_ref().map(Day::new),
        }
    }

    /// The cell that begins at `at_ns`.
    pub(super) fn cell(&self, at_ns: u64) -> Cell {
        let next = self.steps.partition_point(|step| step.at.0 <= at_ns);
        let step_ends = self.steps.get(next).map_or(u64::MAX, |step| step.at.0);
        let ends = self.surges.iter().map(|surge| surge.constant_until(at_ns));
        let day = self.day.map(|day| day.constant_until(at_ns));
        let ends_ns = ends.chain(day).fold(step_ends, u64::min);
        let middle_ns = at_ns + (ends_ns - at_ns) / 2;
        let offered = next
            .checked_sub(1)
            .map_or(self.mean, |last| self.steps[last].offered.0);
        let surged: f64 = self
            .surges
            .iter()
            .map(|surge| surge.factor(middle_ns))
            .product();
        let day = self.day.map_or(1.0, |day| day.factor(middle_ns));
        Cell {
            rate: offered * surged * day / NS_PER_SECOND,
            ends_ns,
        }
    }
}

/// A linear rise, a plateau and an exponential fall.
#[derive(Clone, Copy, Debug)]
struct Surge {
    starts_ns: u64,
    risen_ns: u64,
    falls_ns: u64,
    over_ns: u64,
    times: f64,
    fall_ns: u64,
}

impl Surge {
    fn ramp(ramp: &RampConfig) -> Self {
        Self {
            starts_ns: ramp.at.0,
            risen_ns: ramp.at.0.saturating_add(ramp.rise.0),
            falls_ns: u64::MAX,
            over_ns: u64::MAX,
            times: ramp.times,
            fall_ns: 0,
        }
    }

    fn flash(flash: &FlashConfig) -> Self {
        let risen_ns = flash.at.0.saturating_add(flash.rise.0);
        let falls_ns = risen_ns.saturating_add(flash.hold.0);
        Self {
            starts_ns: flash.at.0,
            risen_ns,
            falls_ns,
            over_ns: falls_ns.saturating_add(flash.fall.0.saturating_mul(FALLS)),
            times: flash.times,
            fall_ns: flash.fall.0,
        }
    }

    fn factor(&self, at_ns: u64) -> f64 {
        let excess = self.times - 1.0;
        if at_ns < self.starts_ns || at_ns >= self.over_ns {
            1.0
        } else if at_ns < self.risen_ns {
            let rise = float(self.risen_ns - self.starts_ns);
            1.0 + excess * float(at_ns - self.starts_ns) / rise
        } else if at_ns < self.falls_ns {
            self.times
        } else {
            1.0 + excess * (-float(at_ns - self.falls_ns) / float(self.fall_ns)).exp()
        }
    }

    fn constant_until(&self, at_ns: u64) -> u64 {
        if at_ns < self.starts_ns {
            self.starts_ns
        } else if at_ns < self.risen_ns {
            let cell = cell_ns((self.risen_ns - self.starts_ns) / RISE_CELLS);
            at_ns.saturating_add(cell).min(self.risen_ns)
        } else if at_ns < self.falls_ns {
            self.falls_ns
        } else if at_ns < self.over_ns {
            let cell = cell_ns(self.fall_ns / FALL_CELLS);
            at_ns.saturating_add(cell).min(self.over_ns)
        } else {
            u64::MAX
        }
    }
}

/// A rate that follows the sun.
#[derive(Clone, Copy, Debug)]
struct Day {
    period_ns: u64,
    swing: f64,
}

impl Day {
    fn new(diurnal: &DiurnalConfig) -> Self {
        Self {
            period_ns: diurnal.period.0,
            swing: 1.0 - diurnal.low.get(),
        }
    }

    fn factor(&self, at_ns: u64) -> f64 {
        let turn = float(at_ns % self.period_ns) / float(self.period_ns);
        1.0 - self.swing * (TAU * turn).cos()
    }

    fn constant_until(&self, at_ns: u64) -> u64 {
        at_ns.saturating_add(cell_ns(self.period_ns / DAY_CELLS))
    }
}

/// Short cells only cost time: no request comes in most of them.
fn cell_ns(length_ns: u64) -> u64 {
    length_ns.max(1000)
}

const NS_PER_SECOND: f64 = 1e9;

const RISE_CELLS: u64 = 256;
const FALL_CELLS: u64 = 64;
const DAY_CELLS: u64 = 1024;

/// After so many times 37 %, two billionths of the excess are left: none.
const FALLS: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Shape {
        let config: LoadConfig = toml::from_str(text).unwrap();
        Shape::new(config.offered.unwrap().0, &config)
    }

    /// Requests due from `from_s` until `until_s`.
    fn due(shape: &Shape, from_s: f64, until_s: f64) -> f64 {
        let (mut at, until) = (
            crate::numbers::whole(from_s * 1e9),
            crate::numbers::whole(until_s * 1e9),
        );
        let mut sum = 0.0;
        while at < until {
            let cell = shape.cell(at);
            assert!(cell.ends_ns > at);
            let end = cell.ends_ns.min(until);
            sum += cell.rate * float(end - at);
            at = end;
        }
        sum
    }

    #[track_caller]
    fn assert_close(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 2e-4 * expected,
            "{found} and not {expected}"
        );
    }

    #[test]
    fn a_step_is_a_new_rate_from_its_time_on() {
        let shape = shape(
            "offered = \"100/s\"\n\
             steps = [{ at = \"20s\", offered = \"10k/s\" }, { at = \"30s\", offered = \"0/s\" }]",
        );
        assert_close(due(&shape, 0.0, 20.0), 2000.0);
        assert_close(due(&shape, 20.0, 30.0), 100_000.0);
        assert!(due(&shape, 30.0, 100.0) < 1e-9);
        assert_eq!(shape.cell(19_999_999_999).ends_ns, 20_000_000_000);
    }

    #[test]
    fn a_ramp_rises_evenly_and_stays() {
        let shape =
            shape("offered = \"100/s\"\nramp = { at = \"10s\", times = 5, rise = \"10s\" }");
        assert_close(due(&shape, 0.0, 10.0), 1000.0);
        assert_close(due(&shape, 10.0, 20.0), 3000.0);
        assert_close(due(&shape, 10.0, 15.0), 1000.0);
        assert_close(due(&shape, 20.0, 30.0), 5000.0);
    }

    #[test]
    fn a_flash_rises_holds_and_falls() {
        let shape = shape(
            "offered = \"100/s\"\n\
             flash = { at = \"10s\", times = 15, rise = \"2s\", hold = \"5s\", fall = \"3s\" }",
        );
        assert_close(due(&shape, 0.0, 10.0), 1000.0);
        assert_close(due(&shape, 10.0, 12.0), 1600.0);
        assert_close(due(&shape, 12.0, 17.0), 7500.0);
        let fallen = 1.0 - (-1.0_f64).exp();
        assert_close(due(&shape, 17.0, 20.0), 300.0 + 1400.0 * 3.0 * fallen);
        assert_close(due(&shape, 17.0, 100.0), 8300.0 + 1400.0 * 3.0);
    }

    #[test]
    fn a_flash_without_rise_or_fall_is_a_rectangle() {
        let shape = shape("offered = \"100/s\"\nflash = { at = \"1s\", times = 3, hold = \"1s\" }");
        assert_close(due(&shape, 0.0, 1.0), 100.0);
        assert_close(due(&shape, 1.0, 2.0), 300.0);
        assert_close(due(&shape, 2.0, 3.0), 100.0);
    }

    #[test]
    fn a_day_has_the_mean_and_begins_at_its_low() {
        let shape = shape("offered = \"100/s\"\ndiurnal = { period = \"60s\", low = \"20%\" }");
        assert_close(due(&shape, 0.0, 60.0), 6000.0);
        assert_close(due(&shape, 60.0, 180.0), 12_000.0);
        assert_close(
            due(&shape, 0.0, 1.0),
            20.0 + 80.0 * (1.0 - (TAU / 60.0).sin() * 60.0 / TAU),
        );
        assert_close(due(&shape, 0.0, 30.0), 3000.0);
        let night = due(&shape, 45.0, 75.0);
        assert_close(night, 3000.0 - 80.0 * 60.0 / TAU * 2.0);
    }

    #[test]
    fn all_at_once_multiply() {
        let shape = shape(
            "offered = \"1/s\"\nsteps = [{ at = \"0s\", offered = \"100/s\" }]\n\
             ramp = { at = \"0s\", times = 2, rise = \"0s\" }\n\
             flash = { at = \"0s\", times = 3, hold = \"60s\" }\n\
             diurnal = { period = \"60s\", low = 0 }",
        );
        assert_close(due(&shape, 0.0, 60.0), 36_000.0);
    }
}
