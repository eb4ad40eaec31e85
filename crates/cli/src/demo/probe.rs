//! Requests that do not wait, on a key of their own, beside the load: what a decision takes while
//! something else goes wrong.
//!
//! A thread of its own asks a few times and sleeps: one that did nothing else would take a
//! processor from the replicas, and one that slept each time would find every cache cold. So the
//! first call of each few is recorded, but its time is not used: see [`warm`]. Nor are the times of
//! calls during which the system preempted the thread, which it counts itself. A thread that waits
//! for something, a lock say, is not preempted but blocks, and is not excused.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use leasehold::{Limiter, machine_nanos};

use crate::demo::stalls::Stall;
use leasehold_judge::record::Record;

/// The probe's requests, and when it was kept from asking.
#[derive(Default)]
pub(crate) struct Probed {
    pub(crate) records: Vec<Record>,
    /// When the thread was put aside in the middle of a few calls, in order.
    pub(crate) put_aside: Vec<Stall>,
}

/// The thread that asks.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Probed>,
}

impl Probe {
    /// Begins to ask `limiter` at `start_ns`.
    pub(crate) fn start(limiter: Limiter, replica: u32, start_ns: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        #[expect(
            clippy::disallowed_methods,
            reason = "measures calls, which happen in real time"
        )]
        let thread = thread::spawn(move || {
            let mut probed = Probed::default();
            while !stopped.load(Relaxed) {
                thread::sleep(EVERY);
                if machine_nanos() >= start_ns {
                    probed.ask(&limiter, replica);
                }
            }
            probed
        });
        Self { stop, thread }
    }

    /// All that was asked. Waits for the thread to notice, some milliseconds.
    pub(crate) fn end(self) -> Probed {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

impl Probed {
    fn ask(&mut self, limiter: &Limiter, replica: u32) {
        let (times, from_ns) = (times_put_aside(), machine_nanos());
        let asked = (0..AT_ONCE).map(|_| ask(limiter, replica));
        self.records.extend(asked);
        let until_ns = machine_nanos();
        if times_put_aside() != times {
            self.put_aside.push(Stall { from_ns, until_ns });
        }
    }
}

/// How often the system gave the processor of this thread to another that the thread did not wait
/// for. Always the same where the system does not say.
fn times_put_aside() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(PUT_ASIDE))?;
    line.trim().parse().ok()
}

const PUT_ASIDE: &str = "nonvoluntary_ctxt_switches:";

/// The records, in order of time, that found the caches as a busy service finds them.
fn warm(records: &[Record]) -> impl Iterator<Item = &Record> {
    let follows = |pair: &&[Record]| pair[1].start_ns - pair[0].end_ns < WARM_NS;
    records.windows(2).filter(follows).map(|pair| &pair[1])
}

/// Times of the calls among `records` that began within `phase`, in nanoseconds. Calls that found
/// cold caches, and calls in which the thread was put aside, are left out.
pub(crate) fn warm_times(records: &[Record], put_aside: &[Stall], phase: &Range<u64>) -> Vec<u64> {
    let ran = |record: &&Record| {
        let last = put_aside.partition_point(|it| it.from_ns <= record.start_ns);
        last == 0 || put_aside[last - 1].until_ns < record.start_ns
    };
    let asked = warm(records).filter(|record| phase.contains(&record.start_ns));
    let asked = asked.filter(ran);
    asked.map(|it| it.end_ns - it.start_ns).collect()
}

fn ask(limiter: &Limiter, replica: u32) -> Record {
    let start_ns = machine_nanos();
    let verdict = limiter.try_acquire(SUBJECT, 1);
    let end_ns = machine_nanos();
    Record {
        start_ns,
        end_ns,
        replica,
        key: KEY,
        cost: 1,
        admitted: verdict.is_allowed(),
    }
}

/// The key of these requests, in the records.
pub(crate) const KEY: u32 = u32::MAX;

/// The probe's key at the limiter.
const SUBJECT: &str = "probe";

const EVERY: Duration = Duration::from_millis(2);

/// Four thousand a second: enough that one in a thousand of a few seconds is more than a handful.
const AT_ONCE: usize = 8;

/// Calls this close to each other belong together.
const WARM_NS: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_says_how_often_a_thread_was_put_aside() {
        let before = times_put_aside().expect("Linux says so");
        assert!(times_put_aside() >= Some(before));
    }

    #[test]
    fn the_first_of_a_few_calls_is_not_warm() {
        let at = |start_ns| Record {
            start_ns,
            end_ns: start_ns + 200,
            replica: 0,
            key: KEY,
            cost: 1,
            admitted: true,
        };
        let records = [at(0), at(300), at(600), at(2_000_000), at(2_000_300)];
        let warm: Vec<u64> = warm(&records).map(|record| record.start_ns).collect();
        assert_eq!(warm, [300, 600, 2_000_300]);
    }
}
