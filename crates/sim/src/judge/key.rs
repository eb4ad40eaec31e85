//! What the judge keeps of one key.
//!
//! # Invariant
//!
//! One cache line, for there may be a hundred thousand keys and each request touches its own. Both
//! levels are drained to the same instant.

use super::contention::NO_EPISODE;
use super::level::Level;
use super::limit::JudgedLimit;

/// One key of one limit.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Key {
    /// What the ideal bucket has spent.
    pub(super) ideal: Level,
    /// What was really taken, under this epoch of the limit.
    pub(super) queue: Level,
    /// To when both are drained.
    drained_to_ns: u64,
    /// When the queue was empty last: the worst window that ends now starts here.
    pub(super) risen_since_ns: u64,
    /// Tokens taken in the last second; see [`sliding`](super::sliding).
    pub(super) in_second: u64,
    /// The latest episode of contention; see [`contention`](super::contention).
    pub(super) episode: u32,
    /// Whether any request has come for it.
    pub(super) is_known: bool,
}

impl Key {
    /// A key that nobody has asked about yet: its bucket is full.
    pub(super) fn new() -> Self {
        Self {
            ideal: Level::default(),
            queue: Level::default(),
            drained_to_ns: 0,
            risen_since_ns: 0,
            in_second: 0,
            episode: NO_EPISODE,
            is_known: false,
        }
    }

    /// Lets time pass for both levels.
    pub(super) fn drain(&mut self, now_ns: u64, limit: JudgedLimit) {
        let elapsed_ns = now_ns - self.drained_to_ns;
        if elapsed_ns > 0 {
            self.ideal.drain(elapsed_ns, limit);
            self.queue.drain(elapsed_ns, limit);
            self.drained_to_ns = now_ns;
        }
    }

    /// Tokens are taken, at the instant it is drained to.
    pub(super) fn take(&mut self, tokens: u64, limit: JudgedLimit) {
        if self.queue.is_empty() {
            self.risen_since_ns = self.drained_to_ns;
        }
        self.queue.add(tokens, limit);
    }

    /// The limit gets other numbers, at the instant the key is drained to: the ideal keeps what it
    /// has spent, the queue starts anew.
    pub(super) fn change(&mut self, old: JudgedLimit, new: JudgedLimit) {
        self.ideal = self.ideal.reweighed(old, new);
        self.queue = Level::default();
        self.in_second = 0;
    }
}

const _: () = assert!(size_of::<Key>() == 64, "a key is one cache line");
