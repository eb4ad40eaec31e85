//! The judge against definitions: whole traces are kept, and everything is counted again.

use proptest::prelude::*;

use super::*;
use crate::limit::ExactTokens;
use crate::tally::Tally;

/// A request as the offline definitions see it.
#[derive(Clone, Debug)]
struct Request {
    at_ns: u64,
    decided_ns: u64,
    replica: u32,
    demands: Vec<Demand>,
    allowed: bool,
}

/// Calls of the judge, in order: the arrival or the verdict of a request.
fn in_order(requests: &[Request]) -> Vec<(usize, bool)> {
    let arrivals = requests
        .iter()
        .enumerate()
        .map(|(n, it)| (it.at_ns, n, false));
    let verdicts = requests
        .iter()
        .enumerate()
        .map(|(n, it)| (it.decided_ns, n, true));
    let mut all: Vec<_> = arrivals.chain(verdicts).collect();
    // The arrival of a request comes before its verdict; others of the same time lie between.
    all.sort_by_key(|&(at_ns, n, is_verdict)| (at_ns, is_verdict, n));
    all.into_iter()
        .map(|(_, n, is_verdict)| (n, is_verdict))
        .collect()
}

/// Runs the judge over a trace; tokens are taken at the verdict. Returns the ideal's answers too.
fn judge(setup: &JudgeSetup, requests: &[Request], end_ns: u64) -> (Findings, Vec<bool>) {
    let mut judge = Judge::new(setup);
    let mut notes: Vec<Option<Arrived>> = vec![None; requests.len()];
    for (n, is_verdict) in in_order(requests) {
        let it = &requests[n];
        if is_verdict {
            if it.allowed {
                it.demands
                    .iter()
                    .for_each(|&demand| judge.take(it.decided_ns, demand));
            }
            let note = notes[n].expect("it has arrived");
            judge.decide(it.decided_ns, note, it.replica, &it.demands, it.allowed);
        } else {
            notes[n] = Some(judge.arrive(it.at_ns, it.replica, &it.demands));
        }
    }
    let ideal = notes.iter().map(|note| note.unwrap().ideal_admitted());
    (judge.finish(end_ns), ideal.collect())
}

/// The instant that the judge counts.
fn instant(at_ns: u64) -> u64 {
    at_ns / 1000 * 1000
}

/// By the definition, in the order of arrivals: all windows that end now, all demands or none. No
/// level, no draining. Also says which demands had no room.
fn ideal_by_definition(limits: &[JudgedLimit], requests: &[Request]) -> Vec<(bool, Vec<Demand>)> {
    let mut answers: Vec<(bool, Vec<Demand>)> = vec![(false, vec![]); requests.len()];
    let mut admitted: Vec<(u64, Demand)> = Vec::new();
    let arrivals = in_order(requests)
        .into_iter()
        .filter(|(_, is_verdict)| !is_verdict);
    for (n, _) in arrivals {
        let now = instant(requests[n].at_ns);
        let fits = |demand: &&Demand| {
            let limit = limits[demand.limit as usize];
            let its: Vec<_> = admitted.iter().filter(|a| same_key(&a.1, demand)).collect();
            let fits_since = |since: u64| {
                let inside = its.iter().filter(|a| a.0 >= since);
                let spent: i128 = inside.map(|a| i128::from(a.1.cost)).sum();
                (spent + i128::from(demand.cost) - i128::from(limit.burst))
                    * i128::from(limit.per_ns)
                    <= i128::from(limit.tokens) * i128::from(now - since)
            };
            fits_since(now) && its.iter().all(|a| fits_since(a.0))
        };
        let short: Vec<Demand> = requests[n]
            .demands
            .iter()
            .filter(|demand| !fits(demand))
            .copied()
            .collect();
        if short.is_empty() {
            admitted.extend(requests[n].demands.iter().map(|&demand| (now, demand)));
        }
        answers[n] = (short.is_empty(), short);
    }
    answers
}

fn same_key(left: &Demand, right: &Demand) -> bool {
    (left.limit, left.key) == (right.limit, right.key)
}

fn false_denials_by_definition(
    requests: &[Request],
    ideal: &[(bool, Vec<Demand>)],
    from_ns: u64,
) -> u64 {
    let is_near = |it: &Request| {
        requests.iter().zip(ideal).any(|(other, (_, short))| {
            instant(other.at_ns).abs_diff(instant(it.at_ns)) <= SECOND
                && short
                    .iter()
                    .any(|a| it.demands.iter().any(|b| same_key(a, b)))
        })
    };
    let falsely = |(it, answer): &(&Request, &(bool, Vec<Demand>))| {
        it.at_ns >= from_ns && !it.allowed && answer.0 && !is_near(it)
    };
    requests.iter().zip(ideal).filter(falsely).count() as u64
}

/// Tokens that a caller was told of: when and of which key, how many, and how often the limit had
/// changed before.
#[derive(Clone, Copy, Debug)]
struct Take {
    at_ns: u64,
    key: u32,
    cost: u32,
    changes: usize,
}

/// By the definition: the most of all windows of a key, from each take to each later one, beyond
/// the largest rate and the largest burst in force at any instant of the window.
fn overshoot_by_definition(limits: &[JudgedLimit], takes: &[Take]) -> ExactTokens {
    let mut worst = ExactTokens::zero(limits[0]);
    for (first, start) in takes.iter().enumerate() {
        let mut sum = 0_i128;
        for end in takes[first..].iter().filter(|end| end.key == start.key) {
            sum += i128::from(end.cost);
            let beyond = beyond(sum, start, end, limits);
            worst = worst.max(beyond);
        }
    }
    worst
}

/// Tokens by which so many exceed the bound of a window.
fn beyond(taken: i128, start: &Take, end: &Take, limits: &[JudgedLimit]) -> ExactTokens {
    let in_force = &limits[start.changes..=end.changes];
    let burst = in_force.iter().map(|limit| limit.burst).max().unwrap();
    // Numbers of tests are small: their product is a common denominator.
    let denominator: u64 = in_force.iter().map(|limit| limit.per_ns).product();
    let per_denominator = |limit: &JudgedLimit| limit.tokens * (denominator / limit.per_ns);
    let rate = in_force.iter().map(per_denominator).max().unwrap();
    let beyond = (taken - i128::from(burst)) * i128::from(denominator)
        - i128::from(end.at_ns - start.at_ns) * i128::from(rate);
    let limit = JudgedLimit::new(rate, denominator, burst).unwrap();
    ExactTokens::of(beyond.max(0).unsigned_abs(), limit)
}

fn setup(limits: &[(JudgedLimit, u32)]) -> JudgeSetup {
    JudgeSetup {
        limits: limits
            .iter()
            .map(|&(limit, keys)| Promised::constant(limit, keys))
            .collect(),
        replicas_max: 2,
        measure_from_ns: 0,
        slice_ns: SLICE_NS,
    }
}

fn limit(tokens: u64, per_ns: u64, burst: u64) -> JudgedLimit {
    JudgedLimit::new(tokens, per_ns, burst).unwrap()
}

fn demand(limit: u32, key: u32, cost: u32) -> Demand {
    Demand { limit, key, cost }
}

/// A judge of a limit that changes once.
fn changing(from: JudgedLimit, to: JudgedLimit, keys: u32) -> Judge {
    let mut setup = setup(&[(from, keys)]);
    setup.limits[0].later = vec![to];
    Judge::new(&setup)
}

/// A request that is answered at once.
fn request(at_ns: u64, key: u32, cost: u32, allowed: bool) -> Request {
    Request {
        at_ns,
        decided_ns: at_ns,
        replica: 0,
        demands: vec![demand(0, key, cost)],
        allowed,
    }
}

/// Under one or both of two limits, the first with three keys and the second with one. Times in
/// units of `unit`; every third waits.
fn any_requests(unit: u64, odd_ns: u64) -> impl Strategy<Value = Vec<Request>> {
    let wait = prop_oneof![2 => Just(0), 1 => 0_u64..16];
    let demands =
        (0_u32..3, 1_u32..4, 1_u32..4, 0..4).prop_map(|(key, cost, second, which)| match which {
            0 => vec![demand(1, 0, second)],
            1 => vec![demand(1, 0, second), demand(0, key, cost)],
            _ => vec![demand(0, key, cost)],
        });
    let one = (0_u64..6, wait, 0..=odd_ns, 0_u32..4, demands, any::<bool>());
    prop::collection::vec(one, 0..40).prop_map(move |all| {
        let mut now = 0;
        let request = |(gap, wait, odd, replica, demands, allowed): (_, _, u64, _, _, _)| {
            now += gap * unit;
            Request {
                at_ns: now + odd,
                decided_ns: now + odd + wait * unit,
                replica,
                demands,
                allowed,
            }
        };
        all.into_iter().map(request).collect()
    })
}

fn end_of(requests: &[Request]) -> u64 {
    requests.iter().map(|it| it.decided_ns).max().unwrap_or(0) + 1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn false_denials_are_those_far_from_contention(
        requests in any_requests(SECOND / 4, 0),
        (per, burst, second_per, second_burst) in (1_u64..12, 1_u64..8, 1_u64..12, 1_u64..8),
        from in 0_u64..20,
    ) {
        let limits = [
            limit(1, per * SECOND / 4, burst),
            limit(1, second_per * SECOND / 4, second_burst),
        ];
        let setup = JudgeSetup {
            measure_from_ns: from * SECOND / 4,
            ..setup(&[(limits[0], 3), (limits[1], 1)])
        };
        let ideal = ideal_by_definition(&limits, &requests);
        let (findings, _) = judge(&setup, &requests, end_of(&requests));
        let expected = false_denials_by_definition(&requests, &ideal, setup.measure_from_ns);
        prop_assert_eq!(findings.false_denials, expected);
    }

    #[test]
    fn the_ideal_admits_what_no_window_of_any_limit_forbids(
        requests in any_requests(1000, 999),
        (tokens, per, burst) in (0_u64..6, 1_u64..20, 0_u64..8),
        (second_tokens, second_per, second_burst) in (0_u64..6, 1_u64..20, 0_u64..8),
    ) {
        let limits = [
            limit(tokens, per * 1000, burst),
            limit(second_tokens, second_per * 1000, second_burst),
        ];
        let setup = setup(&[(limits[0], 3), (limits[1], 1)]);
        let (_, ideal) = judge(&setup, &requests, end_of(&requests));
        let expected = ideal_by_definition(&limits, &requests);
        let expected: Vec<bool> = expected.into_iter().map(|(admitted, _)| admitted).collect();
        prop_assert_eq!(ideal, expected);
    }

    /// Of what replicas take, and of what the store spends and callers hear of later or never.
    #[test]
    fn overshoot_is_that_of_the_worst_window_by_the_largest_limit_in_force(
        takes in prop::collection::vec((0_u64..6000, 0_u32..2, 1_u32..5, 0_usize..9), 0..40),
        numbers in prop::collection::vec((0_u64..6, 1_u64..20, 0_u64..8), 1..5),
        until_change in 1_usize..20,
    ) {
        let numbers = numbers.iter();
        let limits: Vec<_> = numbers
            .map(|&(tokens, per, burst)| limit(tokens, per * 700, burst))
            .collect();
        let promised = Promised {
            limit: limits[0],
            later: limits[1..].to_vec(),
            keys: 2,
        };
        let mut judge = Judge::new(&JudgeSetup { limits: vec![promised], ..setup(&[]) });
        let mut now_ns = 0;
        let mut changes = 0;
        let mut told: Vec<Take> = Vec::new();
        // After how many further takes a caller hears of a spend.
        let mut open: Vec<(usize, Spend)> = Vec::new();
        for (place, (gap, key, cost, heard)) in takes.into_iter().enumerate() {
            now_ns += gap;
            if place > 0 && place % until_change == 0 && changes + 1 < limits.len() {
                changes += 1;
                judge.change_limit(now_ns, 0, limits[changes]);
            }
            let take = Take { at_ns: instant(now_ns), key, cost, changes };
            match heard {
                0..4 => judge.take(now_ns, demand(0, key, cost)),
                4..8 => open.push((place + heard - 4, judge.spend(now_ns, demand(0, key, cost)))),
                _ => {
                    let spend = judge.spend(now_ns, demand(0, key, cost));
                    // Some are known to be lost, others are never heard of again.
                    if place % 3 == 0 {
                        judge.settle(spend, false);
                    } else if place % 3 == 1 {
                        open.push((usize::MAX, spend));
                    }
                }
            }
            if heard < 8 {
                told.push(take);
            }
            open.retain(|&(until, spend)| {
                let is_told = until <= place;
                if is_told {
                    judge.settle(spend, true);
                }
                !is_told
            });
        }
        for (until, spend) in open {
            if until < usize::MAX {
                judge.settle(spend, true);
            }
        }
        let found = judge.finish(now_ns).limits.remove(0);

        let expected = overshoot_by_definition(&limits, &told);
        prop_assert_eq!(found.overshoot, expected);
        prop_assert_eq!(found.takes, told.len() as u64);
        prop_assert_eq!(found.worst.is_none(), expected.is_zero());
        if let Some(WorstWindow { key, start_ns, end_ns }) = found.worst {
            // Of several takes of one instant, some are before a change and some after.
            let its: Vec<_> = told.iter().filter(|take| take.key == key).collect();
            let shows = its.iter().enumerate().any(|(first, start)| {
                let mut taken = 0;
                start.at_ns == start_ns && its[first..].iter().any(|end| {
                    taken += i128::from(end.cost);
                    end.at_ns == end_ns && beyond(taken, start, end, &limits) == expected
                })
            });
            prop_assert!(shows, "{:?} does not show {:?}", found.worst, expected);
        }
    }

    #[test]
    fn nothing_is_lost_or_counted_twice(
        requests in any_requests(30_000_000, 999),
        from_ns in 0_u64..2_000_000_000,
        slice_ns in 1_000_u64..500_000_000,
    ) {
        let limits = [limit(2, 100_000_000, 5), limit(5, 100_000_000, 9)];
        let setup = JudgeSetup {
            measure_from_ns: from_ns,
            slice_ns: slice_ns.max(1_000_000),
            ..setup(&[(limits[0], 3), (limits[1], 1)])
        };
        let end_ns = end_of(&requests);
        let (found, ideal) = judge(&setup, &requests, end_ns);
        let tally = |keep: &dyn Fn(usize) -> bool, of: &dyn Fn(&Demand) -> bool| {
            let mut tally = Tally::default();
            for (n, it) in requests.iter().enumerate() {
                let costs = it.demands.iter().filter(|demand| of(demand));
                let costs: Vec<u64> = costs.map(|demand| demand.cost.into()).collect();
                if keep(n) && !costs.is_empty() {
                    tally.count(costs.iter().sum());
                }
            }
            tally
        };
        let volumes = |from_ns, of: &dyn Fn(&Demand) -> bool| {
            let counts = |n: usize| instant(requests[n].at_ns) >= from_ns;
            Volumes {
                offered: tally(&counts, of),
                admitted: tally(&|n| counts(n) && requests[n].allowed, of),
                denied: tally(&|n| counts(n) && !requests[n].allowed, of),
                ideal_admitted: tally(&|n| counts(n) && ideal[n], of),
            }
        };
        prop_assert_eq!(found.total, volumes(0, &|_| true));
        prop_assert_eq!(found.measured, volumes(from_ns, &|_| true));
        for (number, its) in found.limits.iter().enumerate() {
            let is_its = |demand: &Demand| demand.limit as usize == number;
            prop_assert_eq!(its.volumes, volumes(from_ns, &is_its));
        }
        let differ = |&n: &usize| {
            requests[n].at_ns / 1000 * 1000 >= from_ns && requests[n].allowed != ideal[n]
        };
        prop_assert_eq!(found.disagreements, (0..requests.len()).filter(differ).count() as u64);

        let sum = found.series.slices.iter().fold(Volumes::default(), |sum, &slice| sum + slice);
        prop_assert_eq!(sum, found.total);
        for (number, slice) in (0..).zip(&found.series.slices) {
            let its = number * found.series.slice_ns..(number + 1) * found.series.slice_ns;
            let offered = requests.iter().filter(|it| its.contains(&instant(it.at_ns))).count();
            prop_assert_eq!(slice.offered.requests, offered as u64);
        }
    }

    #[test]
    fn the_deficit_is_the_most_that_the_ideal_was_ahead(
        requests in any_requests(1_000_000, 999),
        from in 0_u64..40,
    ) {
        let from_ns = from * 1_000_000;
        let limits = [(limit(1, 3_000_000, 5), 3), (limit(1, 2_000_000, 9), 1)];
        let setup = JudgeSetup { measure_from_ns: from_ns, ..setup(&limits) };
        let (found, ideal) = judge(&setup, &requests, end_of(&requests));
        let tokens = |it: &Request| -> i64 {
            it.demands.iter().map(|demand| i64::from(demand.cost)).sum()
        };
        let ahead = |until: u64| {
            let mut ahead = 0;
            for (it, &ideal) in requests.iter().zip(&ideal) {
                if instant(it.at_ns) >= from_ns {
                    let asked = ideal && instant(it.at_ns) <= until;
                    let given = it.allowed && instant(it.decided_ns) <= until;
                    ahead += tokens(it) * (i64::from(asked) - i64::from(given));
                }
            }
            u64::try_from(ahead).unwrap_or(0)
        };
        let times = requests.iter().flat_map(|it| [instant(it.at_ns), instant(it.decided_ns)]);
        let most = times.map(|at| (ahead(at), std::cmp::Reverse(at))).max();
        let (most_tokens, std::cmp::Reverse(most_at_ns)) = most.unwrap_or_default();
        prop_assert_eq!(found.deficit.end_tokens, ahead(u64::MAX));
        prop_assert_eq!(found.deficit.most_tokens, most_tokens);
        if most_tokens > 0 {
            prop_assert_eq!(found.deficit.most_at_ns, most_at_ns);
        }
    }
}

/// The judge that was counted six tokens beyond the limit where nobody had been admitted more than
/// two: answers of the store were lost, and each request was tried again.
#[test]
fn what_the_store_spent_and_nobody_was_told_is_not_admitted() {
    let mut judge = Judge::new(&setup(&[(limit(1, SECOND, 3), 1)]));
    let mut told = 0;
    for at_ns in 0..10 {
        let spend = judge.spend(at_ns * 1000, demand(0, 0, 1));
        judge.settle(spend, at_ns % 2 == 1);
        told += at_ns % 2;
    }
    let found = judge.finish(SECOND).limits.remove(0);
    assert_eq!(found.takes, told);
    assert_eq!(found.overshoot.rounded_up(), told - 3);
}

/// A spend counts when the store made it, not when its caller hears of it: answers that a slow link
/// brings together were not admitted together.
#[test]
fn a_spend_counts_when_it_was_made() {
    let mut judge = Judge::new(&setup(&[(limit(1, SECOND, 1), 1)]));
    let spends: Vec<Spend> = (0..10)
        .map(|at| judge.spend(at * SECOND, demand(0, 0, 1)))
        .collect();
    judge.advance(10 * SECOND);
    for spend in spends.into_iter().rev() {
        judge.settle(spend, true);
    }
    let found = judge.finish(11 * SECOND).limits.remove(0);
    assert_eq!((found.takes, found.overshoot.rounded_up()), (10, 0));
}

#[test]
#[should_panic(expected = "a spend is settled once")]
fn a_spend_is_not_settled_twice() {
    let mut judge = Judge::new(&setup(&[(limit(1, SECOND, 1), 1)]));
    let spend = judge.spend(0, demand(0, 0, 1));
    judge.settle(spend, true);
    judge.settle(spend, true);
}

/// A judge that begins anew at a change forgives a limiter that does so too: a full burst before
/// the change, and one after.
#[test]
fn a_change_of_the_limit_is_no_second_burst() {
    let of = |from, to| {
        let mut judge = changing(from, to, 1);
        judge.take(SECOND, demand(0, 0, 10));
        judge.change_limit(SECOND, 0, to);
        judge.take(SECOND, demand(0, 0, 10));
        judge.finish(SECOND).limits[0].overshoot.rounded_up()
    };
    let (small, large) = (limit(1, SECOND, 10), limit(1, SECOND, 15));
    assert_eq!(of(small, small), 10);
    assert_eq!(of(small, large), 5, "by the larger of the two");
    assert_eq!(of(large, small), 5);
    // After the cut by itself no more than 10 were to be admitted, and were not.
    let mut judge = changing(large, small, 1);
    judge.take(SECOND, demand(0, 0, 5));
    judge.change_limit(SECOND, 0, small);
    judge.take(SECOND, demand(0, 0, 12));
    let found = judge.finish(SECOND).limits.remove(0);
    assert_eq!(found.overshoot.rounded_up(), 2);
}

#[test]
fn what_happens_within_a_microsecond_is_one_instant() {
    let limit = limit(1, 1000, 1);
    let mut judge = Judge::new(&setup(&[(limit, 1)]));
    judge.take(1999, demand(0, 0, 1));
    judge.take(2000, demand(0, 0, 1));
    assert!(judge.finish(3000).overshoot().unwrap().is_zero());

    let mut judge = Judge::new(&setup(&[(limit, 1)]));
    judge.take(2000, demand(0, 0, 1));
    judge.take(2999, demand(0, 0, 1));
    assert_eq!(judge.finish(3000).overshoot().unwrap().rounded_up(), 1);
}

#[test]
#[should_panic(expected = "in order of time")]
fn time_does_not_run_backwards() {
    let mut judge = Judge::new(&setup(&[(limit(1, 1, 1), 1)]));
    judge.take(2000, demand(0, 0, 1));
    judge.take(1999, demand(0, 0, 1));
}

#[test]
#[should_panic(expected = "the limit has no key 1")]
fn a_key_of_another_limit_is_not_taken_for_ones_own() {
    let mut judge = Judge::new(&setup(&[(limit(1, 1, 1), 1), (limit(1, 1, 1), 1)]));
    judge.take(0, demand(0, 1, 1));
}

#[test]
fn an_ideal_limiter_has_nothing_against_it() {
    let promised = limit(3, 7_000, 5);
    let arrivals: Vec<Request> = (0..5000)
        .map(|n| request(n * 500, u32::try_from(n % 3).unwrap(), 1, false))
        .collect();
    let setup = setup(&[(promised, 3)]);
    let (_, ideal) = judge(&setup, &arrivals, end_of(&arrivals));
    let answer = |(it, allowed)| Request { allowed, ..it };
    let answered: Vec<_> = arrivals.into_iter().zip(ideal).map(answer).collect();
    let (found, _) = judge(&setup, &answered, end_of(&answered));
    assert_eq!(found.utilisation, Some(1.0));
    assert_eq!(found.deficit, Deficit::default());
    assert!(found.overshoot().unwrap().is_zero());
    assert_eq!(
        (
            found.false_denials,
            found.disagreements,
            found.first_denials
        ),
        (0, 0, 0)
    );
    assert_eq!(found.limits[0].share_above_burst(), Some(0.0));
    assert!(
        found.measured.denied.requests > 1000,
        "it was put to the test"
    );
}

#[test]
fn an_empty_run_has_little_to_say() {
    let found = Judge::new(&setup(&[(limit(1, SECOND, 1), 1)])).finish(0);
    assert_eq!(found.utilisation, None);
    assert_eq!(found.false_denial_share(), None);
    assert_eq!(found.disagreement_share(), None);
    assert_eq!(found.limits[0].share_above_burst(), None);
    assert_eq!((found.fairness, found.starvation), (None, None));
    assert!(found.series.slices.is_empty());
    assert_eq!(Judge::new(&setup(&[])).finish(5).overshoot(), None);
}

#[test]
fn the_ideal_keeps_what_is_in_use_when_its_limit_changes() {
    let mut judge = changing(limit(1, SECOND, 10), limit(100, SECOND, 8), 1);
    let ideal = |judge: &mut Judge, at_ns, cost| {
        judge
            .arrive(at_ns, 0, &[demand(0, 0, cost)])
            .ideal_admitted()
    };
    assert!(ideal(&mut judge, 0, 8));
    // Half a token has drained; 7.5 are in use.
    judge.change_limit(SECOND / 2, 0, limit(100, SECOND, 8));
    assert!(!ideal(&mut judge, SECOND / 2, 1));
    // Another half of one takes 5 ms at the new rate.
    assert!(!ideal(&mut judge, SECOND / 2 + 4_999_000, 1));
    assert!(ideal(&mut judge, SECOND / 2 + 5_000_000, 1));
}

#[test]
fn a_change_of_one_limit_leaves_the_others_alone() {
    let limits = [(limit(1, SECOND, 10), 1), (limit(1, SECOND, 10), 1)];
    let mut setup = setup(&limits);
    setup.limits[0].later = vec![limit(1, SECOND / 10, 10)];
    let mut judge = Judge::new(&setup);
    judge.arrive(0, 0, &[demand(1, 0, 10)]);
    judge.take(0, demand(1, 0, 10));
    judge.change_limit(0, 0, limit(1, SECOND / 10, 10));
    assert!(!judge.arrive(0, 0, &[demand(1, 0, 1)]).ideal_admitted());
    judge.take(0, demand(1, 0, 1));
    let found = judge.finish(0);
    assert_eq!(found.limits[1].overshoot.rounded_up(), 1);
    assert_eq!(found.limits[1].peak_second.tokens, 11);
}

#[test]
fn the_peak_is_a_second_of_the_numbers_that_held() {
    let mut judge = changing(limit(10, SECOND, 10), limit(30, SECOND, 10), 2);
    for tenth in 0..10 {
        judge.take(tenth * SECOND / 10, demand(0, 1, 2));
    }
    judge.take(SECOND, demand(0, 1, 12));
    // A new epoch: none of what was taken before counts, nor is it subtracted later.
    judge.change_limit(SECOND, 0, limit(30, SECOND, 10));
    judge.take(SECOND, demand(0, 1, 20));
    judge.take(3 * SECOND, demand(0, 1, 1));
    let found = judge.finish(4 * SECOND).limits.remove(0);
    let peak = PeakSecond {
        tokens: 30,
        ratio: 1.5,
        key: 1,
        at_ns: SECOND,
    };
    assert_eq!(found.peak_second, peak);
    // Each epoch is over its burst after a take: the first twice, the second once.
    assert_eq!((found.takes, found.takes_above_burst), (13, 3));
}

#[test]
fn the_first_request_of_a_key_is_its_first_under_any_limit() {
    let keys = setup(&[(limit(1, SECOND, 100), 2), (limit(1, SECOND, 100), 1)]);
    let denied = |at_ns, demands: &[Demand]| Request {
        demands: demands.to_vec(),
        ..request(at_ns, 0, 1, false)
    };
    let requests = [
        denied(0, &[demand(0, 0, 1), demand(1, 0, 1)]),
        denied(1, &[demand(0, 0, 1), demand(1, 0, 1)]),
        denied(2, &[demand(0, 1, 1), demand(1, 0, 1)]),
        // The ideal has no room for that.
        denied(3, &[demand(0, 1, 101)]),
    ];
    assert_eq!(judge(&keys, &requests, SECOND).0.first_denials, 2);
    let warm = JudgeSetup {
        measure_from_ns: SECOND,
        ..keys
    };
    assert_eq!(judge(&warm, &requests, SECOND).0.first_denials, 0);
}

#[test]
fn safety_counts_in_the_warm_up_and_volumes_do_not() {
    let setup = JudgeSetup {
        measure_from_ns: SECOND,
        ..setup(&[(limit(1, SECOND, 2), 1)])
    };
    let late = Request {
        at_ns: SECOND - 1000,
        decided_ns: SECOND + 1000,
        ..request(0, 0, 1, false)
    };
    let requests = [
        request(0, 0, 5, true),
        late,
        request(5 * SECOND, 0, 1, true),
    ];
    let (found, _) = judge(&setup, &requests, 6 * SECOND);
    assert_eq!(found.overshoot().unwrap().rounded_up(), 3);
    assert_eq!(found.limits[0].takes, 2);
    assert_eq!(found.total.offered.tokens, 7);
    let once = Tally {
        requests: 1,
        tokens: 1,
    };
    assert_eq!(found.measured.offered, once);
    assert_eq!(found.measured.admitted, once);
    assert_eq!(found.measured.denied, Tally::default());
    assert_eq!(found.measured.ideal_admitted, once);
    assert_eq!(found.measured_ns(), 5 * SECOND);
}

/// An abuser keeps his key short for minutes; others on the same shared limit are not excused by
/// that, nor are verdicts that come long after.
#[test]
fn contention_of_one_key_excuses_no_other_and_old_episodes_are_forgotten() {
    let limits = [(limit(1, SECOND, 1), 2), (limit(1000, SECOND, 1000), 1)];
    let mut judge = Judge::new(&setup(&limits));
    let abuse = [demand(0, 0, 1), demand(1, 0, 1)];
    let other = [demand(0, 1, 1), demand(1, 0, 1)];
    let mut denied = 0;
    for at_ns in (0..300 * SECOND).step_by(100_000_000) {
        let note = judge.arrive(at_ns, 0, &abuse);
        judge.decide(at_ns, note, 0, &abuse, false);
        if at_ns % (10 * SECOND) == 0 {
            let note = judge.arrive(at_ns, 0, &other);
            judge.decide(at_ns, note, 0, &other, false);
            denied += 1;
        }
    }
    assert_eq!(judge.finish(300 * SECOND).false_denials, denied);
}

/// Contention that has gone on for longer than episodes are kept, when another key has the old ones
/// forgotten.
#[test]
fn an_episode_that_goes_on_is_not_forgotten() {
    let keys = setup(&[(limit(1, SECOND, 1), 2)]);
    // The ideal admits on the second and denies half-way to the next.
    let mut requests: Vec<Request> = (0..140)
        .map(|half| request(half * SECOND / 2, 0, 1, false))
        .collect();
    let others = [
        request(139 * SECOND / 2 + 1000, 1, 1, false),
        request(139 * SECOND / 2 + 2000, 1, 1, false),
    ];
    requests.extend(others);
    // Half a second after the last denial, and nothing comes later.
    requests.push(request(70 * SECOND, 0, 1, false));
    let (found, ideal) = judge(&keys, &requests, 80 * SECOND);
    assert!(ideal[142]);
    assert_eq!(found.false_denials, 0);
}

#[test]
fn a_denial_within_a_second_of_contention_is_not_false() {
    let keys = setup(&[(limit(1, SECOND, 1), 2)]);
    let denied_at = |at_ns, wait_ns, key| {
        let candidate = Request {
            decided_ns: at_ns + wait_ns,
            ..request(at_ns, key, 1, false)
        };
        let mut requests = vec![
            request(5 * SECOND, 0, 1, true),
            request(5 * SECOND, 0, 1, false),
            candidate,
        ];
        requests.sort_by_key(|it| it.at_ns);
        judge(&keys, &requests, 20 * SECOND).0.false_denials
    };
    for wait_ns in [0, SECOND / 2, 3 * SECOND] {
        assert_eq!(denied_at(6 * SECOND, wait_ns, 0), 0);
        assert_eq!(denied_at(6 * SECOND + 1000, wait_ns, 0), 1);
        assert_eq!(denied_at(6 * SECOND, wait_ns, 1), 1, "another key");
        assert_eq!(denied_at(4 * SECOND, wait_ns, 0), 0, "just before");
        assert_eq!(denied_at(3 * SECOND, wait_ns, 0), 1);
    }
}

#[test]
fn convergence_is_timed_from_a_mark() {
    // The load steps from nothing to twice the limit, and the limiter wakes 250 ms later.
    let mut judge = Judge::new(&setup(&[(limit(1000, SECOND, 1), 1)]));
    let demands = [demand(0, 0, 1)];
    judge.mark(2 * SECOND);
    for at_ns in (2 * SECOND..5 * SECOND).step_by(500_000) {
        let note = judge.arrive(at_ns, 0, &demands);
        let allowed = note.ideal_admitted() && at_ns >= 2 * SECOND + 250_000_000;
        if allowed {
            judge.take(at_ns, demands[0]);
        }
        judge.decide(at_ns, note, 0, &demands, allowed);
    }
    let found = judge.finish(5 * SECOND);
    let expected = Convergence {
        mark_ns: 2 * SECOND,
        by_tenths_ns: Some(300_000_000),
        by_seconds_ns: Some(SECOND),
    };
    assert_eq!(found.convergence, [expected]);
    assert_eq!(found.deficit.most_tokens, 250);
    let starvation = Starvation {
        longest_ns: 249_500_000,
        replica: 0,
        end_ns: 2 * SECOND + 249_500_000,
    };
    assert_eq!(found.starvation, Some(starvation));
}

#[test]
fn fairness_is_measured_second_by_second() {
    // Two replicas with equal demand; the second gets nothing in the second second.
    let mut judge = Judge::new(&setup(&[(limit(100, SECOND, 1), 1)]));
    let demands = [demand(0, 0, 1)];
    for at_ns in (0..3 * SECOND).step_by(1_000_000) {
        let replica = u32::from(at_ns / 1_000_000 % 2 == 0);
        let note = judge.arrive(at_ns, replica, &demands);
        let is_second = (SECOND..2 * SECOND).contains(&at_ns);
        let turn = at_ns / 1_000_000 % 20 < 2;
        judge.decide(
            at_ns,
            note,
            replica,
            &demands,
            turn && !(is_second && replica == 1),
        );
    }
    let fairness = judge.finish(3 * SECOND + SECOND / 2).fairness.unwrap();
    assert_eq!(fairness.windows, 3, "the last one is not whole");
    assert!((fairness.jain_low - 0.5).abs() < 1e-9);
    assert!((fairness.jain_mean - 2.5 / 3.0).abs() < 1e-9);
}

const SECOND: u64 = 1_000_000_000;
