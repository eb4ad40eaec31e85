//! The level of what has been charged, draining at the rate: a token bucket seen from below.
//!
//! # Invariant
//!
//! The level is exact at the bucket's own time, never negative, and time never moves back: a
//! reading before the bucket's time drains nothing.

use crate::limit::Limit;
use crate::message::WAIT_MAX;
use crate::time::{Micros, StoreTime};

/// A level and the time it was exact at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bucket {
    /// Level units charged and not yet drained.
    pub(crate) level: u64,
    /// When the level was exact. In the future while the bucket is frozen.
    pub(crate) at: StoreTime,
}

impl Bucket {
    /// Drains up to `to`.
    pub(crate) fn drain(&mut self, to: StoreTime, limit: &Limit) {
        if to <= self.at {
            return;
        }
        let scale = limit.scale();
        let ticks = scale.ticks(self.at, to);
        // The product is formed only where it is below the level, so it cannot overflow.
        self.level = if ticks >= scale.ticks_to_drain(self.level) {
            0
        } else {
            self.level - ticks * scale.drain
        };
        self.at = to;
    }

    /// The time from `now` until `level` more level units have drained.
    pub(crate) fn time_to_drain(&self, level: u64, limit: &Limit, now: StoreTime) -> Micros {
        let scale = limit.scale();
        let tick = self.at.as_micros() / scale.tick + scale.ticks_to_drain(level);
        // Bursts that take more than half a million years at their rate can be written.
        let drained = tick.saturating_mul(scale.tick);
        Micros(drained.saturating_sub(now.as_micros()).min(WAIT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Limit {
        text.parse().unwrap()
    }

    fn at(micros: u64) -> StoreTime {
        StoreTime::from_micros(micros)
    }

    #[test]
    fn a_level_drains_at_the_rate_and_stops_at_zero() {
        let limit = limit("3/s burst 10");
        let mut bucket = Bucket {
            level: limit.scale().level(3),
            at: at(0),
        };
        bucket.drain(at(999_999), &limit);
        assert_eq!(
            bucket.level, 3,
            "three tokens weigh 3 000 000, and 3 drain each microsecond"
        );
        bucket.drain(at(1_000_000), &limit);
        assert_eq!(bucket.level, 0);
        bucket.drain(at(9_000_000), &limit);
        assert_eq!(bucket.level, 0);
    }

    #[test]
    fn time_that_goes_back_drains_nothing() {
        let limit = limit("1/s burst 10");
        let mut bucket = Bucket {
            level: 5_000_000,
            at: at(1_000_000),
        };
        bucket.drain(at(500_000), &limit);
        assert_eq!(
            bucket,
            Bucket {
                level: 5_000_000,
                at: at(1_000_000)
            }
        );
    }

    #[test]
    fn the_announced_time_is_the_first_at_which_it_has_drained() {
        let limit = limit("7/3s burst 100");
        let full = Bucket {
            level: limit.scale().level(50),
            at: at(10),
        };
        let wait = full.time_to_drain(limit.scale().level(2), &limit, at(10));
        let level_after = |micros: u64| {
            let mut bucket = full;
            bucket.drain(at(10 + micros), &limit);
            bucket.level
        };
        assert!(level_after(wait.0) <= limit.scale().level(48));
        assert!(level_after(wait.0 - 1) > limit.scale().level(48));
    }

    #[test]
    fn an_emptied_bucket_is_frozen_until_it_counts_as_emptied() {
        let limit = limit("10/s burst 10");
        let level = limit.capacity_level();
        let mut bucket = Bucket { level, at: at(500) };
        bucket.drain(at(100), &limit);
        assert_eq!(
            bucket,
            Bucket {
                level: limit.capacity_level(),
                at: at(500)
            }
        );
        bucket.drain(at(500 + 1_000_000), &limit);
        assert_eq!(bucket.level, 0);
    }
}
