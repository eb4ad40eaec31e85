//! Closed loop: tasks that ask again as soon as they have an answer.
//!
//! It says how many decisions there can be, and what one takes while nobody waits in front of it.
//! It says nothing of a queue: a caller that is kept waiting asks less often (coordinated
//! omission), and for that there are the open-loop rows.
//!
//! Reading the clock costs more than some of the decisions. So it is read twice in a chunk of
//! [`CHUNK`] decisions and around one in its middle, which stands for all; the longest time is that
//! of a whole chunk if that is longer. After a chunk that took long, and where every decision goes
//! to the server, each is timed.

use std::sync::Arc;

use hdrhistogram::Histogram;
use leasehold::machine_nanos;

use super::accuracy::Accuracy;
use super::contenders::{Instance, Nominal};
use super::failure::Failure;
use super::figures::{Latency, Percentiles, histogram};
use leasehold_judge::record::Record;

/// The load to offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClosedLoop {
    /// Keys, each as likely as the others.
    pub(super) keys: u32,
    /// Tasks of each instance.
    pub(super) tasks: u32,
    /// For how long.
    pub(super) length_ns: u64,
    /// Tasks of each instance that put the same load for a while before anything is counted.
    pub(super) warmers: u32,
    pub(super) warm_up_ns: u64,
    /// Whether each decision is timed.
    pub(super) times_all: bool,
    /// The limit, and whether all of the load fits into it.
    pub(super) limit: Nominal,
    pub(super) is_ample: bool,
    /// If the contender is a window limiter.
    pub(super) window_s: Option<u32>,
}

/// The outcome, without the cost at the server.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) seconds: f64,
    pub(super) accuracy: Accuracy,
    pub(super) latency: Latency,
    pub(super) given_up: u64,
}

/// Puts the load until keys are known, for services run longer than benchmarks. Many tasks do it: a
/// few would wait for the first answers on thousands of keys one after the other.
pub(super) async fn warm_up<I: Instance>(instances: &[I], load: ClosedLoop) -> Result<(), Failure> {
    if load.warmers == 0 {
        return Ok(());
    }
    let load = ClosedLoop {
        tasks: load.warmers,
        length_ns: load.warm_up_ns,
        ..load
    };
    ask(instances, load).await.map(drop)
}

/// Puts the load and judges what came of it.
pub(super) async fn run<I: Instance>(
    instances: &[I],
    load: ClosedLoop,
) -> Result<Outcome, Failure> {
    let start_ns = machine_nanos();
    ask(instances, load).await?.judge(start_ns, load)
}

async fn ask<I: Instance>(instances: &[I], load: ClosedLoop) -> Result<Seen, Failure> {
    let keys: Arc<[I::Key]> = (0..load.keys)
        .map(|n| I::key(&format!("user-{n}")))
        .collect();
    let start_ns = machine_nanos();
    let mut callers = Vec::new();
    for (replica, instance) in (0..).zip(instances) {
        for task in 0..load.tasks {
            let caller = Caller {
                instance: instance.clone(),
                keys: Arc::clone(&keys),
                random: Random(u64::from(replica * load.tasks + task) + 1),
                replica,
                seen: Seen::new(),
            };
            callers.push(tokio::spawn(
                caller.ask_until(start_ns + load.length_ns, load),
            ));
        }
    }
    let mut all = Seen::new();
    for caller in callers {
        all.add(caller.await.map_err(Failure::of)?);
    }
    Ok(all)
}

/// A task.
struct Caller<I: Instance> {
    instance: I,
    keys: Arc<[I::Key]>,
    random: Random,
    replica: u32,
    seen: Seen,
}

impl<I: Instance> Caller<I> {
    async fn ask_until(mut self, end_ns: u64, load: ClosedLoop) -> Seen {
        let mut each = load.times_all;
        while machine_nanos() < end_ns {
            if each {
                self.chunk_of_timed(end_ns).await;
            } else {
                self.chunk().await;
            }
            each = load.times_all || self.seen.was_slow;
            // Decisions that wait for nothing never let the runtime do its other work.
            tokio::task::yield_now().await;
        }
        self.seen
    }

    /// So many decisions, the one in the middle timed.
    async fn chunk(&mut self) {
        let start_ns = machine_nanos();
        let mut admitted = 0;
        for _ in 0..CHUNK / 2 {
            admitted += u32::from(self.ask().await);
        }
        let middle_ns = machine_nanos();
        admitted += u32::from(self.ask().await);
        let time = machine_nanos() - middle_ns;
        for _ in CHUNK / 2 + 1..CHUNK {
            admitted += u32::from(self.ask().await);
        }
        let end_ns = machine_nanos();
        self.seen.time(time, CHUNK);
        self.seen.chunk(end_ns - start_ns);
        self.note(start_ns, end_ns, CHUNK, admitted);
    }

    /// As many, each timed; fewer if the time is up.
    async fn chunk_of_timed(&mut self, end_ns: u64) {
        let first_ns = machine_nanos();
        let mut now_ns = first_ns;
        for _ in 0..CHUNK {
            let start_ns = now_ns;
            let admitted = u32::from(self.ask().await);
            now_ns = machine_nanos();
            self.seen.time(now_ns - start_ns, 1);
            self.note(start_ns, now_ns, 1, admitted);
            if now_ns >= end_ns {
                break;
            }
        }
        self.seen.was_slow = now_ns - first_ns > SLOW_NS;
    }

    #[inline]
    async fn ask(&mut self) -> bool {
        let key = self.random.below(self.keys.len());
        self.instance.acquire(&self.keys[key]).await
    }

    /// Notes admissions and denials as one record each: if the whole chunk lies in a window,
    /// so does each of its decisions, and the judge never says more than there was.
    fn note(&mut self, start_ns: u64, end_ns: u64, asked: u32, admitted: u32) {
        for (cost, is_admitted) in [(admitted, true), (asked - admitted, false)] {
            if cost > 0 {
                self.seen.records.push(Record {
                    start_ns,
                    end_ns,
                    replica: self.replica,
                    key: 0,
                    cost,
                    admitted: is_admitted,
                });
            }
        }
    }
}

/// The observations of the tasks.
struct Seen {
    records: Vec<Record>,
    times: Histogram<u64>,
    longest: u64,
    /// Whether the last chunk took so long that its decisions should be timed.
    was_slow: bool,
}

impl Seen {
    fn new() -> Self {
        Self {
            records: Vec::new(),
            times: histogram(),
            longest: 0,
            was_slow: false,
        }
    }

    /// One decision took so long, and stands for so many.
    fn time(&mut self, nanos: u64, count: u32) {
        self.times.saturating_record_n(nanos.max(1), count.into());
    }

    /// A chunk took so long, of which one decision was timed.
    fn chunk(&mut self, nanos: u64) {
        self.longest = self.longest.max(nanos);
        self.was_slow = nanos > SLOW_NS;
    }

    fn add(&mut self, other: Self) {
        self.records.extend(other.records);
        self.times.add(other.times).expect("it grows by itself");
        self.longest = self.longest.max(other.longest);
    }

    fn judge(&self, start_ns: u64, load: ClosedLoop) -> Result<Outcome, Failure> {
        let end_ns = self.records.iter().map(|record| record.end_ns).max();
        let end_ns = end_ns.ok_or_else(|| Failure::new("nothing was decided in time"))?;
        let accuracy = if load.is_ample {
            Accuracy::of_ample(&self.records, load.limit)?
        } else {
            let costs = self.records.iter().map(|record| u64::from(record.cost));
            Accuracy {
                offered: costs.sum(),
                ..Accuracy::of(&split(&self.records), load.limit, load.window_s)?
            }
        };
        Ok(Outcome {
            seconds: std::time::Duration::from_nanos(end_ns - start_ns).as_secs_f64(),
            accuracy,
            latency: Latency::of_closed_loop(Percentiles::of(&self.times, self.longest)),
            given_up: 0,
        })
    }
}

/// The ideal is asked for tokens one by one, as the limiter was: a chunk that fits only in part
/// would get nothing of it. Of what a chunk was denied one request stands for all: there are chunks
/// every few microseconds, far more often than a scarce limit adds a token.
fn split(records: &[Record]) -> Vec<Record> {
    let ones = |record: &Record| {
        let (one, admitted) = (Record { cost: 1, ..*record }, record.admitted);
        let count = if admitted { record.cost } else { 1 };
        std::iter::repeat_n(one, count as usize)
    };
    records.iter().flat_map(ones).collect()
}

/// Numbers that need not be good, only quick (xorshift), and the same in every run.
pub(super) struct Random(pub(super) u64);

impl Random {
    #[inline]
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// One of so many.
    #[inline]
    pub(super) fn below(&mut self, most: usize) -> usize {
        let wide = u128::from(self.next()) * (most as u128);
        usize::try_from(wide >> 64).expect("below `most`")
    }
}

/// Decisions between two looks at the clock. Few enough that the runtime gets its turn every few
/// microseconds, as in a service; enough that looking costs a decision little.
const CHUNK: u32 = 64;

/// A chunk of longer than this did not decide in place.
const SLOW_NS: u64 = 1_000_000;
