//! The oracle of the promise: what was admitted, against what any window may hold.
//!
//! A queue that takes in what is admitted and drains at the rate is, at any time, as long as the
//! worst window that ends there is over its share: `max over s of admitted(s, t] - rate * (t - s)`.
//! So one number per admission judges all windows.

use leasehold_core::Limit;

/// A token is `period` units, `tokens` of which drain each microsecond: nothing is ever rounded.
#[derive(Clone, Debug)]
pub(crate) struct VirtualQueue {
    tokens: i128,
    period: i128,
    /// Windows are read at the limit's resolution.
    step: i128,
    capacity: i128,
    length: i128,
    at: i128,
    peak: i128,
}

impl VirtualQueue {
    pub(crate) fn new(limit: &Limit) -> Self {
        let period = i128::from(limit.rate().period.0);
        let capacity = i128::from(limit.burst()) + i128::from(limit.overshoot());
        Self {
            tokens: limit.rate().tokens.into(),
            period,
            step: i128::try_from(limit.resolution().as_micros()).expect("at most a second"),
            capacity: capacity * period,
            length: 0,
            at: 0,
            peak: 0,
        }
    }

    /// Takes in what is admitted at `micros`, not before what was taken in last.
    pub(crate) fn admit(&mut self, tokens: u64, micros: u64) {
        let at = self.time(micros);
        self.length = (self.length - (at - self.at) * self.tokens).max(0);
        self.at = at;
        self.length += i128::from(tokens) * self.period;
        self.peak = self.peak.max(self.length);
    }

    /// By how many tokens the worst window so far is over the promise, rounded up.
    pub(crate) fn excess(&self) -> u64 {
        let excess = (self.peak - self.capacity).max(0);
        u64::try_from((excess + self.period - 1) / self.period).expect("few tokens are admitted")
    }

    /// How near the worst window so far came to the promise, in percent of the capacity.
    pub(crate) fn peak_percent(&self) -> u64 {
        u64::try_from(self.peak * 100 / self.capacity).expect("few tokens are admitted")
    }

    fn time(&self, micros: u64) -> i128 {
        i128::from(micros) / self.step * self.step
    }
}

mod tests {
    use super::*;
    use crate::random::{Random, for_seeds};

    /// By the definition, window by window.
    fn excess_by_definition(limit: &Limit, admitted: &[(u64, u64)]) -> i128 {
        let period = i128::from(limit.rate().period.0);
        let mut worst = 0;
        for (first, &(from, _)) in admitted.iter().enumerate() {
            let mut sum = 0;
            for &(to, tokens) in &admitted[first..] {
                sum += i128::from(tokens) * period;
                let drained = i128::from(to - from) * i128::from(limit.rate().tokens);
                worst = worst.max(sum - drained - i128::from(limit.capacity()) * period);
            }
        }
        (worst + period - 1) / period
    }

    #[test]
    fn the_virtual_queue_is_as_long_as_the_worst_window_is_over() {
        let limit: Limit = "3/s burst 5".parse().unwrap();
        for_seeds(500, |random: &mut Random| {
            let mut queue = VirtualQueue::new(&limit);
            let mut admitted = Vec::new();
            let mut now = 1_000_000;
            for _ in 0..20 {
                now += random.of_any_size(1..=3_000_000);
                let tokens = random.within(0..=4);
                queue.admit(tokens, now);
                admitted.push((now, tokens));
            }
            let expected = excess_by_definition(&limit, &admitted);
            assert_eq!(i128::from(queue.excess()), expected);
        });
    }
}
