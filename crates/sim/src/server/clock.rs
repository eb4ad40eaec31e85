//! The store's clock: the only one that ledgers go by.

use leasehold_core::StoreTime;

/// A clock that may drift, and be set.
#[derive(Clone, Debug)]
pub(crate) struct StoreClock {
    drift_ppm: i32,
    step_us: i64,
}

impl StoreClock {
    pub(crate) const fn new(drift_ppm: i32) -> Self {
        Self {
            drift_ppm,
            step_us: 0,
        }
    }

    /// Sets the clock forward, or back.
    pub(crate) fn step(&mut self, micros: i64) {
        self.step_us = self.step_us.saturating_add(micros);
    }

    /// The reading `now_ns` after the world began.
    #[inline]
    pub(crate) fn reading(&self, now_ns: u64) -> StoreTime {
        let elapsed = i128::from(now_ns);
        let drift = match self.drift_ppm {
            0 => 0,
            ppm => elapsed * i128::from(ppm) / 1_000_000,
        };
        let micros = (elapsed + drift) / 1000 + i128::from(self.step_us) + ORIGIN_US;
        StoreTime::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

/// The reading when the world begins: an ordinary date, so that large numbers are met.
const ORIGIN_US: i128 = 1_700_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(clock: &StoreClock, now_ns: u64) -> i128 {
        i128::from(clock.reading(now_ns).as_micros()) - ORIGIN_US
    }

    #[test]
    fn a_clock_without_drift_counts_whole_microseconds() {
        let clock = StoreClock::new(0);
        assert_eq!(micros(&clock, 1999), 1);
        assert_eq!(micros(&clock, 2000), 2);
    }

    #[test]
    fn a_clock_drifts_by_as_much_as_it_is_told() {
        let day_ns = 86_400_000_000_000;
        assert_eq!(
            micros(&StoreClock::new(200), day_ns),
            86_400_000_000 + 17_280_000
        );
        assert_eq!(
            micros(&StoreClock::new(-200), day_ns),
            86_400_000_000 - 17_280_000
        );
    }

    #[test]
    fn a_clock_goes_forward_and_back_when_it_is_set() {
        let mut clock = StoreClock::new(0);
        clock.step(5_000_000);
        assert_eq!(micros(&clock, 1000), 5_000_001);
        clock.step(-7_000_000);
        assert_eq!(micros(&clock, 1000), -1_999_999);
    }
}
