//! When the requests of a load come, if it is no trace: gaps of work, at a rate that changes.
//!
//! # Invariant
//!
//! Times are in order, none is before the load begins or at or past its end. The work between two
//! requests is one draw of the law of gaps, whose mean is 1; it passes at the rate of the moment.
//!
//! The times of a Poisson process whose rate changes are then exactly Poisson at each moment's
//! rate, and those of even arrivals are as far apart as the rate of the moment says.

use rand::RngExt;
use rand_distr::{Distribution, Exp1, Gamma};

use super::config::{ArrivalsConfig, LoadConfig};
use super::modulation::Modulation;
use super::shape::{Cell, Shape};
use crate::numbers::{float, whole};
use crate::stream::{Stream, stream};
use crate::units::Span;

/// Draws the times of requests.
#[derive(Debug)]
pub(super) struct Process {
    random: Stream,
    gaps: Gaps,
    /// The last time drawn, in nanoseconds and parts of them.
    at_ns: f64,
    stretch: Stretch,
    pace: Pace,
}

impl Process {
    /// The requests of the `index`th load; `None` if it offers none but a spike.
    pub(super) fn new(config: &LoadConfig, duration: Span, seed: u64, index: u64) -> Option<Self> {
        let mean = config.mean()?;
        let modulation = stream(seed, "load-jumps", index);
        let shape = Shape::new(mean, config);
        let mut pace = Pace {
            cell: shape.cell(config.from.0),
            shape,
            modulation: Modulation::new(&config.arrivals, modulation),
            until_ns: config.until.unwrap_or(duration).0.min(duration.0),
        };
        Some(Self {
            random: stream(seed, "load", index),
            gaps: Gaps::new(&config.arrivals),
            at_ns: float(config.from.0),
            stretch: pace.stretch(config.from.0)?,
            pace,
        })
    }

    /// The next time; `None` when the load is over.
    #[inline]
    pub(super) fn next(&mut self) -> Option<u64> {
        let work = self.gaps.draw(&mut self.random);
        self.pass(work).or_else(|| self.pass_on(work))
    }

    /// Lets `work` pass, if it passes within the stretch.
    #[inline]
    fn pass(&mut self, work: f64) -> Option<u64> {
        // At a rate of 0 a gap is endless, or not a number: neither is before the end.
        let at_ns = self.at_ns + work * self.stretch.gap_ns;
        (at_ns < self.stretch.end_ns).then(|| {
            self.at_ns = at_ns;
            whole(at_ns)
        })
    }

    /// Lets `work` pass over the stretches that follow.
    #[cold]
    fn pass_on(&mut self, mut work: f64) -> Option<u64> {
        loop {
            let done = (self.stretch.end_ns - self.at_ns) * self.stretch.rate;
            work = (work - done).max(0.0);
            self.at_ns = self.stretch.end_ns;
            self.stretch = self.pace.stretch(whole(self.stretch.end_ns))?;
            if let Some(at_ns) = self.pass(work) {
                return Some(at_ns);
            }
        }
    }
}

/// The law of the work between two requests. Its mean is 1.
#[derive(Clone, Copy, Debug)]
enum Gaps {
    Even { next: f64 },
    Poisson,
    Gamma(Gamma<f64>),
}

impl Gaps {
    fn new(arrivals: &ArrivalsConfig) -> Self {
        match arrivals {
            ArrivalsConfig::Even => Self::Even { next: 0.5 },
            ArrivalsConfig::Gamma(gamma) => {
                let variance = gamma.cv * gamma.cv;
                Self::Gamma(Gamma::new(variance.recip(), variance).expect("checked to be above 0"))
            }
            _ => Self::Poisson,
        }
    }

    #[inline]
    fn draw(&mut self, random: &mut Stream) -> f64 {
        match self {
            Self::Even { next } => std::mem::replace(next, 1.0),
            Self::Poisson => random.sample(Exp1),
            Self::Gamma(gamma) => gamma.sample(random),
        }
    }
}

/// A time of one rate.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    end_ns: f64,
    /// Requests per nanosecond, and its inverse.
    rate: f64,
    gap_ns: f64,
}

/// The rate over time.
#[derive(Debug)]
struct Pace {
    shape: Shape,
    cell: Cell,
    modulation: Modulation,
    until_ns: u64,
}

impl Pace {
    /// The stretch that begins at `at_ns`; `None` at the end. Times do not go back.
    fn stretch(&mut self, at_ns: u64) -> Option<Stretch> {
        if at_ns >= self.until_ns {
            return None;
        }
        if self.cell.ends_ns <= at_ns {
            self.cell = self.shape.cell(at_ns);
        }
        let (level, jumps_ns) = self.modulation.at(at_ns);
        let end_ns = self.cell.ends_ns.min(jumps_ns).min(self.until_ns);
        let rate = self.cell.rate * level;
        Some(Stretch {
            end_ns: float(end_ns),
            rate,
            gap_ns: rate.recip(),
        })
    }
}
