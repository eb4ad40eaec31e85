//! Keys that are leased, while nothing fails.

use crate::fleet::{even, is_exact_and_used, run, scenario};

const SKEWED: &str = "[balance]\npolicy = { skewed = { to = 0, share = \"80%\" } }\n";

#[test]
fn a_limit_under_thrice_its_load_is_used_up_and_not_exceeded() {
    let summary = even("1000/s", 4, "3000/s", 10);
    is_exact_and_used(&summary, 0.99);
    assert!(summary.local >= 0.96);
    assert!(summary.round_trips <= 0.03 * summary.offered);
    is_exact_and_used(&even("1000/s", 4, "3000/s", 60), 0.997);
}

#[test]
fn one_replica_with_most_of_the_demand_gets_most_of_the_limit() {
    let summary = run(&scenario("1000/s", 4, "3000/s", 10, SKEWED)).summary;
    is_exact_and_used(&summary, 0.985);
    assert!(summary.local >= 0.96);
    assert!(summary.round_trips <= 0.03 * summary.offered);
    let long = run(&scenario("1000/s", 4, "3000/s", 60, SKEWED)).summary;
    is_exact_and_used(&long, 0.997);
}

#[test]
fn below_the_limit_nobody_is_denied_and_few_calls_are_made() {
    let summary = even("10000/s", 4, "5000/s", 10);
    is_exact_and_used(&summary, 1.0);
    assert_eq!(summary.false_denials, 0);
    assert!(summary.round_trips <= 0.01 * summary.offered);
}

#[test]
fn many_keys_share_round_trips_where_an_operator_wants_that() {
    let keys = "keys = { count = \"100k\", zipf = 0.99 }\n";
    let at_once = run(&scenario("100/min", 4, "10k/s", 5, keys)).summary;
    is_exact_and_used(&at_once, 0.99);
    assert!(at_once.wait_p99 <= 0.0012, "{}", at_once.wait_p99);
    let gap = format!("{keys}[tuning]\nask-gap = \"10ms\"\n");
    let later = run(&scenario("100/min", 4, "10k/s", 5, &gap)).summary;
    is_exact_and_used(&later, 0.99);
    assert!(later.round_trips <= 500.0, "{}", later.round_trips);
}

#[test]
fn ten_replicas_ask_a_hundred_times_a_second() {
    let summary = even("1000/s", 10, "3000/s", 60);
    is_exact_and_used(&summary, 0.995);
    assert!(summary.store_calls <= 110.0);
}

#[test]
fn a_hundred_replicas_with_most_of_the_demand_on_one_use_the_limit() {
    let summary = run(&scenario("1000/s", 100, "3000/s", 30, SKEWED)).summary;
    is_exact_and_used(&summary, 0.98);
}

#[test]
fn a_small_burst_is_used_up() {
    is_exact_and_used(&even("100/s burst 20", 10, "200/s", 60), 0.98);
}

#[test]
fn just_below_the_limit_nobody_is_denied_for_nothing() {
    let summary = even("1000/s", 10, "900/s", 60);
    is_exact_and_used(&summary, 1.0);
    assert_eq!(summary.false_denials, 0);
}
