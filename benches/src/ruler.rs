//! How long one decision takes, as the thread sees it that asks.
//!
//! # Invariant
//!
//! Threads start together, each on a processor of its own, and measure for the same time: none is
//! left alone with a key that it was to share. Every verdict is counted, and held against the one
//! expected.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::contender::Asked;
use crate::processors::Processors;

/// Requests and how they are made.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// The keys, in order; over again when they end.
    pub requests: &'a [String],
    /// Each key once, or as many as a contender needs to be reminded of.
    pub keys: &'a [String],
    /// Threads that ask at once.
    pub threads: usize,
    /// Whether each answer is waited for before the next question.
    pub fenced: bool,
    /// Whether every request is to be allowed, or none.
    pub allowed: bool,
}

/// The result of a measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Nanoseconds between two decisions of one thread.
    pub nanos: f64,
    /// Decisions that were measured.
    pub decisions: u64,
    /// Decisions among them with an unexpected verdict.
    pub wrong: u64,
}

impl Load<'_> {
    /// Asks for `time`, after a tenth of it that does not count, from the place where `start`
    /// points.
    ///
    /// # Panics
    ///
    /// If there are no requests.
    pub fn measure(&self, asked: &dyn Asked, time: Duration, start: usize) -> Timing {
        asked.prepare(self.keys);
        let processors = Processors::ours();
        let barrier = Barrier::new(self.threads);
        let runs: Vec<Run> = thread::scope(|scope| {
            let threads = (0..self.threads).map(|number| {
                let (barrier, processors) = (&barrier, &processors);
                let start = start + number * self.requests.len() / self.threads;
                scope.spawn(move || {
                    processors.keep(number);
                    barrier.wait();
                    let place = self.run(asked, time / 10, start).place;
                    self.run(asked, time, place)
                })
            });
            let threads: Vec<_> = threads.collect();
            let joined = threads
                .into_iter()
                .map(|thread| thread.join().expect("no contender panics"));
            joined.collect()
        });
        Timing::of(&runs)
    }

    #[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
    fn run(&self, asked: &dyn Asked, time: Duration, start: usize) -> Run {
        let mut run = Run {
            place: start,
            ..Run::default()
        };
        let begin = Instant::now();
        while run.time < time {
            let batch = self.batch(run.place);
            let allowed = asked.ask(batch, self.fenced);
            let decided = batch.len() as u64;
            run.place += batch.len();
            run.decisions += decided;
            run.wrong += if self.allowed {
                decided - allowed
            } else {
                allowed
            };
            run.time = begin.elapsed();
        }
        run
    }

    fn batch(&self, place: usize) -> &[String] {
        let from = place % self.requests.len();
        &self.requests[from..self.requests.len().min(from + BATCH)]
    }
}

/// The work of one thread.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    place: usize,
    decisions: u64,
    wrong: u64,
    time: Duration,
}

impl Timing {
    #[expect(
        clippy::cast_precision_loss,
        reason = "decisions of a second are far below 2^52"
    )]
    fn of(runs: &[Run]) -> Self {
        let decisions = runs.iter().map(|run| run.decisions).sum();
        let time: Duration = runs.iter().map(|run| run.time).sum();
        Self {
            nanos: time.as_secs_f64() * 1e9 / decisions as f64,
            decisions,
            wrong: runs.iter().map(|run| run.wrong).sum(),
        }
    }
}

/// Between two looks at the clock. Two looks take a tenth of a microsecond, so a decision pays a
/// tenth of a nanosecond at most.
const BATCH: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;
    use crate::contender::Subject;
    use crate::names::names;

    /// Denies every tenth request.
    struct Leaky(AtomicU64);

    impl Subject for Leaky {
        fn decide(&self, _: &String) -> bool {
            !self.0.fetch_add(1, Relaxed).is_multiple_of(10)
        }
    }

    #[test]
    fn verdicts_that_were_not_expected_are_counted_whichever_they_are() {
        let requests = names(100, 16);
        for (allowed, threads) in [(true, 1), (false, 2)] {
            let load = Load {
                requests: &requests,
                keys: &[],
                threads,
                fenced: false,
                allowed,
            };
            let leaky = Leaky(AtomicU64::new(0));
            let timing = load.measure(&leaky, Duration::from_millis(2), 50);
            let wrong = if allowed {
                timing.decisions
            } else {
                timing.decisions * 9
            } / 10;
            // A few that did not count came before.
            assert!(timing.wrong.abs_diff(wrong) <= 10, "{timing:?}");
            assert!(timing.nanos > 0.0 && timing.decisions > 0, "{timing:?}");
        }
    }
}
