//! One decision at a time on a real server, leased and centralised, for who likes criterion's
//! figures.
//!
//! Throughput, tails under load and accuracy are the command's:
//! `cargo run --profile measured -p leasehold-benches -- end-to-end`.

use criterion::{Criterion, criterion_group, criterion_main};
use leasehold_benches::end_to_end::contenders::centralised::Centralised;
use leasehold_benches::end_to_end::contenders::leased::Leased;
use leasehold_benches::end_to_end::contenders::{Instance, Nominal, Setting};
use leasehold_benches::end_to_end::failure::Failure;
use leasehold_testbed::{LocalServer, ServerOptions};
use tokio::runtime::Runtime;

fn decisions(criterion: &mut Criterion) {
    let server = match LocalServer::start(&ServerOptions::default()) {
        Ok(server) => server,
        Err(error) => return eprintln!("end_to_end: not measured: {error}"),
    };
    let runtime = Runtime::new().expect("the system has threads");
    let setting = Setting {
        url: server.url(),
        prefix: "bench".to_owned(),
        limit: Nominal {
            per_second: 100_000_000,
            burst: 100_000_000,
        },
        instances: 1,
    };
    let leased = runtime.block_on(Leased::connect(setting.clone()));
    decide(criterion, &runtime, "leased", leased);
    let centralised = runtime.block_on(Centralised::connect(setting));
    decide(criterion, &runtime, "centralised", centralised);
}

fn decide<I: Instance>(
    criterion: &mut Criterion,
    runtime: &Runtime,
    name: &str,
    instance: Result<I, Failure>,
) {
    let instance = instance.expect("the server is ours");
    let key = I::key("everybody");
    criterion.bench_function(&format!("decision/{name}"), |bencher| {
        bencher.iter(|| runtime.block_on(instance.acquire(&key)));
    });
    runtime.block_on(instance.close());
}

criterion_group!(benches, decisions);
criterion_main!(benches);
