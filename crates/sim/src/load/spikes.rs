//! Many requests at once, again and again: what timers do that are all set to the full minute.
//!
//! # Invariant
//!
//! Times are in order. Each spike that begins while the load lasts has all its requests, except
//! those due after the end.

use rand::RngExt;
use rand_distr::Exp1;

use super::config::{LoadConfig, SpikeConfig};
use crate::numbers::{float, whole};
use crate::stream::{Stream, stream};
use crate::units::Span;

/// Draws the times of spikes.
#[derive(Debug)]
pub(super) struct Spikes {
    random: Stream,
    config: SpikeConfig,
    until_ns: u64,
    /// When the next one begins; `None` if that is beyond all time.
    next_ns: Option<u64>,
    /// The one that is under way.
    begun_ns: u64,
    scatter: Scatter,
}

impl Spikes {
    pub(super) fn new(
        spike: &SpikeConfig,
        config: &LoadConfig,
        duration: Span,
        seed: u64,
        index: u64,
    ) -> Self {
        let first = config.from.0.div_ceil(spike.every.0);
        Self {
            random: stream(seed, "load-spikes", index),
            config: *spike,
            until_ns: config.until.unwrap_or(duration).0.min(duration.0),
            next_ns: first.checked_mul(spike.every.0),
            begun_ns: 0,
            scatter: Scatter::new(0),
        }
    }

    /// The next time; `None` when the load is over.
    pub(super) fn next(&mut self) -> Option<u64> {
        if self.scatter.left == 0 {
            self.begun_ns = self.next_ns?;
            self.next_ns = self.begun_ns.checked_add(self.config.every.0);
            self.scatter = Scatter::new(self.config.requests.0);
        }
        let after_ns = self.scatter.next_ns(self.config.within.0, &mut self.random);
        let at_ns = self.begun_ns.checked_add(after_ns)?;
        (at_ns < self.until_ns).then_some(at_ns)
    }
}

/// A number of moments of a span, each as likely as any other, drawn in order: the earliest of n
/// that are left is as far into what is left of the span as the least of n uniform numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scatter {
    /// How many are to come.
    pub(super) left: u64,
    passed: f64,
}

impl Scatter {
    pub(super) const fn new(number: u64) -> Self {
        Self {
            left: number,
            passed: 0.0,
        }
    }

    /// The next one, within the span; there must be one left.
    pub(super) fn next_ns(&mut self, span_ns: u64, random: &mut Stream) -> u64 {
        let exponential: f64 = random.sample(Exp1);
        let least = -(-exponential / float(self.left)).exp_m1();
        self.passed += (1.0 - self.passed) * least;
        self.left -= 1;
        whole(self.passed * float(span_ns)).min(span_ns.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::statistics::ks_is_plausible;

    #[test]
    fn the_earliest_and_the_latest_of_a_few_follow_the_laws_of_extremes() {
        let mut random = stream(1, "test", 0);
        let (mut earliest, mut latest) = (Vec::new(), Vec::new());
        for _ in 0..20_000 {
            let mut scatter = Scatter::new(3);
            let all = [(); 3].map(|()| scatter.next_ns(1_000_000_000, &mut random));
            assert!(all.is_sorted() && scatter.left == 0);
            earliest.push(float(all[0]) / 1e9);
            latest.push(float(all[2]) / 1e9);
        }
        assert!(ks_is_plausible(&mut earliest, |place| 1.0 - (1.0 - place).powi(3)));
        assert!(ks_is_plausible(&mut latest, |place| place.powi(3)));
    }
}
