//! How fast the store's clock runs beside this replica's, and what that means for leases.
//!
//! A lease lasts a span of time that both sides count, each on its own clock. Nine tenths of the
//! span are used here, so clocks may differ by a tenth at once. If the store's clock is seen to run
//! faster, less is used.
//!
//! # Invariant
//!
//! Only what is certain shortens a lease: a reply was written at some time between sending and
//! receiving, so a slow network can never pass for a fast clock.

use std::time::Duration;

use leasehold_core::{Instant, Micros, StoreTime};

/// Compares the store's clock with ours over the last ten to twenty seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClockDrift {
    /// The reply that is compared with.
    reference: Option<Reading>,
    /// The one that will be, once it is old enough.
    next: Option<Reading>,
    gained: Gained,
}

/// The store's clock, read at some time between two of ours.
#[derive(Clone, Copy, Debug)]
struct Reading {
    sent: Instant,
    received: Instant,
    store: StoreTime,
}

/// The drift of the store's clock against ours, in millionths of the time that passed here.
#[derive(Clone, Copy, Debug, Default)]
struct Gained {
    /// So much or more, or, if negative, so little or less; 0 if both are possible.
    certain: i64,
    /// As far as can be told.
    likely: i64,
}

impl ClockDrift {
    /// The store's clock was `store` at some time between `sent` and `received`.
    pub(crate) fn observe(&mut self, sent: Instant, received: Instant, store: StoreTime) {
        let reading = Reading {
            sent,
            received,
            store,
        };
        let Some(reference) = self.reference else {
            self.reference = Some(reading);
            return;
        };
        if let Some(gained) = Gained::between(&reference, &reading) {
            self.gained = gained;
        }
        let next = *self.next.get_or_insert(reading);
        if received.since(next.received) >= WINDOW {
            (self.reference, self.next) = (Some(next), Some(reading));
        }
    }

    /// Millionths by which the store's clock seems to run faster than ours; negative if slower.
    pub(crate) fn likely_ppm(&self) -> i64 {
        self.gained.likely
    }

    /// Millionths by which the store's clock certainly runs faster than ours; negative if slower, 0
    /// if both are possible.
    pub(crate) fn certain_ppm(&self) -> i64 {
        self.gained.certain
    }

    /// How long a lease is used here, from when it was asked for.
    pub(crate) fn used(&self, lease: Micros) -> Duration {
        lease.as_duration() * self.permille() / 1000
    }

    /// The shortest lease that can be used for `time`.
    pub(crate) fn lease_for(&self, time: Duration) -> Micros {
        let lease = time * 1000 / self.permille();
        Micros::from_duration(lease + Duration::from_micros(1))
    }

    /// Thousandths of a lease that are used. A clock that was set, and jumped, does not tell what
    /// comes next, so a jump halves them at most.
    fn permille(&self) -> u32 {
        let gained = self.gained.certain.clamp(0, MILLION);
        let permille = USED * MILLION / (MILLION + gained);
        u32::try_from(permille).expect("from 450 to 900")
    }
}

impl Gained {
    /// `None` if no time has passed in which anything could be told.
    fn between(from: &Reading, to: &Reading) -> Option<Self> {
        let store = micros_between(from.store, to.store);
        // The longest time that can have passed here between the two, and the likeliest.
        let most = i128::try_from(to.received.since(from.sent).as_nanos() / 1000).ok()?;
        let least = i128::try_from(to.sent.since(from.received).as_nanos() / 1000).ok()?;
        let middle = most.midpoint(least);
        if least < SHORTEST_MICROS {
            return None;
        }
        let million = i128::from(MILLION);
        let ppm = |gained: i128, passed: i128| {
            let ppm = gained * million / passed;
            i64::try_from(ppm).unwrap_or(if ppm < 0 { i64::MIN } else { i64::MAX })
        };
        let certain = if store > most {
            ppm(store - most, most)
        } else if store < least {
            ppm(store - least, least)
        } else {
            0
        };
        Some(Self {
            certain,
            likely: ppm(store - middle, middle),
        })
    }
}

fn micros_between(from: StoreTime, to: StoreTime) -> i128 {
    i128::from(to.as_micros()) - i128::from(from.as_micros())
}

/// Of a thousand, as long as the clocks agree.
const USED: i64 = 900;

const MILLION: i64 = 1_000_000;

/// Long enough that a round trip of some milliseconds hides no drift that matters, short enough to
/// forget a clock that was set.
const WINDOW: Duration = Duration::from_secs(10);

/// Over less, a likely drift would be noise.
const SHORTEST_MICROS: i128 = 500_000;

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Micros = Micros(1_000_000);

    /// A reply a second for so many seconds, from a store whose clock runs `ppm` too fast; each
    /// message takes half a round trip.
    fn after(seconds: u64, ppm: u64, round_trip: Duration) -> ClockDrift {
        let mut drift = ClockDrift::default();
        for second in 0..=seconds {
            let sent = Instant::from_millis(second * 1000);
            let received = sent + round_trip;
            let half = u64::try_from(round_trip.as_micros()).unwrap() / 2;
            let real = second * 1_000_000 + half;
            let store = 5_000_000_000 + real + real / 1000 * ppm / 1000;
            drift.observe(sent, received, StoreTime::from_micros(store));
        }
        drift
    }

    #[test]
    fn nine_tenths_of_a_lease_are_used_as_long_as_the_clocks_agree() {
        let drift = after(100, 0, Duration::from_millis(1));
        assert_eq!(drift.used(LEASE), Duration::from_millis(900));
        assert_eq!(drift.likely_ppm(), 0);
        assert_eq!(
            ClockDrift::default().used(LEASE),
            Duration::from_millis(900)
        );
    }

    #[test]
    fn a_lease_of_a_store_that_runs_fast_is_used_for_less() {
        for ppm in [20_000, 200_000, 500_000] {
            let drift = after(40, ppm, Duration::from_millis(1));
            let used = drift.used(LEASE).as_micros();
            // The store counts a lease down in this time.
            let counted = 1_000_000 * 1_000_000 / u128::from(1_000_000 + ppm);
            assert!(used <= counted * 901 / 1000, "{ppm}: {used} of {counted}");
            assert!(used >= counted * 899 / 1000, "{ppm}: {used} of {counted}");
            assert!(drift.likely_ppm().abs_diff(i64::try_from(ppm).unwrap()) < 300);
        }
    }

    #[test]
    fn a_slow_network_is_not_taken_for_a_fast_clock() {
        let mut drift = ClockDrift::default();
        let mut state = 1_u64;
        for second in 0..200 {
            // To the store and back, each some time up to 400 ms.
            let mut draw = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) % 400_000
            };
            let (there, back) = (draw(), draw());
            let sent = second * 500_000;
            let nanos = |micros: u64| Instant::from_nanos(micros * 1000);
            let store = StoreTime::from_micros(9_000_000 + sent + there);
            drift.observe(nanos(sent), nanos(sent + there + back), store);
            assert_eq!(drift.used(LEASE), Duration::from_millis(900));
        }
    }

    #[test]
    fn a_jump_shortens_leases_for_a_while_and_is_forgotten() {
        let mut drift = after(5, 0, Duration::from_millis(1));
        let mut shortest = Duration::MAX;
        for second in 6..40 {
            let (sent, store) = (
                second * 1000,
                5_000_000_000 + second * 1_000_000 + 3_000_000,
            );
            let at = Instant::from_millis(sent);
            let received = at + Duration::from_millis(1);
            drift.observe(at, received, StoreTime::from_micros(store));
            shortest = shortest.min(drift.used(LEASE));
            if second == 6 {
                assert!(drift.likely_ppm() > 400_000, "{}", drift.likely_ppm());
            }
        }
        assert!(shortest < Duration::from_millis(650), "{shortest:?}");
        assert!(shortest >= Duration::from_millis(450), "{shortest:?}");
        assert_eq!(drift.used(LEASE), Duration::from_millis(900));
    }

    #[test]
    fn a_clock_that_goes_back_shortens_nothing() {
        let mut drift = after(5, 0, Duration::from_millis(1));
        let (sent, store) = (Instant::from_millis(6000), StoreTime::from_micros(1));
        drift.observe(sent, sent + Duration::from_millis(1), store);
        assert_eq!(drift.used(LEASE), Duration::from_millis(900));
        assert!(drift.likely_ppm() < 0);
    }

    #[test]
    fn a_lease_that_is_asked_for_can_be_used_for_as_long_as_it_was_asked_for() {
        for ppm in [0, 17_000, 333_333] {
            let drift = after(30, ppm, Duration::from_millis(3));
            for micros in [1, 999, 1_234_567, 1_000_000_000] {
                let time = Duration::from_micros(micros);
                assert!(drift.used(drift.lease_for(time)) >= time);
            }
        }
    }
}
