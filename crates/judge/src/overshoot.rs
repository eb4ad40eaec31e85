//! How many tokens were admitted beyond the limit in the worst window.
//!
//! A limit promises for every window `[s, t]` that no more than `burst + rate * (t - s)` tokens are
//! admitted in it. The overshoot is what exceeds that bound in the worst window:
//!
//! ```text
//! max over s <= t of  sum { cost : s <= start and end <= t }  -  rate * (t - s)  -  burst
//! ```
//!
//! An admission counts in a window only if it lies *wholly* inside. Where between its two clock
//! readings the decision fell is unknown, and a thread preempted between the decision and the
//! second reading ends long after it decided. Taking the end for the decision would find tokens of
//! several refills admitted at one instant and accuse a limiter that did nothing wrong. So every
//! admission has the benefit of the doubt: what is reported happened, wherever the decisions fell.
//!
//! # How it is found
//!
//! Only windows that start at a start and end at an end matter: any other shrinks to one of those
//! and counts the same. Admissions are taken in order of their end, which is `t`. A tree over the
//! starts keeps for each start `s`, and as a maximum over all of them,
//!
//! ```text
//! sum { cost : s <= start, taken so far }  +  rate * s
//! ```
//!
//! of which `rate * t + burst` is subtracted at each `t`. A start takes part once its own
//! admission was taken: it is then no later than `t`, and before that a later start does better.
//!
//! If admissions are points, all this is the highest level of a queue that drains at the rate, the
//! [virtual queue](VirtualQueue); see [`overshoot_of_points`].

use crate::judgement::Arrivals;
use crate::level::VirtualQueue;
use crate::limit::{ExactTokens, JudgedLimit};
use crate::record::Record;

/// Tokens admitted beyond the limit, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overshoot {
    /// By how much the worst window exceeds the limit.
    pub tokens: ExactTokens,
    /// The earliest-ending window that shows it. `None` if no window exceeds the limit.
    pub window: Option<Window>,
}

/// A stretch of time, both ends included, and what was admitted wholly inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The start of its first admission.
    pub start_ns: u64,
    /// The end of its last admission.
    pub end_ns: u64,
    /// Tokens admitted in it.
    pub admitted: u64,
}

/// The overshoot of one key, whose requests may come in any order. Denied ones do not count.
///
/// Takes O(n log n) for n requests.
///
/// # Panics
///
/// If an admitted request ends before it starts.
pub fn overshoot<'a>(
    requests: impl IntoIterator<Item = &'a Record>,
    limit: JudgedLimit,
) -> Overshoot {
    let admitted = requests.into_iter().filter(|request| request.admitted);
    let mut by_start: Vec<&Record> = admitted.collect();
    let in_order = |admission: &&Record| admission.start_ns <= admission.end_ns;
    assert!(
        by_start.iter().all(in_order),
        "a request ends no earlier than it starts"
    );
    by_start.sort_by_key(|admission| admission.start_ns);
    let mut by_end: Vec<usize> = (0..by_start.len()).collect();
    by_end.sort_by_key(|&place| by_start[place].end_ns);

    // What lies wholly inside a window also ends in it: ends taken for points find no less than
    // what is looked for here. Most keys are acquitted that way, without a tree.
    let ends = by_end
        .iter()
        .map(|&place| (by_start[place].end_ns, by_start[place].cost));
    if overshoot_of_points(ends, limit).is_zero() {
        return Overshoot {
            tokens: ExactTokens::zero(limit),
            window: None,
        };
    }
    let (tokens, end_ns) = worst_end(&by_start, &by_end, limit);
    Overshoot {
        tokens,
        window: (!tokens.is_zero()).then(|| worst_window(&by_start, end_ns, limit)),
    }
}

/// The key with the largest overshoot, the smallest key of several; `None` if there is no key.
pub fn worst_overshoot(arrivals: &Arrivals<'_>, limit: JudgedLimit) -> Option<(u32, Overshoot)> {
    let keys = arrivals
        .by_key()
        .map(|(key, requests)| (key, overshoot(requests, limit)));
    keys.reduce(|worst, next| {
        if next.1.tokens > worst.1.tokens {
            next
        } else {
            worst
        }
    })
}

/// The overshoot if each admission `(at_ns, cost)` happened at one instant, in order of time.
///
/// One pass of a [`VirtualQueue`].
pub fn overshoot_of_points(
    points: impl IntoIterator<Item = (u64, u32)>,
    limit: JudgedLimit,
) -> ExactTokens {
    let mut queue = VirtualQueue::default();
    let beyond = points
        .into_iter()
        .map(|(now_ns, cost)| queue.admit(now_ns, cost, limit));
    beyond.max().unwrap_or(ExactTokens::zero(limit))
}

/// The overshoot, and the end of the earliest window that shows it.
fn worst_end(by_start: &[&Record], by_end: &[usize], limit: JudgedLimit) -> (ExactTokens, u64) {
    let mut starts = StartTree::new(by_start.len());
    let mut worst = (0, 0);
    for &place in by_end {
        let Record {
            start_ns,
            end_ns,
            cost,
            ..
        } = *by_start[place];
        starts.take(place, limit.weight(cost.into()), limit.drained_in(start_ns));
        let allowed = limit.drained_in(end_ns) + limit.burst_weight();
        let beyond = starts.highest().saturating_sub(allowed);
        if beyond > worst.0 {
            worst = (beyond, end_ns);
        }
    }
    (ExactTokens::of(worst.0, limit), worst.1)
}

/// The shortest of the fullest windows that end at `end_ns`.
fn worst_window(by_start: &[&Record], end_ns: u64, limit: JudgedLimit) -> Window {
    let inside = by_start
        .iter()
        .rev()
        .filter(|admission| admission.end_ns <= end_ns);
    let windows = inside.scan(0, |admitted, admission| {
        *admitted += u64::from(admission.cost);
        Some(Window {
            start_ns: admission.start_ns,
            end_ns,
            admitted: *admitted,
        })
    });
    let height =
        |window: &Window| limit.weight(window.admitted) + limit.drained_in(window.start_ns);
    windows
        .reduce(|worst, next| {
            if height(&next) > height(&worst) {
                next
            } else {
                worst
            }
        })
        .expect("a window beyond the limit holds an admission")
}

/// For each start in order, what was taken at it and later plus its offset, under a maximum.
///
/// Adding a cost to every start up to one would touch many leaves. Instead a leaf holds its own
/// cost only, and a node the sum of its leaves beside the maximum counted *within* the node; the
/// costs to the right of a node are added on the way up.
struct StartTree {
    /// The root at 1, the children of `n` at `2n` and `2n + 1`, the leaves in the last half.
    nodes: Vec<Node>,
}

impl StartTree {
    fn new(starts: usize) -> Self {
        Self {
            nodes: vec![Node::default(); 2 * starts.next_power_of_two()],
        }
    }

    /// Adds `cost` to this start and all earlier ones, and lets this start take part from now on.
    fn take(&mut self, place: usize, cost: u128, offset: u128) {
        let mut node = self.nodes.len() / 2 + place;
        self.nodes[node] = Node {
            sum: cost,
            highest: Some(cost + offset),
        };
        while node > 1 {
            node /= 2;
            self.nodes[node] = Node::join(self.nodes[2 * node], self.nodes[2 * node + 1]);
        }
    }

    fn highest(&self) -> u128 {
        self.nodes[1].highest.unwrap_or(0)
    }
}

#[derive(Clone, Copy, Default)]
struct Node {
    /// Costs taken in this node.
    sum: u128,
    /// The highest start of this node, if one takes part, with the costs of this node only.
    highest: Option<u128>,
}

impl Node {
    fn join(left: Self, right: Self) -> Self {
        let left_highest = left.highest.map(|highest| highest + right.sum);
        Self {
            sum: left.sum + right.sum,
            highest: left_highest.max(right.highest),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limit::LIMIT_MOST;

    fn admission(start_ns: u64, end_ns: u64, cost: u32) -> Record {
        Record {
            start_ns,
            end_ns,
            replica: 0,
            key: 0,
            cost,
            admitted: true,
        }
    }

    fn point(at_ns: u64, cost: u32) -> Record {
        admission(at_ns, at_ns, cost)
    }

    fn limit(tokens: u64, per_ns: u64, burst: u64) -> JudgedLimit {
        JudgedLimit::new(tokens, per_ns, burst).unwrap()
    }

    /// By the definition, in signed units: every start, every end, every admission.
    fn overshoot_by_definition(admissions: &[Record], limit: JudgedLimit) -> u128 {
        let beyond = |s: u64, t: u64| {
            let inside = admissions
                .iter()
                .filter(|a| s <= a.start_ns && a.end_ns <= t);
            let admitted: i128 = inside.map(|a| i128::from(a.cost)).sum();
            (admitted - i128::from(limit.burst)) * i128::from(limit.per_ns)
                - i128::from(t - s) * i128::from(limit.tokens)
        };
        let starts = admissions.iter().map(|a| a.start_ns);
        let windows = starts.flat_map(|s| admissions.iter().map(move |a| (s, a.end_ns)));
        let worst = windows
            .filter(|(s, t)| s <= t)
            .map(|(s, t)| beyond(s, t))
            .max();
        worst.unwrap_or(0).max(0).unsigned_abs()
    }

    fn any_limit() -> impl Strategy<Value = JudgedLimit> {
        (0_u64..6, 1_u64..20, 0_u64..8).prop_map(|(tokens, per, burst)| limit(tokens, per, burst))
    }

    /// Most are short, some outlast many others: preempted threads.
    fn any_admissions() -> impl Strategy<Value = Vec<Record>> {
        let length = prop_oneof![3 => 0_u64..3, 1 => 0_u64..60];
        let one = (0_u64..60, length, 1_u32..5);
        let one = one.prop_map(|(start, length, cost)| admission(start, start + length, cost));
        prop::collection::vec(one, 0..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn overshoot_is_what_the_definition_says(
            admissions in any_admissions(),
            limit in any_limit(),
        ) {
            let found = overshoot(&admissions, limit);
            prop_assert_eq!(found.tokens.units, overshoot_by_definition(&admissions, limit));
        }

        #[test]
        fn the_window_shows_the_overshoot(admissions in any_admissions(), limit in any_limit()) {
            let found = overshoot(&admissions, limit);
            prop_assert_eq!(found.window.is_none(), found.tokens.is_zero());
            if let Some(Window { start_ns, end_ns, admitted }) = found.window {
                let inside = admissions.iter()
                    .filter(|a| start_ns <= a.start_ns && a.end_ns <= end_ns);
                prop_assert_eq!(admitted, inside.map(|a| u64::from(a.cost)).sum::<u64>());
                let allowed = limit.burst_weight() + limit.drained_in(end_ns - start_ns);
                prop_assert_eq!(limit.weight(admitted) - allowed, found.tokens.units);
            }
        }

        #[test]
        fn points_need_no_tree(mut admissions in any_admissions(), limit in any_limit()) {
            admissions.sort_by_key(|a| a.end_ns);
            let points: Vec<_> = admissions.iter().map(|a| point(a.end_ns, a.cost)).collect();
            let by_queue = overshoot_of_points(points.iter().map(|a| (a.end_ns, a.cost)), limit);
            prop_assert_eq!(overshoot(&points, limit).tokens, by_queue);
            prop_assert!(overshoot(&admissions, limit).tokens <= by_queue);
        }

        /// `overshoot` asks the tree only if the queue found something; here it is always asked.
        #[test]
        fn the_tree_alone_is_right(mut admissions in any_admissions(), limit in any_limit()) {
            admissions.sort_by_key(|a| a.start_ns);
            let by_start: Vec<_> = admissions.iter().collect();
            let mut by_end: Vec<_> = (0..by_start.len()).collect();
            by_end.sort_by_key(|&place| by_start[place].end_ns);
            let (tokens, _) = worst_end(&by_start, &by_end, limit);
            prop_assert_eq!(tokens.units, overshoot_by_definition(&admissions, limit));
        }

        #[test]
        fn the_worst_key_is_found(
            mut admissions in any_admissions(),
            keys in prop::collection::vec(0_u32..4, 24),
            limit in any_limit(),
        ) {
            for (admission, key) in admissions.iter_mut().zip(keys) {
                admission.key = key;
            }
            let of_key = |key| {
                let its = admissions.iter().filter(|a| a.key == key).copied();
                overshoot_by_definition(&its.collect::<Vec<_>>(), limit)
            };
            match worst_overshoot(&Arrivals::new(&admissions), limit) {
                None => prop_assert!(admissions.is_empty()),
                Some((key, worst)) => {
                    prop_assert_eq!(worst.tokens.units, of_key(key));
                    prop_assert_eq!(worst.tokens.units, (0..4).map(of_key).max().unwrap());
                }
            }
        }
    }

    #[test]
    fn a_burst_is_allowed_and_one_more_is_not() {
        let limit = limit(1000, SECOND, 10);
        let burst = vec![point(7, 1); 10];
        assert_eq!(overshoot(&burst, limit).tokens.rounded_up(), 0);
        assert_eq!(overshoot(&burst, limit).window, None);

        let one_more = vec![point(7, 1); 11];
        let found = overshoot(&one_more, limit);
        assert_eq!(found.tokens.rounded_up(), 1);
        assert_eq!(
            found.window,
            Some(Window {
                start_ns: 7,
                end_ns: 7,
                admitted: 11
            })
        );
    }

    #[test]
    fn of_equal_windows_the_earliest_is_shown() {
        let one_more = |at| vec![point(at, 1); 11];
        let trace = [one_more(9 * SECOND), one_more(7)].concat();
        let window = overshoot(&trace, limit(1000, SECOND, 10)).window;
        assert_eq!(window.map(|window| window.end_ns), Some(7));
    }

    #[test]
    fn a_refilled_burst_is_allowed_and_not_a_nanosecond_sooner() {
        let limit = limit(1000, SECOND, 10);
        let two_bursts = |gap: u64| [point(7, 10), point(7 + gap, 10)];
        let refill = 10 * SECOND / 1000;
        assert_eq!(overshoot(&two_bursts(refill), limit).tokens.rounded_up(), 0);

        let found = overshoot(&two_bursts(refill - 1), limit).tokens;
        assert_eq!(
            found.units, 1000,
            "a nanosecond's worth: 1000 / 1e9 of a token"
        );
        assert_eq!(found.rounded_up(), 1, "rounded up");
        assert!((found.as_f64() - 1e-6).abs() < 1e-12);
    }

    #[test]
    fn denied_requests_do_not_count() {
        let denied = Record {
            admitted: false,
            ..point(7, 1)
        };
        let found = overshoot(&[point(7, 1), denied], limit(1, SECOND, 1));
        assert!(found.tokens.is_zero());
    }

    /// Ten requests are admitted at 0 by a thread that then loses the processor for one refill,
    /// just before it reads the clock again. Meanwhile the bucket refills, for ten more.
    #[test]
    fn a_preempted_thread_is_no_overshoot() {
        let limit = limit(1000, SECOND, 10);
        let refill = 10 * SECOND / 1000;
        let preempted = vec![admission(0, refill, 1); 10];
        let prompt = vec![point(refill, 1); 10];
        let trace = [preempted, prompt].concat();
        assert_eq!(overshoot(&trace, limit).tokens.rounded_up(), 0);

        let points: Vec<_> = trace.iter().map(|a| point(a.end_ns, a.cost)).collect();
        assert_eq!(overshoot(&points, limit).tokens.rounded_up(), 10);
    }

    #[test]
    fn a_long_admission_does_not_hide_an_overshoot() {
        let limit = limit(1, SECOND, 2);
        let trace = [
            admission(0, 9 * SECOND, 1),
            point(50, 1),
            point(51, 1),
            point(51, 1),
        ];
        let found = overshoot(&trace, limit);
        assert_eq!(found.tokens.units, u128::from(SECOND) - 1);
        assert_eq!(
            found.window,
            Some(Window {
                start_ns: 50,
                end_ns: 51,
                admitted: 3
            })
        );
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let all_time = [admission(0, u64::MAX, u32::MAX), point(u64::MAX, u32::MAX)];
        let overshoot = |limit| overshoot(&all_time, limit).tokens.rounded_up();
        assert_eq!(overshoot(limit(LIMIT_MOST, 1, 0)), u64::from(u32::MAX));
        assert_eq!(overshoot(limit(0, LIMIT_MOST, 0)), 2 * u64::from(u32::MAX));
        assert_eq!(overshoot(limit(LIMIT_MOST, LIMIT_MOST, LIMIT_MOST)), 0);
    }

    #[test]
    #[should_panic(expected = "ends no earlier than it starts")]
    fn time_does_not_run_backwards() {
        overshoot(&[admission(8, 7, 1)], limit(1, 1, 1));
    }

    #[test]
    fn nothing_admitted_is_nothing_exceeded() {
        assert!(overshoot(&[], limit(1, 1, 0)).tokens.is_zero());
        assert_eq!(worst_overshoot(&Arrivals::new(&[]), limit(1, 1, 0)), None);
    }

    const SECOND: u64 = 1_000_000_000;
}
