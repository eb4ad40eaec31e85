//! Limits with an advance: keys that nobody has asked about are answered at once.

use crate::fleet::{is_exact_and_used, run, scenario};

const USERS: &str = "keys = { count = \"100k\", zipf = 0.99 }\n";

#[test]
fn most_requests_of_many_users_do_not_wait_for_the_store() {
    let asking = run(&scenario("100/min", 4, "10k/s", 20, USERS)).summary;
    let limit = "100/min advance 10";
    let advanced = run(&scenario(limit, 4, "10k/s", 20, USERS)).summary;
    is_exact_and_used(&advanced, 0.985);
    assert!(asking.local < 0.5, "{}", asking.local);
    assert!(advanced.local > 0.9, "{}", advanced.local);
    assert!(advanced.store_calls < 0.65 * advanced.offered);
    assert!(advanced.round_trips < 0.15 * asking.round_trips);
    assert!(advanced.store_busy < asking.store_busy / 2.0);
}

#[test]
fn an_overshoot_that_is_all_in_advance_costs_nobody_a_token() {
    let limit = "100/min overshoot 10 advance 10";
    let summary = run(&scenario(limit, 4, "10k/s", 20, USERS)).summary;
    assert!(summary.excess <= 0.0 && summary.overshoot <= 10.0);
    assert!(
        summary.utilisation > Some(0.998),
        "{:?}",
        summary.utilisation
    );
    assert!(summary.local > 0.9, "{}", summary.local);
}

#[test]
fn a_replica_that_crashes_every_three_seconds_leaves_the_others_their_advance() {
    let crashes = "[[fault]]\nkind = \"crash\"\nat = \"5s\"\nevery = \"3s\"\nreplicas = [3]\n\
                   restart-after = \"200ms\"\n";
    let more = format!("{USERS}{crashes}");
    let summary = run(&scenario("100/min advance 20", 4, "10k/s", 40, &more)).summary;
    is_exact_and_used(&summary, 0.93);
    assert!(summary.local > 0.7, "{}", summary.local);
}
