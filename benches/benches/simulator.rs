//! How fast the simulator runs: `cargo bench -p leasehold-benches --bench simulator`.
//!
//! Simulated requests per second on one core. More worlds, by hand:
//! `cargo run --profile measured -p leasehold-sim --example throughput`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use leasehold_sim::load::Traces;
use leasehold_sim::run::run_one;
use leasehold_sim::scenario::{LEASED, Points, Scenario};

fn simulator(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulator");
    group.sample_size(10);
    for (name, text) in WORLDS {
        let scenario = world(text);
        group.throughput(Throughput::Elements(run(&scenario)));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| run(&scenario));
        });
    }
    group.finish();
}

/// One run; says how many requests it had.
fn run(scenario: &Scenario) -> u64 {
    let run = run_one(scenario, LEASED, 1, &Traces::new(), false, None);
    run.expect("it can be run").summary.requests
}

fn world(text: &str) -> Scenario {
    let text = format!("schema = 1\ntitle = \"simulator\"\nduration = \"1s\"\n{text}");
    let points = Points::parse("simulator", &text, &[]);
    points.expect("it can be read").points.remove(0).scenario
}

const WORLDS: [(&str, &str); 3] = [
    (
        "1 key, 10 replicas, below the limit",
        "[[limit]]\nlimit = \"200000/s\"\n[[load]]\noffered = \"100k/s\"\n[fleet]\nreplicas = 10\n",
    ),
    (
        "1 key, 10 replicas, three times the limit",
        "[[limit]]\nlimit = \"33000/s\"\n[[load]]\noffered = \"100k/s\"\n[fleet]\nreplicas = 10\n",
    ),
    (
        "10 000 keys of 100/min by Zipf 0.99, 10 replicas",
        "[[limit]]\nlimit = \"100/min\"\n[[load]]\noffered = \"100k/s\"\n\
         keys = { count = \"10k\", zipf = 0.99 }\n[fleet]\nreplicas = 10\n",
    ),
];

criterion_group!(benches, simulator);
criterion_main!(benches);
