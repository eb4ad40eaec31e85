//! The judgement on a run by the records of its requests.

use crate::ideal::{false_denials, ideal};
use crate::limit::{ExactTokens, JudgedLimit};
use crate::overshoot::{Window, worst_overshoot};
use crate::record::Record;
use crate::tally::{Tally, Volumes};

/// Findings about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// All requests.
    pub offered: Tally,
    /// Those the limiter admitted.
    pub admitted: Tally,
    /// Those it denied.
    pub denied: Tally,
    /// Those the ideal bucket admits.
    pub ideal_admitted: Tally,
    /// Tokens admitted over tokens the ideal bucket admits; `None` if that admits none.
    pub utilisation: Option<f64>,
    /// Tokens admitted beyond `burst + rate * (t - s)` in the worst window of the worst key.
    ///
    /// Beyond the burst alone: a configured overshoot budget is not subtracted. A limiter with a
    /// budget keeps its promise if this is at most the budget.
    pub overshoot: ExactTokens,
    /// The key with that overshoot; `None` if there was no overshoot.
    pub worst_key: Option<u32>,
    /// The window with that overshoot; `None` if there was no overshoot.
    pub worst_window: Option<Window>,
    /// Requests denied although nothing was scarce on their key; see [`ideal`](crate::ideal).
    pub false_denials: u64,
}

impl Judgement {
    /// Judges the requests of all replicas, in any order. Each key has the same limit.
    ///
    /// # Panics
    ///
    /// If an admitted record ends before it starts; those that were read do not.
    pub fn of(records: &[Record], limit: JudgedLimit) -> Self {
        let arrivals = Arrivals::new(records);
        let ideal = ideal(&arrivals, limit);
        let worst = worst_overshoot(&arrivals, limit);
        let exceeded = worst.filter(|(_, overshoot)| !overshoot.tokens.is_zero());
        let admitted = tally(records.iter().filter(|record| record.admitted));
        Self {
            offered: tally(records),
            admitted,
            denied: tally(records.iter().filter(|record| !record.admitted)),
            ideal_admitted: ideal.admitted,
            utilisation: Volumes {
                admitted,
                ideal_admitted: ideal.admitted,
                ..Volumes::default()
            }
            .utilisation(),
            overshoot: exceeded.map_or(ExactTokens::zero(limit), |(_, overshoot)| overshoot.tokens),
            worst_key: exceeded.map(|(key, _)| key),
            worst_window: exceeded.and_then(|(_, overshoot)| overshoot.window),
            false_denials: false_denials(&arrivals, &ideal),
        }
    }
}

/// Counts requests and their tokens.
pub(crate) fn tally<'a>(records: impl IntoIterator<Item = &'a Record>) -> Tally {
    let mut tally = Tally::default();
    for record in records {
        tally.count(record.cost.into());
    }
    tally
}

/// Records grouped by key; those of one key in order of their starts, ties in their own order.
#[derive(Debug)]
pub struct Arrivals<'a> {
    pub(crate) records: &'a [Record],
    /// Indices into `records`.
    order: Vec<usize>,
}

impl<'a> Arrivals<'a> {
    /// Sorts, once for all measures.
    pub fn new(records: &'a [Record]) -> Self {
        let mut order: Vec<usize> = (0..records.len()).collect();
        order.sort_by_key(|&index| (records[index].key, records[index].start_ns));
        Self { records, order }
    }

    /// The indices of each key's records.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[usize]> {
        let key = |&index: &usize| self.records[index].key;
        self.order
            .chunk_by(move |left, right| key(left) == key(right))
    }

    /// Each key, ascending, and its records.
    pub(crate) fn by_key(&self) -> impl Iterator<Item = (u32, impl Iterator<Item = &'a Record>)> {
        self.groups().map(|group| {
            let key = self.records[group[0]].key;
            (key, group.iter().map(|&index| &self.records[index]))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Demand, Findings, Judge, JudgeSetup, Promised, SLICE_NS};

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

    /// The judge of a run that goes on, told of each request at its only instant.
    fn judged_as_it_goes(records: &[Record], limit: JudgedLimit) -> Findings {
        let mut order: Vec<&Record> = records.iter().collect();
        order.sort_by_key(|record| record.start_ns);
        let mut judge = Judge::new(&JudgeSetup {
            limits: vec![Promised::constant(limit, 3)],
            replicas_max: 1,
            measure_from_ns: 0,
            slice_ns: SLICE_NS,
        });
        for &record in &order {
            let at_ns = record.start_ns;
            let demand = Demand {
                limit: 0,
                key: record.key,
                cost: record.cost,
            };
            let arrived = judge.arrive(at_ns, record.replica, &[demand]);
            if record.admitted {
                judge.take(at_ns, demand);
            }
            judge.decide(at_ns, arrived, record.replica, &[demand], record.admitted);
        }
        judge.finish(order.last().map_or(0, |record| record.start_ns))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Two algorithms, one answer: with records and a search, and without either.
        #[test]
        fn the_judge_of_a_run_that_goes_on_finds_the_same(
            requests in prop::collection::vec(
                (0_u64..40, 0_u32..3, 1_u32..5, any::<bool>()),
                0..40,
            ),
            (per_quarters, burst) in (1_u64..20, 0_u64..12),
        ) {
            let quarter = SECOND / 4;
            let limit = JudgedLimit::new(3, per_quarters * quarter, burst).unwrap();
            let point = |(at, key, cost, admitted)| Record {
                end_ns: at * quarter,
                ..request(at * quarter, key, cost, admitted)
            };
            let records: Vec<Record> = requests.into_iter().map(point).collect();
            let by_records = Judgement::of(&records, limit);
            let as_it_goes = judged_as_it_goes(&records, limit);

            prop_assert_eq!(Some(by_records.overshoot), as_it_goes.overshoot());
            prop_assert_eq!(by_records.ideal_admitted, as_it_goes.total.ideal_admitted);
            prop_assert_eq!(by_records.false_denials, as_it_goes.false_denials);
            prop_assert_eq!(by_records.utilisation, as_it_goes.utilisation);
            prop_assert_eq!(by_records.offered, as_it_goes.total.offered);
            prop_assert_eq!(by_records.admitted, as_it_goes.total.admitted);
            prop_assert_eq!(by_records.denied, as_it_goes.total.denied);
        }
    }

    const SECOND: u64 = 1_000_000_000;
}
