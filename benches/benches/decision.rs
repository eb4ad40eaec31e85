//! The cost of a decision on one thread: `cargo bench -p leasehold-benches --bench decision`.
//!
//! The same rows as `rivals`, but each alone for seconds, with criterion's statistics and its
//! comparison with the last run. `rivals` interleaves them, and is what to quote.

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use leasehold_benches::contender::{Asked, Rule, Setup};
use leasehold_benches::contenders;
use leasehold_benches::names::{KEY_BYTES, names, uniform};

fn decision(criterion: &mut Criterion) {
    let keys = names(1000, KEY_BYTES);
    let hot = vec![keys[0].clone(); BATCH];
    let mixed = uniform(keys.len(), BATCH);
    for contender in contenders::all() {
        let build = |keys, rule| Setup { keys, rule }.build(&contender);
        let ample = build(&keys, Rule::AMPLE);
        ask(criterion, "hot key", contender.name, &*ample, &hot);
        if contender.reach.knows_keys() {
            ask(criterion, "1000 keys", contender.name, &*ample, &mixed);
        }
        if contender.reach.limits() {
            let used_up = build(&keys[..1], Rule::TIGHT);
            ask(criterion, "denied key", contender.name, &*used_up, &hot);
        }
    }
}

fn ask(criterion: &mut Criterion, group: &str, name: &str, asked: &dyn Asked, requests: &[String]) {
    let mut group = criterion.benchmark_group(group);
    group.throughput(criterion::Throughput::Elements(requests.len() as u64));
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        let prepare = || asked.prepare(&requests[..1]);
        bencher.iter_batched(
            prepare,
            |()| asked.ask(requests, false),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Decisions between two looks at the clock.
const BATCH: usize = 1024;

criterion_group!(benches, decision);
criterion_main!(benches);
