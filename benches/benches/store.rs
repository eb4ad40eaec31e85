//! The time of an exchange with a real server, by its number of keys.
//!
//! Times here are of the wall: server, network and encoding. What the server's processor needs, and
//! what other forms of the script would, says `cargo run --release -p leasehold-redis --example
//! script_forms`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use leasehold::store::{
    Batch, Call, Demand, Instant, LeaseRequest, NamedLimit, RecordId, Request, Store, StoreTime,
};
use leasehold::{FailurePolicy, KeyRef, LimitId, Micros};
use leasehold_redis::RedisStore;
use leasehold_testbed::{LocalServer, ServerOptions};
use tokio::runtime::Runtime;

fn exchanges(criterion: &mut Criterion) {
    let server = match LocalServer::start(&ServerOptions::default()) {
        Ok(server) => server,
        Err(error) => return eprintln!("store: not measured: {error}"),
    };
    let runtime = Runtime::new().expect("the system has threads");
    let store = runtime.block_on(RedisStore::connect(server.url()));
    let store = store.expect("it answered when it was started");
    let mut group = criterion.benchmark_group("exchange");
    for keys in [1, 10, 100] {
        group.throughput(Throughput::Elements(keys));
        for (name, request) in [("spend", Request::Spend { cost: 1 }), ("report", report())] {
            let batch = batch(keys, request);
            group.bench_function(BenchmarkId::new(name, keys), |bencher| {
                bencher.iter(|| {
                    let answer = runtime.block_on(store.exchange(&batch));
                    answer.expect("the server is ours")
                });
            });
        }
    }
    group.finish();
}

/// The request of a replica that has a lease and wants to keep it.
fn report() -> Request {
    Request::Lease(LeaseRequest {
        record: RecordId {
            replica: 1,
            generation: 1,
        },
        granted: 0,
        spent: 0,
        released: 0,
        wanted: 100,
        needed: 0,
        lease: Micros(60_000_000),
        expiry: StoreTime::ZERO,
        demand: Demand::ONE,
    })
}

fn batch(keys: u64, request: Request) -> Batch {
    let limit = NamedLimit {
        name: "bench".into(),
        limit: "1000000/s".parse().expect("a limit"),
        policy: FailurePolicy::Closed,
    };
    let calls = (0..keys).map(|number| {
        let name = format!("{}:{number}", matches!(request, Request::Spend { .. }));
        let key = KeyRef::from((LimitId(0), name.as_str()));
        Call::new(key, request)
    });
    Batch {
        replica: 1,
        partition: 0,
        known_birth: StoreTime::ZERO,
        quarantine: Micros(6_000_000),
        enroll: None,
        limits: [limit].into(),
        calls: calls.collect(),
        sent: Instant::ORIGIN,
    }
}

criterion_group!(benches, exchanges);
criterion_main!(benches);
