//! The pace at which a replica looks at buckets that the store found short, before the time at
//! which the store said that they will have room.
//!
//! The replica remembers a denial for as long as the store said, at no call. Meanwhile somebody may
//! delete the bucket, reset it, or restore an older state of the store, and a store may be wrong.
//! So the replica looks at a denied key now and then while the key is asked for. A look is one key
//! in a batch.

use std::time::Duration;

use leasehold_core::Instant;

/// The budget for the looks at all keys of a replica: one key in each [`LOOK_GAP`], however many
/// keys are denied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks {
    /// When the looks so far would all have been made, each a gap after the one before.
    paced_to: Instant,
}

impl Looks {
    /// Whether a key may be looked at now; if so, the look is counted.
    pub(crate) fn may_look(&mut self, now: Instant) -> bool {
        let paced_to = self.paced_to.max(now) + LOOK_GAP;
        let may = paced_to.since(now) <= LOOK_GAP * AHEAD;
        if may {
            self.paced_to = paced_to;
        }
        may
    }
}

/// Allows a hundred looks a second, so each of 1500 denied keys is looked at as often as is wished.
const LOOK_GAP: Duration = Duration::from_millis(10);

/// The most looks that may follow each other at once.
const AHEAD: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_keys_are_denied_they_are_looked_at_a_hundred_times_a_second() {
        let mut looks = Looks::default();
        let mut made = 0;
        for millis in 0..10_000 {
            let now = Instant::from_millis(millis);
            made += (0..10).filter(|_| looks.may_look(now)).count();
        }
        assert!((1000..=1032).contains(&made), "{made}");
    }
}
