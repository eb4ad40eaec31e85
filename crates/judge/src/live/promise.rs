//! Whether one limit was kept, for all its keys.
//!
//! # Overshoot
//!
//! A limit promises for every window `[s, t]` that no more than `burst + rate * (t - s)` tokens are
//! admitted in it. The overshoot is what exceeds that bound in the worst window. For one rate and
//! burst it is the peak of a [`VirtualQueue`] per key above the burst.
//!
//! # When the limit changes
//!
//! A window is judged by the largest rate and the largest burst that were in force at any instant
//! of it. So a window that begins or ends after a cut is judged by the new numbers alone, and a
//! window that spans a change never gets a second burst.
//!
//! The rates and bursts that windows of a run can meet are known beforehand: for each stretch of
//! consecutive limits, the largest rate and the largest burst of the stretch. Each such pair is a
//! [`Bound`] with queues of its own, which run while no limit above the pair is in force and start
//! empty when such a limit ends. Every window is thus judged by the pair that is its own, and by
//! larger pairs, which find less. The overshoot is the most that any pair finds. It is exact.
//!
//! The ideal carries over what is in use, and so has no second burst either.

use std::cmp::Ordering;

use serde::Serialize;

use crate::level::VirtualQueue;
use crate::limit::{ExactTokens, JudgedLimit};
use crate::tally::Volumes;

/// Findings about one limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LimitFindings {
    /// Counts of the requests under it, after the warm-up, in its own tokens.
    pub volumes: Volumes,
    /// Tokens admitted beyond `burst + rate * (t - s)` in the worst window of the worst key, whole
    /// run. Only what a caller was told counts as admitted, at the instant at which its tokens were
    /// taken.
    ///
    /// Beyond the burst alone: a configured overshoot budget is not subtracted. A limiter with a
    /// budget keeps its promise if this is at most the budget.
    pub overshoot: ExactTokens,
    /// The key and window with that overshoot; `None` if there was no overshoot.
    pub worst: Option<WorstWindow>,
    /// How many admissions there were, whole run.
    pub takes: u64,
    /// How many admissions ended a window that exceeds the limit.
    pub takes_above_burst: u64,
    /// The most tokens of one key in one second, by the measure of what the limit allows then.
    pub peak_second: PeakSecond,
}

impl LimitFindings {
    /// Admissions that exceeded the limit, as a share of all admissions; `None` if there was none.
    /// It tells one short excess from a steady one, which may have the same overshoot.
    pub fn share_above_burst(&self) -> Option<f64> {
        crate::tally::share(self.takes_above_burst, self.takes)
    }
}

/// A key, and a stretch of time with both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WorstWindow {
    /// Which key of the limit.
    pub key: u32,
    /// An admission with nothing in use before.
    pub start_ns: u64,
    /// The admission with the most in use after.
    pub end_ns: u64,
}

/// The fullest second of those that begin on a whole millisecond and in which the limit does not
/// change. One that begins between two milliseconds may hold a little more; what no window escapes
/// is the overshoot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PeakSecond {
    /// Tokens taken in it.
    pub tokens: u64,
    /// The tokens over burst and a second's tokens together; 0 if nothing was taken.
    pub ratio: f64,
    /// Which key.
    pub key: u32,
    /// The take that completed it.
    pub at_ns: u64,
}

/// One limit, and what was found of it so far.
#[derive(Debug)]
pub(super) struct Promise {
    /// Its numbers in the order in which they come into force.
    numbers: Vec<JudgedLimit>,
    /// Which of the numbers are in force.
    current: usize,
    bounds: Vec<Bound>,
    /// Tokens taken of each key in the last second; see [`sliding`](super::sliding).
    in_second: Vec<u64>,
    takes: u64,
    takes_above_burst: u64,
    peak: Peak,
    peak_second: PeakSecond,
}

/// A rate and a burst by which windows are judged.
#[derive(Debug)]
struct Bound {
    limit: JudgedLimit,
    /// Whether the limit in force is within the bound.
    applies: bool,
    /// By key.
    queues: Vec<VirtualQueue>,
    /// The most that was found, in units of the limit, and where.
    worst: Option<(u128, WorstWindow)>,
}

/// The fullest second under the numbers in force.
#[derive(Debug, Default)]
struct Peak {
    tokens: u64,
    key: u32,
    at_ns: u64,
}

impl Promise {
    /// A limit of so many keys, whose numbers come into force one after the other.
    pub(super) fn new(numbers: Vec<JudgedLimit>, keys: u32) -> Self {
        let keys = keys as usize;
        let bounds = bounds(&numbers).into_iter().map(|limit| Bound {
            limit,
            applies: limit.covers(numbers[0]),
            queues: vec![VirtualQueue::default(); keys],
            worst: None,
        });
        Self {
            bounds: bounds.collect(),
            numbers,
            current: 0,
            in_second: vec![0; keys],
            takes: 0,
            takes_above_burst: 0,
            peak: Peak::default(),
            peak_second: PeakSecond::default(),
        }
    }

    /// Tokens taken in the last second of a key.
    pub(super) fn in_second(&mut self, key: u32) -> &mut u64 {
        &mut self.in_second[key as usize]
    }

    /// Tokens of this key are taken; those of the last second are counted already.
    pub(super) fn admit(&mut self, now_ns: u64, key: u32, cost: u32) {
        self.takes += 1;
        let in_second = self.in_second[key as usize];
        if in_second > self.peak.tokens {
            self.peak = Peak {
                tokens: in_second,
                key,
                at_ns: now_ns,
            };
        }
        let mut exceeds = false;
        for bound in self.bounds.iter_mut().filter(|bound| bound.applies) {
            exceeds |= bound.admit(now_ns, key, cost);
        }
        self.takes_above_burst += u64::from(exceeds);
    }

    /// The next numbers come into force.
    pub(super) fn change(&mut self) {
        self.end_peak();
        self.in_second.fill(0);
        self.current += 1;
        let limit = self.numbers[self.current];
        for bound in &mut self.bounds {
            let applied = std::mem::replace(&mut bound.applies, bound.limit.covers(limit));
            if bound.applies && !applied {
                bound.queues.fill(VirtualQueue::default());
            }
        }
    }

    pub(super) fn finish(mut self, volumes: Volumes) -> LimitFindings {
        self.end_peak();
        let mut overshoot = ExactTokens::zero(self.numbers[0]);
        let mut worst = None;
        for bound in &self.bounds {
            if let Some((units, window)) = bound.worst
                && ExactTokens::of(units, bound.limit) > overshoot
            {
                overshoot = ExactTokens::of(units, bound.limit);
                worst = Some(window);
            }
        }
        LimitFindings {
            volumes,
            overshoot,
            worst,
            takes: self.takes,
            takes_above_burst: self.takes_above_burst,
            peak_second: self.peak_second,
        }
    }

    fn end_peak(&mut self) {
        let Peak { tokens, key, at_ns } = std::mem::take(&mut self.peak);
        let ratio = second_ratio(tokens, self.numbers[self.current]);
        if ratio > self.peak_second.ratio {
            self.peak_second = PeakSecond {
                tokens,
                ratio,
                key,
                at_ns,
            };
        }
    }
}

impl Bound {
    /// Admits tokens of a key, and says whether a window that ends now exceeds the bound.
    fn admit(&mut self, now_ns: u64, key: u32, cost: u32) -> bool {
        let queue = &mut self.queues[key as usize];
        let beyond = queue.admit(now_ns, cost, self.limit);
        if beyond.units > self.worst.map_or(0, |(worst, _)| worst) {
            let window = WorstWindow {
                key,
                start_ns: queue.risen_since_ns(),
                end_ns: now_ns,
            };
            self.worst = Some((beyond.units, window));
        }
        !beyond.is_zero()
    }
}

/// The rates and bursts that a window can meet, each once: those of all stretches of consecutive
/// limits.
fn bounds(numbers: &[JudgedLimit]) -> Vec<JudgedLimit> {
    let mut bounds: Vec<JudgedLimit> = Vec::new();
    for first in 0..numbers.len() {
        let mut largest = numbers[first];
        for next in &numbers[first..] {
            largest = largest.or_larger(*next);
            let is_known = |known: &JudgedLimit| {
                known.burst == largest.burst && known.compare_rates(largest) == Ordering::Equal
            };
            if !bounds.iter().any(is_known) {
                bounds.push(largest);
            }
        }
    }
    bounds
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
