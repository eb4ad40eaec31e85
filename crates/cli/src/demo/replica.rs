//! One replica under load: a real limiter, its requests, and what was seen of each.

use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use leasehold::store::Store;
use leasehold::{Decided, Limiter, Stats, Tuning, Verdict, machine_nanos};
use leasehold_sim::units::Span;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::demo::arrivals::{Arrival, Arrivals};
use crate::demo::error::DemoError;
use crate::demo::log_lines;
use crate::demo::plan::Plan;
use crate::demo::probe::Probe;
use crate::demo::stalls::{Stall, Stalls};
use crate::demo::timed_store::{Exchange, TimedStore};
use leasehold_judge::record::Record;

/// One request, as its caller saw it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) record: Record,
    /// Decided without waiting for the store.
    pub(crate) local: bool,
}

/// A replica's report at the end.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Summary {
    pub(crate) store_calls: u64,
    pub(crate) store_round_trips: u64,
    pub(crate) failed_batches: u64,
    /// Tokens that could not be given back.
    pub(crate) unreleased: u64,
    /// Every exchange before leases were given back, if the plan asked for it.
    pub(crate) exchanges: Vec<Exchange>,
    /// Where the tokens went, of the store and of its own, after all was given back.
    pub(crate) tokens: TokensGone,
    /// Lines of the log, from the level of information on.
    pub(crate) log_lines: u64,
    /// When it did not get the processor, if the plan has terms.
    pub(crate) stalls: Vec<Stall>,
    /// When the thread of the probe was put aside while it asked, in order.
    pub(crate) probe_put_aside: Vec<Stall>,
}

/// Tokens by what became of them: [`leasehold::Tokens`], as it travels.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct TokensGone {
    pub(crate) granted: u64,
    pub(crate) spent: u64,
    pub(crate) released: u64,
    pub(crate) expired: u64,
}

impl TokensGone {
    /// Tokens that were granted, and of which it is not known what became, or too many times.
    pub(crate) fn lost(self) -> u64 {
        self.granted
            .abs_diff(self.spent + self.released + self.expired)
    }

    fn of(stats: &Stats) -> Self {
        let all = stats.tokens + stats.tokens_in_fallback;
        Self {
            granted: all.granted,
            spent: all.spent,
            released: all.released,
            expired: all.expired,
        }
    }
}

impl Add for TokensGone {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            granted: self.granted + other.granted,
            spent: self.spent + other.spent,
            released: self.released + other.released,
            expired: self.expired + other.expired,
        }
    }
}

impl Summary {
    fn new(stats: &Stats, round_trips: u64, unreleased: u64) -> Self {
        Self {
            store_calls: stats.store_calls,
            store_round_trips: round_trips,
            failed_batches: stats.failed_batches,
            unreleased,
            exchanges: Vec::new(),
            tokens: TokensGone::of(stats),
            log_lines: log_lines::count(),
            stalls: Vec::new(),
            probe_put_aside: Vec::new(),
        }
    }
}

/// A replica that has nothing to do yet.
pub(crate) struct Replica {
    limiter: Limiter,
    store: Arc<dyn Store>,
    timed: Option<Arc<TimedStore>>,
}

impl Replica {
    /// A replica over `store`. The runtime that this is called in is the limiter's.
    pub(crate) fn new(plan: &Plan, store: Arc<dyn Store>) -> Result<Self, DemoError> {
        let timed = plan
            .timed
            .then(|| Arc::new(TimedStore::new(Arc::clone(&store))));
        let store = match &timed {
            Some(timed) => Arc::clone(timed) as Arc<dyn Store>,
            None => store,
        };
        Ok(Self {
            limiter: limiter(plan, Arc::clone(&store))?,
            store,
            timed,
        })
    }
}

/// Offers the plan's load for replica number `replica` to `it`, from `start_ns` on the machine's
/// clock, and hands what is seen to `sink`. Ends early when `stop` says so.
pub(crate) async fn offer(
    it: Replica,
    plan: &Plan,
    replica: u32,
    start_ns: u64,
    mut stop: watch::Receiver<bool>,
    mut sink: impl FnMut(Seen),
) -> Summary {
    let Replica {
        limiter,
        store,
        timed,
    } = it;
    let terms = plan.terms.as_ref();
    let stalls = terms.map(|_| Stalls::watch());
    let probe = terms.filter(|terms| terms.probed == Some(replica));
    let probe = probe.map(|_| Probe::start(limiter.clone(), replica, start_ns));
    let mut waiting = FuturesUnordered::new();
    let mut arrivals = Arrivals::new(plan, replica).peekable();
    while let Some(next) = arrivals.peek() {
        let due = start_ns + Span::from(next.after).0;
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
        let end_ns = start_ns + Span::from(plan.duration).0;
        let left = Duration::from_nanos(end_ns.saturating_sub(machine_nanos()));
        tokio::select! {
            () = told_to_stop(&mut stop) => {}
            () = tokio::time::sleep(left) => {}
        }
    }
    let probed = probe.map(Probe::end).unwrap_or_default();
    for record in probed.records {
        sink(Seen {
            record,
            local: true,
        });
    }
    let exchanges = timed.map_or_else(Vec::new, |timed| timed.exchanges());
    let unreleased = limiter
        .shutdown()
        .await
        .map_or_else(|error| error.tokens, |()| 0);
    let stats = limiter.stats();
    Summary {
        exchanges,
        stalls: stalls.map_or_else(Vec::new, Stalls::end),
        probe_put_aside: probed.put_aside,
        ..Summary::new(&stats, store.round_trips(), unreleased)
    }
}

fn limiter(plan: &Plan, store: Arc<dyn Store>) -> Result<Limiter, DemoError> {
    // The probe has a key of its own.
    let probes = usize::from(plan.terms.is_some());
    let builder = Limiter::builder()
        .limit(LIMIT, plan.limit)
        .store(store)
        .mode(plan.mode())
        .failure_policy(LIMIT, plan.policy.of_limiter())
        .keys_max((plan.keys as usize + probes).min(KEYS_MAX));
    let builder = if let Some(terms) = &plan.terms {
        terms.apply(builder, plan.replicas)
    } else {
        let mut tuning = Tuning::default();
        tuning.max_replicas = NonZeroU32::new(plan.replicas);
        builder.tuning(tuning)
    };
    builder.build().map_err(DemoError::Build)
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
        let subject = subject(key);
        let start_ns = machine_nanos();
        let verdict = limiter.acquire(&subject, 1).await;
        let end_ns = machine_nanos();
        seen(start_ns, end_ns, replica, key, verdict)
    });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match request.as_mut().poll(&mut context) {
        std::task::Poll::Ready(seen) => Begun::Done(seen),
        // The sync task may serve it of what it has just leased; it has waited all the same.
        std::task::Poll::Pending => Begun::Waits(Box::pin(async move {
            let seen = request.await;
            Seen {
                local: false,
                ..seen
            }
        })),
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
        local: verdict.decided() == Decided::Local,
    }
}

/// The name of the one limit, which all keys have.
pub(crate) const LIMIT: &str = "demo";

/// Whom a key stands for.
pub(crate) fn subject(key: u32) -> String {
    format!("user:{key}")
}

/// The default of a limiter: a demo with more keys shows that memory is bounded.
const KEYS_MAX: usize = 100_000;
