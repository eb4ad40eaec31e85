//! Figures of one run for tuning, and the demands on it.

use std::fmt;

use serde::Serialize;

use crate::metrics::{Shown, Summary};
use crate::report::Spread;

/// The measures of a run that tuning looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Calls per second that the store executed.
    pub store_calls: f64,
    /// Tokens beyond burst + rate x window, in the worst window of the worst key.
    pub overshoot: f64,
    /// Share of requests that were denied although nothing was scarce.
    pub false_denials: f64,
    /// The share that is missing of the ideal.
    pub deficit: f64,
    /// The deficit with a lull in the load.
    pub lull_deficit: f64,
    /// Share of requests decided without waiting.
    pub local: f64,
    /// The p99 wait of the requests that waited, in seconds.
    pub wait_p99: f64,
}

/// One of the figures.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// [`Figures::store_calls`]
    StoreCalls,
    /// [`Figures::overshoot`]
    Overshoot,
    /// [`Figures::false_denials`]
    FalseDenials,
    /// [`Figures::deficit`]
    Deficit,
    /// [`Figures::lull_deficit`]
    LullDeficit,
    /// [`Figures::local`]
    Local,
    /// [`Figures::wait_p99`]
    WaitP99,
}

/// The most that a measure may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// Which measure.
    pub measure: Measure,
    /// The most it may be.
    pub most: f64,
    /// By what a violation is measured: as much beyond `most` counts as 1.
    #[serde(skip)]
    pub(crate) scale: f64,
}

/// The aim of a search.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aim {
    pub(crate) minimise: Measure,
    pub(crate) bounds: Vec<Bound>,
}

/// How good a setting is; less is better, the earlier field first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    /// How far the most violated bound is exceeded, in its scale.
    pub(crate) violation: f64,
    pub(crate) target: f64,
    /// Store calls per second, by which equals are told apart: fewer are better.
    store_calls: f64,
}

impl From<&Summary> for Figures {
    fn from(summary: &Summary) -> Self {
        Self {
            store_calls: summary.store_calls,
            overshoot: summary.overshoot,
            false_denials: summary.false_denial_share,
            // Without anything to admit nothing is missing.
            deficit: summary.deficit.unwrap_or(0.0),
            lull_deficit: 0.0,
            local: summary.local,
            wait_p99: summary.wait_p99,
        }
    }
}

impl Measure {
    /// Its value in a run.
    pub fn of(self, figures: &Figures) -> f64 {
        match self {
            Self::StoreCalls => figures.store_calls,
            Self::Overshoot => figures.overshoot,
            Self::FalseDenials => figures.false_denials,
            Self::Deficit => figures.deficit,
            Self::LullDeficit => figures.lull_deficit,
            Self::Local => figures.local,
            Self::WaitP99 => figures.wait_p99,
        }
    }

    /// How it is shown.
    pub fn shown(self) -> Shown {
        match self {
            Self::StoreCalls | Self::Overshoot => Shown::Number,
            Self::FalseDenials | Self::Deficit | Self::LullDeficit | Self::Local => Shown::Percent,
            Self::WaitP99 => Shown::Time,
        }
    }

    /// The value that is held against a bound. An overshoot that happens once happens.
    pub(crate) fn judged(self, spread: &Spread, sure: bool) -> f64 {
        match self {
            Self::Overshoot => spread.max,
            _ if sure => spread.mean + spread.margin,
            _ => spread.mean,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StoreCalls => "store calls",
            Self::Overshoot => "overshoot",
            Self::FalseDenials => "false denials",
            Self::Deficit => "deficit",
            Self::LullDeficit => "deficit with a lull",
            Self::Local => "decided locally",
            Self::WaitP99 => "wait, p99",
        })
    }
}

impl Bound {
    /// How far it is exceeded, in its scale; 0 if it is kept.
    pub(crate) fn violation(&self, runs: &[Figures], sure: bool) -> f64 {
        let value = self.measure.judged(&spread(runs, self.measure), sure);
        // What is less comes of rounding.
        if value <= self.most + self.scale * 1e-9 {
            0.0
        } else {
            (value - self.most) / self.scale
        }
    }
}

impl Aim {
    /// How good these runs of one setting are. What exceeds a bound by no more than `forgiven`
    /// counts as within. If `sure`, a bound must be kept by the margin as well.
    pub(crate) fn score(&self, runs: &[Figures], forgiven: f64, sure: bool) -> Score {
        let excess = |bound: &Bound| (bound.violation(runs, sure) - forgiven).max(0.0);
        Score {
            violation: self.bounds.iter().map(excess).fold(0.0, f64::max),
            target: spread(runs, self.minimise).mean,
            store_calls: spread(runs, Measure::StoreCalls).mean,
        }
    }
}

impl Score {
    pub(crate) fn order(&self, other: &Self) -> std::cmp::Ordering {
        let fields = |it: &Self| [it.violation, it.target, it.store_calls];
        let pairs = fields(self).into_iter().zip(fields(other));
        pairs.fold(std::cmp::Ordering::Equal, |order, (a, b)| {
            order.then(a.total_cmp(&b))
        })
    }
}

/// A measure over runs.
pub(crate) fn spread(runs: &[Figures], measure: Measure) -> Spread {
    let values: Vec<f64> = runs.iter().map(|run| measure.of(run)).collect();
    Spread::of(&values).unwrap_or_default()
}

/// By how much a measure of `runs` is above that of `base`, seed by seed: what both owe to the
/// arrivals cancels out.
pub(crate) fn paired(runs: &[Figures], base: &[Figures], measure: Measure) -> Spread {
    let pairs = runs.iter().zip(base);
    let differences: Vec<f64> = pairs
        .map(|(run, base)| measure.of(run) - measure.of(base))
        .collect();
    Spread::of(&differences).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(all: &[f64]) -> Vec<Figures> {
        let figures = |store_calls: &f64| Figures {
            store_calls: *store_calls,
            ..Figures::default()
        };
        all.iter().map(figures).collect()
    }

    const AT_MOST_TEN: Bound = Bound {
        measure: Measure::StoreCalls,
        most: 10.0,
        scale: 10.0,
    };

    #[test]
    fn a_bound_is_kept_up_to_its_value_and_exceeded_in_its_scale() {
        assert!(AT_MOST_TEN.violation(&calls(&[10.0]), true).abs() < 1e-12);
        assert!((AT_MOST_TEN.violation(&calls(&[15.0]), true) - 0.5).abs() < 1e-12);
        // The mean is within, but with three runs nobody can be sure of it.
        let three = calls(&[8.0, 9.5, 11.0]);
        assert!(AT_MOST_TEN.violation(&three, false).abs() < 1e-12);
        assert!(AT_MOST_TEN.violation(&three, true) > 0.2);
    }

    #[test]
    fn one_overshoot_is_an_overshoot() {
        let bound = Bound {
            measure: Measure::Overshoot,
            most: 0.0,
            scale: 1.0,
        };
        let mut runs = vec![Figures::default(); 30];
        assert!(bound.violation(&runs, false).abs() < 1e-12);
        runs[7].overshoot = 2.0;
        assert!((bound.violation(&runs, false) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn what_both_owe_to_the_arrivals_cancels_out() {
        let (base, runs) = (calls(&[10.0, 90.0, 50.0]), calls(&[11.0, 91.0, 51.0]));
        let difference = paired(&runs, &base, Measure::StoreCalls);
        assert!((difference.mean - 1.0).abs() < 1e-12 && difference.margin < 1e-9);
        assert!(spread(&runs, Measure::StoreCalls).margin > 50.0);
    }

    #[test]
    fn a_bound_comes_before_the_target() {
        let aim = Aim {
            minimise: Measure::Deficit,
            bounds: vec![AT_MOST_TEN],
        };
        let mut within = calls(&[10.0]);
        within[0].deficit = 0.5;
        let beyond = calls(&[20.0]);
        let order = |forgiven| {
            let score = |runs: &[Figures]| aim.score(runs, forgiven, true);
            score(&within).order(&score(&beyond))
        };
        assert!(order(0.0).is_lt());
        assert!(order(2.0).is_gt(), "forgiven, the target decides");
    }
}
