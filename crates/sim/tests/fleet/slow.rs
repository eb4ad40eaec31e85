//! Keys on the edge between leases and central decisions.

use std::fmt::Write;

use crate::fleet::{even, is_exact_and_used, run, scenario};

#[test]
fn a_few_tokens_a_minute_are_all_used_at_few_calls() {
    let summary = even("5/min", 4, "20/s", 120);
    is_exact_and_used(&summary, 0.95);
    assert_eq!(summary.cold_denials, 0);
    assert!(summary.store_calls <= 2.0);
}

#[test]
fn a_slow_key_far_beyond_its_limit_costs_few_calls() {
    let summary = even("100/min", 10, "100/s", 300);
    is_exact_and_used(&summary, 0.98);
    assert!(summary.store_calls <= 3.0);
}

#[test]
fn a_slow_key_below_its_limit_is_not_denied() {
    let summary = even("100/min", 10, "1/s", 300);
    is_exact_and_used(&summary, 0.98);
    assert_eq!(summary.false_denials, 0);
}

#[test]
fn a_slow_key_just_above_its_limit_is_used_up() {
    is_exact_and_used(&even("100/min", 10, "2/s", 600), 0.97);
}

/// Tokens leased just before a pause that outlasts the lease were once charged when it ended: a
/// twentieth of the limit was lost.
#[test]
fn what_is_held_when_demand_pauses_goes_back_before_it_expires() {
    let mut bursts = String::from("until = \"1.5s\"\nreplica = 0\n");
    for turn in 1..40_u32 {
        let (from, replica) = (f64::from(turn) * 15.0, turn % 4);
        let until = from + 1.5;
        let load = format!(
            "[[load]]\noffered = \"33/s\"\nfrom = \"{from}s\"\nuntil = \"{until}s\"\n\
             replica = {replica}\n"
        );
        bursts.write_str(&load).expect("a string takes everything");
    }
    let summary = run(&scenario("100/min", 4, "33/s", 600, &bursts)).summary;
    is_exact_and_used(&summary, 0.98);
}
