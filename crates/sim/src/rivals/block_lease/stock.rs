//! A replica's tokens of one key, and the requests that wait for more.

use std::collections::VecDeque;

use leasehold_core::Instant;

use crate::model::{Demand, Ticket};
use crate::rivals::few::Few;

/// Tokens of one key at one replica.
#[derive(Debug)]
pub(super) struct Stock {
    pub(super) tokens: u64,
    /// When they are dropped.
    pub(super) expires: Instant,
    /// Whether the store is being asked for more.
    pub(super) asked: bool,
    /// When the store may next be asked, after it denied.
    pub(super) ask_from: Instant,
    /// The requests that wait for the answer, in order.
    pub(super) waiters: VecDeque<Waiter>,
}

/// A request whose tokens are not there.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) deadline: Instant,
    pub(super) demands: Few<Demand>,
}

impl Default for Stock {
    fn default() -> Self {
        Self {
            tokens: 0,
            expires: Instant::FAR_FUTURE,
            asked: false,
            ask_from: Instant::ORIGIN,
            waiters: VecDeque::new(),
        }
    }
}

impl Stock {
    /// Whether it still says more than a blank one.
    pub(super) fn matters(&self, now: Instant) -> bool {
        self.tokens > 0 || self.asked || now < self.ask_from
    }
}
