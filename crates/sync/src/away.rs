//! Until when each part of the store is known to be away: the sync task's word to the request path,
//! so that a limit that is closed meanwhile is denied in place and nobody is woken for it.
//!
//! # Invariant
//!
//! What it says is never of more weight than what the sync task knows: once the time is up, requests
//! ask again, and one of them looks whether the store is back.
//!
//! # Orderings
//!
//! All `Relaxed`: each word stands for itself, and one seen late costs a question.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use leasehold_core::{Decided, Instant, Reason, Retry, Verdict};

/// By part of the store; [`Instant::ORIGIN`] where nothing is amiss.
#[derive(Debug)]
pub struct Away(Box<[AtomicU64]>);

impl Away {
    /// Of a store in so many parts, none of them away.
    pub(crate) fn new(partitions: u32) -> Self {
        let none = |_| AtomicU64::new(0);
        Self((0..partitions.max(1)).map(none).collect())
    }

    pub(crate) fn partitions(&self) -> u32 {
        u32::try_from(self.0.len()).expect("made of as many")
    }

    /// `None`: it is not away. [`Instant::FAR_FUTURE`]: until the one who looks has found out.
    pub(crate) fn set(&self, partition: u32, until: Option<Instant>) {
        let until = until.unwrap_or(Instant::ORIGIN);
        self.0[partition as usize].store(until.as_nanos(), Relaxed);
    }

    /// The denial for want of a part of the store that is away at `now`.
    pub(crate) fn denial(&self, partition: u32, now: Instant) -> Option<Verdict> {
        let until = Instant::from_nanos(self.0[partition as usize].load(Relaxed));
        let until = match until {
            Instant::FAR_FUTURE => now + SOON,
            until => until,
        };
        (until > now).then(|| unavailable(until, now))
    }
}

/// A denial for want of the store.
pub(crate) fn unavailable(until: Instant, now: Instant) -> Verdict {
    let retry = Retry::After(until.since(now));
    Verdict::deny(Decided::Fallback, Reason::StoreUnavailable, retry)
}

/// A store that is there answers within this.
const SOON: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1000);

    #[test]
    fn a_part_is_away_until_its_time_is_up_and_no_other_is() {
        let away = Away::new(2);
        away.set(1, Some(Instant::from_millis(1300)));
        assert_eq!(away.denial(0, NOW), None);
        let retry = |verdict: Verdict| verdict.denial().unwrap().retry;
        let denial = away.denial(1, NOW).unwrap();
        assert_eq!(retry(denial), Retry::After(Duration::from_millis(300)));
        assert_eq!(away.denial(1, Instant::from_millis(1300)), None);
        away.set(1, Some(Instant::FAR_FUTURE));
        let denial = away.denial(1, NOW).unwrap();
        assert_eq!(retry(denial), Retry::After(SOON));
        away.set(1, None);
        assert_eq!(away.denial(1, NOW), None);
    }
}
