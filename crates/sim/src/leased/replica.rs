//! One replica: its quota cache, its syncer, and the little that a driver does around them.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use leasehold_cache::{Config, KeyRef, LimitId, Owner, Requests};
use leasehold_core::{self as core, Decided, Instant, Limit, Reason, Request, Status};
use leasehold_sync::{
    Batch, Call, NamedLimit, Purpose, RequestPath, Step, StoreStatus, Syncer, Then, Waiter,
};

use crate::leased::Leased;
use crate::leased::books::Books;
use crate::leased::joint::{Joined, Joints};
use crate::leased::store::Answered;
use crate::leased::timer::Timer;
use crate::model::{Decision, Demand, Outbox, Outcome, ReplicaModel, Ticket, Verdict};

/// A batch, shared by its copies.
pub(crate) type Message = Rc<Batch>;

/// One replica of the limiter.
#[derive(Debug)]
pub struct LeasedReplica {
    cache: Arc<Requests>,
    status: Arc<StoreStatus>,
    syncer: Syncer<Caller>,
    limits: Arc<[NamedLimit]>,
    /// The clock that tells callers whether their time is over.
    clock: Rc<Cell<Instant>>,
    /// Commands of the request path to the sync task.
    inbox: VecDeque<Command>,
    /// When the sync task runs next, if it has been woken.
    runs_at: Option<Instant>,
    wake_ns: u64,
    timer: Timer,
    joints: Joints,
    books: Books,
}

/// A request path's command to the sync task.
#[derive(Debug)]
enum Command {
    /// A request waits.
    Acquire {
        demand: Demand,
        purpose: Purpose,
        caller: Caller,
    },
    /// A request was allowed by the replica's advance.
    Advanced(Demand),
}

/// Somebody who waits for the syncer.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) ticket: Ticket,
    pub(crate) demand: Demand,
    purpose: Purpose,
    until: Instant,
    clock: Rc<Cell<Instant>>,
    /// Whether the request still waits, if it is under several limits.
    joint: Option<Rc<Cell<bool>>>,
}

impl Waiter for Caller {
    fn is_gone(&self) -> bool {
        self.until <= self.clock.get() || self.joint.as_ref().is_some_and(|waits| !waits.get())
    }
}

impl LeasedReplica {
    pub(crate) fn new(model: &Leased, id: u64, seed: u64, limits: &Arc<[NamedLimit]>) -> Self {
        let owner = Owner::new(Config {
            keys_max: model.keys_max,
            seed,
            signals: SIGNALS,
        });
        let limits = Arc::clone(limits);
        let (cache, for_syncer) = (Arc::clone(owner.requests()), Arc::clone(&limits));
        // The syncer's chance must not be the cache's.
        let syncer = Syncer::new(owner, for_syncer, model.tuning, id, !seed);
        Self {
            cache,
            status: syncer.store_status(),
            syncer,
            limits,
            clock: Rc::new(Cell::new(Instant::ORIGIN)),
            inbox: VecDeque::new(),
            runs_at: None,
            wake_ns: model.wake_ns,
            timer: Timer::new(model.timer_tick_ns, seed),
            joints: Joints::default(),
            books: Books::new(model.checked),
        }
    }

    fn acquire_one(
        &mut self,
        demand: Demand,
        ticket: Ticket,
        deadline: Instant,
        now: Instant,
        out: &mut Outbox<Message>,
    ) -> Decision {
        let subject = demand.key.to_be_bytes();
        self.books.meet(&demand);
        let key = key_of(&demand, &subject);
        match self.path().acquire(key, demand.cost, NEVER_CLOSED, now) {
            Step::Decided {
                then: Then::Report, ..
            } => {
                self.inbox.push_back(Command::Advanced(demand));
                self.wake(now);
                Decision::Allow
            }
            Step::Decided { verdict, then } => {
                self.decided(verdict, then, &[demand], ticket, now, out)
            }
            Step::Undecided(()) => {
                let caller = self.caller(demand, ticket, Purpose::Spend, deadline, None);
                self.send(demand, Purpose::Spend, caller, now);
                Decision::Wait
            }
        }
    }

    /// Takes all demands at once, or sends for what lacks.
    fn acquire_all(
        &mut self,
        mut joined: Joined,
        now: Instant,
        out: &mut Outbox<Message>,
    ) -> Decision {
        for demand in &joined.demands {
            self.books.meet(demand);
        }
        match joined.step(self.path(), now) {
            Step::Decided { verdict, then } => {
                self.decided(verdict, then, &joined.demands, joined.ticket, now, out)
            }
            Step::Undecided(lacking) => {
                let waits = Rc::new(Cell::new(true));
                let (ticket, deadline) = (joined.ticket, joined.deadline);
                for index in lacking {
                    let (demand, waits) = (joined.demands[index], Some(Rc::clone(&waits)));
                    let caller = self.caller(demand, ticket, Purpose::Stock, deadline, waits);
                    self.send(demand, Purpose::Stock, caller, now);
                }
                self.joints.wait(joined, waits);
                Decision::Wait
            }
        }
    }

    fn path(&self) -> RequestPath<'_> {
        RequestPath {
            cache: &self.cache,
            limits: &self.limits,
            status: &self.status,
        }
    }

    fn decided(
        &mut self,
        verdict: core::Verdict,
        then: Then,
        demands: &[Demand],
        ticket: Ticket,
        now: Instant,
        out: &mut Outbox<Message>,
    ) -> Decision {
        if then == Then::Wake {
            self.wake(now);
        }
        if let Some(denial) = verdict.denial() {
            let retry_after_ns = denial.retry.wait().map(nanos);
            return Decision::Deny { retry_after_ns };
        }
        let mut leased = verdict.decided() != Decided::Fallback;
        for &demand in demands {
            leased &= self.books.take(demand, &self.cache, now);
        }
        if !leased {
            out.by_policy.push(ticket);
        }
        Decision::Allow
    }

    fn caller(
        &self,
        demand: Demand,
        ticket: Ticket,
        purpose: Purpose,
        until: Instant,
        joint: Option<Rc<Cell<bool>>>,
    ) -> Caller {
        Caller {
            ticket,
            demand,
            purpose,
            until,
            clock: Rc::clone(&self.clock),
            joint,
        }
    }

    fn send(&mut self, demand: Demand, purpose: Purpose, caller: Caller, now: Instant) {
        self.inbox.push_back(Command::Acquire {
            demand,
            purpose,
            caller,
        });
        self.wake(now);
    }

    fn wake(&mut self, now: Instant) {
        let at = Instant::from_nanos(now.as_nanos() + self.wake_ns);
        self.runs_at = Some(self.runs_at.map_or(at, |runs_at| runs_at.min(at)));
    }

    /// The sync task has been woken: it hears what the request path said.
    fn run_task(&mut self, now: Instant) {
        self.runs_at = None;
        while let Some(command) = self.inbox.pop_front() {
            match command {
                Command::Acquire {
                    demand,
                    purpose,
                    caller,
                } => {
                    let subject = demand.key.to_be_bytes();
                    let (key, cost) = (key_of(&demand, &subject), demand.cost);
                    self.syncer.acquire(key, cost, purpose, caller, now);
                }
                Command::Advanced(demand) => {
                    let subject = demand.key.to_be_bytes();
                    let (key, cost) = (key_of(&demand, &subject), demand.cost);
                    // Not before the syncer counts them too.
                    self.books.spent_in_advance(demand);
                    self.syncer.handle_advanced(key, cost, now);
                }
            }
        }
        self.syncer.handle_signals(now);
    }

    /// Does all that the syncer says. `by_store` lists the demands that the store itself spent.
    fn pump(&mut self, by_store: &mut VecDeque<Demand>, now: Instant, out: &mut Outbox<Message>) {
        loop {
            while let Some(batch) = self.syncer.poll_batch(now) {
                out.messages.push(Rc::new(batch));
            }
            let Some((caller, verdict)) = self.syncer.poll_verdict() else {
                break;
            };
            match caller.purpose {
                Purpose::Spend => {
                    let outcome = if verdict.is_allowed() {
                        self.allowed(&caller, verdict, by_store, now, out)
                    } else {
                        denied(&verdict)
                    };
                    let ticket = caller.ticket;
                    out.verdicts.push(Verdict { ticket, outcome });
                }
                Purpose::Stock => self.stocked(caller.ticket, verdict, now, out),
            }
        }
        assert!(
            by_store.is_empty(),
            "what the store spent was spent on nobody"
        );
        self.books.settle(&self.syncer, &self.cache, now);
    }

    fn allowed(
        &mut self,
        caller: &Caller,
        verdict: core::Verdict,
        by_store: &mut VecDeque<Demand>,
        now: Instant,
        out: &mut Outbox<Message>,
    ) -> Outcome {
        let index = by_store.iter().position(|spent| *spent == caller.demand);
        if let Some(index) = index {
            by_store.remove(index);
            self.books.spent_by_store(caller.demand);
            Outcome::AllowedByStore
        } else {
            assert!(!caller.is_gone(), "a leased token was spent on nobody");
            let leased = self.books.take(caller.demand, &self.cache, now);
            if !leased || verdict.decided() == Decided::Fallback {
                out.by_policy.push(caller.ticket);
            }
            Outcome::AllowedHere
        }
    }

    /// One of the limits of a request has its tokens in stock, or has been denied.
    fn stocked(
        &mut self,
        ticket: Ticket,
        verdict: core::Verdict,
        now: Instant,
        out: &mut Outbox<Message>,
    ) {
        let outcome = match self.joints.handle_verdict(ticket, verdict) {
            None => return,
            Some(Err(verdict)) => denied(&verdict),
            Some(Ok(joined)) if joined.deadline <= now => return,
            Some(Ok(joined)) => match self.acquire_all(joined, now, out) {
                Decision::Allow => Outcome::AllowedHere,
                Decision::Deny { retry_after_ns } => Outcome::Denied { retry_after_ns },
                Decision::Wait => return,
            },
        };
        out.verdicts.push(Verdict { ticket, outcome });
    }
}

impl ReplicaModel for LeasedReplica {
    type Message = Message;
    type Answer = Answered;

    fn acquire(
        &mut self,
        demands: &[Demand],
        ticket: Ticket,
        deadline: Instant,
        now: Instant,
        out: &mut Outbox<Message>,
    ) -> Decision {
        self.clock.set(now);
        let woken = self.runs_at;
        let decision = if let &[demand] = demands {
            self.acquire_one(demand, ticket, deadline, now, out)
        } else {
            self.acquire_all(Joined::new(ticket, demands, deadline), now, out)
        };
        out.stirred |= self.runs_at != woken;
        decision
    }

    fn handle_answer(
        &mut self,
        message: &Message,
        answer: &Answered,
        now: Instant,
        out: &mut Outbox<Message>,
    ) {
        self.clock.set(now);
        self.books.hear(message, answer, &self.syncer);
        let heard = self.syncer.handle_answer(message, answer, now);
        heard.expect("a store has a reply to each call");
        let replies = message.calls.iter().zip(&answer.replies);
        // Verdicts come in the order of the calls, so the first is the one that is looked for.
        let mut by_store: VecDeque<Demand> = replies
            .filter(|(_, reply)| reply.status == Status::Spent)
            .map(|(call, _)| demand_of(call))
            // Nobody waits for a look.
            .filter(|demand| demand.cost > 0)
            .collect();
        self.pump(&mut by_store, now, out);
    }

    fn handle_failure(&mut self, message: &Message, now: Instant, out: &mut Outbox<Message>) {
        self.clock.set(now);
        self.syncer.handle_failure(message, now);
        self.pump(&mut VecDeque::new(), now, out);
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox<Message>) {
        self.clock.set(now);
        if self.runs_at.is_some_and(|at| at <= now) {
            self.run_task(now);
        }
        let due = self.syncer.poll_timeout(now);
        if due.is_some_and(|(at, _)| self.timer.has_rung(at, now)) {
            self.syncer.handle_timeout(now);
        }
        self.pump(&mut VecDeque::new(), now, out);
    }

    fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let due = self.syncer.poll_timeout(now);
        let due = due.map(|(at, _)| self.timer.rings_at(at, now));
        match (self.runs_at, due) {
            (Some(runs_at), Some(due)) => Some(runs_at.min(due)),
            (runs_at, due) => runs_at.or(due),
        }
    }

    fn shut_down(&mut self, now: Instant, out: &mut Outbox<Message>) {
        self.clock.set(now);
        self.run_task(now);
        self.syncer.shut_down(now);
        self.pump(&mut VecDeque::new(), now, out);
    }

    fn is_drained(&self) -> bool {
        self.syncer.is_drained()
    }

    fn set_limits(&mut self, limits: &[Limit], _now: Instant) {
        let renamed = self.limits.iter().zip(limits);
        let renamed = renamed.map(|(named, limit)| NamedLimit {
            limit: *limit,
            ..named.clone()
        });
        self.limits = renamed.collect();
        self.syncer.set_limits(Arc::clone(&self.limits));
    }

    fn held(&self) -> u64 {
        // The syncer has yet to look at the latest spends, and believes that they are still held.
        let tokens = self.syncer.tokens_in_all();
        self.books.unspent(tokens.held(), tokens.spent)
    }

    fn keys(&self) -> usize {
        self.cache.len()
    }

    fn check(&self) {
        assert!(
            self.cache.len() <= self.cache.keys_bound(),
            "the cache remembers more keys than it may"
        );
        self.books
            .check(&self.syncer, &self.cache, self.clock.get());
    }
}

/// The number of a key that this crate has named.
pub(crate) fn number_of(key: KeyRef<'_>) -> u32 {
    u32::from_be_bytes(key.subject.try_into().expect("keys here are numbers"))
}

pub(crate) fn key_of<'a>(demand: &Demand, subject: &'a [u8; 4]) -> KeyRef<'a> {
    KeyRef {
        limit: LimitId(demand.limit),
        subject,
    }
}

/// The key that a call is about, and the cost that it is to spend at once.
pub(crate) fn demand_of(call: &Call) -> Demand {
    let key = call.key();
    let LimitId(limit) = key.limit;
    let cost = match call.request {
        Request::Spend { cost } => cost,
        Request::Lease(_) | Request::Charge { .. } | Request::Forgive => 0,
    };
    Demand {
        limit,
        key: number_of(key),
        cost: u32::try_from(cost).expect("costs are 32 bits"),
    }
}

fn denied(verdict: &core::Verdict) -> Outcome {
    let wait = verdict.denial().and_then(|denial| denial.retry.wait());
    let retry_after_ns = wait.map(nanos);
    Outcome::Denied { retry_after_ns }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A replica that shuts down is asked nothing more.
pub(crate) const NEVER_CLOSED: Option<Reason> = None;

/// As many as a real limiter has.
const SIGNALS: usize = 4096;
