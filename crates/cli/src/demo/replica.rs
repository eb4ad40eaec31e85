//! One replica under load: a real limiter, its requests, and what was seen of each.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use leasehold::{Decided, Limiter, Stats, Store, Verdict, machine_nanos};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::demo::DemoError;
use crate::demo::arrivals::{Arrival, Arrivals};
use crate::demo::plan::Plan;
use crate::demo::timed_store::{Exchange, TimedStore};
use crate::judge::record::Record;

/// What was seen of one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) record: Record,
    /// Decided without waiting for the store.
    pub(crate) local: bool,
}

/// What a replica says at the end.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Summary {
    pub(crate) store_calls: u64,
    pub(crate) store_round_trips: u64,
    pub(crate) failed_batches: u64,
    /// Tokens that could not be given back.
    pub(crate) unreleased: u64,
    /// Every exchange before leases were given back, if the plan asked for it.
    pub(crate) exchanges: Vec<Exchange>,
}

impl Summary {
    fn new(stats: Stats, round_trips: u64, unreleased: u64) -> Self {
        Self {
            store_calls: stats.store_calls,
            store_round_trips: round_trips,
            failed_batches: stats.failed_batches,
            unreleased,
            exchanges: Vec::new(),
        }
    }
}

/// Offers the plan's load for `replica` to a limiter over `store`, from `start_ns` on the
/// machine's clock, and hands what is seen to `sink`. Ends early when `stop` says so.
pub(crate) async fn offer(
    plan: &Plan,
    replica: u32,
    store: Arc<dyn Store>,
    start_ns: u64,
    mut stop: watch::Receiver<bool>,
    mut sink: impl FnMut(Seen),
) -> Result<Summary, DemoError> {
    let timed = plan
        .timed
        .then(|| Arc::new(TimedStore::new(Arc::clone(&store))));
    let store = match &timed {
        Some(timed) => Arc::clone(timed) as Arc<dyn Store>,
        None => store,
    };
    let limiter = Limiter::builder()
        .limit("demo", plan.limit)
        .store(Arc::clone(&store))
        .mode(plan.mode())
        .keys_max((plan.keys as usize).min(KEYS_MAX))
        .build()
        .map_err(DemoError::Build)?;
    let mut waiting = FuturesUnordered::new();
    let mut arrivals = Arrivals::new(plan, replica).peekable();
    while let Some(next) = arrivals.peek() {
        let due = start_ns + nanos(next.after);
        let now = machine_nanos();
        if due <= now {
            let arrival = arrivals.next().expect("peeked");
            match begin(&limiter, replica, arrival) {
                Begun::Done(seen) => sink(seen),
                Begun::Waits(rest) => waiting.push(rest),
            }
            continue;
        }
        tokio::select! {
            biased;
            () = told_to_stop(&mut stop) => break,
            Some(seen) = waiting.next() => sink(seen),
            () = tokio::time::sleep(Duration::from_nanos(due - now)) => {}
        }
    }
    while let Some(seen) = waiting.next().await {
        sink(seen);
    }
    if timed.is_some() {
        // Whoever leaves gives back what it holds, and the others would see more.
        let end_ns = start_ns + nanos(plan.duration);
        let left = Duration::from_nanos(end_ns.saturating_sub(machine_nanos()));
        tokio::select! {
            () = told_to_stop(&mut stop) => {}
            () = tokio::time::sleep(left) => {}
        }
    }
    let exchanges = timed.map_or_else(Vec::new, |timed| timed.exchanges());
    let unreleased = limiter
        .shutdown()
        .await
        .map_or_else(|error| error.tokens, |()| 0);
    let stats = limiter.stats();
    Ok(Summary {
        exchanges,
        ..Summary::new(stats, store.round_trips(), unreleased)
    })
}

/// Awaits the word to stop, or the end of whoever might give it.
pub(crate) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

type Waits = std::pin::Pin<Box<dyn Future<Output = Seen> + Send>>;

enum Begun {
    Done(Seen),
    Waits(Waits),
}

/// Starts a request. Most are decided before anything would be awaited.
fn begin(limiter: &Limiter, replica: u32, arrival: Arrival) -> Begun {
    let (limiter, key) = (limiter.clone(), arrival.key);
    let mut request: Waits = Box::pin(async move {
        let subject = format!("user:{key}");
        let start_ns = machine_nanos();
        let verdict = limiter.acquire(&subject, 1).await;
        let end_ns = machine_nanos();
        seen(start_ns, end_ns, replica, key, verdict)
    });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match request.as_mut().poll(&mut context) {
        std::task::Poll::Ready(seen) => Begun::Done(seen),
        std::task::Poll::Pending => Begun::Waits(request),
    }
}

fn seen(start_ns: u64, end_ns: u64, replica: u32, key: u32, verdict: Verdict) -> Seen {
    let admitted = verdict.is_allowed();
    let record = Record {
        start_ns,
        end_ns,
        replica,
        key,
        cost: 1,
        admitted,
    };
    Seen {
        record,
        local: verdict.decided == Decided::Local,
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a demo does not last centuries")
}

/// The default of a limiter: a demo with more keys shows that memory is bounded.
const KEYS_MAX: usize = 100_000;
