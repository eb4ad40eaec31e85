//! Answers of a perfect limiter to the requests of a run.
//!
//! One bucket per key in one place, without delay: it starts full, and each request is allowed if
//! its tokens are there at the instant it starts. Requests are taken in order of their starts,
//! equal ones in the order of the records.
//!
//! Two measures compare a run with it.
//!
//! **Utilisation**: tokens admitted over tokens the ideal admitted. Below 1 the limiter wasted part
//! of the limit. It can pass 1 a little without an overshoot: where costs differ, the ideal may
//! spend on a small request what would have let a large one through.
//!
//! **False denials**: requests denied although there was plenty. Compared one by one, the answers
//! of two correct limiters differ on half of the requests under overload, since each admits as many
//! but not the same ones. So a denial is held against the limiter only where there was no
//! contention: where the ideal denied nothing on that key within a second either way.

use crate::judgement::Arrivals;
use crate::level::IdealBucket;
use crate::limit::JudgedLimit;
use crate::tally::Tally;

/// The answers of the ideal bucket.
#[derive(Debug, PartialEq, Eq)]
pub struct Ideal {
    /// Everything that it allowed.
    pub admitted: Tally,
    /// Its answer to each record, in the order of the records.
    pub allowed: Vec<bool>,
}

/// Asks the ideal bucket of each key.
pub fn ideal(arrivals: &Arrivals<'_>, limit: JudgedLimit) -> Ideal {
    let mut admitted = Tally::default();
    let mut allowed = vec![false; arrivals.records.len()];
    for requests in arrivals.groups() {
        let mut bucket = IdealBucket::full(limit);
        for &index in requests {
            let request = &arrivals.records[index];
            if bucket.spend(request.cost, request.start_ns) {
                allowed[index] = true;
                admitted.count(request.cost.into());
            }
        }
    }
    Ideal { admitted, allowed }
}

/// Requests that were denied although the ideal bucket of their key denied nothing, neither them
/// nor another, from a second before they started until a second after.
pub fn false_denials(arrivals: &Arrivals<'_>, ideal: &Ideal) -> u64 {
    let count = |requests| false_denials_of_key(arrivals, ideal, requests);
    arrivals.groups().map(count).sum()
}

fn false_denials_of_key(arrivals: &Arrivals<'_>, ideal: &Ideal, requests: &[usize]) -> u64 {
    let start = |&index: &usize| arrivals.records[index].start_ns;
    let ideally_denied = requests.iter().filter(|&&index| !ideal.allowed[index]);
    let contended: Vec<u64> = ideally_denied.map(start).collect();

    let denied = requests
        .iter()
        .filter(|&&index| !arrivals.records[index].admitted);
    let falsely = denied
        .map(start)
        .filter(|&at| !any_within(&contended, at, UNCONTENDED_NS));
    falsely.count() as u64
}

/// Whether one of `times`, in order, is at most `reach` away from `at`.
fn any_within(times: &[u64], at: u64, reach: u64) -> bool {
    let first = times.partition_point(|&time| time < at.saturating_sub(reach));
    times
        .get(first)
        .is_some_and(|&time| time <= at.saturating_add(reach))
}

/// How far from contention a denial must be to count as false. Long against the intervals at which
/// replicas and store agree (milliseconds to tenths of a second), short against a demo.
const UNCONTENDED_NS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::judgement::tally;
    use crate::record::Record;

    fn request(start_ns: u64, key: u32, cost: u32, admitted: bool) -> Record {
        Record {
            start_ns,
            end_ns: start_ns,
            replica: 0,
            key,
            cost,
            admitted,
        }
    }

    fn limit(tokens: u64, per_ns: u64, burst: u64) -> JudgedLimit {
        JudgedLimit::new(tokens, per_ns, burst).unwrap()
    }

    /// By the definition: a request is allowed if no window that ends with it then holds more
    /// than the limit. No level, no draining: all that was allowed before is counted again.
    fn allowed_by_definition(records: &[Record], limit: JudgedLimit) -> Vec<bool> {
        let mut order: Vec<usize> = (0..records.len()).collect();
        order.sort_by_key(|&index| (records[index].start_ns, index));
        let mut allowed = vec![false; records.len()];
        for (place, &index) in order.iter().enumerate() {
            let Record {
                start_ns: now,
                key,
                cost,
                ..
            } = records[index];
            let before: Vec<Record> = order[..place]
                .iter()
                .filter(|&&earlier| allowed[earlier] && records[earlier].key == key)
                .map(|&earlier| records[earlier])
                .collect();
            let fits = |since: u64| {
                let inside = before.iter().filter(|a| a.start_ns >= since);
                let spent: i128 = inside.map(|a| i128::from(a.cost)).sum();
                (spent + i128::from(cost) - i128::from(limit.burst)) * i128::from(limit.per_ns)
                    <= i128::from(limit.tokens) * i128::from(now - since)
            };
            allowed[index] = fits(now) && before.iter().all(|a| fits(a.start_ns));
        }
        allowed
    }

    fn false_denials_by_definition(records: &[Record], allowed: &[bool]) -> u64 {
        let near = |a: &Record, b: &Record| {
            a.key == b.key && a.start_ns.abs_diff(b.start_ns) <= UNCONTENDED_NS
        };
        let contended = |a: &Record| {
            records
                .iter()
                .zip(allowed)
                .any(|(b, allowed)| near(a, b) && !allowed)
        };
        let falsely = |a: &&Record| !a.admitted && !contended(a);
        u64::try_from(records.iter().filter(falsely).count()).unwrap()
    }

    fn any_records(latest_ns: u64) -> impl Strategy<Value = Vec<Record>> {
        let one = (0..=latest_ns, 0_u64..20, 0_u32..3, 1_u32..5, any::<bool>());
        let one = one.prop_map(|(start, length, key, cost, admitted)| Record {
            end_ns: start + length,
            ..request(start, key, cost, admitted)
        });
        prop::collection::vec(one, 0..32)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_bucket_allows_what_no_window_forbids(
            records in any_records(80),
            (tokens, per_ns, burst) in (0_u64..6, 1_u64..20, 0_u64..8),
        ) {
            let limit = limit(tokens, per_ns, burst);
            let answers = ideal(&Arrivals::new(&records), limit);
            prop_assert_eq!(&answers.allowed, &allowed_by_definition(&records, limit));

            let allowed = records.iter().zip(&answers.allowed).filter(|(_, allowed)| **allowed);
            prop_assert_eq!(answers.admitted, tally(allowed.map(|(record, _)| record)));
        }

        #[test]
        fn false_denials_are_those_far_from_contention(
            quarters in any_records(40),
            (per_quarters, burst) in (1_u64..20, 1_u64..12),
        ) {
            // A quarter of a second each, so that some fall exactly on the edge.
            let quarter = SECOND / 4;
            let scale = |record: Record| Record {
                start_ns: record.start_ns * quarter,
                end_ns: record.end_ns * quarter,
                ..record
            };
            let records: Vec<Record> = quarters.into_iter().map(scale).collect();
            let arrivals = Arrivals::new(&records);
            let answers = ideal(&arrivals, limit(1, per_quarters * quarter, burst));
            prop_assert_eq!(
                false_denials(&arrivals, &answers),
                false_denials_by_definition(&records, &answers.allowed)
            );
        }
    }

    #[test]
    fn a_bucket_starts_full_and_refills_to_the_nanosecond() {
        // Three tokens per ten nanoseconds: the next is there after four, not after three.
        let limit = limit(3, 10, 2);
        let at = |start_ns| request(start_ns, 0, 1, true);
        let records = [
            at(100),
            at(100),
            at(100),
            at(103),
            at(104),
            at(106),
            at(107),
        ];
        let answers = ideal(&Arrivals::new(&records), limit);
        assert_eq!(
            answers.allowed,
            [true, true, false, false, true, false, true]
        );
        assert_eq!(
            answers.admitted,
            Tally {
                requests: 4,
                tokens: 4
            }
        );
    }

    #[test]
    fn records_may_come_in_any_order_and_ties_keep_theirs() {
        let limit = limit(1, 10, 2);
        let records = [
            request(9, 0, 2, true),
            request(5, 0, 1, true),
            request(5, 0, 2, true),
        ];
        let answers = ideal(&Arrivals::new(&records), limit);
        assert_eq!(answers.allowed, [false, true, false]);
    }

    #[test]
    fn a_denial_within_a_second_of_contention_is_not_false() {
        let limit = limit(1, SECOND, 1);
        let contention = [
            request(5 * SECOND, 0, 1, true),
            request(5 * SECOND, 0, 1, false),
        ];
        let denied_at = |at, key| {
            let records = [contention.to_vec(), vec![request(at, key, 1, false)]].concat();
            let arrivals = Arrivals::new(&records);
            false_denials(&arrivals, &ideal(&arrivals, limit))
        };
        assert_eq!(denied_at(6 * SECOND, 0), 0);
        assert_eq!(denied_at(6 * SECOND + 1, 0), 1);
        assert_eq!(
            denied_at(6 * SECOND, 1),
            1,
            "another key has its own bucket"
        );
        assert_eq!(
            denied_at(4 * SECOND, 0),
            0,
            "now the ideal spends the token here"
        );
        assert_eq!(denied_at(3 * SECOND, 0), 1);
    }

    const SECOND: u64 = 1_000_000_000;
}
