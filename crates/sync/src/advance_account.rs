//! The account of what this replica has spent of its advance of one key.
//!
//! # Invariant
//!
//! A token is *unheard* from when it is spent until the store has answered a report of it, and
//! *unrestored* from then until the store has told that there is room for it. The two together are
//! what the key has of its advance; a report whose answer is lost is made again, and so may be
//! charged twice, and never less than once.

use leasehold_core::Instant;

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct AdvanceAccount {
    /// Tokens that no answered report has told of.
    unheard: u64,
    /// Tokens that the store has charged and not restored.
    unrestored: u64,
    /// Tokens, of those unheard, that a report in flight tells of.
    told: Option<u64>,
    /// When the first of the unheard tokens was spent.
    oldest: Instant,
    /// When the first of them was spent that the report in flight does not tell of.
    oldest_untold: Instant,
    /// When the last report was answered.
    heard_at: Instant,
}

impl AdvanceAccount {
    pub(crate) fn spend(&mut self, tokens: u64, now: Instant) {
        if self.unheard == 0 {
            self.oldest = now;
        }
        if self.unheard == self.told.unwrap_or(0) {
            self.oldest_untold = now;
        }
        self.unheard += tokens;
    }

    /// Tokens spent and not restored.
    pub(crate) fn used(&self) -> u64 {
        self.unheard + self.unrestored
    }

    /// When the oldest token was spent that is unheard, if there is one.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        (self.unheard > 0).then_some(self.oldest)
    }

    pub(crate) fn is_telling(&self) -> bool {
        self.told.is_some()
    }

    /// Whether there is something to report that no report in flight tells of.
    pub(crate) fn has_untold(&self) -> bool {
        self.unheard > self.told.unwrap_or(0)
    }

    pub(crate) fn is_unrestored(&self) -> bool {
        self.unrestored > 0
    }

    /// The tokens to report, if a report is to go: also none, to ask whether there is room again.
    pub(crate) fn poll_report(&mut self) -> Option<u64> {
        if self.is_telling() || self.used() == 0 {
            return None;
        }
        self.told = Some(self.unheard);
        Some(self.unheard)
    }

    /// The store has charged a report of so many tokens, and had so many `free` then. Returns how
    /// many tokens are restored.
    pub(crate) fn handle_reported(&mut self, tokens: u64, free: u64, now: Instant) -> u64 {
        self.told = None;
        self.unheard -= tokens;
        self.oldest = self.oldest_untold;
        self.unrestored += tokens;
        self.heard_at = now;
        // All of them were charged before, or with this report.
        self.restore(free, now)
    }

    /// A report failed, or nobody knows.
    pub(crate) fn handle_failure(&mut self) {
        self.told = None;
    }

    /// The store had a token `free` when it executed a call of `sent`, or not. Returns how many
    /// tokens are restored: what it had charged before that was sent.
    pub(crate) fn restore(&mut self, free: u64, sent: Instant) -> u64 {
        if free == 0 || sent < self.heard_at {
            return 0;
        }
        std::mem::take(&mut self.unrestored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn what_is_restored_was_charged_before_the_store_looked() {
        let mut account = AdvanceAccount::default();
        account.spend(2, at(1));
        assert_eq!(account.poll_report(), Some(2));
        assert_eq!(account.poll_report(), None, "one at a time");
        account.spend(1, at(2));
        assert_eq!(account.handle_reported(2, 0, at(3)), 0);
        assert_eq!((account.used(), account.oldest()), (3, Some(at(2))));
        assert_eq!(
            account.restore(5, at(2)),
            0,
            "the store may have looked before"
        );
        assert_eq!(account.restore(0, at(3)), 0, "there is no room");
        assert_eq!(account.restore(1, at(3)), 2);
        assert_eq!(account.used(), 1);
    }

    #[test]
    fn a_report_that_was_lost_is_made_again_with_all_there_is() {
        let mut account = AdvanceAccount::default();
        account.spend(2, at(1));
        account.poll_report();
        account.spend(1, at(2));
        account.handle_failure();
        assert_eq!(account.oldest(), Some(at(1)));
        assert_eq!(account.poll_report(), Some(3));
        assert_eq!(account.handle_reported(3, 0, at(3)), 0);
        assert!(!account.has_untold() && account.is_unrestored());
        assert_eq!(account.poll_report(), Some(0), "is there room again");
        assert_eq!(account.handle_reported(0, 1, at(4)), 3);
        assert_eq!(account.poll_report(), None);
    }
}
