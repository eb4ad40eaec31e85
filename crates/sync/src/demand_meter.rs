//! How many tokens per second one key is asked for here, had or not.
//!
//! An exponentially weighted mean over a time constant, not over samples: it does not matter how
//! often one looks. A few requests in quick succession count at once, so that a key that wakes
//! up is leased within a few requests, and twice as much each time: that is the slow start.

use std::time::Duration;

use leasehold_core::{Demand, Instant, Limit};

#[derive(Clone, Debug)]
pub(crate) struct DemandMeter {
    /// In seconds.
    time_constant: f64,
    /// Tokens per second.
    rate: f64,
    looked: Instant,
    /// Seen at the very instant of the last look: they belong to the span that begins there.
    early: u64,
}

impl DemandMeter {
    pub(crate) fn new(time_constant: Duration, now: Instant) -> Self {
        Self {
            time_constant: time_constant.as_secs_f64(),
            rate: 0.0,
            looked: now,
            early: 0,
        }
    }

    /// Counts `tokens` asked for since the last look.
    pub(crate) fn observe(&mut self, tokens: u64, now: Instant) {
        let tokens = self.early + tokens;
        let elapsed = now.since(self.looked).as_secs_f64();
        if elapsed == 0.0 {
            self.early = tokens;
            return;
        }
        let constant = self.time_constant;
        self.rate = self.rate.mul_add(constant, as_float(tokens)) / (constant + elapsed);
        self.looked = now;
        self.early = 0;
    }

    /// Tokens per second, what was seen at this very instant included.
    pub(crate) fn rate(&self) -> f64 {
        self.rate + as_float(self.early) / self.time_constant
    }

    /// The demand as the store is told of it: never 0, for whoever asks has some.
    pub(crate) fn report(&self, limit: &Limit) -> Demand {
        let share = self.rate() / tokens_per_second(limit);
        let parts = (share * f64::from(Demand::ONE.0)).ceil();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the range; a float cast saturates"
        )]
        Demand(parts.clamp(1.0, f64::from(u16::MAX)) as u16)
    }
}

/// The limit's rate in tokens per second.
pub(crate) fn tokens_per_second(limit: &Limit) -> f64 {
    let rate = limit.rate();
    as_float(rate.tokens) * 1e6 / as_float(rate.period.0)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub(crate) fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSTANT: Duration = Duration::from_millis(50);

    #[test]
    fn a_steady_demand_is_found_however_often_one_looks() {
        for step in [1, 10, 100] {
            let mut meter = DemandMeter::new(CONSTANT, Instant::ORIGIN);
            for look in 1..=(2000 / step) {
                meter.observe(step, Instant::from_millis(look * step));
            }
            let rate = meter.rate();
            assert!((rate - 1000.0).abs() < 10.0, "{step}: {rate}");
        }
    }

    #[test]
    fn requests_in_quick_succession_count_at_once() {
        let mut meter = DemandMeter::new(CONSTANT, Instant::ORIGIN);
        meter.observe(1, Instant::ORIGIN);
        assert!(
            (meter.rate() - 20.0).abs() < 1e-9,
            "one token in a time constant"
        );
        meter.observe(1, Instant::from_nanos(1000));
        assert!((meter.rate() - 40.0).abs() < 0.1);
    }

    #[test]
    fn demand_fades_when_nobody_asks() {
        let mut meter = DemandMeter::new(CONSTANT, Instant::ORIGIN);
        meter.observe(1000, Instant::from_millis(50));
        meter.observe(0, Instant::from_millis(5050));
        assert!(meter.rate() < 200.0);
    }

    #[test]
    fn what_is_reported_is_relative_to_the_limit_and_never_nothing() {
        let limit: Limit = "100/s".parse().unwrap();
        let mut meter = DemandMeter::new(CONSTANT, Instant::ORIGIN);
        assert_eq!(meter.report(&limit), Demand(1));
        for look in 1..=1000 {
            meter.observe(1, Instant::from_millis(look * 10));
        }
        assert_eq!(meter.report(&limit), Demand::ONE);
        meter.observe(u64::MAX / 2, Instant::from_millis(20_000));
        assert_eq!(meter.report(&limit), Demand(u16::MAX));
    }
}
