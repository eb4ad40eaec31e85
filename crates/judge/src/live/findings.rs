//! Findings about a run.

use serde::Serialize;

use super::convergence::Convergence;
use super::fairness::{Fairness, Starvation};
use super::promise::LimitFindings;
use super::series::{Deficit, Series};
use crate::limit::ExactTokens;
use crate::tally::{Volumes, share};

/// The judge's findings.
///
/// Volumes and what is derived from them are of the requests that arrived after the warm-up,
/// whenever they were decided; safety (overshoot, peaks) and the series are of the whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// When the warm-up ended.
    pub measure_from_ns: u64,
    /// When the run ended.
    pub end_ns: u64,
    /// All requests.
    pub total: Volumes,
    /// Those that arrived after the warm-up.
    pub measured: Volumes,
    /// Tokens admitted over tokens the ideal admits; see [`Volumes::utilisation`].
    pub utilisation: Option<f64>,
    /// How far the limiter lagged behind the ideal.
    pub deficit: Deficit,
    /// Each limit by itself, in order.
    pub limits: Vec<LimitFindings>,
    /// Requests denied although nothing was scarce: the ideal admitted them and had none of their
    /// keys short within a second of their arrival, before or after.
    pub false_denials: u64,
    /// Requests that were decided in another way than by the ideal. It says something only below
    /// the limit: in overload two correct limiters differ on half of the requests.
    pub disagreements: u64,
    /// Requests denied that were the very first of some key of theirs, though the ideal admitted
    /// them.
    pub first_denials: u64,
    /// How alike replicas were treated; `None` if no second says anything.
    pub fairness: Option<Fairness>,
    /// The longest time that a replica asked in vain while the ideal admitted somebody; `None` if
    /// there was no such time.
    pub starvation: Option<Starvation>,
    /// How soon after each mark the limiter followed the ideal, in order.
    pub convergence: Vec<Convergence>,
    /// The course of the run.
    pub series: Series,
}

impl Findings {
    /// How long the measurement took.
    pub fn measured_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.measure_from_ns)
    }

    /// The worst overshoot of all limits; `None` without a limit.
    pub fn overshoot(&self) -> Option<ExactTokens> {
        self.limits.iter().map(|limit| limit.overshoot).max()
    }

    /// False denials over requests offered; `None` if there were none.
    pub fn false_denial_share(&self) -> Option<f64> {
        share(self.false_denials, self.measured.offered.requests)
    }

    /// Disagreements over requests decided; `None` if there were none.
    pub fn disagreement_share(&self) -> Option<f64> {
        let decided = self.measured.admitted.requests + self.measured.denied.requests;
        share(self.disagreements, decided)
    }
}
