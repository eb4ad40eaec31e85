//! Keys that are leased, while nothing fails.

use std::time::Duration;

use crate::demand::Keys;
use crate::report::Report;
use crate::world::{Setup, World};

/// A run in which all replicas are asked alike.
pub(crate) fn even(name: &str, setup: &Setup, rate: f64, seconds: u64) -> Report {
    let mut world = World::new(setup);
    world.offer_evenly(rate);
    world.run(Duration::from_secs(seconds));
    Report::of(name, &mut world)
}

fn skewed(name: &str, setup: &Setup, rate: f64, seconds: u64) -> Report {
    let mut world = World::new(setup);
    world.offer_mostly_to(0, 0.8, rate);
    world.run(Duration::from_secs(seconds));
    Report::of(name, &mut world)
}

#[test]
fn a_limit_under_thrice_its_load_is_used_up_and_not_exceeded() {
    let report = even("a 1000/s N=4 3x 10 s", &Setup::new("1000/s", 4), 3000.0, 10);
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.utilisation() >= 0.99);
    assert!(report.local() >= 0.96);
    assert!(report.round_trip_share() <= 0.03);
    let report = even("a 1000/s N=4 3x 60 s", &Setup::new("1000/s", 4), 3000.0, 60);
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.utilisation() >= 0.997);
}

#[test]
fn one_replica_with_most_of_the_demand_gets_most_of_the_limit() {
    let report = skewed(
        "b 1000/s N=4 3x skew 10 s",
        &Setup::new("1000/s", 4),
        3000.0,
        10,
    );
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.utilisation() >= 0.99);
    assert!(report.local() >= 0.96);
    assert!(report.round_trip_share() <= 0.03);
    let report = skewed(
        "b 1000/s N=4 3x skew 60 s",
        &Setup::new("1000/s", 4),
        3000.0,
        60,
    );
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.utilisation() >= 0.997);
}

#[test]
fn below_the_limit_nobody_is_denied_and_few_calls_are_made() {
    let report = even(
        "c 10000/s N=4 0.5x 10 s",
        &Setup::new("10000/s", 4),
        5000.0,
        10,
    );
    assert_eq!(report.judged.overshoot, 0);
    assert_eq!(report.judged.false_denials, 0);
    assert!(report.round_trip_share() <= 0.01);
}

#[test]
fn many_keys_share_round_trips() {
    let setup = Setup {
        keys: Keys::zipf(100_000, 0.99),
        ..Setup::new("100/min", 4)
    };
    let report = even("e 100k keys 100/min N=4 20 s", &setup, 10_000.0, 20);
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.round_trips_per_second() <= 1000.0);
}

#[test]
fn ten_replicas_ask_a_hundred_times_a_second() {
    let report = even(
        "f 1000/s N=10 3x 60 s",
        &Setup::new("1000/s", 10),
        3000.0,
        60,
    );
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.utilisation() >= 0.995);
    assert!(report.calls_per_second() <= 110.0);
}

#[test]
fn a_hundred_replicas_with_most_of_the_demand_on_one_use_the_limit() {
    let report = skewed(
        "g 1000/s N=100 3x skew 60 s",
        &Setup::new("1000/s", 100),
        3000.0,
        60,
    );
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.utilisation() >= 0.98);
}

#[test]
fn a_small_burst_is_used_up() {
    let report = even(
        "j 100/s burst 20 N=10 2x 60 s",
        &Setup::new("100/s burst 20", 10),
        200.0,
        60,
    );
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.utilisation() >= 0.98);
}

#[test]
fn just_below_the_limit_nobody_is_denied_for_nothing() {
    let report = even(
        "k 1000/s N=10 0.9x 60 s",
        &Setup::new("1000/s", 10),
        900.0,
        60,
    );
    assert_eq!(report.judged.overshoot, 0);
    assert_eq!(report.judged.false_denials, 0);
}
