//! The clock of one replica: set wrong, and running too fast or too slow.
//!
//! # Invariant
//!
//! Readings never go back, and the two conversions fit each other exactly: for every time of the
//! world `w` and every instant `i`, `reading(w) >= i` if and only if `w >= when(i)`. So a timer
//! fires at the first nanosecond at which the replica itself sees that it is due. (A time beyond
//! the 584 years of the numbers is the last of them.)

use leasehold_core::Instant;
use rand::RngExt;
use serde::Deserialize;

use crate::stream::stream;
use crate::units::Span;

/// How far replicas' clocks are from the world's: the `clock` of `[fleet]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClockConfig {
    /// At the start of the world a clock is up to so much fast or slow, each as likely.
    pub skew: Span,
    /// The most microseconds that a clock gains or loses in a second, all as likely.
    pub drift_ppm: u32,
}

impl ClockConfig {
    /// Refuses what cannot be.
    ///
    /// # Errors
    ///
    /// Names the field and what to write instead.
    pub fn check(&self) -> Result<(), String> {
        if self.drift_ppm > DRIFT_PPM_MAX {
            return Err(format!(
                "`fleet.clock.drift-ppm` is {}: it must be at most {DRIFT_PPM_MAX}",
                self.drift_ppm
            ));
        }
        if self.skew > SKEW_MAX {
            return Err(format!(
                "`fleet.clock.skew` is {}: it must be at most {SKEW_MAX}",
                self.skew
            ));
        }
        Ok(())
    }

    /// The clock of a replica. The configuration has passed its [`check`](Self::check).
    pub fn clock(&self, replica: u32, seed: u64) -> Clock {
        let mut chance = stream(seed, "clock", u64::from(replica));
        let drift = i32::try_from(self.drift_ppm).expect("checked: it is small");
        // What counts is how far clocks are apart; none can be before its own origin.
        let origin_ns = chance.random_range(0..=2 * self.skew.0);
        Clock::new(origin_ns, chance.random_range(-drift..=drift))
    }
}

/// A clock that shows an origin when the world begins, and drifts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clock {
    origin_ns: u64,
    /// How far it goes while the world goes a million.
    per_million: u64,
}

impl Clock {
    /// A clock that shows `origin_ns` at time 0, and gains `drift_ppm` microseconds a second.
    ///
    /// # Panics
    ///
    /// If the drift is more than a tenth, either way.
    pub fn new(origin_ns: u64, drift_ppm: i32) -> Self {
        assert!(
            drift_ppm.unsigned_abs() <= DRIFT_PPM_MAX,
            "a clock drifts by at most {DRIFT_PPM_MAX} ppm, not {drift_ppm}"
        );
        Self {
            origin_ns,
            per_million: MILLION.saturating_add_signed(i64::from(drift_ppm)),
        }
    }

    /// The reading when the world began.
    pub const fn origin_ns(&self) -> u64 {
        self.origin_ns
    }

    /// The reading at a time of the world.
    pub const fn reading(&self, world_ns: u64) -> Instant {
        let passed = if self.per_million == MILLION {
            world_ns
        } else {
            // Whole millions and the rest apart: exact, and no number is wider than 64 bits.
            let rest = world_ns % MILLION * self.per_million / MILLION;
            (world_ns / MILLION)
                .saturating_mul(self.per_million)
                .saturating_add(rest)
        };
        Instant::from_nanos(self.origin_ns.saturating_add(passed))
    }

    /// The first time of the world at which it shows `instant` or more.
    pub const fn when(&self, instant: Instant) -> u64 {
        let passed = instant.as_nanos().saturating_sub(self.origin_ns);
        if self.per_million == MILLION {
            return passed;
        }
        let rest = (passed % self.per_million * MILLION).div_ceil(self.per_million);
        (passed / self.per_million)
            .saturating_mul(MILLION)
            .saturating_add(rest)
    }
}

impl Default for Clock {
    /// The world's own time.
    fn default() -> Self {
        Self::new(0, 0)
    }
}

const MILLION: u64 = 1_000_000;

/// A tenth. A clock that is further off is broken, which is another fault.
const DRIFT_PPM_MAX: u32 = 100_000;

/// A year: twice that is far from the end of the numbers.
const SKEW_MAX: Span = Span::from_secs(365 * 86400);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_clock_shows_an_instant_exactly_from_its_time_on(
            origin_ns in 0..1_u64 << 62,
            drift_ppm in -100_000..=100_000_i32,
            world_ns in 0..1_u64 << 62,
            near in -2_000_000..2_000_000_i64,
        ) {
            let clock = Clock::new(origin_ns, drift_ppm);
            let shown = clock.reading(world_ns).as_nanos().saturating_add_signed(near);
            let instant = Instant::from_nanos(shown);
            let when = clock.when(instant);
            prop_assert_eq!(clock.reading(world_ns) >= instant, world_ns >= when);
            prop_assert!(clock.reading(when) >= instant);
            prop_assert!(when == 0 || clock.reading(when - 1) < instant);
        }

        #[test]
        fn readings_are_what_wide_numbers_say_and_never_go_back(
            origin_ns in 0..1_u64 << 60,
            drift_ppm in -100_000..=100_000_i32,
            world_ns in 0..1_u64 << 62,
        ) {
            let clock = Clock::new(origin_ns, drift_ppm);
            let passed = i128::from(world_ns) * (1_000_000 + i128::from(drift_ppm)) / 1_000_000;
            let shown = i128::from(clock.reading(world_ns).as_nanos());
            prop_assert_eq!(shown, i128::from(origin_ns) + passed);
            prop_assert!(clock.reading(world_ns + 1) >= clock.reading(world_ns));
        }

        #[test]
        fn a_clock_without_drift_only_adds(
            origin_ns in 0..1_u64 << 62,
            world_ns in 0..1_u64 << 62,
        ) {
            let clock = Clock::new(origin_ns, 0);
            prop_assert_eq!(clock.reading(world_ns).as_nanos(), origin_ns + world_ns);
            prop_assert_eq!(clock.when(Instant::from_nanos(origin_ns + world_ns)), world_ns);
        }
    }

    #[test]
    fn the_ends_of_the_numbers_are_not_passed() {
        for drift_ppm in [-100_000, 0, 100_000] {
            let clock = Clock::new(5, drift_ppm);
            assert_eq!(clock.when(Instant::ORIGIN), 0);
            // Not a wrapped, early time: a timer that never fires must not fire at once.
            assert!(clock.when(Instant::FAR_FUTURE) > 1 << 63);
            assert!(clock.reading(u64::MAX) > clock.reading(1 << 63));
        }
    }

    #[test]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a nanosecond more or less is no matter"
    )]
    fn clocks_are_spread_evenly_within_what_was_asked_for() {
        let config = ClockConfig {
            skew: Span::from_secs(300),
            drift_ppm: 200,
        };
        let clocks: Vec<Clock> = (0..10_000)
            .map(|replica| config.clock(replica, 1))
            .collect();
        let origins = clocks.iter().map(|clock| clock.origin_ns as f64 / 1e9);
        let drifts = clocks.iter().map(|clock| clock.per_million as f64 - 1e6);
        // A uniform width of 600 has a mean within 300 +- 4 standard errors of 600 / sqrt(12 n).
        spread(origins, 300.0, 300.0);
        spread(drifts, 0.0, 200.0);
        assert_eq!(config.clock(7, 1), clocks[7]);
        assert_eq!(ClockConfig::default().clock(7, 1), Clock::default());
    }

    fn spread(values: impl Iterator<Item = f64> + Clone, middle: f64, half: f64) {
        let count = f64::from(u32::try_from(values.clone().count()).unwrap());
        let mean = values.clone().sum::<f64>() / count;
        let error = 2.0 * half / (12.0 * count).sqrt();
        assert!((mean - middle).abs() < 4.0 * error, "{mean}");
        let (low, high) = (
            values.clone().fold(f64::MAX, f64::min),
            values.fold(f64::MIN, f64::max),
        );
        assert!(low >= middle - half && low < middle - 0.98 * half, "{low}");
        assert!(
            high <= middle + half && high > middle + 0.98 * half,
            "{high}"
        );
    }
}
