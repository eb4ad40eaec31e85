//! The keys of one part of the store about whose advances something is to be reported: at once,
//! because the next request would find nothing left of it, or in a while, with whatever comes
//! meanwhile.
//!
//! Nobody waits for a report. So they go together, many in a batch.
//!
//! # Invariant
//!
//! A key is queued no later than it was to be, however often it is queued.

use std::collections::BTreeSet;
use std::time::Duration;

use leasehold_core::Instant;

#[derive(Debug, Default)]
pub(crate) struct ReportQueue {
    /// Slots by when they are due.
    due: BTreeSet<(Instant, u32)>,
}

impl ReportQueue {
    /// Queues the key in `slot` for a time, in place of when it was queued for before, if it was.
    /// Returns when it is queued for.
    pub(crate) fn push(&mut self, slot: u32, queued: Option<Instant>, at: Instant) -> Instant {
        match queued {
            Some(queued) if queued <= at => queued,
            queued => {
                if let Some(queued) = queued {
                    self.due.remove(&(queued, slot));
                }
                self.due.insert((at, slot));
                at
            }
        }
    }

    /// The slot of a key that is due by `now`, or soon enough to go along.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<u32> {
        let first = self.due.first().copied()?;
        (first.0 <= now + ALONG).then(|| {
            self.due.pop_first();
            first.1
        })
    }

    /// When the first is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}

/// Reports that are due within this go with those that are due now.
const ALONG: Duration = Duration::from_millis(20);

/// A report of a key of whose advance too little is left for another request goes within this.
pub(crate) const REPORT_SOON: Duration = Duration::from_millis(10);

/// Any other goes within this: requests that come meanwhile go along, and a replica that crashes
/// leaves no more behind than it would anyway.
pub(crate) const REPORT_LATER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn a_key_is_reported_when_it_was_first_due_and_once() {
        let mut queue = ReportQueue::default();
        let later = queue.push(7, None, at(1000));
        let soon = queue.push(7, Some(later), at(100));
        assert_eq!(queue.push(7, Some(soon), at(500)), at(100));
        queue.push(8, None, at(110));
        assert_eq!(queue.next(), Some(at(100)));
        assert_eq!(queue.pop(at(50)), None);
        assert_eq!(queue.pop(at(100)), Some(7));
        assert_eq!(queue.pop(at(100)), Some(8), "it goes along");
        assert_eq!((queue.pop(at(5000)), queue.next()), (None, None));
    }
}
