//! Keys on the edge between leases and central decisions.

use std::time::Duration;

use crate::report::Report;
use crate::steady::even;
use crate::world::{Setup, World};

#[test]
fn a_few_tokens_a_minute_are_all_used_at_few_calls() {
    let report = even("d 5/min N=4 20/s 120 s", &Setup::new("5/min", 4), 20.0, 120);
    assert_eq!(report.judged.overshoot, 0);
    assert_eq!(report.judged.early_denials, 0);
    assert!(report.utilisation() >= 0.95);
    assert!(report.calls_per_second() <= 2.0);
}

#[test]
fn a_slow_key_far_beyond_its_limit_costs_few_calls() {
    let report = even(
        "h 100/min N=10 100/s 300 s",
        &Setup::new("100/min", 10),
        100.0,
        300,
    );
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.utilisation() >= 0.98);
    assert!(report.calls_per_second() <= 3.0);
}

#[test]
fn a_slow_key_below_its_limit_is_not_denied() {
    let report = even(
        "i 100/min N=10 1/s 300 s",
        &Setup::new("100/min", 10),
        1.0,
        300,
    );
    assert_eq!(report.judged.overshoot, 0);
    assert_eq!(report.judged.false_denials, 0);
}

#[test]
fn a_slow_key_just_above_its_limit_is_used_up() {
    let report = even(
        "i 100/min N=10 2/s 600 s",
        &Setup::new("100/min", 10),
        2.0,
        600,
    );
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.utilisation() >= 0.97);
}

/// Tokens leased just before a pause that outlasts the lease were once charged when it ended: a
/// twentieth of the limit was lost.
#[test]
fn what_is_held_when_demand_pauses_goes_back_before_it_expires() {
    let mut world = World::new(&Setup::new("100/min", 4));
    for turn in 0..40_usize {
        world.offer(|replica| if replica == turn % 4 { 33.0 } else { 0.0 });
        world.run(Duration::from_millis(1500));
        world.offer(|_| 0.0);
        world.run(Duration::from_millis(13_500));
    }
    let report = Report::of("r 100/min N=4 on and off", &mut world);
    assert_eq!(report.judged.overshoot, 0);
    assert!(report.utilisation() >= 0.98);
}
