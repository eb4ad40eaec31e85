//! Replicas, a network and a store in virtual time.
//!
//! # Invariant
//!
//! Events happen in order of time, those of one time in the order they were made, and whatever is
//! random comes from the seed: the same setup gives the same requests with the same outcomes.
//!
//! The world drives each [`Syncer`] as its header says and as the tokio driver does. Each replica
//! reads a clock of its own, which started some time before the world did; the store has another.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{Config, KeyRef, LimitId, Local, QuotaCache};
use leasehold_core::{Instant, Limit, Reason, Status, StoreTime, Verdict};
use leasehold_sync::{Answer, Batch, NamedLimit, Purpose, Syncer, Tuning, Waiter};

use crate::demand::Keys;
use crate::judge::{Judgement, Outcome, Request, judge};
use crate::network::{Network, nanos};
use crate::random::Random;
use crate::store::Store;

/// What a world is made of.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) limit: &'static str,
    pub(crate) replicas: usize,
    pub(crate) keys: Keys,
    /// Requests cost from 1 to this.
    pub(crate) cost_max: u32,
    pub(crate) network: Network,
    pub(crate) tuning: Tuning,
    /// How long a request waits for its verdict.
    pub(crate) budget: Duration,
    pub(crate) seed: u64,
}

impl Setup {
    /// Replicas that share one key in one data centre.
    pub(crate) fn new(limit: &'static str, replicas: usize) -> Self {
        Self {
            limit,
            replicas,
            keys: Keys::One,
            cost_max: 1,
            network: Network::LOCAL,
            tuning: Tuning::default(),
            budget: Duration::from_millis(100),
            seed: std::env::var("FLEET_SEED").map_or(1, |seed| seed.parse().expect("a number")),
        }
    }
}

/// A running world.
pub(crate) struct World {
    setup: Setup,
    limit: Limit,
    now: u64,
    offered_ns: u64,
    /// What the callers look at to see whether their budget is spent.
    clock: Rc<Cell<u64>>,
    events: BinaryHeap<Planned>,
    planned: u64,
    replicas: Vec<Replica>,
    store: Store,
    store_is_up: bool,
    random: Random,
    flights: u64,
    under_way: BTreeMap<u64, (usize, Rc<Batch>)>,
    pub(crate) requests: Vec<Request>,
    pub(crate) traffic: Traffic,
    /// The same, of the time in which there was demand.
    pub(crate) offered_traffic: Traffic,
}

/// What the store was asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) batches: u64,
    pub(crate) calls: u64,
    /// Calls in central mode.
    pub(crate) spends: u64,
}

/// One replica of the world.
pub(crate) struct Replica {
    pub(crate) cache: Arc<QuotaCache>,
    pub(crate) syncer: Syncer<Caller>,
    alive: bool,
    /// Whether its messages reach the store, and the store's reach it.
    linked: bool,
    /// Its clock's reading when the world began.
    origin: u64,
    /// Requests per second.
    rate: f64,
    random: Random,
    /// Replaces the arrival that is planned when the rate changes.
    arrivals: u64,
    /// The one timer that is set, and its stamp.
    timer: Option<u64>,
    timers: u64,
    /// Times the timer rang without time having passed.
    rung_at: (u64, u32),
    /// Tokens that requests took, whether or not they still waited.
    pub(crate) taken: u64,
}

/// A request that waits, until its budget is spent.
#[derive(Debug)]
pub(crate) struct Caller {
    request: usize,
    until: u64,
    clock: Rc<Cell<u64>>,
}

impl Waiter for Caller {
    fn is_gone(&self) -> bool {
        self.until <= self.clock.get()
    }
}

#[derive(Debug)]
enum Event {
    Arrival {
        replica: usize,
        stamp: u64,
    },
    Timer {
        replica: usize,
        stamp: u64,
    },
    Signals {
        replica: usize,
    },
    Request {
        flight: u64,
        batch: Rc<Batch>,
    },
    Reply {
        flight: u64,
        answer: Answer,
        executed: u64,
    },
    GiveUp {
        flight: u64,
    },
}

#[derive(Debug)]
struct Planned {
    at: u64,
    order: u64,
    event: Event,
}

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        let limit: Limit = setup.limit.parse().expect("a limit");
        let limits: Arc<[NamedLimit]> = Arc::new([NamedLimit {
            name: "fleet".into(),
            limit,
        }]);
        let replica = |index: usize| {
            let mut random = Random::new(setup.seed, 1 + index as u64);
            let cache = Arc::new(QuotaCache::new(Config {
                keys_max: 1 << 20,
                seed: random.next(),
                signals: 1024,
            }));
            let (id, seed) = (random.next(), random.next());
            let syncer = Syncer::new(
                Arc::clone(&cache),
                Arc::clone(&limits),
                setup.tuning,
                id,
                seed,
            );
            Replica {
                cache,
                syncer,
                alive: true,
                linked: true,
                origin: 1 + random.below(nanos(Duration::from_secs(1000))),
                rate: 0.0,
                random,
                arrivals: 0,
                timer: None,
                timers: 0,
                rung_at: (0, 0),
                taken: 0,
            }
        };
        Self {
            limit,
            now: 0,
            offered_ns: 0,
            clock: Rc::default(),
            events: BinaryHeap::new(),
            planned: 0,
            replicas: (0..setup.replicas).map(replica).collect(),
            store: Store::default(),
            store_is_up: true,
            random: Random::new(setup.seed, 0),
            flights: 0,
            under_way: BTreeMap::new(),
            requests: Vec::new(),
            traffic: Traffic::default(),
            offered_traffic: Traffic::default(),
            setup: setup.clone(),
        }
    }

    /// From now on `rate(replica)` requests come per second.
    pub(crate) fn offer(&mut self, rate: impl Fn(usize) -> f64) {
        for index in 0..self.replicas.len() {
            self.replicas[index].rate = rate(index);
            self.plan_arrival(index);
        }
    }

    /// From now on `rate` requests come per second, to all living replicas alike.
    pub(crate) fn offer_evenly(&mut self, rate: f64) {
        let living: Vec<bool> = self.replicas.iter().map(|replica| replica.alive).collect();
        #[expect(clippy::cast_precision_loss, reason = "a few replicas")]
        let share = rate / living.iter().filter(|alive| **alive).count() as f64;
        self.offer(|index| if living[index] { share } else { 0.0 });
    }

    /// From now on `rate` requests come per second, `part` of them to `favourite`.
    pub(crate) fn offer_mostly_to(&mut self, favourite: usize, part: f64, rate: f64) {
        #[expect(clippy::cast_precision_loss, reason = "a few replicas")]
        let others = (self.replicas.len() - 1) as f64;
        self.offer(|index| {
            if index == favourite {
                rate * part
            } else {
                rate * (1.0 - part) / others
            }
        });
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + nanos(time);
        while self.events.peek().is_some_and(|next| next.at <= end) {
            let next = self.events.pop().expect("peeked");
            self.now = next.at;
            self.clock.set(self.now);
            self.happen(next.event);
        }
        self.now = end;
        self.clock.set(end);
    }

    /// Demand ends, and whoever still waits gets an answer or gives up.
    pub(crate) fn finish(&mut self) {
        self.offered_ns = self.now;
        self.offered_traffic = self.traffic;
        self.offer(|_| 0.0);
        self.run(self.setup.budget + self.setup.network.patience);
    }

    /// A replica is gone from one moment to the next, and nothing more is asked of it.
    pub(crate) fn crash(&mut self, replica: usize) {
        let replica = &mut self.replicas[replica];
        replica.alive = false;
        replica.rate = 0.0;
        replica.arrivals += 1;
    }

    /// A replica is told to stop, and nothing more is asked of it.
    pub(crate) fn shut_down(&mut self, index: usize) {
        let now = self.reading(index);
        let replica = &mut self.replicas[index];
        replica.rate = 0.0;
        replica.arrivals += 1;
        replica.syncer.shut_down(now);
        self.settle(index);
    }

    /// From now on nothing passes between a replica and the store.
    pub(crate) fn cut_off(&mut self, index: usize) {
        self.replicas[index].linked = false;
    }

    /// While the store is away, what is sent to it is lost.
    pub(crate) fn set_store_up(&mut self, up: bool) {
        self.store_is_up = up;
    }

    /// For how long there was demand.
    pub(crate) fn offered_ns(&self) -> u64 {
        self.offered_ns
    }

    pub(crate) fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Tokens outstanding at one replica, says the store.
    pub(crate) fn outstanding_of(&self, index: usize) -> u64 {
        let id = Self::id(&self.setup, index);
        self.store.outstanding_of(id, self.store_time())
    }

    pub(crate) fn judge(&self) -> Judgement {
        judge(&self.requests, &self.limit)
    }

    /// Judges the requests that arrived in a span of time, as if there had been no others.
    pub(crate) fn judge_span(&self, from: Duration, to: Duration) -> Judgement {
        let span = nanos(from)..nanos(to);
        let inside = |request: &&Request| span.contains(&request.at_ns);
        let requests: Vec<Request> = self.requests.iter().filter(inside).cloned().collect();
        judge(&requests, &self.limit)
    }

    /// Tokens in the cells of one replica, live or dead.
    pub(crate) fn in_cells(&self, index: usize) -> u64 {
        let now = self.reading(index);
        let mut keys: Vec<u32> = self.requests.iter().map(|request| request.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let cache = &self.replicas[index].cache;
        let entries = keys
            .iter()
            .filter_map(|key| cache.get(key_ref(&key.to_be_bytes())));
        entries
            .map(|entry| u64::from(entry.account(now).unspent()))
            .sum()
    }

    /// Whatever was granted is accounted for, at every replica that lives.
    pub(crate) fn check_books(&self) {
        for (index, replica) in self.replicas.iter().enumerate() {
            if !replica.alive {
                continue;
            }
            let tokens = replica.syncer.tokens();
            let cells = self.in_cells(index);
            assert_eq!(
                tokens.granted,
                replica.taken + tokens.released + tokens.expired + cells,
                "replica {index}: {tokens:?}, taken {}, in cells {cells}",
                replica.taken,
            );
            // Spends that the syncer has yet to look at are among what it believes is held.
            assert_eq!(tokens.held() + tokens.spent, cells + replica.taken);
        }
    }

    fn id(setup: &Setup, index: usize) -> u64 {
        let mut random = Random::new(setup.seed, 1 + index as u64);
        random.next();
        random.next()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival { replica, stamp } if self.replicas[replica].arrivals == stamp => {
                self.plan_arrival(replica);
                self.arrive(replica);
            }
            Event::Timer { replica, stamp } if self.replicas[replica].timers == stamp => {
                self.ring(replica);
            }
            Event::Arrival { .. } | Event::Timer { .. } => {}
            Event::Signals { replica } => {
                let now = self.reading(replica);
                self.replicas[replica].syncer.handle_signals(now);
                self.settle(replica);
            }
            Event::Request { flight, batch } => self.execute(flight, &batch),
            Event::Reply {
                flight,
                answer,
                executed,
            } => self.hear(flight, &answer, executed),
            Event::GiveUp { flight } => {
                let failed = self.under_way.remove(&flight);
                if let Some((replica, batch)) =
                    failed.filter(|(index, _)| self.replicas[*index].alive)
                {
                    let now = self.reading(replica);
                    self.replicas[replica].syncer.handle_failure(&batch, now);
                    self.settle(replica);
                }
            }
        }
    }

    fn plan(&mut self, at: u64, event: Event) {
        let order = self.planned;
        self.planned += 1;
        self.events.push(Planned { at, order, event });
    }

    fn plan_arrival(&mut self, index: usize) {
        let replica = &mut self.replicas[index];
        replica.arrivals += 1;
        let stamp = replica.arrivals;
        if replica.rate > 0.0 {
            let at = self.now + replica.random.gap_ns(replica.rate);
            let replica = index;
            self.plan(at, Event::Arrival { replica, stamp });
        }
    }

    /// A request comes, and is decided as `acquire` does it.
    fn arrive(&mut self, index: usize) {
        let now = self.reading(index);
        let replica = &mut self.replicas[index];
        let number = self.setup.keys.draw(&mut replica.random);
        let cost = match self.setup.cost_max {
            1 => 1,
            max => 1 + u32::try_from(replica.random.below(max.into())).expect("below 32 bits"),
        };
        let subject = number.to_be_bytes();
        let key = key_ref(&subject);
        let local = replica.cache.try_acquire(key, cost, now);
        let outcome = match local {
            Local::Allow { .. } => {
                replica.taken += u64::from(cost);
                Outcome::Local { allowed: true }
            }
            Local::Deny { .. } => Outcome::Local { allowed: false },
            Local::Short { .. } | Local::Unknown => Outcome::Waiting,
        };
        self.requests.push(Request {
            key: number,
            cost,
            at_ns: self.now,
            outcome,
        });
        match local {
            Local::Allow { wake: true, .. } => {
                self.plan(self.now + WAKES_AFTER, Event::Signals { replica: index });
            }
            Local::Allow { .. } | Local::Deny { .. } => {}
            Local::Short { .. } | Local::Unknown => {
                let caller = Caller {
                    request: self.requests.len() - 1,
                    until: self.now + nanos(self.setup.budget),
                    clock: Rc::clone(&self.clock),
                };
                replica
                    .syncer
                    .acquire(key, cost, Purpose::Spend, caller, now);
                self.settle(index);
            }
        }
    }

    fn ring(&mut self, index: usize) {
        let (world_now, now) = (self.now, self.reading(index));
        let replica = &mut self.replicas[index];
        replica.timer = None;
        let times = match replica.rung_at {
            (at, times) if at == world_now => times + 1,
            _ => 0,
        };
        assert!(
            times < 1000,
            "the timer rings on and on while time stands still"
        );
        replica.rung_at = (world_now, times);
        replica.syncer.handle_timeout(now);
        self.settle(index);
    }

    /// Does what the machine says is to be done next, until there is nothing more.
    fn settle(&mut self, index: usize) {
        if !self.replicas[index].alive {
            return;
        }
        let now = self.reading(index);
        while let Some(batch) = self.replicas[index].syncer.poll_batch(now) {
            self.send(index, batch);
        }
        self.hear_verdicts(index, &mut BTreeMap::new());
        self.set_timer(index);
    }

    fn set_timer(&mut self, index: usize) {
        let now = self.reading(index);
        let replica = &mut self.replicas[index];
        let due = replica.syncer.poll_timeout(now);
        let at = due.map(|(at, _)| at.as_nanos().saturating_sub(replica.origin).max(self.now));
        if at == replica.timer {
            return;
        }
        replica.timer = at;
        replica.timers += 1;
        let stamp = replica.timers;
        if let Some(at) = at {
            let replica = index;
            self.plan(at, Event::Timer { replica, stamp });
        }
    }

    fn send(&mut self, replica: usize, batch: Batch) {
        self.traffic.batches += 1;
        self.traffic.calls += batch.calls.len() as u64;
        let spend = |call: &&leasehold_sync::Call| {
            matches!(call.request, leasehold_core::Request::Spend { .. })
        };
        self.traffic.spends += batch.calls.iter().filter(spend).count() as u64;
        let flight = self.flights;
        self.flights += 1;
        let batch = Rc::new(batch);
        let delays = self.setup.network.requests(&mut self.random);
        let linked = self.replicas[replica].linked;
        for delay in delays.into_iter().flatten().filter(|_| linked) {
            let batch = Rc::clone(&batch);
            self.plan(self.now + delay, Event::Request { flight, batch });
        }
        self.under_way.insert(flight, (replica, batch));
        let patience = nanos(self.setup.network.patience);
        self.plan(self.now + patience, Event::GiveUp { flight });
    }

    fn execute(&mut self, flight: u64, batch: &Batch) {
        if !self.store_is_up {
            return;
        }
        let answer = self.store.exchange(batch, self.store_time());
        let executed = self.now;
        if let Some(delay) = self.setup.network.reply(&mut self.random) {
            self.plan(
                self.now + delay,
                Event::Reply {
                    flight,
                    answer,
                    executed,
                },
            );
        }
    }

    fn hear(&mut self, flight: u64, answer: &Answer, executed: u64) {
        let heard = |(index, _): &mut (usize, Rc<Batch>)| {
            self.replicas[*index].alive && self.replicas[*index].linked
        };
        let mut call = self.under_way.get_mut(&flight);
        if !call.as_mut().is_some_and(|call| heard(call)) {
            return;
        }
        let (replica, batch) = self.under_way.remove(&flight).expect("just seen");
        let now = self.reading(replica);
        self.replicas[replica]
            .syncer
            .handle_answer(&batch, answer, now);
        let replies = batch.calls.iter().zip(&answer.replies);
        let mut spent: BTreeMap<u32, u64> = replies
            .filter(|(_, reply)| reply.status == Status::Spent)
            .map(|(call, _)| (key_number(call.entry.key()), executed))
            .collect();
        self.hear_verdicts(replica, &mut spent);
        assert!(
            spent.is_empty(),
            "what the store spent was spent on somebody"
        );
        self.settle(replica);
    }

    /// Takes the verdicts. `spent` says for which keys the store itself spent the tokens, and
    /// when; all other tokens are taken now, from a lease.
    fn hear_verdicts(&mut self, index: usize, spent: &mut BTreeMap<u32, u64>) {
        while let Some((caller, verdict)) = self.replicas[index].syncer.poll_verdict() {
            let request = &mut self.requests[caller.request];
            assert_eq!(request.outcome, Outcome::Waiting, "answered once");
            let mut admitted_ns = self.now;
            if verdict.is_allowed() {
                self.replicas[index].taken += u64::from(request.cost);
                let by_store = spent.remove(&request.key);
                assert!(
                    by_store.is_some() || !caller.is_gone(),
                    "a leased token was spent on nobody"
                );
                admitted_ns = by_store.unwrap_or(self.now);
            }
            request.outcome = outcome(verdict, caller.is_gone(), admitted_ns, self.now);
        }
    }

    fn reading(&self, index: usize) -> Instant {
        Instant::from_nanos(self.replicas[index].origin + self.now)
    }

    fn store_time(&self) -> StoreTime {
        StoreTime::from_micros(STORE_BEGAN + self.now / 1000)
    }
}

fn outcome(verdict: Verdict, gone: bool, admitted_ns: u64, heard_ns: u64) -> Outcome {
    match verdict.denial() {
        _ if gone => Outcome::Denied {
            reason: Reason::BudgetSpent,
            heard_ns,
        },
        None => Outcome::Allowed {
            admitted_ns,
            heard_ns,
        },
        Some(denial) => Outcome::Denied {
            reason: denial.reason,
            heard_ns,
        },
    }
}

fn key_ref(subject: &[u8]) -> KeyRef<'_> {
    KeyRef {
        limit: LimitId(0),
        subject,
    }
}

fn key_number(key: KeyRef<'_>) -> u32 {
    u32::from_be_bytes(key.subject.try_into().expect("keys here are numbers"))
}

impl Ord for Planned {
    /// The earliest is the greatest: what a heap gives first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Planned {}

/// From the request path's signal until the sync task runs.
const WAKES_AFTER: u64 = 50_000;

/// The store's clock when the world begins.
const STORE_BEGAN: u64 = 1_700_000_000_000_000;
