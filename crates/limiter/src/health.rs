//! Whether a limiter works, and what is amiss if it does not.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold_core::Instant;

use crate::caught::Panic;

/// The health of a limiter at one moment: see [`Limiter::health`](crate::Limiter::health).
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Health {
    /// The state of the background task.
    pub task: TaskState,
    /// Panics of the background task since the limiter was built. Each is logged, and the task is
    /// restarted with nothing leased: what it had leased then ends by itself at the store.
    pub panics: u64,
    /// The message of the last of these panics.
    pub last_panic: Option<Arc<str>>,
    /// Time since the background task should have run and did not: zero while its runtime drives
    /// it. It grows while nobody drives a current-thread runtime, and while others keep a runtime's
    /// threads to themselves.
    pub overdue: Duration,
    /// Parts that the store has, such as the shards of a cluster.
    pub parts: u32,
    /// Parts of the store that do not answer: the failure policies of limits apply to keys in them.
    pub parts_away: u32,
}

/// The state of a limiter's background task.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TaskState {
    /// It leases, reports and gives back.
    Running,
    /// It panicked, and begins anew within seconds. Requests wait for it as for a slow store.
    Restarting,
    /// The limiter shuts down, or has been shut down.
    ShutDown,
    /// The runtime that it ran on has ended. Every request is denied as
    /// [`TaskEnded`](crate::Reason::TaskEnded).
    Ended,
    /// This process is a forked child, in which there is no such task. Every request is denied as
    /// [`Forked`](crate::Reason::Forked).
    Forked,
}

impl Health {
    /// Whether requests are decided as they should be: the task runs, is not late by a second, and
    /// the whole store answers.
    pub fn is_good(&self) -> bool {
        let in_time = self.overdue < OVERDUE;
        self.task == TaskState::Running && in_time && self.parts_away == 0
    }
}

/// A task that is late by so much is not just busy.
const OVERDUE: Duration = Duration::from_secs(1);

/// The health of a limiter as its task publishes it. Each number stands for itself.
#[derive(Debug, Default)]
pub(crate) struct HealthCell {
    restarting: AtomicBool,
    panics: AtomicU64,
    last_panic: Mutex<Option<Panic>>,
    /// When the task is to run again at the latest; 0 before its first turn.
    due_nanos: AtomicU64,
    parts_away: AtomicU32,
}

impl HealthCell {
    /// The task has done all it can before `due`.
    pub(crate) fn publish(&self, parts_away: usize, due: Option<Instant>) {
        let due = due.unwrap_or(Instant::FAR_FUTURE);
        self.due_nanos.store(due.as_nanos(), Relaxed);
        let parts_away = u32::try_from(parts_away).unwrap_or(u32::MAX);
        self.parts_away.store(parts_away, Relaxed);
    }

    /// The task panicked, and restarts at `due`.
    pub(crate) fn count_panic(&self, panic: Panic, due: Instant) {
        self.restarting.store(true, Relaxed);
        self.panics.fetch_add(1, Relaxed);
        *self.last_panic() = Some(panic);
        self.due_nanos.store(due.as_nanos(), Relaxed);
    }

    pub(crate) fn restarted(&self) {
        self.restarting.store(false, Relaxed);
    }

    pub(crate) fn is_restarting(&self) -> bool {
        self.restarting.load(Relaxed)
    }

    /// The health at `now` of a limiter whose task is in this state.
    pub(crate) fn read(&self, task: TaskState, parts: u32, now: Instant) -> Health {
        let due = Instant::from_nanos(self.due_nanos.load(Relaxed));
        let runs = matches!(task, TaskState::Running | TaskState::Restarting);
        let overdue = match due {
            Instant::ORIGIN => Duration::ZERO,
            _ if !runs => Duration::ZERO,
            due => now.since(due),
        };
        Health {
            task,
            panics: self.panics.load(Relaxed),
            last_panic: self
                .last_panic()
                .as_ref()
                .map(|it| Arc::clone(it.message())),
            overdue,
            parts,
            parts_away: self.parts_away.load(Relaxed),
        }
    }

    fn last_panic(&self) -> MutexGuard<'_, Option<Panic>> {
        let last = self.last_panic.lock();
        last.unwrap_or_else(PoisonError::into_inner)
    }
}
