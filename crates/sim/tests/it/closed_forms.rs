//! Runs against formulas that can be derived without a simulator.
//!
//! Most are for the naive block lease and the split, whose behaviour is simple enough to be
//! calculated: they test the world (arrivals, routing, latency, counting), which our limiter
//! shares. Tolerances are three standard deviations of the estimate, or more where said.

use leasehold_sim::scenario::LEASED;

use crate::lab::{self, float, near};

/// Poisson demand on replicas that lease blocks, and deny while they have none.
fn blocks(
    duration: &str,
    limit: &str,
    offered: &str,
    replicas: u32,
    latency: &str,
    block: u32,
    watermark: u32,
) -> leasehold_sim::scenario::Scenario {
    lab::scenario(
        duration,
        &format!(
            "warmup = \"1s\"\n[[limit]]\nlimit = \"{limit}\"\n[[load]]\noffered = \"{offered}\"\n\
             [fleet]\nreplicas = {replicas}\n[network]\nlatency = \"{latency}\"\n\
             [rivals.blocks]\nkind = \"block-lease\"\nblock = {block}\nwatermark = {watermark}\n\
             empty = \"deny\""
        ),
    )
}

/// One token at a time, fetched when the last was spent: a cycle is a round trip and then, as
/// arrivals have no memory, the mean gap between two of them. 1 / (rtt + 1 / demand).
#[test]
fn stop_and_wait() {
    let scenario = blocks("21s", "1000/s burst 100", "2000/s", 1, "1ms", 1, 0);
    let run = lab::rival(&scenario, "blocks", 1);
    near(
        "admitted per second",
        run.summary.admitted,
        1.0 / (0.001 + 1.0 / 2000.0),
        0.01,
    );
}

/// The lease below the limit: of a replica's demand a / (1 + a) comes during a round trip, where a
/// is what comes in one on average.
#[test]
fn a_one_token_lease_loses_what_comes_during_a_round_trip() {
    let scenario = blocks("41s", "1000/s burst 100", "900/s", 10, "1ms", 1, 0);
    let run = lab::rival(&scenario, "blocks", 1);
    let a = 90.0 * 0.001;
    let lost = 1.0 - run.summary.admitted / run.summary.offered;
    near("share lost", lost, a / (1.0 + a), 0.06);
}

/// The newsvendor's loss: a block of L is ordered at a stock of W and comes a round trip later.
/// What is asked for beyond W meanwhile is lost, E[(D - W)+] of L + E[(D - W)+] in a cycle.
#[test]
fn a_watermark_loses_what_the_newsvendor_loses() {
    let (block, watermark) = (10, 5);
    let scenario = blocks(
        "81s",
        "1000/s burst 1000",
        "900/s",
        10,
        "50ms",
        block,
        watermark,
    );
    let run = lab::rival(&scenario, "blocks", 1);
    let during = 90.0 * 0.05;
    let (mut beyond, mut chance) = (0.0, f64::exp(-during));
    for asked in 1..100_u32 {
        chance *= during / f64::from(asked);
        beyond += chance * f64::from(asked.saturating_sub(watermark));
    }
    let lost = 1.0 - run.summary.admitted / run.summary.offered;
    near(
        "share lost",
        lost,
        beyond / (f64::from(block) + beyond),
        0.06,
    );
}

/// Renewals: below the limit there is one call for each block.
#[test]
fn calls_are_demand_over_block() {
    for (offered, replicas, block) in [(900.0, 10, 10), (900.0, 10, 50), (4500.0, 20, 20)] {
        let limit = format!("{}/s", offered / 0.9);
        let demand = format!("{offered}/s");
        let scenario = blocks("16s", &limit, &demand, replicas, "1.5ms", block, block / 2);
        let run = lab::rival(&scenario, "blocks", 3);
        let expected = run.summary.admitted / f64::from(block);
        near("calls per second", run.summary.store_calls, expected, 0.02);
        near("offered per second", run.summary.offered, offered, 0.03);
    }
}

/// A step finds all stocks and the bucket full. Replicas hold from W + 1 to W + L tokens each, all
/// alike, so W + (L + 1) / 2 on average; all of it is beyond the burst that the bucket then gives.
#[test]
fn a_step_admits_what_replicas_hold_beyond_the_burst() {
    let (replicas, block, watermark) = (10, 10, 5);
    let scenario = lab::scenario(
        "12s",
        "[[limit]]\nlimit = \"1000/s burst 100\"\n\
         [[load]]\noffered = \"100/s\"\nsteps = [{ at = \"10s\", offered = \"10k/s\" }]\n\
         [fleet]\nreplicas = 10\n\
         [rivals.blocks]\nkind = \"block-lease\"\nblock = 10\nwatermark = 5\nempty = \"deny\"",
    );
    let seeds = 1..=10;
    let mut sum = 0.0;
    for seed in seeds.clone() {
        let overshoot = lab::rival(&scenario, "blocks", seed).summary.overshoot;
        let most = f64::from(replicas * (block + watermark));
        assert!(overshoot <= most, "{overshoot} of at most {most}");
        sum += overshoot;
    }
    let mean = sum / float(seeds.count() as u64);
    // The peak comes some milliseconds after the step, when the bucket has given a little more or
    // a replica has not got rid of all it held: a tenth.
    near("mean overshoot", mean, f64::from(replicas) * 10.5, 0.1);
}

/// A split limit is a bucket for each replica, which is a queue with a constant time of service
/// (a token takes 1 / rate to drain) that turns away what would exceed its burst. Solved on a grid
/// of 1/50 token.
#[test]
fn a_split_loses_what_a_queue_with_little_room_turns_away() {
    let scenario = lab::scenario(
        "61s",
        "warmup = \"1s\"\n[[limit]]\nlimit = \"1000/s burst 100\"\n[[load]]\noffered = \"1000/s\"\n\
         [fleet]\nreplicas = 10\n[rivals.split]\nkind = \"split\"",
    );
    let run = lab::rival(&scenario, "split", 2);
    let lost = 1.0 - run.summary.admitted / run.summary.offered;
    // 60 000 requests of which one in twenty is lost, in clusters: 3 % is one standard deviation.
    let demand = run.summary.offered / 10.0;
    near("share lost", lost, turned_away(100.0, 10, demand), 0.1);
}

/// The share of Poisson demand that a bucket of `burst` tokens at `rate` denies.
fn turned_away(rate: f64, burst: usize, demand: f64) -> f64 {
    const GRID: usize = 50;
    let slots = burst * GRID;
    // In a slot a 1/50 token drains, and a request comes or none does.
    let comes = demand / (rate * float(GRID as u64));
    let mut chances = vec![0.0; slots + 1];
    chances[0] = 1.0;
    let mut denied = 0.0;
    for _ in 0..60_000 {
        let mut next = vec![0.0; slots + 1];
        denied = 0.0;
        for (level, chance) in chances.iter().enumerate() {
            next[level.saturating_sub(1)] += chance * (1.0 - comes);
            let full = level + GRID;
            if full <= slots {
                next[full.saturating_sub(1)] += chance * comes;
            } else {
                next[level.saturating_sub(1)] += chance * comes;
                denied += chance;
            }
        }
        chances = next;
    }
    denied
}

/// Random routing: what each of N gets is binomial. Chi-square with nine degrees of freedom is
/// above 27.9 once in a thousand.
#[test]
fn random_routing_is_binomial() {
    let scenario = lab::scenario(
        "10s",
        "[[limit]]\nlimit = \"2000/s\"\n[[load]]\noffered = \"2000/s\"\n[fleet]\nreplicas = 10\n\
         [rivals.local-only]\nkind = \"local\"",
    );
    let decided = lab::decisions(&scenario, "local-only", 4);
    let mut counts = [0_u64; 10];
    for decision in &decided {
        counts[decision.replica as usize] += 1;
    }
    let mean = float(decided.len() as u64) / 10.0;
    let squares = counts.map(|count| (float(count) - mean).powi(2) / mean);
    let chi_square: f64 = squares.iter().sum();
    assert!(
        (1.0..27.9).contains(&chi_square),
        "{chi_square} from {counts:?}"
    );
}

/// The gateway of the seeds: twenty replicas, a hundred tokens at a time, 45 000 requests a second
/// make 450 calls. (A tenth of all that here.)
#[test]
fn a_gateway_makes_a_call_for_each_block() {
    let scenario = blocks("11s", "5000/s burst 2500", "4500/s", 20, "1.5ms", 100, 20);
    let run = lab::rival(&scenario, "blocks", 1);
    near("calls per second", run.summary.store_calls, 45.0, 0.04);
    assert_eq!(run.summary.false_denials, 0);
}

/// Cut off from the store, our replicas admit what they hold and no more: H / demand on average.
#[test]
fn who_is_cut_off_admits_what_it_holds() {
    for seed in 1..=3 {
        let scenario = lab::scenario(
            "16s",
            "slice = \"1s\"\n[[limit]]\nlimit = \"1000/s\"\n[[load]]\noffered = \"900/s\"\n\
             [fleet]\nreplicas = 10\n[[fault]]\nkind = \"partition\"\nat = \"10s\"",
        );
        let run = lab::leased(&scenario, seed);
        let held = float(run.series[9].held);
        let decided = lab::decisions(&scenario, LEASED, seed);
        let after = decided.iter().filter(|it| it.allowed);
        let after = after.filter(|it| it.arrived_ns >= 10_000_000_000);
        // Each replica may have had a grant on its way, of a tenth of a second's demand or so.
        let admitted = float(after.count() as u64);
        assert!(
            (0.9 * held..=held + 10.0 * 25.0).contains(&admitted),
            "{admitted} admitted, {held} held"
        );
    }
}
