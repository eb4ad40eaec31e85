//! Results of many runs: per scenario, per point, per limiter, per seed.
//!
//! Data only; the command line makes tables, files and pages of it. Two reports of the same runs
//! are equal, byte for byte, whatever ran them.

use serde::Serialize;

use crate::metrics::{Metric, Summary};
use crate::numbers::float;

/// All that was simulated.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema: u32,
    /// In the order in which they were asked for.
    pub scenarios: Vec<ScenarioReport>,
}

/// One scenario file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioReport {
    /// The file's name without its ending.
    pub name: String,
    /// The title, in one line.
    pub title: String,
    /// Where its numbers come from.
    pub source: Option<String>,
    /// The number to beat.
    pub beats: Option<String>,
    /// Its points, in order.
    pub points: Vec<PointReport>,
}

/// One point of a sweep, or the whole scenario if it has none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PointReport {
    /// Field and value of all that varies.
    pub settings: Vec<(String, String)>,
    /// The label: the settings as one line.
    pub label: String,
    /// Our limiter first, then its rivals by name.
    pub limiters: Vec<LimiterReport>,
    /// The expectations, and whether they were met.
    pub checks: Vec<Check>,
}

/// One limiter at one point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LimiterReport {
    /// `leased`, or the rival's name in the scenario.
    pub limiter: String,
    /// One per seed, in order.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// The measures.
    pub summary: Summary,
    /// The course over time; only of the first seed.
    pub series: Vec<Slice>,
    /// Events of the simulation.
    pub events: u64,
}

/// A slice of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Slice {
    /// When it ended, in seconds.
    pub at: f64,
    /// Tokens asked for, per second.
    pub offered: f64,
    /// Tokens admitted, per second.
    pub admitted: f64,
    /// Tokens that the ideal admits, per second.
    pub ideal: f64,
    /// Store calls per second.
    pub calls: f64,
    /// Tokens that lie at replicas.
    pub held: u64,
}

/// An expectation and whether it was met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// As the scenario has it.
    pub expected: String,
    /// The bound's value.
    pub bound: f64,
    /// The measured value of the seed that is worst.
    pub measured: Option<f64>,
    /// That seed.
    pub seed: u64,
    /// Whether all seeds met it.
    pub met: bool,
}

/// A measure over seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// Half the width of the 95 % confidence interval of the mean, by Student's t; 0 with one
    /// seed.
    pub margin: f64,
}

impl LimiterReport {
    /// A measure over the seeds; `None` where a seed has none.
    pub fn spread(&self, metric: &Metric) -> Option<Spread> {
        let values: Option<Vec<f64>> = self
            .runs
            .iter()
            .map(|run| (metric.read)(&run.summary))
            .collect();
        Spread::of(&values?)
    }
}

impl Spread {
    /// The spread of some values, if there are any.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let count = float(values.len() as u64);
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let margin = if values.len() > 1 {
            let deviation = (squares / (count - 1.0)).sqrt();
            student(values.len() - 1) * deviation / count.sqrt()
        } else {
            0.0
        };
        Some(Self {
            mean,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            margin,
        })
    }
}

impl Report {
    /// Whether all that was expected came.
    pub fn all_met(&self) -> bool {
        self.checks().all(|check| check.met)
    }

    /// All that was expected.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        let points = self.scenarios.iter().flat_map(|it| &it.points);
        points.flat_map(|point| &point.checks)
    }

    /// Requests simulated, by all limiters and with all seeds.
    pub fn requests(&self) -> u64 {
        let points = self.scenarios.iter().flat_map(|it| &it.points);
        let limiters = points.flat_map(|point| &point.limiters);
        let runs = limiters.flat_map(|limiter| &limiter.runs);
        runs.map(|run| run.summary.requests).sum()
    }
}

/// Student's t at 97.5 % with so many degrees of freedom.
fn student(freedom: usize) -> f64 {
    const T: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
        2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
        2.052, 2.048, 2.045, 2.042,
    ];
    T.get(freedom - 1).copied().unwrap_or(1.96)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "sums of small whole numbers are exact")]
    fn a_spread_is_what_textbooks_say() {
        let spread = Spread::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((spread.mean, spread.min, spread.max), (2.5, 1.0, 4.0));
        assert!((spread.margin - 3.182 * 1.290_994 / 2.0).abs() < 1e-3);
        assert_eq!(Spread::of(&[7.0]).unwrap().margin, 0.0);
        assert_eq!(Spread::of(&[]), None);
    }
}
