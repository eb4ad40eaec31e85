//! When this process did not get the processor: a thread that sleeps for a millisecond at a time
//! and takes down by how much it woke too late.
//!
//! What a limiter is blamed for must not be the machine's doing. The thread shares nothing with
//! the limiter but the process, so it is late if the process stands still or the machine is
//! overloaded, and not if the limiter dawdles.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use leasehold::machine_nanos;
use serde::{Deserialize, Serialize};

/// A time in which the process should have run and did not, on the machine's clock.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Stall {
    pub(crate) from_ns: u64,
    pub(crate) until_ns: u64,
}

impl Stall {
    /// How much of it lies between two instants.
    pub(crate) fn within(self, from_ns: u64, until_ns: u64) -> u64 {
        let (from, until) = (self.from_ns.max(from_ns), self.until_ns.min(until_ns));
        until.saturating_sub(from)
    }
}

/// The thread that sleeps.
pub(crate) struct Stalls {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Stall>>,
}

impl Stalls {
    pub(crate) fn watch() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        #[expect(
            clippy::disallowed_methods,
            reason = "shows when real time is not to be had"
        )]
        let thread = thread::spawn(move || {
            let mut stalls = Vec::new();
            while !stopped.load(Relaxed) {
                let due_ns = machine_nanos() + EVERY_NS;
                thread::sleep(Duration::from_nanos(EVERY_NS));
                let now_ns = machine_nanos();
                if now_ns > due_ns + USUAL_NS {
                    stalls.push(Stall {
                        from_ns: due_ns,
                        until_ns: now_ns,
                    });
                }
            }
            stalls
        });
        Self { stop, thread }
    }

    /// All stalls so far.
    pub(crate) fn end(self) -> Vec<Stall> {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

const EVERY_NS: u64 = 1_000_000;

/// A timer's own lateness and a switch of threads.
const USUAL_NS: u64 = 300_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_two_instants_counts() {
        let stall = Stall {
            from_ns: 10,
            until_ns: 20,
        };
        let within = |from_ns, until_ns| stall.within(from_ns, until_ns);
        assert_eq!((within(0, 30), within(12, 15), within(15, 30)), (10, 3, 5));
        assert_eq!((within(0, 10), within(20, 30)), (0, 0));
    }
}
