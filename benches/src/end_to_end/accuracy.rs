//! How exact a limiter was, by judges that share no code with any limiter.
//!
//! *Overshoot* is what was admitted beyond `burst + rate * w` in the worst window, for all
//! contenders alike, by the command line's judge: each admission has the benefit of the doubt
//! between two readings of the clock.
//!
//! *Used* is what was admitted of what an ideal limiter of the contender's own kind admits of the
//! same arrivals: a token bucket, or a window that slides and admits a window's worth in any
//! stretch of its length. A window limiter is so not blamed for the burst that a bucket has and it
//! has not.

use std::collections::VecDeque;

use super::contenders::Nominal;
use super::failure::Failure;
use leasehold_judge::record::Record;
use leasehold_judge::{JudgedLimit, Judgement, LimitError};

/// The judgement.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Accuracy {
    /// Tokens that were asked for.
    pub(super) offered: u64,
    /// Tokens that were admitted.
    pub(super) admitted: u64,
    /// Tokens that the ideal limiter of this kind admits.
    pub(super) ideal: u64,
    /// Tokens beyond the limit in the worst window, rounded up.
    pub(super) overshoot: u64,
}

impl Accuracy {
    /// Judges records of one key, one request each.
    pub(super) fn of(
        records: &[Record],
        limit: Nominal,
        window_s: Option<u32>,
    ) -> Result<Self, Failure> {
        let judged = judged(limit).map_err(Failure::of)?;
        let judgement = Judgement::of(records, judged);
        let ideal = match window_s {
            None => judgement.ideal_admitted.tokens,
            Some(window_s) => sliding_window(records, limit, window_s),
        };
        Ok(Self {
            offered: judgement.offered.tokens,
            admitted: judgement.admitted.tokens,
            ideal,
            overshoot: judgement.overshoot.rounded_up(),
        })
    }

    /// Judges records of many requests each, on a limit that all of them fit into.
    ///
    /// The ideal admits everything then, which is checked.
    pub(super) fn of_ample(records: &[Record], limit: Nominal) -> Result<Self, Failure> {
        let judgement = Judgement::of(records, judged(limit).map_err(Failure::of)?);
        let start_ns = records.iter().map(|record| record.start_ns).min();
        let end_ns = records.iter().map(|record| record.end_ns).max();
        let elapsed_ns = end_ns.unwrap_or(0) - start_ns.unwrap_or(0);
        let offered = judgement.offered.tokens;
        let rate = u128::from(limit.per_second) * u128::from(elapsed_ns);
        if u128::from(offered) * 1_000_000_000 > rate {
            return Err(Failure::new("the ample limit was not ample: raise it"));
        }
        Ok(Self {
            offered,
            admitted: judgement.admitted.tokens,
            ideal: offered,
            overshoot: judgement.overshoot.rounded_up(),
        })
    }

    /// Admitted over ideally admitted.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
    pub(super) fn used(&self) -> f64 {
        if self.ideal == 0 {
            return 1.0;
        }
        self.admitted as f64 / self.ideal as f64
    }
}

fn judged(limit: Nominal) -> Result<JudgedLimit, LimitError> {
    JudgedLimit::new(limit.per_second.into(), 1_000_000_000, limit.burst.into())
}

/// Tokens that a window of so many seconds admits if it slides without steps.
fn sliding_window(records: &[Record], limit: Nominal, window_s: u32) -> u64 {
    let length_ns = u64::from(window_s) * 1_000_000_000;
    let most = limit.per_second as usize * window_s as usize;
    let mut starts: Vec<(u64, u32)> = records
        .iter()
        .map(|record| (record.start_ns, record.cost))
        .collect();
    starts.sort_unstable();
    let (mut inside, mut admitted) = (VecDeque::new(), 0);
    for (now, cost) in starts {
        while inside.front().is_some_and(|at| at + length_ns <= now) {
            inside.pop_front();
        }
        for _ in 0..cost {
            if inside.len() < most {
                inside.push_back(now);
                admitted += 1;
            }
        }
    }
    admitted
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const LIMIT: Nominal = Nominal {
        per_second: 10,
        burst: 10,
    };

    /// A hundred requests a second for three seconds, of which those are admitted that `admit`
    /// says.
    fn run(admit: impl Fn(u64) -> bool) -> Vec<Record> {
        let record = |number: u64| Record {
            start_ns: number * SECOND / 100,
            end_ns: number * SECOND / 100 + 50,
            replica: 0,
            key: 0,
            cost: 1,
            admitted: admit(number),
        };
        (0..300).map(record).collect()
    }

    #[test]
    fn a_limiter_that_admits_all_looks_wrong() {
        let accuracy = Accuracy::of(&run(|_| true), LIMIT, None).expect("a limit");
        assert_eq!((accuracy.offered, accuracy.admitted), (300, 300));
        // A burst of ten, ten a second for 2.99 s, and what is half there counts for the limiter.
        assert_eq!((accuracy.ideal, accuracy.overshoot), (39, 261));
        assert!(accuracy.used() > 7.0);
    }

    #[test]
    fn a_limiter_that_admits_nothing_looks_wrong() {
        let accuracy = Accuracy::of(&run(|_| false), LIMIT, None).expect("a limit");
        assert_eq!((accuracy.admitted, accuracy.overshoot), (0, 0));
        assert!(accuracy.used() < 1e-9);
    }

    #[test]
    fn a_window_is_not_blamed_for_the_burst_of_a_bucket() {
        let ten_at_once = run(|number| number % 100 < 10);
        let accuracy = Accuracy::of(&ten_at_once, LIMIT, Some(1)).expect("a limit");
        assert_eq!((accuracy.admitted, accuracy.ideal), (30, 30));
        assert_eq!(accuracy.overshoot, 0);
        let bucket = Accuracy::of(&ten_at_once, LIMIT, None).expect("a limit");
        assert_eq!(bucket.ideal, 39);
    }

    #[test]
    fn a_limit_that_was_not_ample_is_said_to_be_so() {
        assert!(Accuracy::of_ample(&run(|_| true), LIMIT).is_err());
        let ample = Nominal {
            per_second: 1000,
            burst: 1000,
        };
        let accuracy = Accuracy::of_ample(&run(|number| number > 0), ample).expect("ample");
        assert_eq!((accuracy.admitted, accuracy.ideal), (299, 300));
    }
}
