//! Whether one limit was kept, for all its keys.
//!
//! # Overshoot
//!
//! A limit promises for every window `[s, t]` that no more than `burst + rate * (t - s)` tokens are
//! taken in it. The overshoot is what exceeds that in the worst window. It is the highest level above
//! the burst of a queue per key, the *virtual queue*, to which each take adds its tokens and which
//! drains at the rate: one pass finds the worst of all windows.
//!
//! # When the limit changes
//!
//! The time between two changes is an epoch, and each has a queue of its own, which starts empty: a
//! window that lies within an epoch is judged by the numbers of that epoch. A window that spans a
//! change is the windows of its epochs put together, and so is its bound: the bursts of all, the
//! rates each for its time, and the overshoots. There is no sharper bound that a right limiter could
//! keep, for tokens leased under the old numbers are spent under the new. The ideal carries over
//! what is in use, and so has no second burst.

use std::ops::Range;

use serde::Serialize;

use super::key::Key;
use super::limit::{ExactTokens, JudgedLimit};
use super::tally::Volumes;

/// What there is to say about one limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LimitFindings {
    /// What became of the requests under it, after the warm-up, in its own tokens.
    pub volumes: Volumes,
    /// Tokens taken beyond `burst + rate * (t - s)` in the worst window of the worst key, whole run.
    ///
    /// Beyond the burst alone: a configured overshoot budget is not subtracted. A limiter with a
    /// budget keeps its promise if this is at most the budget.
    pub overshoot: ExactTokens,
    /// The key and window with that overshoot; `None` if there was no overshoot.
    pub worst: Option<WorstWindow>,
    /// How often tokens were taken, whole run.
    pub takes: u64,
    /// After how many of those the queue of the key stood above the burst.
    pub takes_above_burst: u64,
    /// The most tokens of one key in one second, by the measure of what the limit allows then.
    pub peak_second: PeakSecond,
}

impl LimitFindings {
    /// Takes that exceeded the limit, as a share of all takes; `None` if there was none. It tells one
    /// short excess from a steady one, which may have the same overshoot.
    pub fn share_above_burst(&self) -> Option<f64> {
        super::tally::share(self.takes_above_burst, self.takes)
    }
}

/// A key, and a stretch of time with both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WorstWindow {
    /// Which key of the limit.
    pub key: u32,
    /// A take with nothing in use before.
    pub start_ns: u64,
    /// The take with the most in use after.
    pub end_ns: u64,
}

/// The fullest second of those that begin on a whole millisecond. One that begins between two may
/// hold a little more; what no window escapes is the overshoot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PeakSecond {
    /// Tokens taken in it.
    pub tokens: u64,
    /// The same over burst and a second's tokens together; 0 if nothing was taken.
    pub ratio: f64,
    /// Which key.
    pub key: u32,
    /// The take that completed it.
    pub at_ns: u64,
}

/// One limit and what was found of it so far.
#[derive(Debug)]
pub(super) struct Promise {
    /// Its numbers in this epoch.
    pub(super) limit: JudgedLimit,
    /// What became of the requests after the warm-up.
    pub(super) volumes: Volumes,
    /// Which places its keys have among those of all limits.
    slots: Range<u32>,
    takes: u64,
    takes_above_burst: u64,
    /// Of this epoch.
    epoch: Epoch,
    /// Of the epochs before.
    overshoot: ExactTokens,
    worst: Option<WorstWindow>,
    peak_second: PeakSecond,
}

/// What was found of one epoch.
#[derive(Debug, Default)]
struct Epoch {
    overshoot: Option<(ExactTokens, WorstWindow)>,
    peak_tokens: u64,
    peak_key: u32,
    peak_at_ns: u64,
}

impl Promise {
    pub(super) fn new(limit: JudgedLimit, slots: Range<u32>) -> Self {
        Self {
            limit,
            volumes: Volumes::default(),
            slots,
            takes: 0,
            takes_above_burst: 0,
            epoch: Epoch::default(),
            overshoot: ExactTokens::zero(limit),
            worst: None,
            peak_second: PeakSecond::default(),
        }
    }

    /// Which place a key of it has among those of all limits.
    pub(super) fn slot(&self, key: u32) -> u32 {
        let slot = self.slots.start + key;
        assert!(slot < self.slots.end, "the limit has no key {key}");
        slot
    }

    /// The places of all its keys.
    pub(super) fn slots(&self) -> &Range<u32> {
        &self.slots
    }

    /// Tokens were just taken of this key.
    pub(super) fn judge(&mut self, now_ns: u64, number: u32, key: &Key) {
        self.takes += 1;
        if key.in_second > self.epoch.peak_tokens {
            self.epoch.peak_tokens = key.in_second;
            self.epoch.peak_key = number;
            self.epoch.peak_at_ns = now_ns;
        }
        let beyond = key.queue.beyond_burst(self.limit);
        if !beyond.is_zero() {
            self.exceeded(now_ns, number, beyond, key.risen_since_ns);
        }
    }

    /// Other numbers hold from now on.
    pub(super) fn change(&mut self, new: JudgedLimit) {
        self.end_epoch();
        self.limit = new;
    }

    pub(super) fn finish(mut self) -> LimitFindings {
        self.end_epoch();
        LimitFindings {
            volumes: self.volumes,
            overshoot: self.overshoot,
            worst: self.worst,
            takes: self.takes,
            takes_above_burst: self.takes_above_burst,
            peak_second: self.peak_second,
        }
    }

    #[cold]
    fn exceeded(&mut self, now_ns: u64, number: u32, beyond: ExactTokens, since_ns: u64) {
        self.takes_above_burst += 1;
        // Within an epoch all weigh the same.
        let worst = self.epoch.overshoot.map_or(0, |(worst, _)| worst.units);
        if beyond.units > worst {
            let window = WorstWindow {
                key: number,
                start_ns: since_ns,
                end_ns: now_ns,
            };
            self.epoch.overshoot = Some((beyond, window));
        }
    }

    fn end_epoch(&mut self) {
        let epoch = std::mem::take(&mut self.epoch);
        if let Some((overshoot, window)) = epoch.overshoot
            && overshoot > self.overshoot
        {
            self.overshoot = overshoot;
            self.worst = Some(window);
        }
        let ratio = second_ratio(epoch.peak_tokens, self.limit);
        if ratio > self.peak_second.ratio {
            self.peak_second = PeakSecond {
                tokens: epoch.peak_tokens,
                ratio,
                key: epoch.peak_key,
                at_ns: epoch.peak_at_ns,
            };
        }
    }
}

/// Tokens of a second over burst and rate; infinite if the limit allows nothing and was broken.
#[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
fn second_ratio(tokens: u64, limit: JudgedLimit) -> f64 {
    if tokens == 0 {
        return 0.0;
    }
    let allowed = limit.burst_weight() + limit.drained_in(SECOND_NS);
    limit.weight(tokens) as f64 / allowed as f64
}

const SECOND_NS: u64 = 1_000_000_000;
