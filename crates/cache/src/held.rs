//! Tokens of one key that a request under several limits has taken, but may have to put back.
//!
//! # Invariant
//!
//! A hold is settled exactly once: spent by [`commit`](Held::commit), or else refunded, also when
//! an early return or a panic drops it. [`Holds`](crate::holds) hears of the begin before the
//! tokens leave the lease, and of the end after they are spent or back.

use leasehold_core::Instant;

use crate::entry::Entry;
use crate::lease::Hold;
use crate::lease_cell::{LeaseView, Shortfall};

/// Tokens held in an [`Entry`]. Dropping it refunds them.
#[derive(Debug)]
#[must_use = "a hold that is dropped is refunded"]
pub struct Held<'a> {
    entry: &'a Entry,
    cost: u32,
    /// `None` once it is settled.
    hold: Option<Hold>,
}

// Here, so that an entry need not know of holds.
impl Entry {
    /// Takes `cost` tokens that may yet be refunded.
    ///
    /// # Errors
    ///
    /// [`Shortfall`] if fewer than `cost` tokens are live at `now`. Nothing is taken then.
    pub fn hold(&self, cost: u32, now: Instant) -> Result<Held<'_>, Shortfall> {
        Held::take(self, cost, now)
    }
}

impl<'a> Held<'a> {
    fn take(entry: &'a Entry, cost: u32, now: Instant) -> Result<Self, Shortfall> {
        // Keeps what cannot succeed, and costs of any size, out of the pending tokens.
        let live = entry.lease.view(now).live;
        if live < cost {
            return Err(Shortfall { live });
        }
        let mut held = Self {
            entry,
            cost,
            hold: None,
        };
        entry.lease.holds.begin(cost);
        held.hold = Some(entry.lease.hold(cost, now)?);
        Ok(held)
    }

    /// Spends the tokens for good and says what is left in the lease they came from.
    #[expect(clippy::missing_panics_doc, reason = "cannot happen")]
    pub fn commit(mut self) -> LeaseView {
        self.spend().expect("nobody settled it before")
    }

    /// Spends the tokens for good where the hold lies, to save its move, and says what is left in
    /// the lease they came from; `None` if the hold was settled before.
    #[inline]
    pub(crate) fn spend(&mut self) -> Option<LeaseView> {
        self.hold.take().map(|hold| hold.left)
    }

    /// Puts the tokens back and says whether it did: it does not if the lease record they came
    /// from is gone, because the store charges them with it.
    pub fn refund(mut self) -> bool {
        self.put_back()
    }

    fn put_back(&mut self) -> bool {
        let hold = self.hold.take();
        hold.is_some_and(|hold| self.entry.lease.refund(hold))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.put_back();
        self.entry.lease.holds.end(self.cost);
    }
}
