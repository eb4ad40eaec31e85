//! State of one key in the judge.
//!
//! # Invariant
//!
//! Half a cache line, because there may be a hundred thousand keys and each request touches its
//! own.

use super::contention::NO_EPISODE;
use crate::level::Level;
use crate::limit::JudgedLimit;

/// One key of one limit.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
pub(super) struct Key {
    /// The level of the ideal bucket.
    pub(super) ideal: Level,
    /// To when it is drained.
    drained_to_ns: u64,
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
            drained_to_ns: 0,
            episode: NO_EPISODE,
            is_known: false,
        }
    }

    /// Lets time pass.
    pub(super) fn drain(&mut self, now_ns: u64, limit: JudgedLimit) {
        let elapsed_ns = now_ns - self.drained_to_ns;
        if elapsed_ns > 0 {
            self.ideal.drain(elapsed_ns, limit);
            self.drained_to_ns = now_ns;
        }
    }

    /// The limit gets other numbers, at the instant the key is drained to: the ideal keeps what it
    /// has spent.
    pub(super) fn change(&mut self, old: JudgedLimit, new: JudgedLimit) {
        self.ideal = self.ideal.reweighed(old, new);
    }
}

const _: () = assert!(size_of::<Key>() == 32, "a key is half a cache line");
