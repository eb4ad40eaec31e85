//! The promise: no window holds more than burst, overshoot and what the rate yields in it.

use crate::fleet::Fleet;
use crate::habits::Faults;
use crate::random::{Random, for_seeds};

#[test]
fn the_promise_is_kept_whatever_is_lost_repeated_or_late_and_whoever_crashes() {
    let faults = Faults {
        crashes: true,
        ..Faults::default()
    };
    for_seeds(SCHEDULES, |random| keeps_the_promise(faults, random));
}

#[test]
fn the_promise_is_kept_by_a_store_that_forgets_everything() {
    let faults = Faults {
        flushes: true,
        ..Faults::default()
    };
    for_seeds(SCHEDULES, |random| keeps_the_promise(faults, random));
}

#[test]
fn the_promise_is_kept_by_a_store_that_restarts_from_an_older_state() {
    let faults = Faults {
        crashes: true,
        restarts: true,
        ..Faults::default()
    };
    for_seeds(SCHEDULES, |random| keeps_the_promise(faults, random));
}

#[test]
fn the_promise_is_kept_by_a_store_that_forgets_everything_and_restarts_from_an_older_state() {
    let faults = Faults {
        flushes: true,
        restarts: true,
        ..Faults::default()
    };
    for_seeds(SCHEDULES, |random| keeps_the_promise(faults, random));
}

/// The documented exception: whoever has no memory may take a store that has forgotten everything
/// for a new one, until somebody who remembers comes.
#[test]
fn nothing_is_exceeded_by_more_than_a_forgetful_store_grants_before_anyone_notices() {
    let faults = Faults {
        crashes: true,
        flushes: true,
        restarts: true,
    };
    for_seeds(SCHEDULES, |random| {
        let mut fleet = Fleet::new(faults, random);
        for _ in 0..STEPS {
            fleet.step();
            assert!(fleet.excess() <= fleet.granted_in_oblivion());
        }
        fleet.settle();
    });
}

fn keeps_the_promise(faults: Faults, random: &mut Random) {
    let mut fleet = Fleet::new(faults, random);
    for _ in 0..STEPS {
        fleet.step();
        assert_eq!(fleet.excess(), 0, "tokens too many in some window");
    }
    fleet.settle();
}

/// As many as a debug build runs in a few seconds.
const SCHEDULES: u64 = 2000;

/// Enough for a few leases to begin and end.
const STEPS: u64 = 200;
