//! The cost of a decision when threads share a key: `cargo bench -p leasehold-benches --bench
//! contention`.
//!
//! One, two and four threads, on processors of their own as far as there are so many: beyond,
//! threads take turns, and the figure is of the machine. What a thread sees is measured, so a
//! limiter whose threads do not meet has the same figure in every line.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use leasehold_benches::contender::{Rule, Setup};
use leasehold_benches::contenders;
use leasehold_benches::names::{KEY_BYTES, names};
use leasehold_benches::ruler::Load;

fn contention(criterion: &mut Criterion) {
    let keys = names(1, KEY_BYTES);
    let requests = vec![keys[0].clone(); 1024];
    for contender in contenders::all() {
        let built = Setup {
            keys: &keys,
            rule: Rule::AMPLE,
        }
        .build(&contender);
        let mut group = criterion.benchmark_group(contender.name);
        for threads in [1, 2, 4] {
            let load = Load {
                requests: &requests,
                keys: &keys,
                threads,
                fenced: false,
                allowed: true,
            };
            group.bench_function(BenchmarkId::from_parameter(threads), |bencher| {
                // The ruler measures; criterion collects what it says.
                bencher.iter_custom(|decisions| {
                    let timing = load.measure(&*built, CELL, 0);
                    Duration::from_secs_f64(timing.nanos * 1e-9 * as_float(decisions))
                });
            });
        }
        group.finish();
    }
}

#[expect(clippy::cast_precision_loss, reason = "decisions are far below 2^52")]
fn as_float(decisions: u64) -> f64 {
    decisions as f64
}

const CELL: Duration = Duration::from_millis(5);

criterion_group!(benches, contention);
criterion_main!(benches);
