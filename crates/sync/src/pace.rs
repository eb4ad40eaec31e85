//! When the next batch may go.

use std::time::Duration;

use leasehold_core::Instant;

/// The pace of batches that no request waits for: one per gap on average. Up to five may go back to
/// back after an idle period; after that, one per gap. (A token bucket, kept as one time: GCRA.) A
/// full batch does not wait, nor one for a request; after any number of them the next waits for one
/// gap at most.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    /// The time at which the batches so far would all have gone, each one gap after the one before.
    paced_to: Instant,
    next: Instant,
}

impl Pace {
    /// When the next batch may go.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// A batch goes.
    pub(crate) fn handle_batch(&mut self, gap: Duration, now: Instant) {
        let most = now + gap * (AHEAD + 1);
        self.paced_to = (self.paced_to.max(now) + gap).min(most);
        let ahead = self.paced_to.since(now);
        self.next = now + ahead.saturating_sub(gap * AHEAD);
    }

    /// Notes that keys in fallback were answered in place of a batch: once per gap.
    pub(crate) fn handle_pause(&mut self, gap: Duration, now: Instant) {
        self.next = now + gap;
    }
}

/// Gaps by which batches may run ahead: five may follow each other at once.
const AHEAD: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_millis(10);

    /// Sends whenever it may, looking every millisecond; returns how many went within each second.
    fn sent(seconds: u64, wishes_every: u64) -> Vec<u32> {
        let mut pace = Pace::default();
        let second = |second: u64| {
            let mut sent = 0;
            for millis in second * 1000..(second + 1) * 1000 {
                let now = Instant::from_millis(millis);
                if millis % wishes_every == 0 && pace.next() <= now {
                    pace.handle_batch(GAP, now);
                    sent += 1;
                }
            }
            sent
        };
        (0..seconds).map(second).collect()
    }

    #[test]
    fn who_sends_many_is_held_to_one_in_each_gap() {
        assert_eq!(sent(3, 1), [104, 100, 100]);
    }

    /// After three seconds of a flood, twice as many full batches as the pace allows, nothing was
    /// sent for three more unless another batch was full.
    #[test]
    fn full_batches_keep_what_follows_them_waiting_for_one_gap_at_most() {
        let mut pace = Pace::default();
        for millis in (0..3000).step_by(5) {
            pace.handle_batch(GAP, Instant::from_millis(millis));
        }
        let now = Instant::from_millis(3000);
        assert!(pace.next() <= now + GAP, "{:?}", pace.next().since(now));
    }

    #[test]
    fn who_sends_few_never_waits() {
        assert_eq!(sent(2, 11), [91, 91]);
        let (mut pace, now) = (Pace::default(), Instant::from_millis(500));
        for _ in 0..5 {
            assert!(pace.next() <= now);
            pace.handle_batch(GAP, now);
        }
        assert_eq!(pace.next(), now + GAP, "the sixth in a row waits");
    }
}
