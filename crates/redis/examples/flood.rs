//! Ten million keys that somebody makes up, thrown at a limiter that remembers a hundred thousand:
//! the measurement behind the section "Abuse" of docs/OPERATING.md.
//!
//! ```sh
//! scripts/server.sh
//! cargo run --release -p leasehold-redis --example flood [KEYS]
//! ```
//!
//! Each key is asked for once; every tenth once more at once, and once more half a million keys later, when
//! it is forgotten here: its one token must not be there twice. Beside them runs one hot key at thrice its limit. Then the same with the store
//! stopped, under each failure policy. Exit code 1 if a limit was exceeded.

use std::collections::VecDeque;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use leasehold::{FailurePolicy, Limiter, Reason, Tuning, machine_nanos};
use leasehold_redis::RedisStore;
use leasehold_redis::server::{LocalServer, ServerOptions};
use tokio::task::JoinSet;

/// Callers at a time.
const CALLERS: u64 = 512;

/// One token, and the next after longer than a key is asked for again.
const COLD: &str = "1/30s burst 1";
const HOT: &str = "1000/s burst 1000";
const HOT_RATE: f64 = 1000.0;
const HOT_BURST: f64 = 1000.0;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let keys = match std::env::args().nth(1) {
        Some(keys) => keys.replace('_', "").parse()?,
        None => 10_000_000,
    };
    println!(
        "{:<22} {:>10} {:>9} {:>10} {:>10} {:>9} {:>12} {:>8} {:>10}",
        "store", "keys", "keys/s", "allowed", "denied", "twice", "hot: used", "over", "RSS MiB"
    );
    let server = LocalServer::start(&ServerOptions::default())?;
    let mut kept = run("answers", FailurePolicy::Closed, keys, &server, false).await?;
    server.pause()?;
    for policy in [
        FailurePolicy::Closed,
        FailurePolicy::Local,
        FailurePolicy::Open,
    ] {
        let name = format!("stopped, {policy:?}").to_lowercase();
        kept &= run(&name, policy, keys, &server, true).await?;
    }
    server.resume()?;
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What came of the keys that are asked for once or twice.
#[derive(Default)]
struct Counts {
    allowed: AtomicU64,
    denied: AtomicU64,
    /// Keys that were allowed a second time.
    twice: AtomicU64,
    /// Denied for another reason than there is.
    wrong: AtomicU64,
}

async fn run(
    name: &str,
    policy: FailurePolicy,
    keys: u64,
    server: &LocalServer,
    is_stopped: bool,
) -> Result<bool, Box<dyn Error>> {
    let mut tuning = Tuning::default();
    tuning.max_replicas = std::num::NonZeroU32::new(1);
    let limiter = Limiter::builder()
        .limit("cold", COLD.parse()?)
        .limit("hot", HOT.parse()?)
        .failure_policy("cold", policy)
        .failure_policy("hot", policy)
        .tuning(tuning)
        .keys_max(100_000)
        .store(RedisStore::lazy("flood", server.url().parse()?))
        .build()?;
    let (counts, over) = (
        Arc::new(Counts::default()),
        Arc::new(AtomicBool::new(false)),
    );
    let hot = tokio::spawn(hot(limiter.clone(), Arc::clone(&over)));
    let start = machine_nanos();
    let mut flood = JoinSet::new();
    for caller in 0..CALLERS {
        let (limiter, counts) = (limiter.clone(), Arc::clone(&counts));
        flood.spawn(async move {
            let mut remembered = VecDeque::new();
            let mut number = caller;
            while number < keys {
                ask(&limiter, number, &counts, &mut remembered).await;
                number += CALLERS;
            }
        });
    }
    let mut most = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    while !flood.is_empty() {
        tokio::select! {
            ended = flood.join_next() => ended.expect("there are some")?,
            _ = tick.tick() => most = most.max(resident_mib()),
        }
    }
    let seconds = seconds_since(start);
    over.store(true, Relaxed);
    let (used, excess) = hot.await?;
    // A store that was never reached has no hot key to use up, if it is closed.
    let open = is_stopped && policy == FailurePolicy::Open;
    let twice = counts.twice.load(Relaxed);
    println!(
        "{name:<22} {keys:>10} {:>9.0} {:>10} {:>10} {twice:>9} {:>10.1} % {excess:>8.0} {most:>10}",
        float(keys) / seconds,
        counts.allowed.load(Relaxed),
        counts.denied.load(Relaxed),
        used * 100.0,
    );
    let wrong = counts.wrong.load(Relaxed);
    if wrong > 0 {
        println!("{:<22} {wrong} were told a wrong reason", "");
    }
    // An outage is not long enough here to give the server's port to anybody else.
    let _ = limiter.shutdown().await;
    Ok(open || (excess < 0.01 && twice == 0 && wrong == 0))
}

/// Asks for one key, and for some a second time.
async fn ask(limiter: &Limiter, number: u64, counts: &Counts, remembered: &mut VecDeque<u64>) {
    let cold = limiter.limit("cold").expect("it is one of two");
    let acquire = async |number: u64| {
        let name = format!("visitor:{number:016x}");
        limiter.acquire((cold, name.as_str()), 1).await
    };
    let verdict = acquire(number).await;
    match verdict.denial() {
        None => counts.allowed.fetch_add(1, Relaxed),
        Some(denial) => {
            let is_wrong = denial.reason == Reason::Exhausted;
            counts.wrong.fetch_add(u64::from(is_wrong), Relaxed);
            counts.denied.fetch_add(1, Relaxed)
        }
    };
    if verdict.is_allowed() && (number / CALLERS).is_multiple_of(10) {
        remembered.push_back(number);
        let old = (remembered.len() > 100).then(|| remembered.pop_front());
        for number in [Some(number), old.flatten()].into_iter().flatten() {
            let again = acquire(number).await.is_allowed();
            counts.twice.fetch_add(u64::from(again), Relaxed);
        }
    }
}

/// One key at thrice its limit until told to stop. Returns which part of the limit was used, and by
/// how many tokens it was exceeded at worst since the start.
async fn hot(limiter: Limiter, stop: Arc<AtomicBool>) -> (f64, f64) {
    let key = (limiter.limit("hot").expect("it is one of two"), "everybody");
    let (start, mut admitted, mut excess) = (machine_nanos(), 0.0, 0.0_f64);
    let mut level: f64 = 0.0;
    let mut drained = 0.0;
    while !stop.load(Relaxed) {
        // Three times the limit, if timers ring by the millisecond.
        for _ in 0..6 {
            let asked = limiter.acquire(key, 1).await;
            let now = seconds_since(start);
            level = (level - (now - drained) * HOT_RATE).max(0.0);
            drained = now;
            if asked.is_allowed() {
                admitted += 1.0;
                level += 1.0;
                excess = excess.max(level - HOT_BURST);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ideal = HOT_RATE * seconds_since(start) + HOT_BURST;
    (admitted / ideal, excess)
}

fn seconds_since(start: u64) -> f64 {
    Duration::from_nanos(machine_nanos() - start).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a number to be read")]
fn float(number: u64) -> f64 {
    number as f64
}

/// Memory of this process that is resident, by the kernel's count of pages.
fn resident_mib() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    resident.unwrap_or(0) * 4096 / (1 << 20)
}
