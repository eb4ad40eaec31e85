//! The numbers that decide how much is leased, for how long, and how often the store is asked.
//!
//! Every default has its reason beside it. Most follow from the limit itself: a bucket that
//! drains in 200 ms must be looked at more often than one that drains in a minute, because what
//! is spent and not yet reported does not drain.

use std::time::Duration;

use leasehold_core::{Limit, Micros};

use crate::demand_meter::{as_float, tokens_per_second};

/// What may be tuned for a replica. The defaults suit limits from one a minute to millions a
/// second; the simulator tells what a change does.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Tuning {
    /// Shortest time between two reports on a busy key.
    pub interval_min: Duration,
    /// Longest time between two reports on a busy key whose bucket runs short.
    pub interval_max: Duration,
    /// Longest time for which tokens are leased ahead while the bucket is well filled.
    pub hold_max: Duration,
    /// Longest time for which a replica that found the bucket empty stays away, unless the store
    /// said exactly when the next token comes.
    pub gap_max: Duration,
    /// Shortest lease. A replica that dies strands what it held for this long.
    pub lease_min: Duration,
    /// Longest lease. A store that lost its memory grants nothing for this long.
    pub lease_max: Duration,
    /// Tokens that a replica must expect to use by its next call for a lease to pay; below,
    /// each request asks the store for its own cost.
    pub lease_pays: f64,
    /// Shortest time between two batches that are not full: calls that come up meanwhile travel
    /// together.
    pub call_gap: Duration,
    /// Most keys in one batch. A store is busy with a batch for about 3 us a key, and serves
    /// nobody else meanwhile.
    pub batch_keys: usize,
    /// Most batches under way at a time.
    pub batches_in_flight: usize,
    /// A key that nobody asked for in this time is forgotten when room is needed or the sweep
    /// passes.
    pub idle_after: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            interval_min: Duration::from_millis(20),
            interval_max: Duration::from_millis(250),
            hold_max: Duration::from_millis(500),
            gap_max: Duration::from_secs(4),
            lease_min: Duration::from_secs(1),
            lease_max: Duration::from_secs(5),
            lease_pays: 4.0,
            call_gap: Duration::from_millis(5),
            batch_keys: 128,
            batches_in_flight: 8,
            idle_after: Duration::from_secs(10),
        }
    }
}

impl Tuning {
    /// How long a store that has forgotten its leases must wait before it grants again: the
    /// longest lease, and what renewals round it up by.
    pub fn hold(&self) -> Micros {
        Micros::from_duration(self.lease_max + Duration::from_millis(1))
    }
}

/// What the tuning means for one limit.
#[derive(Clone, Debug)]
pub(crate) struct Sizing {
    pub(crate) limit: Limit,
    /// Tokens per second.
    pub(crate) rate: f64,
    /// Time between two reports while the bucket runs short.
    pub(crate) interval: Duration,
    /// Longest time to lease ahead.
    pub(crate) hold_max: Duration,
    /// Longest time to stay away from an empty bucket.
    pub(crate) gap_max: Duration,
    /// Over which demand is measured.
    pub(crate) time_constant: Duration,
}

impl Sizing {
    pub(crate) fn new(limit: Limit, tuning: &Tuning) -> Self {
        let fill = limit.time_for(limit.capacity());
        // A tenth of the time in which the bucket fills: what is spent and not yet reported is
        // then a tenth of the capacity at most, and a full bucket is never far from draining.
        let interval = (fill / 10).clamp(tuning.interval_min, tuning.interval_max);
        Self {
            limit,
            rate: tokens_per_second(&limit),
            interval,
            // A quarter leased ahead leaves the rest to a replica whose demand jumps.
            hold_max: (fill / 4).clamp(interval, tuning.hold_max.max(interval)),
            // A bucket left alone for a fifth of its filling time never overflows meanwhile.
            gap_max: (fill / 5).clamp(interval, tuning.gap_max.max(interval)),
            time_constant: interval / 2,
        }
    }

    /// Tokens that a demand of `rate` will use in `time`, with room for chance: two standard
    /// deviations of a Poisson count.
    pub(crate) fn tokens_for(rate: f64, time: Duration) -> u64 {
        let mean = rate * time.as_secs_f64();
        whole((mean + 2.0 * mean.sqrt()).ceil())
    }

    /// How long to stay away from a bucket that `replicas` replicas found empty: until a fair
    /// part of the rate has yielded what one of them would use, or four tokens if that is less.
    pub(crate) fn gap(&self, replicas: u64, wanted: u64) -> Duration {
        let tokens = as_float(wanted.clamp(1, 4)) * as_float(replicas.max(1));
        let gap = Duration::try_from_secs_f64(tokens / self.rate).unwrap_or(self.gap_max);
        gap.clamp(self.interval, self.gap_max)
    }

    /// How long to ask a lease for, if the next call is due within `next`.
    pub(crate) fn lease(next: Duration, tuning: &Tuning) -> Micros {
        let lease = (next * 4).clamp(tuning.lease_min, tuning.lease_max);
        Micros::from_duration(lease)
    }
}

/// A float as a whole number of tokens; beyond the range, the most there can be.
fn whole(float: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates, and NaN becomes 0"
    )]
    let tokens = float as u64;
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizing(limit: &str) -> Sizing {
        Sizing::new(limit.parse().unwrap(), &Tuning::default())
    }

    #[test]
    fn a_small_bucket_is_looked_at_more_often() {
        assert_eq!(sizing("1000/s").interval, Duration::from_millis(100));
        assert_eq!(
            sizing("1000/s burst 300").interval,
            Duration::from_millis(30)
        );
        assert_eq!(sizing("1000/s burst 1").interval, Duration::from_millis(20));
        assert_eq!(sizing("100/min").interval, Duration::from_millis(250));
    }

    #[test]
    fn replicas_stay_away_from_an_empty_bucket_until_their_part_has_come() {
        let slow = sizing("100/min");
        assert_eq!(slow.gap(2, 1), Duration::from_millis(1200));
        assert_eq!(slow.gap(10, 9), Duration::from_secs(4), "but not for ever");
        let fast = sizing("1000/s");
        assert_eq!(fast.gap(4, 100), fast.interval);
    }

    #[test]
    fn what_is_wanted_leaves_room_for_chance() {
        assert_eq!(Sizing::tokens_for(100.0, Duration::from_secs(1)), 120);
        assert_eq!(Sizing::tokens_for(0.0, Duration::from_secs(1)), 0);
        assert_eq!(
            Sizing::tokens_for(f64::INFINITY, Duration::from_secs(1)),
            u64::MAX
        );
    }
}
