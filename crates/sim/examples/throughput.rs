//! How many requests the simulator runs per second on one core.
//!
//! `cargo run --release -p leasehold-sim --example throughput`
//!
//! Prints, for each world, the requests of one run, the CPU-bound time of the best of three runs,
//! and requests per second. One thread: a report of many runs takes as many cores as there are.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::time::Instant;

use leasehold_sim::load::Traces;
use leasehold_sim::run::run_one;
use leasehold_sim::scenario::{LEASED, Points, Scenario};

fn main() {
    println!("| world | requests | seconds | requests/s |");
    println!("|---|---|---|---|");
    let chosen = std::env::args().nth(1).unwrap_or_default();
    for (name, text) in WORLDS {
        if !name.contains(&chosen) {
            continue;
        }
        let scenario = world(text);
        let (requests, seconds) = (0..3)
            .map(|seed| time(&scenario, seed))
            .min_by(|one, other| one.1.total_cmp(&other.1))
            .expect("three runs");
        #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
        let millions = requests as f64 / seconds / 1e6;
        println!("| {name} | {requests} | {seconds:.3} | {millions:.2} M |");
    }
}

fn time(scenario: &Scenario, seed: u64) -> (u64, f64) {
    let start = Instant::now();
    let run = run_one(scenario, LEASED, seed, &Traces::new(), false, None).expect("it can be run");
    (run.summary.requests, start.elapsed().as_secs_f64())
}

fn world(text: &str) -> Scenario {
    let points = Points::parse("throughput", &format!("{HEAD}{text}"), &[]);
    points.expect("it can be read").points.remove(0).scenario
}

const HEAD: &str = "schema = 1\ntitle = \"throughput\"\n";

/// The last two are the two ends of what many keys cost: leases pay, or each request asks the
/// store.
const WORLDS: [(&str, &str); 6] = [
    (
        "1 key, 1 replica, below the limit",
        "duration = \"20s\"\n[[limit]]\nlimit = \"200000/s\"\n[[load]]\noffered = \"100k/s\"\n\
         [fleet]\nreplicas = 1\n",
    ),
    (
        "1 key, 10 replicas, below the limit",
        "duration = \"20s\"\n[[limit]]\nlimit = \"200000/s\"\n[[load]]\noffered = \"100k/s\"\n\
         [fleet]\nreplicas = 10\n",
    ),
    (
        "1 key, 100 replicas, below the limit",
        "duration = \"20s\"\n[[limit]]\nlimit = \"200000/s\"\n[[load]]\noffered = \"100k/s\"\n\
         [fleet]\nreplicas = 100\n",
    ),
    (
        "1 key, 10 replicas, three times the limit",
        "duration = \"20s\"\n[[limit]]\nlimit = \"33000/s\"\n[[load]]\noffered = \"100k/s\"\n\
         [fleet]\nreplicas = 10\n",
    ),
    (
        "100 000 keys that are leased, 10 replicas, each key at one",
        "duration = \"4s\"\n[[limit]]\nlimit = \"1000/s\"\n[[load]]\noffered = \"5M/s\"\n\
         keys = { count = \"100k\" }\n[balance]\npolicy = { sticky = {} }\n[fleet]\n\
         replicas = 10\n",
    ),
    (
        "100 000 keys of 100/min by Zipf 0.99, 10 replicas",
        "duration = \"20s\"\n[[limit]]\nlimit = \"100/min\"\n[[load]]\noffered = \"100k/s\"\n\
         keys = { count = \"100k\", zipf = 0.99 }\n[fleet]\nreplicas = 10\n",
    ),
];
