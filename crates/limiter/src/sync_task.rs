//! The background task of a limiter: drives a [`Syncer`] over a [`Store`].
//!
//! Nothing is decided here. The task hears commands, signals, answers and the clock; tells the
//! syncer; and does what it says.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use leasehold_cache::{KeyRef, LimitId};
use leasehold_core::{Instant, Reason, Verdict};
use leasehold_sync::{Answer, Batch, Purpose, Syncer, Tokens, Waiter};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinError, JoinSet};
use tracing::{error, info, warn};

use crate::builder::random;
use crate::caught::caught;
use crate::clock::{Call, Waits};
use crate::shared::Shared;
use crate::state_log::StateLog;
use crate::store::{Store, StoreError};

/// A command from the request path to the task.
#[derive(Debug)]
pub(crate) enum Command {
    /// A request waits for its verdict.
    Acquire {
        key: Key,
        cost: u32,
        purpose: Purpose,
        waiter: Caller,
    },
    /// A request did not wait; have tokens for the next.
    Prefetch { key: Key, cost: u32 },
    /// A request stopped waiting and was admitted, as its limit is open while the store is away.
    Admitted { key: Key, cost: u32 },
    /// A request was allowed by this replica's advance of the key.
    Advanced { key: Key, cost: u32 },
    /// The store has forgiven what was charged on a key.
    Forgiven { key: Key },
    /// Give everything back and end.
    ShutDown,
}

/// A key that its owner may drop meanwhile.
#[derive(Debug)]
pub(crate) struct Key {
    limit: LimitId,
    subject: Box<[u8]>,
}

impl From<KeyRef<'_>> for Key {
    fn from(key: KeyRef<'_>) -> Self {
        Self {
            limit: key.limit,
            subject: key.subject.into(),
        }
    }
}

impl Key {
    fn borrow(&self) -> KeyRef<'_> {
        KeyRef {
            limit: self.limit,
            subject: &self.subject,
        }
    }
}

/// Somebody who awaits a verdict, or has given up.
#[derive(Debug)]
pub(crate) struct Caller {
    verdict: oneshot::Sender<Verdict>,
    waits: Waits,
    /// The limit and the cost, if the task spends the tokens.
    spends: Option<(LimitId, u32)>,
}

impl Caller {
    pub(crate) fn new(verdict: oneshot::Sender<Verdict>, spends: Option<(LimitId, u32)>) -> Self {
        let waits = Waits::default();
        Self {
            verdict,
            waits,
            spends,
        }
    }
}

impl Waiter for Caller {
    fn is_gone(&self) -> bool {
        self.verdict.is_closed()
    }
}

type Completed = Result<(task::Id, Result<Answer, StoreError>), JoinError>;

pub(crate) struct SyncTask {
    syncer: Syncer<Caller>,
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    flights: JoinSet<Result<Answer, StoreError>>,
    /// The batches in flight: a batch comes back even if its flight never does.
    under_way: HashMap<task::Id, (Arc<Batch>, Call)>,
    /// Longest time to wait for the answer to a batch.
    call_timeout: Duration,
    away: StateLog,
    clocks_differ: StateLog,
    /// The counts of earlier syncers, which ended by a panic.
    past: Past,
    restarts: Restarts,
}

impl SyncTask {
    pub(crate) fn new(
        syncer: Syncer<Caller>,
        store: Arc<dyn Store>,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        call_timeout: Duration,
    ) -> Self {
        let limits = shared.limits.len();
        Self {
            syncer,
            store,
            shared,
            commands,
            flights: JoinSet::new(),
            under_way: HashMap::new(),
            call_timeout,
            away: StateLog::default(),
            clocks_differ: StateLog::default(),
            past: Past::new(limits),
            restarts: Restarts::default(),
        }
    }

    /// Runs until told to shut down, or until every handle to the limiter is gone. Begins anew
    /// after a panic.
    pub(crate) async fn run(self) {
        let shared = Arc::clone(&self.shared);
        shared.run_task(self.run_until_told()).await;
    }

    async fn run_until_told(mut self) {
        while let Err(panic) = caught(self.work()).await {
            let now = self.shared.now();
            let pause = self.restarts.next(now);
            if self.shared.closed().is_some() {
                error!(target: "leasehold", %panic, "the background task panicked at its end");
                break;
            }
            error!(
                target: "leasehold", %panic, ?pause,
                "the background task panicked; it begins anew, and what was leased ends by itself"
            );
            self.shared.health.count_panic(panic, now + pause);
            self.begin_anew();
            tokio::time::sleep(pause).await;
            self.shared.health.restarted();
        }
        if self.shared.is_forked() {
            // What the store and the runtime have open is the parent's: closing it here would end
            // it there too.
            mem::forget(self);
        }
    }

    /// After a panic nothing that the syncer says of itself is believed: it begins anew under
    /// another name, with nothing leased. The store ends the leases of the old name.
    fn begin_anew(&mut self) {
        self.past.add(&self.syncer);
        let limits = Arc::clone(&self.shared.limits);
        self.syncer.begin_anew(limits, random(), random());
        self.flights = JoinSet::new();
        self.under_way.clear();
        self.away = StateLog::default();
        self.clocks_differ = StateLog::default();
    }

    /// Runs until the task is to end.
    async fn work(&mut self) {
        let mut inbox = Vec::with_capacity(COMMANDS_AT_ONCE);
        loop {
            if self.shared.is_forked() {
                return;
            }
            let wake_up = self.drive();
            tokio::select! {
                heard = self.commands.recv_many(&mut inbox, COMMANDS_AT_ONCE) => {
                    let now = self.shared.now();
                    let mut is_last = heard == 0;
                    for command in inbox.drain(..) {
                        is_last |= self.handle_command(command, now) == Then::ShutDown;
                    }
                    if is_last {
                        return self.drain().await;
                    }
                }
                () = self.shared.wake.notified() => {}
                Some(completed) = self.flights.join_next_with_id() => {
                    self.handle_completion(completed);
                }
                () = self.shared.sleep_until(wake_up) => {
                    let now = self.shared.now();
                    self.syncer.handle_timeout(now);
                }
                () = self.shared.go_on(false) => {}
            }
        }
    }

    /// Does all that the syncer says, and returns when it wants to hear of the time again.
    fn drive(&mut self) -> Option<Instant> {
        let now = self.shared.now();
        // In each turn, because not every signal wakes the task.
        self.syncer.handle_signals(now);
        while let Some(batch) = self.syncer.poll_batch(now) {
            self.shared.counters.count_batch(batch.calls.len());
            let (batch, call) = (Arc::new(batch), self.shared.call());
            let flight = send_batch(
                Arc::clone(&self.shared),
                Arc::clone(&self.store),
                Arc::clone(&batch),
                call.clone(),
                self.call_timeout,
            );
            let id = self.flights.spawn(flight).id();
            self.under_way.insert(id, (batch, call));
        }
        while let Some((caller, verdict)) = self.syncer.poll_verdict() {
            caller.waits.end();
            if let Some((limit, cost)) = caller.spends {
                let verdicts = &self.shared.counters.verdicts;
                verdicts.expect_from_task(limit, &verdict, cost);
            }
            // Whoever stopped waiting in this very moment does not hear it.
            let _ = caller.verdict.send(verdict);
        }
        self.shared.counters.publish(&self.syncer, &self.past, now);
        let due = self.syncer.poll_timeout(now).map(|(at, _)| at);
        let parts_away = self.syncer.parts_away();
        // What is due already is due now.
        let runs_by = due.map(|due| due.max(now));
        self.shared.health.publish(parts_away, runs_by);
        due
    }

    fn handle_command(&mut self, command: Command, now: Instant) -> Then {
        match command {
            Command::Acquire {
                key,
                cost,
                purpose,
                mut waiter,
            } => {
                waiter.waits = self.shared.request();
                self.syncer
                    .acquire(key.borrow(), cost, purpose, waiter, now);
            }
            Command::Prefetch { key, cost } => self.syncer.prefetch(key.borrow(), cost, now),
            Command::Admitted { key, cost } => self.syncer.admitted(key.borrow(), cost, now),
            Command::Advanced { key, cost } => {
                self.syncer.handle_advanced(key.borrow(), cost, now);
            }
            Command::Forgiven { key } => self.syncer.handle_forgiven(key.borrow(), now),
            Command::ShutDown => return Then::ShutDown,
        }
        Then::GoOn
    }

    fn handle_completion(&mut self, completed: Completed) {
        // Only the end of the runtime cancels a flight, and it ends this task too: those who wait
        // hear of that end, not of a store that failed.
        if completed.as_ref().is_err_and(JoinError::is_cancelled) {
            return;
        }
        let (id, answer) = completed.unwrap_or_else(|error| {
            let lost = StoreError::new(format_args!("the store broke down: {error}"));
            (error.id(), Err(lost))
        });
        let (batch, _call) = self.under_way.remove(&id).expect("what flies is noted");
        let now = self.shared.now();
        match answer {
            Ok(answer) => match self.syncer.handle_answer(&batch, &answer, now) {
                Ok(()) => {
                    self.tell_answers(now);
                    self.tell_clocks(now);
                }
                Err(error) => {
                    self.shared.counters.count_failure();
                    self.tell_away(&StoreError::new(error), now);
                }
            },
            Err(error) => {
                self.shared.counters.count_failure();
                self.syncer.handle_failure(&batch, now);
                self.tell_away(&error, now);
            }
        }
    }

    /// One line when the store, or part of it, is taken for away.
    fn tell_away(&mut self, error: &StoreError, now: Instant) {
        let parts_away = self.syncer.parts_away();
        if parts_away > 0 && self.away.is_news(true, now) {
            let parts = self.store.partitions();
            warn!(
                target: "leasehold::store", %error, parts_away, parts,
                "the store does not answer: what is leased is spent, then failure policies apply"
            );
        }
    }

    /// And one when all of it answers again.
    fn tell_answers(&mut self, now: Instant) {
        if self.syncer.parts_away() == 0 && self.away.is_news(false, now) {
            info!(target: "leasehold::store", "the store answers again");
        }
    }

    /// One line when the store's clock stops running as ours does, and one when it does again.
    fn tell_clocks(&mut self, now: Instant) {
        let ppm = self.syncer.certain_clock_drift_ppm();
        let differs_at = if self.clocks_differ.told() {
            WARN_PPM / 2
        } else {
            WARN_PPM
        };
        let differ = ppm.unsigned_abs() >= differs_at;
        if !self.clocks_differ.is_news(differ, now) {
            return;
        }
        if differ {
            warn!(
                target: "leasehold::store", ppm,
                "the store's clock does not run as ours does, or was set: limits refill by its \
                 time, and leases are shortened while it runs fast"
            );
        } else {
            info!(target: "leasehold::store", ppm, "the store's clock runs as ours does again");
        }
    }

    /// Gives everything back, for as long as patience lasts.
    async fn drain(&mut self) {
        self.shared.shut_down();
        self.commands.close();
        let now = self.shared.now();
        while let Ok(command) = self.commands.try_recv() {
            self.handle_command(command, now);
        }
        self.syncer.shut_down(now);
        let patience = now + self.shared.shutdown_patience;
        loop {
            let wake_up = self.drive();
            let now = self.shared.now();
            if self.syncer.is_drained() || now >= patience {
                break;
            }
            let wake_up = wake_up.map_or(patience, |at| at.min(patience));
            tokio::select! {
                Some(completed) = self.flights.join_next_with_id() => {
                    self.handle_completion(completed);
                }
                () = self.shared.sleep_until(Some(wake_up)) => {
                    self.syncer.handle_timeout(self.shared.now());
                }
                () = self.shared.go_on(true) => {}
            }
        }
    }
}

impl Drop for SyncTask {
    /// Says that the task has ended: because it was told to, or because its runtime ends.
    fn drop(&mut self) {
        let left = self.syncer.unsettled();
        if self.shared.closed() != Some(Reason::ShutDown) {
            self.shared.end_early();
        }
        // Also of a limiter that is shut down: what a denial says here is not why it denies now.
        self.syncer.forget_keys();
        self.shared.end(left);
    }
}

/// The task's next step after a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Then {
    GoOn,
    ShutDown,
}

/// The counts of syncers that are gone.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) tokens: Tokens,
    pub(crate) tokens_in_fallback: Tokens,
    pub(crate) keys_evicted: u64,
    /// By limit: tokens of the store, and those that this replica granted itself.
    by_limit: Box<[(Tokens, Tokens)]>,
}

impl Past {
    fn new(limits: usize) -> Self {
        Self {
            tokens: Tokens::default(),
            tokens_in_fallback: Tokens::default(),
            keys_evicted: 0,
            by_limit: vec![Default::default(); limits].into(),
        }
    }

    pub(crate) fn tokens_of(&self, LimitId(index): LimitId) -> (Tokens, Tokens) {
        self.by_limit[index as usize]
    }

    fn add(&mut self, syncer: &Syncer<Caller>) {
        // What it held expires.
        let ended = |mut tokens: Tokens| {
            tokens.expired += tokens.held();
            tokens
        };
        self.tokens = self.tokens + ended(syncer.tokens());
        self.tokens_in_fallback = self.tokens_in_fallback + ended(syncer.tokens_in_fallback());
        self.keys_evicted += syncer.keys_evicted();
        for (limit, (leased, granted_here)) in (0..).map(LimitId).zip(&mut self.by_limit) {
            *leased = *leased + syncer.tokens_of(limit);
            *granted_here = *granted_here + syncer.tokens_in_fallback_of(limit);
        }
    }
}

/// How long to wait before the task begins anew: longer each time, if it does not last.
#[derive(Debug, Default)]
struct Restarts {
    in_a_row: u32,
    last: Option<Instant>,
}

impl Restarts {
    fn next(&mut self, now: Instant) -> Duration {
        let lasted = self
            .last
            .is_some_and(|last| now.since(last) > RESTART_FORGOTTEN);
        self.in_a_row = if lasted { 0 } else { self.in_a_row + 1 };
        self.last = Some(now);
        let doubled = RESTART_PAUSE_MIN.saturating_mul(1 << self.in_a_row.min(10));
        doubled.min(RESTART_PAUSE_MAX)
    }
}

/// After a first panic requests hardly notice.
const RESTART_PAUSE_MIN: Duration = Duration::from_millis(1);

/// A task that panics at each start logs no more than one line in this time.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);

/// A task that has run for so long does so no thanks to a pause.
const RESTART_FORGOTTEN: Duration = Duration::from_secs(60);

/// Sends a batch, and waits no longer than `call_timeout` for its answer.
async fn send_batch(
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    batch: Arc<Batch>,
    call: Call,
    call_timeout: Duration,
) -> Result<Answer, StoreError> {
    let work = store.exchange(&batch);
    let answer = shared.timeout_call(&call, call_timeout, work).await;
    let late = || StoreError::new(format_args!("no answer within {call_timeout:?}"));
    answer.unwrap_or_else(|| Err(late()))
}

/// A clock that is off by a hundredth is out of order: a bad crystal is off by a ten-thousandth.
const WARN_PPM: u64 = 10_000;

/// Enough to coalesce a burst of misses, few enough to look at answers in between.
const COMMANDS_AT_ONCE: usize = 256;
