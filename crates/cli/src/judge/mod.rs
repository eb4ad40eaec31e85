//! The judge: what a limiter did, measured from outside.
//!
//! It sees only what the clients saw, [`Record`]s of requests between two clock readings, and the
//! limit that was promised. It shares no code with the limiter, not even the arithmetic: a mistake
//! there must not excuse itself here.
//!
//! - [`virtual_queue`]: the overshoot, tokens admitted beyond the limit in the worst window.
//! - [`mod@ideal`]: the ideal bucket on the same requests, utilisation and false denials.
//! - [`record`]: the records and their two file formats.
//!
//! # Arithmetic
//!
//! Exact, in integers. With a rate of `tokens` per `per_ns`, one token weighs `per_ns` units and a
//! nanosecond drains `tokens` units; nothing is ever divided until a result is shown. Numbers of
//! limits are at most 2^60, times below 2^64 and records below 2^32 of a cost below 2^32, so each
//! product is below 2^124 and no sum of the few here reaches 2^128.

pub(crate) mod ideal;
pub(crate) mod record;
pub(crate) mod virtual_queue;

use std::cmp::Ordering;

use thiserror::Error;

use self::ideal::{false_denials, ideal, utilisation};
use self::record::Record;
use self::virtual_queue::{Window, worst_overshoot};

/// What there is to say about a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    /// All requests.
    pub(crate) offered: Tally,
    /// Those the limiter admitted.
    pub(crate) admitted: Tally,
    /// Those it denied.
    pub(crate) denied: Tally,
    /// Those the ideal bucket admits.
    pub(crate) ideal_admitted: Tally,
    /// Tokens admitted over tokens the ideal bucket admits; `None` if that admits none.
    pub(crate) utilisation: Option<f64>,
    /// Tokens admitted beyond `burst + rate * (t - s)` in the worst window of the worst key.
    ///
    /// Beyond the burst alone: a configured overshoot budget is not subtracted. A limiter with a
    /// budget keeps its promise if this is at most the budget.
    pub(crate) overshoot: ExactTokens,
    /// The key with that overshoot; `None` if there was no overshoot.
    pub(crate) worst_key: Option<u32>,
    /// The window with that overshoot; `None` if there was no overshoot.
    pub(crate) worst_window: Option<Window>,
    /// Requests denied although nothing was scarce on their key; see [`ideal`](mod@ideal).
    pub(crate) false_denials: u64,
}

impl Judgement {
    /// Judges the requests of all replicas, in any order. Each key has the same limit.
    ///
    /// # Panics
    ///
    /// If an admitted record ends before it starts; those that were read do not.
    pub(crate) fn of(records: &[Record], limit: JudgedLimit) -> Self {
        let arrivals = Arrivals::new(records);
        let ideal = ideal(&arrivals, limit);
        let worst = worst_overshoot(&arrivals, limit);
        let exceeded = worst.filter(|(_, overshoot)| !overshoot.tokens.is_zero());
        let admitted = Tally::of(records.iter().filter(|record| record.admitted));
        Self {
            offered: Tally::of(records),
            admitted,
            denied: Tally::of(records.iter().filter(|record| !record.admitted)),
            ideal_admitted: ideal.admitted,
            utilisation: utilisation(&admitted, &ideal),
            overshoot: exceeded.map_or(ExactTokens::zero(limit), |(_, overshoot)| overshoot.tokens),
            worst_key: exceeded.map(|(key, _)| key),
            worst_window: exceeded.and_then(|(_, overshoot)| overshoot.window),
            false_denials: false_denials(&arrivals, &ideal),
        }
    }
}

/// The limit that was promised for each key: `tokens` per `per_ns`, and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JudgedLimit {
    tokens: u64,
    per_ns: u64,
    burst: u64,
}

impl JudgedLimit {
    /// A rate of `tokens` per `per_ns` nanoseconds, with a burst of `burst` tokens.
    ///
    /// # Errors
    ///
    /// [`LimitError`] if `per_ns` is 0 or a number is above 2^60.
    pub(crate) fn new(tokens: u64, per_ns: u64, burst: u64) -> Result<Self, LimitError> {
        if per_ns == 0 {
            return Err(LimitError::NoTime);
        }
        for (what, number) in [("tokens", tokens), ("per_ns", per_ns), ("burst", burst)] {
            if number > LIMIT_MOST {
                return Err(LimitError::TooLarge { what, number });
            }
        }
        Ok(Self {
            tokens,
            per_ns,
            burst,
        })
    }

    /// Units that so many tokens weigh.
    fn weight(self, tokens: u64) -> u128 {
        u128::from(tokens) * u128::from(self.per_ns)
    }

    /// Units that the burst weighs.
    fn burst_weight(self) -> u128 {
        self.weight(self.burst)
    }

    /// Units that drain in so much time.
    fn drained_in(self, elapsed_ns: u64) -> u128 {
        u128::from(elapsed_ns) * u128::from(self.tokens)
    }
}

/// Why a limit cannot be judged.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum LimitError {
    /// The rate divides by zero.
    #[error("a rate needs a time: per_ns is 0")]
    NoTime,
    /// The arithmetic would overflow.
    #[error("{what} is {number}, above 2^60")]
    TooLarge { what: &'static str, number: u64 },
}

/// A number of tokens, exact to the smallest fraction. Those of one limit compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExactTokens {
    /// In units of the limit, `per_ns` of which are a token.
    units: u128,
    per_ns: u64,
}

impl ExactTokens {
    fn of(units: u128, limit: JudgedLimit) -> Self {
        Self {
            units,
            per_ns: limit.per_ns,
        }
    }

    fn zero(limit: JudgedLimit) -> Self {
        Self::of(0, limit)
    }

    /// Whether it is none at all, not the smallest fraction.
    pub(crate) fn is_zero(self) -> bool {
        self.units == 0
    }

    /// Whole tokens, rounded up: a limiter is never flattered.
    pub(crate) fn rounded_up(self) -> u64 {
        let tokens = self.units.div_ceil(self.per_ns.into());
        tokens
            .try_into()
            .expect("an overshoot is no more than was admitted")
    }

    /// For display.
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    pub(crate) fn as_f64(self) -> f64 {
        self.units as f64 / self.per_ns as f64
    }
}

impl PartialOrd for ExactTokens {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.per_ns == other.per_ns).then(|| self.units.cmp(&other.units))
    }
}

/// How many requests, and the tokens they needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Requests.
    pub(crate) requests: u64,
    /// Tokens, their costs summed.
    pub(crate) tokens: u64,
}

impl Tally {
    fn of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut tally = Self::default();
        records.into_iter().for_each(|record| tally.add(record));
        tally
    }

    fn add(&mut self, record: &Record) {
        self.requests += 1;
        self.tokens += u64::from(record.cost);
    }
}

/// Records grouped by key; those of one key in order of their starts, ties in their own order.
pub(crate) struct Arrivals<'a> {
    records: &'a [Record],
    /// Indices into `records`.
    order: Vec<usize>,
}

impl<'a> Arrivals<'a> {
    /// Sorts, once for all measures.
    pub(crate) fn new(records: &'a [Record]) -> Self {
        let mut order: Vec<usize> = (0..records.len()).collect();
        order.sort_by_key(|&index| (records[index].key, records[index].start_ns));
        Self { records, order }
    }

    /// The indices of each key's records.
    fn groups(&self) -> impl Iterator<Item = &[usize]> {
        let key = |&index: &usize| self.records[index].key;
        self.order
            .chunk_by(move |left, right| key(left) == key(right))
    }

    /// Each key, ascending, and its records.
    fn by_key(&self) -> impl Iterator<Item = (u32, impl Iterator<Item = &'a Record>)> {
        self.groups().map(|group| {
            let key = self.records[group[0]].key;
            (key, group.iter().map(|&index| &self.records[index]))
        })
    }
}

/// Keeps the arithmetic below 128 bits. As nanoseconds, 36 years.
const LIMIT_MOST: u64 = 1 << 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(start_ns: u64, key: u32, cost: u32, admitted: bool) -> Record {
        Record {
            start_ns,
            end_ns: start_ns + 5,
            replica: 0,
            key,
            cost,
            admitted,
        }
    }

    #[test]
    fn a_run_is_judged_on_both_sides() {
        let limit = JudgedLimit::new(1, SECOND, 3).unwrap();
        let records = [
            // One token too many at once, and nothing left for the last.
            request(0, 7, 2, true),
            request(0, 7, 2, true),
            request(0, 7, 1, false),
            // Denied although the bucket is full.
            request(0, 8, 1, true),
            request(9 * SECOND, 8, 1, false),
        ];
        let judgement = Judgement::of(&records, limit);
        assert_eq!(
            judgement.offered,
            Tally {
                requests: 5,
                tokens: 7
            }
        );
        assert_eq!(
            judgement.admitted,
            Tally {
                requests: 3,
                tokens: 5
            }
        );
        assert_eq!(
            judgement.denied,
            Tally {
                requests: 2,
                tokens: 2
            }
        );
        // The ideal denies the second request and allows the third.
        assert_eq!(
            judgement.ideal_admitted,
            Tally {
                requests: 4,
                tokens: 5
            }
        );
        assert_eq!(judgement.utilisation, Some(1.0));
        assert_eq!(judgement.overshoot.rounded_up(), 1);
        assert_eq!(judgement.worst_key, Some(7));
        let window = Window {
            start_ns: 0,
            end_ns: 5,
            admitted: 4,
        };
        assert_eq!(judgement.worst_window, Some(window));
        assert_eq!(judgement.false_denials, 1);
    }

    #[test]
    fn an_ideal_run_has_nothing_against_it() {
        let limit = JudgedLimit::new(3, 7, 5).unwrap();
        let mut records: Vec<Record> = (0..1000)
            .map(|n| request(n, u32::try_from(n % 3).unwrap(), 1, false))
            .collect();
        let answers = ideal(&Arrivals::new(&records), limit).allowed;
        for (record, allowed) in records.iter_mut().zip(answers) {
            record.admitted = allowed;
        }
        let judgement = Judgement::of(&records, limit);
        assert_eq!(judgement.utilisation, Some(1.0));
        assert!(judgement.overshoot.is_zero());
        assert_eq!((judgement.worst_key, judgement.worst_window), (None, None));
        assert_eq!(judgement.false_denials, 0);
    }

    #[test]
    fn an_empty_run_has_no_utilisation() {
        let judgement = Judgement::of(&[], JudgedLimit::new(1, 1, 1).unwrap());
        assert_eq!(judgement.utilisation, None);
        assert_eq!(judgement.overshoot.rounded_up(), 0);
    }

    #[test]
    fn keys_keep_the_order_of_their_records() {
        let records = [
            request(5, 1, 1, true),
            request(3, 0, 1, true),
            request(5, 1, 2, true),
            request(4, 1, 1, true),
        ];
        let arrivals = Arrivals::new(&records);
        let groups: Vec<_> = arrivals.groups().collect();
        assert_eq!(groups, [&[1][..], &[3, 0, 2]]);
    }

    #[test]
    fn limits_that_cannot_be_judged_are_refused() {
        assert_eq!(JudgedLimit::new(1, 0, 1), Err(LimitError::NoTime));
        let error = JudgedLimit::new(1, 1, LIMIT_MOST + 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "burst is 1152921504606846977, above 2^60"
        );
        assert!(
            JudgedLimit::new(0, 1, 0).is_ok(),
            "a limit of nothing is a limit"
        );
    }

    const SECOND: u64 = 1_000_000_000;
}
