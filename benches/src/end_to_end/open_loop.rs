//! Open loop: requests come when they come, whether or not the limiter keeps up.
//!
//! A time is counted from the instant at which the request was *due*, so that what a slow answer
//! holds up counts as late too (no coordinated omission). One thread does nothing but make requests
//! when they are due; it looks at the clock all the time, since timers ring a millisecond late,
//! which is a thousand decisions. What cannot be decided at once goes on in the runtime. When that
//! thread does not get a processor, whatever is due meanwhile is late, by nobody's fault: times
//! from asking are kept apart.
//!
//! The arrivals are evenly spaced, and fall to the instances by chance: the same for every
//! contender.

use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leasehold::machine_nanos;
use tokio::runtime::Handle;

use super::accuracy::Accuracy;
use super::closed_loop::{Outcome, Random};
use super::contenders::{Instance, Nominal};
use super::failure::Failure;
use super::figures::{Latency, Percentiles, histogram};
use leasehold_judge::record::Record;

/// The load to offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenLoop {
    /// Requests a second, of all instances.
    pub(super) per_second: u32,
    /// Percent of them that fall to the first instance; none if they are even.
    pub(super) first_percent: Option<u32>,
    /// For how long.
    pub(super) length_ns: u64,
    pub(super) limit: Nominal,
    /// If the contender is a window limiter.
    pub(super) window_s: Option<u32>,
}

/// Offers the load, waits for the last answers, and judges.
pub(super) async fn run<I: Instance>(instances: &[I], load: OpenLoop) -> Result<Outcome, Failure> {
    let shared = Arc::new(Shared::default());
    let generator = Generator {
        instances: instances.to_vec(),
        key: I::key("everybody"),
        shared: Arc::clone(&shared),
        runtime: Handle::current(),
    };
    let offered = tokio::task::spawn_blocking(move || generator.offer(load));
    let mut seen = offered.await.map_err(Failure::of)?;
    let patience_ns = machine_nanos() + PATIENCE_NS;
    while shared.waiting.load(Relaxed) > 0 && machine_nanos() < patience_ns {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let late = shared.late.lock().unwrap_or_else(PoisonError::into_inner);
    seen.extend_from_slice(&late);
    drop(late);
    // Whatever is waiting still was not served by anybody's measure.
    let given_up = shared.given_up.load(Relaxed) + shared.waiting.load(Relaxed);
    judge(&seen, given_up, load)
}

/// One request, and when it was due.
#[derive(Clone, Copy, Debug)]
struct Seen {
    due_ns: u64,
    record: Record,
}

/// State that the generator shares with the tasks in the runtime.
#[derive(Default)]
struct Shared {
    /// Answers that came later.
    late: Mutex<Vec<Seen>>,
    waiting: AtomicU64,
    given_up: AtomicU64,
}

struct Generator<I: Instance> {
    instances: Vec<I>,
    key: I::Key,
    shared: Arc<Shared>,
    runtime: Handle,
}

impl<I: Instance> Generator<I> {
    /// Makes all requests. Returns those that were decided at once.
    fn offer(&self, load: OpenLoop) -> Vec<Seen> {
        // What waits in a limiter wants timers and sockets.
        let _entered = self.runtime.enter();
        let requests = u64::from(load.per_second) * load.length_ns / SECOND_NS;
        let mut seen = Vec::with_capacity(usize::try_from(requests).unwrap_or(0));
        let (mut random, start_ns) = (Random(1), machine_nanos());
        for number in 0..requests {
            let due_ns = start_ns + number * SECOND_NS / u64::from(load.per_second);
            while machine_nanos() < due_ns {
                // The server has the same processors.
                std::thread::yield_now();
            }
            let replica = pick(&mut random, self.instances.len(), load.first_percent);
            seen.extend(self.ask(replica, due_ns));
        }
        seen
    }

    /// Makes one request. It is handed to the runtime if it has to wait.
    fn ask(&self, replica: usize, due_ns: u64) -> Option<Seen> {
        let (instance, key) = (self.instances[replica].clone(), self.key.clone());
        let replica = u32::try_from(replica).expect("instances are few");
        let mut request: Pin<Box<dyn Future<Output = Seen> + Send>> = Box::pin(async move {
            let start_ns = machine_nanos();
            let admitted = instance.acquire(&key).await;
            let record = Record {
                start_ns,
                end_ns: machine_nanos(),
                replica,
                key: 0,
                cost: 1,
                admitted,
            };
            Seen { due_ns, record }
        });
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(seen) = request.as_mut().poll(&mut context) {
            return Some(seen);
        }
        if self.shared.waiting.load(Relaxed) >= WAITING_MAX {
            self.shared.given_up.fetch_add(1, Relaxed);
            return None;
        }
        self.shared.waiting.fetch_add(1, Relaxed);
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            let seen = request.await;
            let mut late = shared.late.lock().unwrap_or_else(PoisonError::into_inner);
            late.push(seen);
            drop(late);
            shared.waiting.fetch_sub(1, Relaxed);
        });
        None
    }
}

/// Which instance is asked.
fn pick(random: &mut Random, instances: usize, first_percent: Option<u32>) -> usize {
    match first_percent {
        Some(percent) if random.below(100) < percent as usize => 0,
        Some(_) if instances > 1 => 1 + random.below(instances - 1),
        Some(_) => 0,
        None => random.below(instances),
    }
}

fn judge(seen: &[Seen], given_up: u64, load: OpenLoop) -> Result<Outcome, Failure> {
    let records: Vec<Record> = seen.iter().map(|seen| seen.record).collect();
    let (start_ns, end_ns) = (
        records.iter().map(|record| record.start_ns).min(),
        records.iter().map(|record| record.end_ns).max(),
    );
    let (Some(start_ns), Some(end_ns)) = (start_ns, end_ns) else {
        return Err(Failure::new("no request was answered"));
    };
    let (mut response, mut service) = (histogram(), histogram());
    for Seen { due_ns, record } in seen {
        response.saturating_record(record.end_ns.saturating_sub(*due_ns).max(1));
        service.saturating_record(record.end_ns.saturating_sub(record.start_ns).max(1));
    }
    Ok(Outcome {
        seconds: Duration::from_nanos(end_ns - start_ns).as_secs_f64(),
        accuracy: Accuracy::of(&records, load.limit, load.window_s)?,
        latency: Latency {
            response: Percentiles::of(&response, 0),
            service: Percentiles::of(&service, 0),
        },
        given_up,
    })
}

const SECOND_NS: u64 = 1_000_000_000;

/// The longest wait for answers after the last request.
const PATIENCE_NS: u64 = 5 * SECOND_NS;

/// Requests that may wait for an answer. Beyond, one is given up on at once, as by a service whose
/// clients have left: a contender that cannot keep up would take all memory.
const WAITING_MAX: u64 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fifths_fall_to_the_first_instance_and_the_rest_evenly() {
        let mut counts = [0_u32; 10];
        let mut random = Random(1);
        for _ in 0..100_000 {
            counts[pick(&mut random, 10, Some(80))] += 1;
        }
        assert!((79_000..81_000).contains(&counts[0]), "{counts:?}");
        for count in &counts[1..] {
            assert!((1_900..2_600).contains(count), "{counts:?}");
        }
    }

    #[test]
    fn one_instance_gets_all() {
        let mut random = Random(1);
        assert_eq!(pick(&mut random, 1, Some(80)), 0);
        assert_eq!(pick(&mut random, 1, None), 0);
    }

    /// Takes 20 ms over its first answer and none over the others.
    #[derive(Clone, Default)]
    struct Stalls(Arc<AtomicU64>);

    impl Instance for Stalls {
        type Key = ();
        fn key(_: &str) {}
        async fn acquire(&self, (): &()) -> bool {
            if self.0.fetch_add(1, Relaxed) == 0 {
                let end_ns = machine_nanos() + 20_000_000;
                while machine_nanos() < end_ns {
                    std::hint::spin_loop();
                }
            }
            true
        }
    }

    /// Coordinated omission: if times counted from asking, one of three hundred would be late.
    #[test]
    fn what_a_stall_holds_up_is_late_too() {
        let limit = Nominal {
            per_second: 10_000,
            burst: 10_000,
        };
        let load = OpenLoop {
            per_second: 10_000,
            first_percent: None,
            length_ns: 30_000_000,
            limit,
            window_s: None,
        };
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let outcome = runtime.block_on(run(&[Stalls::default()], load));
        let outcome = outcome.expect("requests were answered");
        assert_eq!(outcome.accuracy.offered, 300);
        let Latency { response, service } = outcome.latency;
        assert!(response.p50 > 1_000_000, "{response:?}");
        assert!(service.p50 < 1_000_000, "{service:?}");
    }
}
