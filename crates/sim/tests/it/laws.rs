//! Laws between runs, whatever the numbers are.

use std::collections::BTreeMap;

use leasehold_sim::scenario::LEASED;

use crate::lab::{self, Decided, near};

const RIVALS: &str = "[rivals.central]\nkind = \"central\"\n[rivals.local-only]\nkind = \"local\"\n\
    [rivals.split]\nkind = \"split\"\n\
    [rivals.blocks]\nkind = \"block-lease\"\nblock = 5\nwatermark = 2\n";

/// A store that answers at once, asked about every request, is the ideal bucket itself.
#[test]
fn central_without_latency_is_the_ideal_decision_by_decision() {
    for replicas in [1, 7] {
        let scenario = lab::scenario(
            "5s",
            &format!(
                "[[limit]]\nlimit = \"100/s burst 30\"\n\
                 [[load]]\noffered = \"300/s\"\nkeys = {{ count = 3, zipf = 1.0 }}\n\
                 cost = {{ geometric = {{ mean = 2.0 }} }}\n\
                 [fleet]\nreplicas = {replicas}\n[network]\nlatency = \"0s\"\n{RIVALS}"
            ),
        );
        let summary = lab::rival(&scenario, "central", 1).summary;
        assert!(summary.requests > 1000);
        assert_eq!(summary.disagreement.to_bits(), 0.0_f64.to_bits());
        assert_eq!(summary.utilisation, Some(1.0));
        assert_eq!(summary.overshoot.to_bits(), 0.0_f64.to_bits());
    }
}

/// One process with the whole limit is the ideal too.
#[test]
fn one_local_replica_is_the_ideal_decision_by_decision() {
    let scenario = lab::scenario(
        "5s",
        &format!(
            "[[limit]]\nlimit = \"100/s burst 30\"\n[[load]]\noffered = \"300/s\"\n[fleet]\n\
             replicas = 1\n{RIVALS}"
        ),
    );
    let summary = lab::rival(&scenario, "local-only", 1).summary;
    assert_eq!(summary.disagreement.to_bits(), 0.0_f64.to_bits());
}

/// Ten times faster in a tenth of the time is the same. Of rivals without times of their own it
/// holds to the request or two that rounding to nanoseconds moves; ours has times that are not
/// scaled (the floors of its intervals), so it need only be as exact and as useful.
#[test]
fn scaling_time_and_rates_scales_nothing_else() {
    let at = |times: u32| {
        lab::scenario(
            &format!("{}ms", 20_000 / times),
            &format!(
                "[[limit]]\nlimit = \"{}/s burst 100\"\n[[load]]\noffered = \"{}/s\"\n\
                 [fleet]\nreplicas = 5\n[network]\nlatency = \"{}us\"\n{RIVALS}",
                100 * times,
                200 * times,
                10_000 / times
            ),
        )
    };
    let (slow, fast) = (at(1), at(10));
    for rival in ["central", "local-only", "split", "blocks"] {
        let count = |scenario| {
            let decided = lab::decisions(scenario, rival, 6);
            let allowed = decided.iter().filter(|it| it.allowed).count();
            (decided.len(), allowed)
        };
        let ((all, allowed), (all_fast, allowed_fast)) = (count(&slow), count(&fast));
        assert!(all > 3500 && all.abs_diff(all_fast) <= 1, "{rival}");
        assert!(
            allowed.abs_diff(allowed_fast) <= 3,
            "{rival}: {allowed} and {allowed_fast}"
        );
    }
    for scenario in [&slow, &fast] {
        let summary = lab::leased(scenario, 6).summary;
        assert_eq!(summary.overshoot.to_bits(), 0.0_f64.to_bits());
        assert!(summary.utilisation.unwrap() > 0.97, "{summary:?}");
    }
}

/// Names change nothing: two loads, each pinned to a replica, change places.
#[test]
fn replicas_may_change_their_numbers() {
    let with = |one: u32, other: u32| {
        lab::scenario(
            "10s",
            &format!(
                "[[limit]]\nlimit = \"300/s\"\n\
                 [[load]]\noffered = \"500/s\"\nreplica = {one}\n\
                 [[load]]\noffered = \"100/s\"\nreplica = {other}\n\
                 [fleet]\nreplicas = 2\n{RIVALS}"
            ),
        )
    };
    let (straight, crossed) = (with(0, 1), with(1, 0));
    for rival in ["central", "local-only", "split", "blocks"] {
        let totals = |scenario| lab::rival(scenario, rival, 3).summary.admitted;
        assert_eq!(
            totals(&straight).to_bits(),
            totals(&crossed).to_bits(),
            "{rival}"
        );
    }
    // Our replicas draw their jitter by their numbers, so it is the same but for chance.
    let admitted = |scenario| lab::leased(scenario, 3).summary.admitted;
    near(
        "admitted with numbers changed",
        admitted(&crossed),
        admitted(&straight),
        0.01,
    );
}

/// A busy stranger changes nothing for a key. Ours sends both keys in the same batches, so that a
/// busy key may delay another one by a batch: below the limit that shows in no total.
#[test]
fn another_key_changes_no_key() {
    let with = |stranger: &str| {
        lab::scenario(
            "5s",
            &format!(
                "[[limit]]\nlimit = \"200/s\"\n\
                 [[load]]\noffered = \"150/s\"\nreplica = 0\n{stranger}\
                 [fleet]\nreplicas = 2\n{RIVALS}"
            ),
        )
    };
    let alone = with("");
    let busy = with("[[load]]\noffered = \"2000/s\"\nreplica = 0\nkeys = { first = 1 }\n");
    let of_key_0 = |decided: Vec<Decided>| -> Vec<Decided> {
        let mut decided = decided;
        decided.retain(|it| it.key == 0);
        decided
    };
    for limiter in ["central", "local-only", "split", "blocks", LEASED] {
        let before = of_key_0(lab::decisions(&alone, limiter, 8));
        let after = of_key_0(lab::decisions(&busy, limiter, 8));
        assert!(before.len() > 600);
        assert_eq!(before, after, "{limiter}");
    }
}

/// Below the limit, leasing further ahead never costs more calls (2 % are chance).
#[test]
fn a_longer_hold_costs_no_more_calls_below_the_limit() {
    let calls = |hold: &str| {
        let scenario = lab::scenario(
            "12s",
            &format!(
                "warmup = \"3s\"\n[tuning]\nhold-max = \"{hold}\"\n[[limit]]\n\
                 limit = \"1000/s burst 4000\"\n\
                 [[load]]\noffered = \"800/s\"\n[fleet]\nreplicas = 4"
            ),
        );
        lab::leased(&scenario, 2).summary.store_calls
    };
    let measured = ["100ms", "200ms", "400ms", "800ms"].map(calls);
    for pair in measured.windows(2) {
        assert!(pair[1] <= 1.02 * pair[0], "{measured:?}");
    }
    assert!(measured[3] < 0.7 * measured[0], "{measured:?}");
}

/// The ideal bucket knows its arrivals only: every limiter is held against the same one.
#[test]
fn all_limiters_meet_the_same_requests_and_the_same_ideal() {
    let scenario = lab::scenario(
        "5s",
        &format!(
            "[[limit]]\nlimit = \"100/s\"\n[[load]]\noffered = \"250/s\"\nkeys = {{ count = 4 }}\n\
             [fleet]\nreplicas = 3\n{RIVALS}"
        ),
    );
    let mut met = BTreeMap::new();
    for limiter in ["central", "local-only", "split", "blocks"] {
        let summary = lab::rival(&scenario, limiter, 9).summary;
        met.insert(limiter, (summary.requests, summary.ideal.to_bits()));
    }
    let ours = lab::leased(&scenario, 9).summary;
    for (limiter, theirs) in met {
        assert_eq!(theirs, (ours.requests, ours.ideal.to_bits()), "{limiter}");
    }
}

/// Random scenarios of limits, loads, fleets and troubles: whatever the setting, nothing is
/// admitted beyond the limit, and once all is well again the limit is used.
#[test]
fn whatever_the_setting_nothing_is_admitted_beyond_the_limit() {
    const FAULTS: [&str; 8] = [
        "kind = \"partition\"\nfor = \"1s\"\nreplicas = \"50%\"",
        "kind = \"loss\"\nshare = \"20%\"\nfor = \"2s\"",
        "kind = \"slow-network\"\ntimes = 30\nfor = \"1s\"",
        "kind = \"hang\"\nfor = \"500ms\"",
        "kind = \"flush\"",
        "kind = \"script-flush\"",
        "kind = \"pause\"\nfor = \"1s\"\nreplicas = 1",
        "kind = \"store-down\"\nfor = \"500ms\"\nthen = \"kept\"",
    ];
    for seed in 0..24_u64 {
        let mut chance = leasehold_sim::stream::stream(seed, "swarm of the tests", 0);
        let mut draw = |below: u64| rand::Rng::next_u64(&mut chance) % below;
        let (rate, burst) = (10 + draw(500), 1 + draw(1000));
        let (replicas, keys) = (1 + draw(8), 1 + draw(5));
        let offered = 1 + rate * (1 + draw(30)) / 10 * keys;
        let mut faults = Vec::new();
        for fault in FAULTS {
            if draw(2) == 0 {
                faults.push(format!(
                    "[[fault]]\nat = \"{}ms\"\n{fault}\n",
                    500 + draw(3000)
                ));
            }
        }
        let faults = faults.concat();
        let scenario = lab::scenario(
            "6s",
            &format!(
                "[[limit]]\nlimit = \"{rate}/s burst {burst}\"\n\
                 [[load]]\noffered = \"{offered}/s\"\nkeys = {{ count = {keys} }}\n\
                 [fleet]\nreplicas = {replicas}\n\
                 [network]\nlatency = {{ uniform = [\"0.2ms\", \"{}ms\"] }}\nduplicates = \"{}%\"\n\
                 {faults}",
                1 + draw(30),
                draw(20)
            ),
        );
        let summary = lab::leased(&scenario, seed).summary;
        assert!(
            summary.overshoot <= 0.0,
            "seed {seed}: {} beyond the limit",
            summary.overshoot
        );
    }
}
