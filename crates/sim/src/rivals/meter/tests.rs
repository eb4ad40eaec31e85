//! Each algorithm against an oracle in other arithmetic: sums over the list of all admissions.

use leasehold_core::Limit;
use rand::RngExt;

use super::*;
use crate::stream::{Stream, stream};

/// Admissions so far: when, and how many tokens.
type Admitted = Vec<(u64, u64)>;

/// Whether `cost` passes at `now_us` after all that was admitted.
type Oracle = fn(&Admitted, u64, &Limit, u64) -> bool;

const ALL: [(Algorithm, Oracle); 5] = [
    (Algorithm::TokenBucket, bucket_oracle),
    (Algorithm::LeakyBucket, bucket_oracle),
    (Algorithm::FixedWindow, fixed_oracle),
    (Algorithm::SlidingWindowCounter, counter_oracle),
    (Algorithm::SlidingWindowLog, log_oracle),
];

/// The promise itself: no window that ends now holds more than burst and rate.
fn bucket_oracle(admitted: &Admitted, cost: u64, limit: &Limit, now_us: u64) -> bool {
    let period = i128::from(limit.rate().period.0);
    let mut spent = i128::from(cost);
    let room = |spent: i128, since_us: u64| {
        let yielded = i128::from(now_us - since_us) * i128::from(limit.rate().tokens);
        spent * period <= i128::from(limit.burst()) * period + yielded
    };
    room(spent, now_us)
        && admitted.iter().rev().all(|&(at_us, cost)| {
            spent += i128::from(cost);
            room(spent, at_us)
        })
}

fn sum_where(admitted: &Admitted, within: impl Fn(u64) -> bool) -> u64 {
    let costs = admitted.iter().filter(|(at_us, _)| within(*at_us));
    costs.map(|(_, cost)| cost).sum()
}

fn fixed_oracle(admitted: &Admitted, cost: u64, limit: &Limit, now_us: u64) -> bool {
    let Quota { tokens, window_us } = Quota::of(limit);
    let same = |at_us| at_us / window_us == now_us / window_us;
    sum_where(admitted, same) + cost <= tokens
}

fn counter_oracle(admitted: &Admitted, cost: u64, limit: &Limit, now_us: u64) -> bool {
    let Quota { tokens, window_us } = Quota::of(limit);
    let index = now_us / window_us;
    let current = sum_where(admitted, |at_us| at_us / window_us == index);
    let previous = sum_where(admitted, |at_us| at_us / window_us + 1 == index);
    // previous * (1 - elapsed / window) + current + cost <= tokens, in whole numbers.
    let elapsed = i128::from(now_us - index * window_us);
    let free = i128::from(tokens) - i128::from(current + cost) - i128::from(previous);
    free * i128::from(window_us) + i128::from(previous) * elapsed >= 0
}

fn log_oracle(admitted: &Admitted, cost: u64, limit: &Limit, now_us: u64) -> bool {
    let Quota { tokens, window_us } = Quota::of(limit);
    sum_where(admitted, |at_us| at_us + window_us > now_us) + cost <= tokens
}

fn random_limit(rng: &mut Stream) -> Limit {
    let limits = [
        "10/s burst 4",
        "7/3s",
        "100/min burst 100",
        "3/min burst 1",
        "1000/s burst 50",
        "13/700us burst 20",
    ];
    limits[rng.random_range(0..limits.len())].parse().unwrap()
}

/// Times that come in bursts, pauses and exact multiples of the window.
fn next_time(rng: &mut Stream, now_us: u64, limit: &Limit) -> u64 {
    let window_us = limit.rate().period.0;
    match rng.random_range(0..10) {
        0..=3 => now_us,
        4..=7 => now_us + rng.random_range(0..=window_us / limit.rate().tokens),
        8 => now_us + rng.random_range(0..window_us * 2),
        _ => (now_us / window_us + 1) * window_us,
    }
}

#[test]
fn each_algorithm_admits_what_the_list_of_admissions_allows() {
    for (algorithm, oracle) in ALL {
        let mut rng = stream(1, "meter", 0);
        for round in 0..200 {
            let limit = random_limit(&mut rng);
            let (mut meter, mut admitted) = (Meter::blank(algorithm), Admitted::new());
            let mut now_us = rng.random_range(0..1_000_000_000);
            for _ in 0..200 {
                now_us = next_time(&mut rng, now_us, &limit);
                let cost = rng.random_range(1..=3);
                let allowed = meter.room(cost, &limit, now_us).is_ok();
                let expected = oracle(&admitted, cost, &limit, now_us);
                // A cost above the burst never passes, and the oracle says so too.
                assert_eq!(
                    allowed, expected,
                    "{algorithm:?} {limit} round {round} at {now_us}"
                );
                if allowed {
                    meter.charge(cost, &limit, now_us);
                    admitted.push((now_us, cost));
                }
            }
        }
    }
}

#[test]
fn what_is_denied_passes_after_the_advised_time_and_not_before() {
    for (algorithm, oracle) in ALL {
        let mut rng = stream(2, "meter", 0);
        let mut denials = 0;
        for _ in 0..100 {
            let limit = random_limit(&mut rng);
            let (mut meter, mut admitted) = (Meter::blank(algorithm), Admitted::new());
            let mut now_us = 5_000_000_000;
            for _ in 0..100 {
                now_us = next_time(&mut rng, now_us, &limit);
                let cost = rng.random_range(1..=3);
                match meter.room(cost, &limit, now_us) {
                    Ok(()) => {
                        meter.charge(cost, &limit, now_us);
                        admitted.push((now_us, cost));
                    }
                    Err(Refusal {
                        retry_after_us: Some(wait),
                    }) => {
                        denials += 1;
                        assert!(
                            oracle(&admitted, cost, &limit, now_us + wait),
                            "{algorithm:?}"
                        );
                        assert!(!oracle(&admitted, cost, &limit, now_us + wait - 1));
                    }
                    Err(_) => {
                        let quota = limit.burst().min(limit.rate().tokens);
                        assert!(cost > quota, "{algorithm:?} {limit}");
                    }
                }
            }
        }
        assert!(denials > 1000, "{algorithm:?} was hardly tried: {denials}");
    }
}

#[test]
fn a_meter_matters_as_long_as_it_differs_from_a_blank_one() {
    for (algorithm, _) in ALL {
        let limit: Limit = "7/3s".parse().unwrap();
        let start_us = 9_000_000 + 1_234_567;
        let mut meter = Meter::blank(algorithm);
        meter.room(7, &limit, start_us).unwrap();
        meter.charge(7, &limit, start_us);
        let mut now_us = start_us;
        while meter.matters(&limit, now_us) {
            assert!(now_us < start_us + 6_000_000, "{algorithm:?} is never done");
            now_us += 1000;
        }
        let used = meter.clone().room(7, &limit, now_us);
        assert_eq!(used, Ok(()), "{algorithm:?} was dropped too early");
    }
}

#[test]
fn a_clock_that_goes_back_admits_nothing_more() {
    for (algorithm, _) in ALL {
        let limit: Limit = "5/s".parse().unwrap();
        let mut meter = Meter::blank(algorithm);
        let late_us = 100_500_000;
        meter.room(5, &limit, late_us).unwrap();
        meter.charge(5, &limit, late_us);
        for earlier_us in [late_us - 1, late_us - 600_000, late_us - 10_000_000] {
            assert!(meter.room(1, &limit, earlier_us).is_err(), "{algorithm:?}");
        }
    }
}

/// 10 at :59 and 10 at :01 of a limit of 10 a minute.
#[test]
fn at_the_end_of_a_window_a_fixed_window_admits_double_and_the_others_do_not() {
    let limit: Limit = "10/min".parse().unwrap();
    let minute_us = 60_000_000_u64;
    let admitted_in_two_seconds = |algorithm| {
        let mut meter = Meter::blank(algorithm);
        let mut try_ten = |at_us| {
            let pass = |_: &u32| {
                let room = meter.room(1, &limit, at_us).is_ok();
                if room {
                    meter.charge(1, &limit, at_us);
                }
                room
            };
            (0..10).filter(pass).count()
        };
        try_ten(100 * minute_us - 1_000_000) + try_ten(100 * minute_us + 1_000_000)
    };
    assert_eq!(admitted_in_two_seconds(Algorithm::FixedWindow), 20);
    assert_eq!(admitted_in_two_seconds(Algorithm::SlidingWindowCounter), 10);
    assert_eq!(admitted_in_two_seconds(Algorithm::SlidingWindowLog), 10);
    assert_eq!(admitted_in_two_seconds(Algorithm::TokenBucket), 10);
    assert_eq!(admitted_in_two_seconds(Algorithm::LeakyBucket), 10);
}

/// Constant overload that begins in the middle of a window: at first there is no window before it
/// to hold it back, and what the estimate takes for evenly spread was not.
#[test]
fn under_overload_a_sliding_counter_errs_at_the_start_and_settles_on_the_quota() {
    let most_in_a_minute = |algorithm, from_us| {
        let limit: Limit = "100/min".parse().unwrap();
        let (mut meter, mut admitted) = (Meter::blank(algorithm), Admitted::new());
        for now_us in (30_000_000..600_000_000).step_by(400_000) {
            if meter.room(1, &limit, now_us).is_ok() {
                meter.charge(1, &limit, now_us);
                admitted.push((now_us, 1));
            }
        }
        let starts = admitted.iter().map(|(at_us, _)| *at_us);
        starts
            .filter(|start| *start >= from_us)
            .map(|start| sum_where(&admitted, |at| (start..start + 60_000_000).contains(&at)))
            .max()
            .unwrap()
    };
    let (start, settled) = (0, 180_000_000);
    // 75 in the first half minute; then 25 and, as these lose weight, half of 75 in the next.
    assert_eq!(
        most_in_a_minute(Algorithm::SlidingWindowCounter, start),
        137
    );
    let counter = most_in_a_minute(Algorithm::SlidingWindowCounter, settled);
    assert!((95..=105).contains(&counter), "{counter}");
    assert_eq!(most_in_a_minute(Algorithm::FixedWindow, start), 150);
    assert_eq!(most_in_a_minute(Algorithm::FixedWindow, settled), 100);
    assert_eq!(most_in_a_minute(Algorithm::SlidingWindowLog, start), 100);
}

#[test]
fn several_demands_are_spent_together_or_not_at_all() {
    let limits: Vec<Limit> = ["10/s", "3/s"].map(|text| text.parse().unwrap()).into();
    let demand = |limit, cost| Demand {
        limit,
        key: 9,
        cost,
    };
    for (algorithm, _) in ALL {
        let mut meters = Meters::new(algorithm);
        let both = [demand(0, 1), demand(1, 1)];
        for _ in 0..3 {
            assert_eq!(meters.spend(&both, &limits, 1_000_000), Ok(()));
        }
        let refused = meters.spend(&both, &limits, 1_000_000).unwrap_err();
        assert_eq!(refused.slot, Slot { limit: 1, key: 9 }, "{algorithm:?}");
        // Had the refused ones spent of the first limit, seven would not be left.
        assert_eq!(meters.spend(&[demand(0, 7)], &limits, 1_000_000), Ok(()));
        assert!(meters.spend(&[demand(0, 1)], &limits, 1_000_000).is_err());
        let never = meters.spend(&[demand(0, 1), demand(1, 4)], &limits, 1_000_000);
        assert_eq!(never.unwrap_err().refusal, Refusal::NEVER);
    }
}

#[test]
fn a_leaky_bucket_keeps_its_tokens_and_a_token_bucket_its_time_when_the_limit_changes() {
    let (old, new): (Limit, Limit) = ("10/s".parse().unwrap(), "5/s burst 10".parse().unwrap());
    let spent = |algorithm| {
        let mut meter = Meter::blank(algorithm);
        meter.room(10, &old, 0).unwrap();
        meter.charge(10, &old, 0);
        (0..=10)
            .rev()
            .find(|cost| meter.room(*cost, &new, 0).is_ok())
    };
    assert_eq!(
        spent(Algorithm::LeakyBucket),
        Some(0),
        "ten tokens lie in it"
    );
    assert_eq!(
        spent(Algorithm::TokenBucket),
        Some(5),
        "it is full in a second, as before"
    );
}

#[test]
fn a_leaky_bucket_that_is_weighed_anew_loses_nothing() {
    let limit = |text: &str| text.parse::<Limit>().unwrap();
    let mut meter = Meter::blank(Algorithm::LeakyBucket);
    meter.room(10, &limit("10/s"), 0).unwrap();
    meter.charge(10, &limit("10/s"), 0);
    let wait = |meter: &mut Meter, text| meter.room(1, &limit(text), 0).unwrap_err();
    assert_eq!(wait(&mut meter, "5/s burst 10"), Refusal::after_us(200_000));
    assert_eq!(wait(&mut meter, "3/s burst 10"), Refusal::after_us(333_334));
    assert_eq!(wait(&mut meter, "10/s"), Refusal::after_us(100_000));
}

#[test]
fn keys_that_are_full_again_are_forgotten() {
    let limits = ["10/s".parse().unwrap()];
    for (algorithm, _) in ALL {
        let mut meters = Meters::new(algorithm);
        for key in 0..20_000_u32 {
            let demand = Demand {
                limit: 0,
                key,
                cost: 1,
            };
            // A key each millisecond: hundreds matter at a time, up to two windows' worth.
            meters
                .spend(&[demand], &limits, u64::from(key) * 1000)
                .unwrap();
            assert!(meters.len() <= 4096, "{algorithm:?}: {} keys", meters.len());
        }
    }
}
