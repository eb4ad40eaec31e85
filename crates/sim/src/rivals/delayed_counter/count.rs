//! Counts of one key at a replica: the fleet's total as last heard, and its own spending since.
//!
//! # Invariant
//!
//! `pushed <= own`: what is under way is not yet in `known`. `late` was spent in the window before
//! this one and has not been pushed.

use leasehold_core::Instant;

use super::{Counting, Lost, Push, Total};
use crate::rivals::meter::Refusal;
use crate::rivals::quota::{Counts, Quota};
use crate::rivals::table::Slot;

/// One key at one replica.
#[derive(Clone, Debug)]
pub(super) struct Count {
    /// Which window, as the store counts them; `None` until the store has spoken.
    index: Option<u64>,
    /// When it is over, on the replica's clock.
    ends: Instant,
    /// Tokens spent in the window by everyone, as last heard.
    known: u64,
    /// The total of the window before.
    previous: u64,
    /// Tokens spent here in the window that `known` does not count.
    own: u64,
    /// How many of these are under way.
    pushed: u64,
    late: u64,
    /// Whether it is on the list of keys to push.
    touched: bool,
    under_way: bool,
}

impl Count {
    /// The count of a key that was never heard of: a window begins now, and nothing is spent.
    pub(super) fn blank(quota: Quota, now: Instant) -> Self {
        Self {
            index: None,
            ends: later(now, quota.window_us),
            known: 0,
            previous: 0,
            own: 0,
            pushed: 0,
            late: 0,
            touched: false,
            under_way: false,
        }
    }

    /// Moves on to the window of `now`.
    pub(super) fn settle(&mut self, quota: Quota, now: Instant) {
        if now < self.ends {
            return;
        }
        let window_ns = quota.window_us.saturating_mul(1000);
        let windows = (now.as_nanos() - self.ends.as_nanos()) / window_ns + 1;
        let spent = self.known + self.own;
        self.leave(windows);
        self.previous = if windows == 1 { spent } else { 0 };
        self.known = 0;
        self.index = self.index.map(|index| index + windows);
        self.ends = later(self.ends, windows.saturating_mul(quota.window_us));
    }

    /// The window is over by so many windows: what was spent in it and not pushed is late, or lost.
    fn leave(&mut self, windows: u64) {
        let unpushed = self.own - self.pushed;
        let counts = windows == 1 && self.index.is_some();
        self.late = if counts { unpushed } else { 0 };
        self.own = 0;
        self.pushed = 0;
    }

    /// Whether `cost` more tokens fit at `now`, as far as is known here.
    pub(super) fn room(
        &self,
        cost: u64,
        quota: Quota,
        counting: Counting,
        now: Instant,
    ) -> Result<(), Refusal> {
        if cost > quota.tokens {
            return Err(Refusal::NEVER);
        }
        let left = self.ends.as_nanos() - now.as_nanos();
        let left_us = left.div_ceil(1000).min(quota.window_us);
        let spent = self.known + self.own;
        match counting {
            Counting::FixedWindow if spent <= quota.tokens - cost => Ok(()),
            Counting::FixedWindow => Err(Refusal::after_us(left_us)),
            Counting::SlidingWindowCounter => self.slide(cost, quota, left_us),
        }
    }

    /// The count by a window that ends now, with `left_us` of the store's window to come.
    fn slide(&self, cost: u64, quota: Quota, left_us: u64) -> Result<(), Refusal> {
        let counts = Counts {
            index: 0,
            current: self.known + self.own,
            previous: self.previous,
        };
        if counts.fits(cost, quota, left_us) {
            return Ok(());
        }
        let here = Counts::fits_from_us(counts.previous, counts.current, cost, quota);
        let wait = if let Some(from) = here {
            (left_us + from).saturating_sub(quota.window_us)
        } else {
            let next = Counts::fits_from_us(counts.current, 0, cost, quota);
            left_us + next.unwrap_or(quota.window_us)
        };
        Err(Refusal::after_us(wait))
    }

    pub(super) fn spend(&mut self, cost: u64) {
        self.own += cost;
    }

    /// Marks it as one to push; whether it was not so before.
    pub(super) fn touch(&mut self) -> bool {
        !std::mem::replace(&mut self.touched, true)
    }

    pub(super) fn is_unpushed(&self) -> bool {
        self.own > self.pushed || self.late > 0
    }

    /// Puts what was spent and not pushed on its way.
    pub(super) fn push(&mut self, slot: Slot, pushes: &mut Vec<Push>) {
        assert_eq!(self.pushed, 0, "only one message is under way");
        self.touched = false;
        let late = Push {
            slot,
            index: self.index.and_then(|index| index.checked_sub(1)),
            delta: std::mem::take(&mut self.late),
        };
        let current = Push {
            slot,
            index: self.index,
            delta: self.own,
        };
        self.pushed = self.own;
        let due = [late, current].into_iter().filter(|push| push.delta > 0);
        let before = pushes.len();
        pushes.extend(due);
        self.under_way = pushes.len() > before;
    }

    /// The store has answered `push`.
    pub(super) fn learn(&mut self, push: &Push, total: &Total, now: Instant) {
        self.under_way = false;
        if push.index == self.index {
            self.own -= self.pushed;
            self.pushed = 0;
        }
        let Counts {
            index,
            current,
            previous,
        } = total.counts;
        let here = self.index.unwrap_or(index);
        if index < here {
            // It speaks of a window that is over here.
            if index + 1 == here {
                self.previous = current + self.late;
            }
            return;
        }
        if index > here {
            self.leave(index - here);
        }
        self.index = Some(index);
        self.ends = later(now, total.left_us.max(1));
        self.known = current;
        self.previous = previous + self.late;
    }

    /// `push` may or may not have arrived.
    pub(super) fn lose(&mut self, push: &Push, lost: Lost) {
        self.under_way = false;
        if push.index == self.index {
            self.pushed = 0;
            if lost == Lost::Drop {
                // It still counts here, until the store next speaks.
                self.known += push.delta;
                self.own -= push.delta;
            }
        } else if lost == Lost::Resend && push.index.map(|index| index + 1) == self.index {
            self.late += push.delta;
        }
    }

    /// Whether it still says more than a blank one, or somebody will come back to it.
    pub(super) fn matters(&self, quota: Quota, now: Instant) -> bool {
        self.touched || self.under_way || now < later(self.ends, quota.window_us)
    }
}

fn later(at: Instant, micros: u64) -> Instant {
    Instant::from_nanos(at.as_nanos().saturating_add(micros.saturating_mul(1000)))
}
