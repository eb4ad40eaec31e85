//! Requests that do not wait, on a key of their own, beside the load: what a decision takes while
//! something else goes wrong.
//!
//! A thread of its own asks a few times and sleeps: one that did nothing else would take a
//! processor from the replicas, and one that slept each time would find every cache cold. So the
//! first call of each few is recorded, but its time says nothing: see [`warm`].

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use leasehold::{Limiter, machine_nanos};

use crate::judge::record::Record;

/// The thread that asks.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Record>>,
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
            let mut records = Vec::new();
            while !stopped.load(Relaxed) {
                thread::sleep(EVERY);
                if machine_nanos() >= start_ns {
                    records.extend((0..AT_ONCE).map(|_| ask(&limiter, replica)));
                }
            }
            records
        });
        Self { stop, thread }
    }

    /// All that was asked. Waits for the thread to notice, some milliseconds.
    pub(crate) fn end(self) -> Vec<Record> {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

/// Those of `records`, in order of time, that found the caches as a busy service finds them.
pub(crate) fn warm(records: &[Record]) -> impl Iterator<Item = &Record> {
    let follows = |pair: &&[Record]| pair[1].start_ns - pair[0].end_ns < WARM_NS;
    records.windows(2).filter(follows).map(|pair| &pair[1])
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

/// And at the limiter.
const SUBJECT: &str = "probe";

const EVERY: Duration = Duration::from_millis(2);

/// Two thousand a second, about what the limit of the fault matrix admits.
const AT_ONCE: usize = 4;

/// Calls this close to each other belong together.
const WARM_NS: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

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
