//! Ten million keys that somebody makes up, thrown at a limiter that remembers a hundred thousand:
//! the measurement behind the section "Abuse" of docs/OPERATING.md.
//!
//! ```sh
//! scripts/server.sh
//! cargo run --release -p leasehold-redis --example flood [KEYS [CALLERS [ROW]]]
//! ```
//!
//! Each key is asked for once; every tenth once more at once, and once more a thousand of its
//! caller's keys later, when it is forgotten here: its one token must not be there twice. Beside
//! them runs one hot key at thrice its limit, held against a bucket that meets the same requests.
//! First the store answers; then it is stopped while the third fifth of the keys comes; then all
//! the time, under each failure policy. ROW is a part of the names of the rows to run.
//!
//! Exit code 1 if a limit was exceeded, a request allowed that no count of tokens has, or if memory
//! grew on and on.

use std::collections::VecDeque;
use std::error::Error;
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use leasehold::{FailurePolicy, Limiter, Reason, Tuning, machine_nanos};
use leasehold_redis::RedisStore;
use leasehold_testbed::{LocalServer, ServerOptions};
use tokio::task::JoinSet;

/// One token, and the next after longer than a key is asked for again.
const COLD: &str = "1/min burst 1";
const AGAIN_SECONDS: f64 = 55.0;
const HOT: &str = "1000/s burst 1000";
const HOT_RATE: f64 = 1000.0;
const HOT_BURST: f64 = 1000.0;

/// While which keys come, counted in fifths, the store is stopped.
struct Row {
    name: &'static str,
    policy: FailurePolicy,
    stopped: std::ops::Range<u64>,
}

const ROWS: [Row; 6] = [
    row("answers", FailurePolicy::Closed, 0..0),
    row("stopped between, closed", FailurePolicy::Closed, 2..3),
    row("stopped between, local", FailurePolicy::Local, 2..3),
    row("stopped, closed", FailurePolicy::Closed, 0..5),
    row("stopped, local", FailurePolicy::Local, 0..5),
    row("stopped, open", FailurePolicy::Open, 0..5),
];

const fn row(name: &'static str, policy: FailurePolicy, stopped: std::ops::Range<u64>) -> Row {
    Row {
        name,
        policy,
        stopped,
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |else_take| match arguments.next() {
        Some(text) => text.replace('_', "").parse::<u64>(),
        None => Ok(else_take),
    };
    let (keys, callers) = (number(10_000_000)?, number(512)?);
    let named = arguments.next().unwrap_or_default();
    println!(
        "{:<24} {:>10} {:>9} {:>10} {:>10} {:>9} {:>10} {:>10} {:>8}",
        "store", "keys", "keys/s", "allowed", "denied", "twice", "hot: asked", "used", "over"
    );
    let server = LocalServer::start(&ServerOptions::default())?;
    let mut kept = true;
    for row in ROWS.iter().filter(|row| row.name.contains(&named)) {
        kept &= run(row, keys, callers, &server).await?;
    }
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The outcome of the requests.
#[derive(Default)]
struct Counts {
    /// Keys that had their first answer.
    asked: AtomicU64,
    allowed: AtomicU64,
    denied: AtomicU64,
    /// Keys that were allowed a second time.
    twice: AtomicU64,
    /// Denied for another reason than there is.
    wrong: AtomicU64,
}

async fn run(
    row: &Row,
    keys: u64,
    callers: u64,
    server: &LocalServer,
) -> Result<bool, Box<dyn Error>> {
    if row.stopped.start == 0 && !row.stopped.is_empty() {
        server.pause()?;
    }
    let limiter = limiter(row, server)?;
    let (counts, over) = (
        Arc::new(Counts::default()),
        Arc::new(AtomicBool::new(false)),
    );
    let hot = tokio::spawn(hot(limiter.clone(), Arc::clone(&over)));
    let start = machine_nanos();
    let mut flood = flood(&limiter, keys, callers, &counts);
    let mut memory = Memory::default();
    let mut stopped_for = Stopped::default();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while !flood.is_empty() {
        tokio::select! {
            ended = flood.join_next() => ended.expect("there are some")?,
            _ = tick.tick() => {
                let asked = counts.asked.load(Relaxed);
                memory.look(asked, keys);
                stopped_for.follow(row, asked * 5 / keys, server)?;
            }
        }
    }
    let seconds = seconds_since(start);
    over.store(true, Relaxed);
    let hot = hot.await?;
    // What was admitted without the store is charged, and counted.
    server.resume()?;
    stopped_for.end();
    let drained = limiter.shutdown().await;
    let tokens = limiter.stats().tokens.spent + limiter.stats().tokens_in_fallback.spent;
    let count = |count: &AtomicU64| count.load(Relaxed);
    let (allowed, twice) = (count(&counts.allowed), count(&counts.twice));
    println!(
        "{:<24} {keys:>10} {:>9.0} {allowed:>10} {:>10} {twice:>9} {:>8.0}/s {:>8.1} % {:>8.0}",
        row.name,
        float(keys) / seconds,
        count(&counts.denied),
        float(hot.asked) / seconds,
        hot.used() * 100.0,
        hot.excess,
    );
    println!(
        "  {seconds:.0} s, {:.1} s of them stopped; \
         memory at each tenth of the keys, MiB: {:?}, {} at most",
        stopped_for.seconds, memory.tenths, memory.most
    );
    let mut kept = true;
    let mut demand = |is_met: bool, what: &str| {
        if !is_met {
            println!("  BROKEN: {what}");
        }
        kept &= is_met;
    };
    let counted = allowed + twice + hot.admitted;
    demand(counted <= tokens, "more was allowed than tokens were spent");
    demand(memory.is_flat(), "memory grew on and on");
    demand(drained.is_ok(), "not all was given back or charged");
    let is_between = row.stopped.start > 0;
    // What was sent just before the store stopped it may have executed without anybody hearing of
    // it.
    demand(
        is_between || count(&counts.wrong) == 0,
        "some were told that a key was used up that nobody had used",
    );
    // Under a policy, what the store admitted before and the replica admits alone are two buckets.
    let exact = match row.policy {
        FailurePolicy::Closed => true,
        FailurePolicy::Local => !is_between,
        // Neither `Open` nor a policy that another version may add promises anything here.
        FailurePolicy::Open | _ => false,
    };
    demand(
        !exact || (twice == 0 && hot.excess < 0.01),
        "a limit was exceeded",
    );
    let local = HOT_BURST + HOT_RATE * stopped_for.seconds;
    let is_local = row.policy == FailurePolicy::Local;
    demand(
        !is_local || hot.excess <= local,
        "more than a part of the limit was added",
    );
    Ok(kept)
}

/// The callers, who ask for all keys between them.
fn flood(limiter: &Limiter, keys: u64, callers: u64, counts: &Arc<Counts>) -> JoinSet<()> {
    let mut flood = JoinSet::new();
    for caller in 0..callers {
        let (limiter, counts) = (limiter.clone(), Arc::clone(counts));
        flood.spawn(async move {
            let mut remembered = VecDeque::new();
            let mut number = caller;
            while number < keys {
                ask(&limiter, number, callers, &counts, &mut remembered).await;
                number += callers;
                // As a service does, which reads a request first: who is denied in place never
                // waits.
                tokio::task::yield_now().await;
            }
        });
    }
    flood
}

fn limiter(row: &Row, server: &LocalServer) -> Result<Limiter, Box<dyn Error>> {
    let mut tuning = Tuning::default();
    tuning.max_replicas = NonZeroU32::new(1);
    // No row knows the keys of another.
    let prefix = format!("flood-{}", row.name.replace([' ', ','], "-"));
    Ok(Limiter::builder()
        .limit("cold", COLD)
        .limit("hot", HOT)
        .failure_policy("cold", row.policy)
        .failure_policy("hot", row.policy)
        .tuning(tuning)
        .keys_max(100_000)
        // A machine that is busy otherwise is no store that is away.
        .call_timeout(Duration::from_secs(1))
        .shutdown_patience(Duration::from_secs(60))
        .store(RedisStore::lazy(&prefix, server.url().parse()?))
        .build()?)
}

/// Asks for one key, and for some a second time.
async fn ask(
    limiter: &Limiter,
    number: u64,
    callers: u64,
    counts: &Counts,
    remembered: &mut VecDeque<(u64, u64)>,
) {
    let cold = limiter.limit_id("cold").expect("it is one of two");
    let acquire = async |number: u64| {
        let name = format!("visitor:{number:016x}");
        limiter.acquire((cold, name.as_str()), 1).await
    };
    let verdict = acquire(number).await;
    counts.asked.fetch_add(1, Relaxed);
    match verdict.denial() {
        None => counts.allowed.fetch_add(1, Relaxed),
        Some(denial) => {
            let is_wrong = denial.reason == Reason::Exhausted;
            counts.wrong.fetch_add(u64::from(is_wrong), Relaxed);
            counts.denied.fetch_add(1, Relaxed)
        }
    };
    if verdict.is_allowed() && (number / callers).is_multiple_of(10) {
        remembered.push_back((number, machine_nanos()));
        let old = (remembered.len() > 100).then(|| remembered.pop_front());
        // Unless a token has come in since.
        let old = old
            .flatten()
            .filter(|(_, at)| seconds_since(*at) < AGAIN_SECONDS);
        for number in [Some(number), old.map(|(number, _)| number)]
            .into_iter()
            .flatten()
        {
            let again = acquire(number).await.is_allowed();
            counts.twice.fetch_add(u64::from(again), Relaxed);
        }
    }
}

/// The outcome of the hot key.
#[derive(Default)]
struct Hot {
    asked: u64,
    admitted: u64,
    /// Tokens that an ideal bucket admits of the same requests.
    ideal: u64,
    /// Tokens admitted beyond the limit in the worst window.
    excess: f64,
}

impl Hot {
    fn used(&self) -> f64 {
        float(self.admitted) / float(self.ideal.max(1))
    }
}

/// One key at thrice its limit until told to stop: who was late catches up.
async fn hot(limiter: Limiter, stop: Arc<AtomicBool>) -> Hot {
    let key = (
        limiter.limit_id("hot").expect("it is one of two"),
        "everybody",
    );
    let start = machine_nanos();
    let mut hot = Hot::default();
    // Of the bucket, and of what was admitted.
    let (mut ideal, mut level, mut drained) = (0.0_f64, 0.0_f64, 0.0);
    while !stop.load(Relaxed) {
        while float(hot.asked) < 3.0 * HOT_RATE * seconds_since(start) {
            hot.asked += 1;
            let is_allowed = limiter.acquire(key, 1).await.is_allowed();
            let now = seconds_since(start);
            let yielded = (now - drained) * HOT_RATE;
            (ideal, level) = ((ideal - yielded).max(0.0), (level - yielded).max(0.0));
            drained = now;
            if ideal + 1.0 <= HOT_BURST {
                ideal += 1.0;
                hot.ideal += 1;
            }
            if is_allowed {
                level += 1.0;
                hot.admitted += 1;
                hot.excess = hot.excess.max(level - HOT_BURST);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    hot
}

/// For how long the store was stopped.
#[derive(Default)]
struct Stopped {
    since: Option<u64>,
    seconds: f64,
}

impl Stopped {
    fn follow(
        &mut self,
        row: &Row,
        fifth: u64,
        server: &LocalServer,
    ) -> Result<(), Box<dyn Error>> {
        let is_due = row.stopped.contains(&fifth);
        if is_due && self.since.is_none() {
            server.pause()?;
            self.since = Some(machine_nanos());
        } else if !is_due && self.since.is_some() {
            server.resume()?;
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        self.seconds += self.since.take().map_or(0.0, seconds_since);
    }
}

/// Memory of this process that is resident, in MiB.
#[derive(Default)]
struct Memory {
    /// When each tenth of the keys had been asked for.
    tenths: Vec<u64>,
    most: u64,
    most_before: u64,
}

impl Memory {
    fn look(&mut self, asked: u64, keys: u64) {
        let resident = resident_mib();
        self.most = self.most.max(resident);
        if asked * 10 <= keys * 7 {
            self.most_before = self.most;
        }
        let tenth = usize::try_from(asked * 10 / keys).expect("at most ten");
        if self.tenths.len() < tenth {
            self.tenths.resize(tenth, resident);
        }
    }

    /// The last keys took no more than those before, but for what chance does.
    fn is_flat(&self) -> bool {
        self.most <= self.most_before + self.most_before / 8 + 16
    }
}

fn seconds_since(start: u64) -> f64 {
    Duration::from_nanos(machine_nanos() - start).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a number to be read")]
fn float(number: u64) -> f64 {
    number as f64
}

/// By the kernel's count of pages.
fn resident_mib() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    resident.unwrap_or(0) * 4096 / (1 << 20)
}
