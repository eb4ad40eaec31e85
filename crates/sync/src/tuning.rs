//! The numbers that decide how much is leased, for how long, and how often the store is asked.
//!
//! Every default has its reason beside it. Most follow from the limit itself: a bucket that
//! drains in 200 ms must be looked at more often than one that drains in a minute, because what
//! is spent and not yet reported does not drain.

use std::num::NonZeroU32;
use std::time::Duration;

use leasehold_core::{Limit, Micros};
use thiserror::Error;

use crate::demand_meter::{as_float, tokens_per_second};

/// The tuning of a replica. The defaults suit limits from one a minute to millions a second; the
/// simulator shows the effect of a change.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Tuning {
    /// Shortest time between two reports on a busy key, if its bucket takes at least four times as
    /// long to fill. For smaller buckets see `interval_small`.
    pub interval_min: Duration,
    /// Shortest time between two reports on a busy key with a small bucket, one that fills within
    /// four times `interval_min`. The time between reports is then a quarter of the time in which
    /// the bucket fills, but no less than this. A replica that has many such calls to make makes
    /// them together, a batch in each `call_gap`.
    pub interval_small: Duration,
    /// Longest time between two reports on a busy key whose bucket runs short.
    pub interval_max: Duration,
    /// Longest time for which tokens are leased ahead while the bucket is well filled, apart from
    /// the few that it can spare: see `backoff_max`.
    pub hold_max: Duration,
    /// Longest backoff: a replica that found the bucket empty asks again after this time at the
    /// latest, unless the store told exactly when the next token comes. Ten replicas that share a
    /// thousand such keys make 2000 calls a second at 5 s.
    ///
    /// It is also the longest time for which a replica keeps spare tokens for a key that is asked
    /// for now and then. Tokens are spare if a well-filled bucket can do without them: a tenth of
    /// it, divided among ten replicas or more.
    pub backoff_max: Duration,
    /// Shortest lease. A replica that dies strands what it held for this long.
    pub lease_min: Duration,
    /// Longest lease, at least nine eighths of `backoff_max`, because a replica that backs off is
    /// counted among those that share the bucket only as long as its lease lasts. A store that lost
    /// its memory grants nothing for this long.
    pub lease_max: Duration,
    /// Requests that a replica must expect before its next call for a lease to pay. If it expects
    /// fewer, each request asks the store for its own cost. Counted in tokens: this many times the
    /// typical cost of a request of the key.
    pub lease_pays: f64,
    /// Mean time between batches that are not full and that no request waits for, once five have
    /// gone back to back: renewals and reports that come up within it travel together, a hundred
    /// times a second at 10 ms to each part of the store. A batch for a request that waits takes
    /// them along.
    pub call_gap: Duration,
    /// Shortest time from one batch to the next for which a request waits. At 0 a request that must
    /// ask waits for its round trip alone, and what comes while too many batches are under way goes
    /// together with the next: see `batches_in_flight`. A gap costs these requests so much time and
    /// spares the store round trips.
    pub ask_gap: Duration,
    /// Most keys in one batch. A store is busy with a batch for about 3 us a key, and serves no
    /// other client meanwhile.
    pub batch_keys: usize,
    /// Most batches under way at a time to each part of the store; of full ones, eight. While so
    /// many are, a request waits until one comes back: for a thirty-second of a round trip at 32.
    /// To a near store fewer are under way: one for each 200 us of a round trip, but at least four.
    pub batches_in_flight: usize,
    /// Number of replicas, for limits under [`FailurePolicy::Local`](crate::FailurePolicy::Local),
    /// until a lease has told the number. Without this setting such limits are closed until then;
    /// limits that are never leased tell nothing.
    pub max_replicas: Option<NonZeroU32>,
    /// A key that nobody asked for in this time is forgotten when room is needed or the sweep
    /// passes.
    pub idle_after: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            interval_min: Duration::from_millis(20),
            interval_small: Duration::from_millis(5),
            interval_max: Duration::from_millis(250),
            hold_max: Duration::from_millis(500),
            backoff_max: Duration::from_secs(5),
            lease_min: Duration::from_secs(1),
            lease_max: Duration::from_secs(6),
            lease_pays: 4.0,
            call_gap: Duration::from_millis(10),
            ask_gap: Duration::ZERO,
            batch_keys: 128,
            batches_in_flight: 32,
            max_replicas: None,
            idle_after: Duration::from_secs(10),
        }
    }
}

impl Tuning {
    /// Whether a limiter can work with it.
    ///
    /// # Errors
    ///
    /// The first field, or pair of fields, that it cannot work with.
    pub fn check(&self) -> Result<(), TuningError> {
        let zero = [
            ("interval_min", self.interval_min.is_zero()),
            ("interval_small", self.interval_small.is_zero()),
            ("lease_min", self.lease_min.is_zero()),
            ("batch_keys", self.batch_keys == 0),
            ("batches_in_flight", self.batches_in_flight == 0),
            ("idle_after", self.idle_after.is_zero()),
        ];
        if let Some((field, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(TuningError::Zero(field));
        }
        let spans = [
            ("interval_max", self.interval_max),
            ("hold_max", self.hold_max),
            ("backoff_max", self.backoff_max),
            ("lease_max", self.lease_max),
            ("call_gap", self.call_gap),
            ("ask_gap", self.ask_gap),
            ("idle_after", self.idle_after),
        ];
        if let Some((field, _)) = spans.into_iter().find(|(_, span)| *span > SPAN_MAX) {
            return Err(TuningError::TooLong(field));
        }
        if self.interval_min > self.interval_max {
            return Err(TuningError::Crossed("interval_min", "interval_max"));
        }
        if self.lease_min > self.lease_max {
            return Err(TuningError::Crossed("lease_min", "lease_max"));
        }
        if self.lease_max < jittered(self.backoff_max) {
            return Err(TuningError::LeaseWithinBackoff);
        }
        if !self.lease_pays.is_finite() || self.lease_pays < 0.0 {
            return Err(TuningError::NotRequests("lease_pays"));
        }
        Ok(())
    }

    /// Time between two reports on a busy key whose bucket runs short.
    ///
    /// It is a tenth of the time in which the bucket fills, because spent tokens that are not
    /// reported do not drain: so they are a tenth of the capacity at most, and a full bucket is
    /// never far from draining. It is at most `interval_max`. For small buckets see `interval_min`
    /// and `interval_small`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use leasehold_sync::Tuning;
    /// let interval = |limit: &str| Tuning::default().interval(&limit.parse().unwrap());
    /// assert_eq!(interval("1000/s"), Duration::from_millis(100));
    /// assert_eq!(interval("1000/s burst 40"), Duration::from_millis(10));
    /// ```
    pub fn interval(&self, limit: &Limit) -> Duration {
        let fill = limit.time_for(limit.capacity());
        let soonest = self.soonest(limit);
        (fill / 10).min(self.interval_max).max(soonest)
    }

    /// Shortest time between two reports on a key of `limit`.
    fn soonest(&self, limit: &Limit) -> Duration {
        let fill = limit.time_for(limit.capacity());
        (fill / 4).max(self.interval_small).min(self.interval_min)
    }

    /// How long a store that has forgotten its leases must wait before it grants again: the
    /// longest lease, and what renewals round it up by.
    pub fn quarantine(&self) -> Micros {
        Micros::from_duration(self.lease_max + Duration::from_millis(1))
    }
}

/// Why no limiter can work with a [`Tuning`].
#[derive(Clone, Copy, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TuningError {
    /// A duration or size of zero makes no sense.
    #[error("`{0}` is zero: nothing could be done in no time or no space")]
    Zero(&'static str),
    /// A duration is beyond all use, and sums of such durations may be none.
    #[error("`{0}` is more than a year")]
    TooLong(&'static str),
    /// The shortest of something is longer than the longest.
    #[error("`{0}` is above `{1}`: nothing lies between them")]
    Crossed(&'static str, &'static str),
    /// Leases would end while replicas stay away.
    #[error(
        "`lease_max` is below nine eighths of `backoff_max`: a replica that backs off would lose \
         its lease meanwhile, and its share of the bucket with it"
    )]
    LeaseWithinBackoff,
    /// A number of requests is negative, infinite or none.
    #[error("`{0}` is no number of requests: it must be finite and at least 0")]
    NotRequests(&'static str),
}

/// A year of 365 days.
const SPAN_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// The longest that a time becomes when it is jittered by an eighth.
fn jittered(time: Duration) -> Duration {
    time.saturating_add(time / 8)
}

/// The sizes of one limit under a tuning.
#[derive(Clone, Debug)]
pub(crate) struct Sizing {
    pub(crate) limit: Limit,
    /// Tokens per second.
    pub(crate) rate: f64,
    /// Time in which the bucket fills.
    pub(crate) fill: Duration,
    /// Shortest time between two reports.
    pub(crate) soonest: Duration,
    /// Time between two reports while the bucket runs short.
    pub(crate) interval: Duration,
    /// Longest time to lease ahead.
    pub(crate) horizon_max: Duration,
    /// Longest time to stay away from an empty bucket.
    pub(crate) backoff_max: Duration,
    /// Over which demand is measured.
    pub(crate) time_constant: Duration,
    /// Longest time to hold spare tokens: see [`Sizing::spare`].
    spare_horizon_max: Duration,
}

impl Sizing {
    pub(crate) fn new(limit: Limit, tuning: &Tuning) -> Self {
        let fill = limit.time_for(limit.capacity());
        let (soonest, interval) = (tuning.soonest(&limit), tuning.interval(&limit));
        Self {
            limit,
            rate: tokens_per_second(&limit),
            fill,
            soonest,
            interval,
            // A quarter leased ahead leaves the rest to a replica whose demand jumps.
            horizon_max: (fill / 4).clamp(interval, tuning.hold_max.max(interval)),
            // A bucket that nobody asks for during a fifth of its filling time never overflows
            // meanwhile.
            backoff_max: (fill / 5).clamp(interval, tuning.backoff_max.max(interval)),
            time_constant: interval / 2,
            spare_horizon_max: tuning.backoff_max,
        }
    }

    /// Spare tokens of a well-filled bucket that `replicas` share: so few that no replica misses
    /// them, whichever holds them and however long. 0 if they are too few to be worth a lease,
    /// where a lease of `pays` tokens pays.
    pub(crate) fn spare(&self, replicas: u64, pays: f64) -> u64 {
        let part = SPARE_PART.saturating_mul(replicas.max(SPARE_REPLICAS_MIN));
        let spare = self.limit.capacity() / part;
        if as_float(spare) < pays * SPARE_DOUBT {
            return 0;
        }
        spare
    }

    /// How long so many `spare` tokens may be held where the demand is `rate`.
    pub(crate) fn spare_horizon(&self, spare: u64, rate: f64) -> Duration {
        if spare == 0 {
            return Duration::ZERO;
        }
        let horizon = Duration::try_from_secs_f64(as_float(spare) / rate);
        horizon.unwrap_or(Duration::MAX).min(self.spare_horizon_max)
    }

    /// The most that the limit admits in `time`.
    pub(crate) fn admits_within(&self, time: Duration) -> u64 {
        self.limit.burst() + self.yields_within(time)
    }

    /// Tokens that come free in `time`, and the one that does so meanwhile.
    pub(crate) fn yields_within(&self, time: Duration) -> u64 {
        whole((self.rate * time.as_secs_f64()).ceil())
    }

    /// Tokens that a demand of `rate` will use in `time`, with room for chance: two standard
    /// deviations of a Poisson count.
    pub(crate) fn tokens_for(rate: f64, time: Duration) -> u64 {
        let mean = rate * time.as_secs_f64();
        whole((mean + 2.0 * mean.sqrt()).ceil())
    }

    /// How long to stay away from a bucket that `replicas` replicas found empty: until a fair
    /// part of the rate has yielded what one of them would use, or four tokens if that is less.
    pub(crate) fn backoff(&self, replicas: u64, wanted: u64) -> Duration {
        let tokens = as_float(wanted.clamp(1, 4)) * as_float(replicas.max(1));
        let backoff = Duration::try_from_secs_f64(tokens / self.rate).unwrap_or(self.backoff_max);
        backoff.clamp(self.interval, self.backoff_max)
    }

    /// How long to ask a lease for, if the next call is due within `next`.
    pub(crate) fn lease(next: Duration, tuning: &Tuning) -> Micros {
        let lease = (next * 4).clamp(tuning.lease_min, tuning.lease_max);
        Micros::from_duration(lease)
    }
}

/// All replicas together hold no more than this part of a bucket as spare tokens.
const SPARE_PART: u64 = 10;

/// How many replicas are counted with at least: the first one does not know of the others.
const SPARE_REPLICAS_MIN: u64 = 10;

/// A lease of spare tokens must be expected to pay this many times over, because the demand is
/// known from a request or two: if no other comes, the lease has cost a call to get and one to give
/// back.
pub(crate) const SPARE_DOUBT: f64 = 2.0;

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

leasehold_core::debug_by_display!(TuningError);

#[cfg(test)]
mod tests {
    use super::*;

    fn sizing(limit: &str) -> Sizing {
        Sizing::new(limit.parse().unwrap(), &Tuning::default())
    }

    #[test]
    fn what_no_limiter_can_work_with_is_refused() {
        let with = |change: fn(&mut Tuning)| {
            let mut tuning = Tuning::default();
            change(&mut tuning);
            tuning.check()
        };
        assert_eq!(Tuning::default().check(), Ok(()));
        let refused = |error| Err(error);
        let zero = |field| refused(TuningError::Zero(field));
        assert_eq!(with(|it| it.batch_keys = 0), zero("batch_keys"));
        assert_eq!(
            with(|it| it.batches_in_flight = 0),
            zero("batches_in_flight")
        );
        assert_eq!(
            with(|it| it.interval_min = Duration::ZERO),
            zero("interval_min")
        );
        assert_eq!(
            with(|it| it.interval_small = Duration::ZERO),
            zero("interval_small")
        );
        assert_eq!(with(|it| it.lease_min = Duration::ZERO), zero("lease_min"));
        assert_eq!(
            with(|it| it.idle_after = Duration::ZERO),
            zero("idle_after")
        );
        assert_eq!(
            with(|it| it.interval_min = it.interval_max * 2),
            refused(TuningError::Crossed("interval_min", "interval_max"))
        );
        assert_eq!(
            with(|it| it.lease_min = it.lease_max * 2),
            refused(TuningError::Crossed("lease_min", "lease_max"))
        );
        let longer = |it: &mut Tuning| it.backoff_max += Duration::from_millis(334);
        assert_eq!(with(longer), refused(TuningError::LeaseWithinBackoff));
        let not_requests = refused(TuningError::NotRequests("lease_pays"));
        assert_eq!(with(|it| it.lease_pays = f64::NAN), not_requests);
        assert_eq!(with(|it| it.lease_pays = -1.0), not_requests);
        let too_long = refused(TuningError::TooLong("hold_max"));
        assert_eq!(with(|it| it.hold_max = Duration::MAX), too_long);
    }

    #[test]
    fn a_small_bucket_is_looked_at_more_often() {
        assert_eq!(sizing("1000/s").interval, Duration::from_millis(100));
        assert_eq!(
            sizing("1000/s burst 300").interval,
            Duration::from_millis(30)
        );
        assert_eq!(
            sizing("1000/s burst 100").interval,
            Duration::from_millis(20)
        );
        assert_eq!(
            sizing("1000/s burst 40").interval,
            Duration::from_millis(10)
        );
        assert_eq!(sizing("1000/s burst 1").interval, Duration::from_millis(5));
        assert_eq!(sizing("100/min").interval, Duration::from_millis(250));
    }

    #[test]
    fn replicas_stay_away_from_an_empty_bucket_until_their_part_has_come() {
        let slow = sizing("100/min");
        assert_eq!(slow.backoff(2, 1), Duration::from_millis(1200));
        assert_eq!(
            slow.backoff(10, 9),
            Duration::from_secs(5),
            "but not for ever"
        );
        let fast = sizing("1000/s");
        assert_eq!(fast.backoff(4, 100), fast.interval);
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
