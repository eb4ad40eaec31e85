//! Cold keys: each is asked for once, by many tasks at a time, so that nothing can be held ahead.
//!
//! A closed loop, in which each decision waits for the server; what is measured is how well
//! requests travel together.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use leasehold::machine_nanos;

use super::accuracy::Accuracy;
use super::closed_loop::Outcome;
use super::contenders::Instance;
use super::failure::Failure;
use super::figures::{Latency, Percentiles, histogram};

/// The load to offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct ColdKeys {
    /// Tasks of the one instance.
    pub(super) tasks: u32,
    /// For how long.
    pub(super) length_ns: u64,
}

/// Offers the load. Every request is the first on its key, so the ideal admits all.
pub(super) async fn run<I: Instance>(instances: &[I], load: ColdKeys) -> Result<Outcome, Failure> {
    let start_ns = machine_nanos();
    let (next, end_ns) = (Arc::new(AtomicU64::new(0)), start_ns + load.length_ns);
    let mut visitors = Vec::new();
    for task in 0..load.tasks as usize {
        let instance = instances[task % instances.len()].clone();
        let next = Arc::clone(&next);
        visitors.push(tokio::spawn(async move {
            // A histogram is a quarter of a megabyte, which hundreds of tasks would write all over.
            let (mut times, mut admitted) = (Vec::new(), 0);
            loop {
                let key = I::key(&format!("visitor-{:016x}", next.fetch_add(1, Relaxed)));
                let asked_ns = machine_nanos();
                if asked_ns >= end_ns {
                    return (times, admitted);
                }
                admitted += u64::from(instance.acquire(&key).await);
                times.push(machine_nanos() - asked_ns);
            }
        }));
    }
    let mut seen = Vec::new();
    for visitor in visitors {
        seen.push(visitor.await.map_err(Failure::of)?);
    }
    let seconds = Duration::from_nanos(machine_nanos() - start_ns).as_secs_f64();
    let (mut times, mut accuracy) = (histogram(), Accuracy::default());
    for (its, admitted) in seen {
        accuracy.offered += its.len() as u64;
        accuracy.admitted += admitted;
        for time in its {
            times.saturating_record(time.max(1));
        }
    }
    accuracy.ideal = accuracy.offered;
    if accuracy.offered == 0 {
        return Err(Failure::new("nothing was decided in time"));
    }
    Ok(Outcome {
        seconds,
        accuracy,
        latency: Latency::of_closed_loop(Percentiles::of(&times, 0)),
        given_up: 0,
    })
}
